"""Susceptibilities as one HTML file: a heat map, coloured text, tables of tokens, curves.

The file needs no network and no server, and can be read without its script, which only chooses
another component, checkpoint or probe. Everything that came from data is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from germ.errors import GermError
from germ.report import ranking_html, token_html
from germ.report import susceptibility_sections as sections
from germ.report.markup import asset, escape
from germ.report.susceptibility_words import guide, meaning, settings
from germ.report.token_choice import Passage, passages
from germ.report.token_colours import INK, NEGATIVE, NOISE, POSITIVE
from germ.report.token_html import Frame
from germ.report.token_ranking import Rankings
from germ.report.token_text import Decode
from germ.report.token_view import TokenView, read

if TYPE_CHECKING:
    import xarray as xr

NAME = "susceptibility.html"

MOST_TOKENS = 4_000
"""Of coloured text: more is more than anybody reads."""

MOST_DETAILS = 48
"""Components with tables of their own."""

_TABLES = 0.3  # of the page
_FRAME = 60_000  # bytes of style, script, header and what else is always there


def write(
    dataset: xr.Dataset,
    folder: str | Path,
    decode: Decode,
    title: str | None = None,
    *,
    max_bytes: int = 5_000_000,
) -> Path:
    """Write the page of susceptibilities, `folder/susceptibility.html`.

    Args:
        dataset: The `data` of what `germ.susceptibility` returned, with or without a dimension
            `checkpoint` (then the last is what tables and heat map show).
        folder: Made if it is not there.
        decode: Token ids to text, special tokens included: `germ.report.token_text.decoder` makes
            one of a tokenizer.
        title: The heading; by default the model's name.
        max_bytes: About how large the file may become: what of the text is left out is said.

    Returns:
        The file.

    Raises:
        GermError: No data set of susceptibilities with tokens, a token that `decode` does not
            know, or a folder that cannot be written.
    """
    view = read(dataset)
    page = _page(view, _remembered(decode), title or _title(view), max_bytes)
    path = Path(folder) / NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise GermError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _page(view: TokenView, decode: Decode, title: str, max_bytes: int) -> str:
    ranked = Rankings(view)
    order = ranked.by_strength()
    first = Frame(len(view.steps) - 1, order[0])
    tables, detailed = _tables(ranked, order, decode, _TABLES * max_bytes)
    overview = ranking_html.overview(ranked, detailed, decode)
    heat = sections.heat_map(ranked, order) + overview
    curves = sections.training(view) if len(view.steps) > 1 else ""
    # Text gets what the rest has left.
    room = max_bytes - _FRAME - sum(len(part.encode()) for part in (tables, heat, curves))
    held, chosen = _fit(view, order, room)
    text = sections.text(view, chosen, held, first, decode)
    parts = [
        ("map", "Components and probes", heat),
        ("training", "Over training", curves),
        ("text", "Text", text),
        ("tokens", "Tokens", tables),
    ]
    parts = [part for part in parts if part[-1]]
    links = "".join(f'<li><a href="#{key}">{name}</a></li>' for key, name, _ in parts)
    body = "".join(
        f'<section aria-labelledby="{key}"><h2 id="{key}">{name}</h2>\n{text}</section>\n'
        for key, name, text in parts
    )
    script = asset("susceptibility.js")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>\n{asset('susceptibility.css')}{colours()}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1>\n{meaning(view)}{settings(view)}</header>\n"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n'
        f"<main>\n{guide(view)}{body}</main>\n"
        '<div class="tip" id="tip" role="status" hidden></div>\n'
        '<script type="application/json" id="numbers">'
        f"{token_html.payload(view, chosen, held)}</script>\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _policy(script: str) -> str:
    """Nothing is ever loaded, and no script but this one runs, whatever the data hold."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def colours() -> str:
    """The classes of coloured tokens: background, ink, and the bar that tells the sign."""
    lines = []
    for letter, ladder, side in (("p", POSITIVE, "overline"), ("n", NEGATIVE, "underline")):
        for level, colour in enumerate(ladder, start=1):
            thick = 0.5 + 0.6 * level
            lines.append(
                f".{letter}{level} {{ background: {colour}; color: {INK}; "
                f"text-decoration: {side} {thick:.1f}px; }}"
            )
    return "\n".join([*lines, f".z {{ color: {NOISE}; }}"]) + "\n"


def _tables(
    ranked: Rankings, order: list[int], decode: Decode, room: float
) -> tuple[str, list[int]]:
    """The tables of as many components as there is room for, and which these are."""
    num = MOST_DETAILS
    while True:
        detailed = sorted(order[:num])
        text = sections.tables(ranked, detailed, order[0], decode)
        if len(text.encode()) <= room or num == 1:
            return text, detailed
        num //= 2


def _fit(view: TokenView, order: list[int], room: int) -> tuple[list[Frame], list[Passage]]:
    """Which components and checkpoints can be chosen, and which text there is room for.

    One passage of each probe comes first, then every component, then every checkpoint as long as
    half of the room is left for more text.
    """
    each, number = token_html.BYTES_PER_TOKEN, token_html.BYTES_PER_NUMBER
    least = sum(len(passage.scored) for passage in passages(view, 0))
    most = (room // least - each) // number
    held = token_html.frames(view, sorted(order[: max(most, 1)]), most // 2)
    num_tokens = room // (each + number * len(held))
    return held, passages(view, min(num_tokens, MOST_TOKENS))


def _title(view: TokenView) -> str:
    model = view.attrs.get("model")
    return f"Susceptibilities of {model}" if model else "Susceptibilities"


def _remembered(decode: Decode) -> Decode:
    """The same few tokens are asked for again and again."""

    @cache
    def once(ids: tuple[int, ...]) -> str:
        return decode(list(ids))

    return lambda ids: once(tuple(ids))
