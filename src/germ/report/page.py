"""A short written page with figures: as Markdown for a repository, and as one HTML file."""

from __future__ import annotations

import base64
import html
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from germ.errors import GermError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150

STYLE = """
body { max-width: 48rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.55 system-ui, sans-serif;
       color: #1a1a1a; background: #fff; }
img { max-width: 100%; height: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .75rem; text-align: left; }
code { background: #f4f4f4; padding: .1rem .25rem; } pre code { display: block; padding: .75rem; }
"""


@dataclass
class Page:
    """What an experiment has to show.

    Attributes:
        title: One line.
        text: Markdown (tables allowed, raw HTML is not). A figure stands where its name does:
            `![what it shows](NAME.png)`.
        figures: Matplotlib figures by NAME.
        data: What the figures are drawn from, JSON-able; saved as `data.json`.
    """

    title: str
    text: str
    figures: dict[str, Figure] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: str | Path) -> dict[str, Path]:
        """Write `page.md`, `page.html` (self-contained), `data.json` and the figures.

        Args:
            folder: Made if it is not there.

        Returns:
            The paths, by what they are: `page`, `markdown`, `data`, and each figure's name.

        Raises:
            GermError: A figure that the text never shows, or the folder cannot be written.
        """
        folder = Path(folder)
        unseen = [name for name in self.figures if f"({name}.png)" not in self.text]
        if unseen:
            raise GermError(f"expected the text to show every figure; it leaves out {unseen}")
        markdown = f"# {self.title}\n\n{self.text.strip()}\n"
        images = {name: _png(figure) for name, figure in self.figures.items()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            paths = {"page": folder / "page.html", "markdown": folder / "page.md"}
            paths["markdown"].write_text(markdown, encoding="utf-8")
            paths["page"].write_text(_html(self.title, markdown, images), encoding="utf-8")
            if self.data:
                paths["data"] = folder / "data.json"
                text = json.dumps(self.data, indent=1, ensure_ascii=False)
                paths["data"].write_text(text + "\n", encoding="utf-8")
            for name, image in images.items():
                paths[name] = folder / f"{name}.png"
                paths[name].write_bytes(image)
        except OSError as error:
            raise GermError(f"cannot write {folder}: {error.strerror or error}") from error
        return paths


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _html(title: str, markdown: str, images: dict[str, bytes]) -> str:
    from markdown_it import MarkdownIt

    # Raw HTML stays off: what came from data is shown, never run.
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    for name, image in images.items():
        encoded = base64.b64encode(image).decode()
        body = body.replace(f'src="{name}.png"', f'src="data:image/png;base64,{encoded}"')
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}</body>\n</html>\n"
    )
