"""Measurements as lines of a plain-text table: one header, one line a model."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from germ.store import files

if TYPE_CHECKING:
    from germ.measuring import Measurement

WIDTHS = {"L(w*)": 8, "E[L]": 8, "λ̂": 17, "R̂": 6, "virial": 7}
FIRST_WIDTH = 10


def write(folder: str | Path, name: str, table: str, rows: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write `NAME.csv` and `NAME.json`, each in one piece.

    Raises:
        GermError: They cannot be written.
    """
    folder = Path(folder)
    paths = folder / f"{name}.csv", folder / f"{name}.json"
    texts = table, json.dumps(rows, indent=1, allow_nan=False) + "\n"
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, texts, strict=True):
            files.write_durable(path, [text.encode()])
    return paths


def header(first: str, width: int = FIRST_WIDTH) -> str:
    """The names of the columns; `first` is what tells the lines apart, such as `step`."""
    cells = [_left(first, width), *(_right(name, size) for name, size in WIDTHS.items())]
    return "  ".join([*cells, "status"])


def line(row: Measurement, first: Any, width: int = FIRST_WIDTH) -> str:
    """A measurement; where there is no estimate, why."""
    label = _right(f"{first:,}", width) if isinstance(first, int) else _left(str(first), width)
    found = row.estimate
    if found is None:
        return "  ".join([label, *(_right("–", size) for size in WIDTHS.values()), row.status])
    cells = [
        f"{found.anchor_loss:.4f}",
        f"{found.expected_loss:.4f}",
        plus_minus(found.value, found.budget.total),
        f"{found.rhat:.3f}",
        f"{found.virial:.3f}",
    ]
    padded = [_right(cell, size) for cell, size in zip(cells, WIDTHS.values(), strict=True)]
    status = row.status if not found.warnings else f"{row.status} ⚠ {len(found.warnings)}"
    return "  ".join([label, *padded, status + (" (stored)" if row.stored else "")])


def plus_minus(value: float, error: float) -> str:
    """`45.9 ± 0.8`: the error to two digits, the value to the same place.

    Example:
        >>> plus_minus(45.8712, 0.7612), plus_minus(1234.5, 88.0), plus_minus(1.5, 0.0)
        ('45.87 ± 0.76', '1234 ± 88', '1.5 ± 0')
    """
    if not (math.isfinite(error) and error > 0):
        return f"{value:.4g} ± {error:.2g}"
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{places}f} ± {error:.{places}f}"


def cell_width(text: str) -> int:
    """Columns a text takes in a terminal: the hat over λ̂ takes none."""
    return sum(not unicodedata.combining(character) for character in text)


def _left(text: str, size: int) -> str:
    return text + " " * (size - cell_width(text))


def _right(text: str, size: int) -> str:
    return " " * (size - cell_width(text)) + text
