"""The few pieces of HTML that pages are made of; what comes from data is escaped here."""

from __future__ import annotations

import base64
import html
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from PIL import Image

from germ.report.token_text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 130


@dataclass(frozen=True)
class Html:
    """Text that is HTML already: everything else is escaped."""

    text: str


def escape(value: object) -> str:
    """Any value as HTML text, nothing invisible left in it; `Html` as it is.

    Example:
        >>> escape("<b> & " + chr(0x202E)), escape(Html("<b>"))
        ('&lt;b&gt; &amp; ⟨U+202E⟩', '<b>')
    """
    return value.text if isinstance(value, Html) else html.escape(printable(value))


def table(
    caption: str,
    head: Sequence[object],
    rows: Sequence[Sequence[object]],
    classes: str = "",
    num_headers: int = 1,
) -> str:
    """A table with a caption and headers of columns and rows.

    Args:
        caption: What it holds.
        head: Headers of the columns.
        rows: Cells; the first `num_headers` of a row name it.
        classes: CSS classes.
        num_headers: Cells of a row that are headers.
    """
    lines = [f'<table class="{classes}"><caption>{escape(caption)}</caption>', "<thead><tr>"]
    lines += [f'<th scope="col">{escape(cell)}</th>' for cell in head]
    lines.append("</tr></thead>\n<tbody>")
    for row in rows:
        named = "".join(f'<th scope="row">{escape(cell)}</th>' for cell in row[:num_headers])
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row[num_headers:])
        lines.append(f"<tr>{named}{cells}</tr>")
    lines.append("</tbody></table>")
    # A wide table scrolls by itself; with a tab stop the keyboard can scroll it too.
    region = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
    return region + "\n".join(lines) + "</div>\n"


def image(figure: Figure, alternative: str) -> str:
    """A figure as part of the page, with what it says in words."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A letter that Matplotlib's font lacks is a box in the figure; the table beside it has it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="png", dpi=DPI)
    # 256 colours are enough for bars, cells and hatches, and a quarter of the bytes.
    small = io.BytesIO()
    with Image.open(buffer) as drawn:
        drawn.convert("RGB").quantize(256).save(small, format="png", optimize=True)
    encoded = base64.b64encode(small.getvalue()).decode()
    width = round(figure.get_figwidth() * 96)
    return (
        f'<img src="data:image/png;base64,{encoded}" width="{width}" alt="{escape(alternative)}">\n'
    )


@cache
def asset(name: str) -> str:
    """A file of `assets/report`: the style and the script of a page."""
    return (files("germ") / "assets" / "report" / name).read_text(encoding="utf-8")
