"""Tables of λ̂ over checkpoints, as files: what `germ sweep` writes, and others like it."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from germ.development.curves import Curves, of_rows
from germ.errors import GermError

COLUMNS = {
    "step": ("step",),
    "value": ("value", "llc", "lambda_hat"),
    "standard_error": ("standard_error", "llc_error", "llc_standard_error"),
    "anchor_loss": ("anchor_loss", "loss", "test_loss"),
    "expected_loss": ("expected_loss", "sampled_loss"),
    "nbeta": ("nbeta",),
    "localization": ("localization",),
    "seed": ("seed", "model_seed", "training_seed"),
}
"""The fields of `germ.development.curves.of_rows`, by the names that columns have."""


def read_curves(paths: Sequence[str | Path], *, nbeta: float | None = None) -> Curves:
    """The curves in one table or several.

    Args:
        paths: A folder of `germ sweep`, its sweep.csv or sweep.json, or another CSV file with the
            columns step and value (or llc) and any others of `COLUMNS`. Several tables are several
            training seeds; a table with a column seed holds several itself.
        nbeta: nβ, where the tables do not say.

    Raises:
        GermError: A table cannot be read, or has no such columns.
    """
    rows: list[dict[str, Any]] = []
    for path in map(Path, paths):
        found = _rows(path)
        for row in found:
            own = row.get("seed")
            if len(paths) > 1:
                row["seed"] = str(path) if own is None else f"{path} {own}"
            elif own is None:
                row["seed"] = "0"
        rows += found
    return of_rows(rows, nbeta=nbeta)


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.is_dir():
        path = path / "sweep.csv"
    if not path.is_file():
        raise GermError(
            f"expected a table, or a folder that germ sweep wrote; there is no {path}: give another"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GermError(f"cannot read {path} as text: {error}; give a CSV or JSON table") from error
    rows = _of_json(path, text) if path.suffix == ".json" else _of_csv(path, text)
    return [row for row in rows if row["value"] is not None]


def _of_json(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(text)["rows"]
        estimates = [{"step": row["step"], **(row["estimate"] or {"value": None})} for row in found]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise GermError(
            f"expected {path} to be the sweep.json of germ sweep, with rows; it is not"
        ) from error
    wanted = set(COLUMNS) - {"seed"}
    return [{k: v for k, v in row.items() if k in wanted} for row in estimates]


def _of_csv(path: Path, text: str) -> list[dict[str, Any]]:
    reader = csv.DictReader(text.splitlines())
    head = reader.fieldnames or []
    columns = {
        field: next((name for name in names if name in head), None)
        for field, names in COLUMNS.items()
    }
    missing = [field for field in ("step", "value") if columns[field] is None]
    if missing:
        raise GermError(
            f"expected the columns step and value (or llc) in {path}; it has "
            f"{', '.join(head[:8]) or 'none'}"
        )
    rows = []
    for number, row in enumerate(reader, 2):
        read: dict[str, Any] = {}
        for field, name in columns.items():
            if name is None:
                continue
            read[field] = row[name] if field == "seed" else _number(path, number, row[name])
        rows.append(read)
    return rows


def _number(path: Path, line: int, text: str | None) -> float | None:
    if text is None or not text.strip():
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise GermError(f"expected a number in line {line} of {path}; got {text!r}") from error
    return value if math.isfinite(value) else None
