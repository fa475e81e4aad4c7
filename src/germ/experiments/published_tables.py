"""The published LLC tables of Pythia, read from a folder of CSV files.

They are measurements of others (gradientinstitute/lsoc-psych, Apache-2.0, "Psychometrics for
Pythia", Carroll et al. 2025) and do not come with germ. They are looked for in the folder that
`GERM_REFERENCE` names, then in `reference` under the experiment's own folder.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from germ.errors import GermError

VARIABLE = "GERM_REFERENCE"

PILE = "pythia_pile_llc_and_loss.csv"
SUBSETS = "pythia_subset_llc_nbeta_default.csv"
SUBSET_LOSSES = "pythia70m_subset_llc_loss_trace.csv"
SCORES = "pythia_evals.csv"
FILES = (PILE, SUBSETS, SUBSET_LOSSES, SCORES)

FORMS = {
    PILE: "step, model, llc, test_loss",
    SUBSETS: "model, subset, step, llc",
    SUBSET_LOSSES: "models (as pythia-70m_00512), llc/SUBSET …, loss/SUBSET …",
    SCORES: "Model (as pythia-70m/512), one column a benchmark",
}
"""The columns that are read."""

SIZES = {"14m": 1.4e7, "31m": 3.1e7, "70m": 7e7, "160m": 1.6e8, "410m": 4.1e8, "1b": 1e9}
"""The models of the tables, by size."""


@dataclass(frozen=True)
class Series:
    """Something of one model over its checkpoints.

    Attributes:
        steps: Increasing, (checkpoint,).
        names: What the columns are.
        values: (checkpoint, column).
    """

    steps: np.ndarray
    names: tuple[str, ...]
    values: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """One column, (checkpoint,)."""
        return self.values[:, self.names.index(name)]

    def between(self, first: int, last: int) -> Series:
        """The checkpoints from `first` to `last`, both with them."""
        kept = (self.steps >= first) & (self.steps <= last)
        return Series(self.steps[kept], self.names, self.values[kept])


@dataclass(frozen=True)
class Tables:
    """The four tables, by size ("70m").

    Attributes:
        folder: Where they were read.
        pile: λ̂ and the test loss on the Pile: columns `llc`, `loss`.
        subsets: λ̂ on each subset of the Pile, at the checkpoints that have all of them.
        subset_losses: Of 70M, columns `llc/SUBSET` and `loss/SUBSET`.
        scores: Benchmark scores.
    """

    folder: Path
    pile: dict[str, Series]
    subsets: dict[str, Series]
    subset_losses: Series
    scores: dict[str, Series]


def find(out: Path) -> Path | None:
    """The folder with the tables; None if there is none.

    Args:
        out: The experiment's folder.

    Raises:
        GermError: `GERM_REFERENCE` names a folder that lacks one.
    """
    named = os.environ.get(VARIABLE)
    if named:
        folder = Path(named).expanduser()
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise GermError(
                f"expected {VARIABLE}={named} to hold {', '.join(FILES)}; it lacks "
                f"{', '.join(missing)}: set it to their folder, or unset it"
            )
        return folder
    folder = Path(out) / "reference"
    return folder if all((folder / name).is_file() for name in FILES) else None


def read(folder: Path) -> Tables:
    """Read the four tables.

    Args:
        folder: Where they are.

    Raises:
        GermError: A file is missing, or is not of its form.
    """
    return Tables(
        folder,
        {size: _pile(rows) for size, rows in _by_model(folder, PILE, "model").items()},
        {size: _subsets(rows) for size, rows in _by_model(folder, SUBSETS, "model").items()},
        _wide(_rows(folder, SUBSET_LOSSES), "models", "_", SUBSET_LOSSES)["70m"],
        _wide(_rows(folder, SCORES), "Model", "/", SCORES),
    )


Row = dict[str, str]


def _rows(folder: Path, name: str) -> list[Row]:
    try:
        with (folder / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise GermError(f"cannot read {folder / name}: {error}") from error


def _by_model(folder: Path, name: str, column: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    try:
        for row in _rows(folder, name):
            found.setdefault(row[column].removeprefix("pythia-"), []).append(row)
        for rows in found.values():
            rows.sort(key=lambda row: float(row["step"]))
    except (KeyError, ValueError) as error:
        raise GermError(f"expected {folder / name} to have {FORMS[name]}; {error!r}") from error
    return {size: found[size] for size in SIZES if size in found}


def _pile(rows: Sequence[Row]) -> Series:
    good = [row for row in rows if row["llc"] and row["test_loss"]]
    values = [[float(row["llc"]), float(row["test_loss"])] for row in good]
    return Series(
        np.array([int(float(r["step"])) for r in good]), ("llc", "loss"), np.array(values)
    )


def _subsets(rows: Sequence[Row]) -> Series:
    names = tuple(sorted({row["subset"] for row in rows}))
    by_step: dict[int, dict[str, float]] = {}
    for row in rows:
        if row["llc"]:
            by_step.setdefault(int(float(row["step"])), {})[row["subset"]] = float(row["llc"])
    whole = {step: each for step, each in by_step.items() if len(each) == len(names)}
    values = [[each[name] for name in names] for each in whole.values()]
    return Series(np.array(list(whole)), names, np.array(values))


def _wide(rows: Sequence[Row], key: str, separator: str, file: str) -> dict[str, Series]:
    """Tables whose first column is model and step, and every other one a column of numbers."""
    found: dict[str, list[tuple[int, list[float]]]] = {}
    try:
        names = tuple(name for name in rows[0] if name != key)
        for row in rows:
            model, step = row[key].removeprefix("pythia-").rsplit(separator, 1)
            numbers = [float(row[name] or "nan") for name in names]
            found.setdefault(model, []).append((int(step), numbers))
    except (IndexError, KeyError, ValueError) as error:
        raise GermError(f"expected {file} to have {FORMS[file]}; {error!r}") from error
    return {
        model: Series(np.array([s for s, _ in each]), names, np.array([x for _, x in each]))
        for model, each in ((m, sorted(e)) for m, e in found.items())
    }
