r"""Refined LLCs: of parts of the weights, on other data, of many of both in one call.

$$ \hat\lambda = n\beta\,\bigl(E[\ell'_n(u^*, v)] - \ell'_n(w^*)\bigr) $$

where only v, the weights of one component, moves around its part of w* (weight-refined), and ℓ' is
the loss on one of several data sets (data-refined): Wang et al., ICLR 2025, arXiv 2410.02984.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from germ.components import Component, expand
from germ.data import Data, as_data
from germ.errors import GermError, SamplingFailed
from germ.losses import resolve_loss
from germ.measuring import Measurement, measure, run_path
from germ.posterior import LocalPosterior
from germ.report import tables
from germ.restriction import Restriction, select
from germ.setup import AnySampler
from germ.sweeping import COLUMNS, Listener
from germ.types import LossFn

WIDTHS = {"weights": 11, "λ̂": 17, "ΔL": 8, "R̂": 6, "virial": 7}


@dataclass(frozen=True)
class Refined:
    """The LLCs of components on data sets: a row for each pair.

    Attributes:
        rows: A measurement each; its `step` is the component, its `data` the data set.
        num_parameters: The number of weights of each component, by name.
    """

    rows: tuple[Measurement, ...]
    num_parameters: Mapping[str, int]

    def __getitem__(self, pair: tuple[str, str]) -> Measurement:
        """The row of a component and a data set.

        Raises:
            KeyError: There is none.
        """
        for row in self.rows:
            if (row.step, row.data) == pair:
                return row
        raise KeyError(pair)

    @property
    def failed(self) -> tuple[Measurement, ...]:
        """The rows without an estimate."""
        return tuple(row for row in self.rows if row.estimate is None)

    def to_dict(self) -> dict[str, Any]:
        """All rows, for JSON."""
        return {
            "rows": [
                {
                    "component": row.step,
                    "num_parameters": self.num_parameters[str(row.step)],
                    **{key: value for key, value in row.to_dict().items() if key != "step"},
                }
                for row in self.rows
            ]
        }

    def to_csv(self) -> str:
        """The table as comma-separated values, a line a row; `value` is λ̂."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        head = ["component", "num_parameters", "model", "data", "status"]
        writer.writerow([*head, *COLUMNS, "warnings", "run"])
        for row in self.rows:
            found = {} if row.estimate is None else row.estimate.to_dict()
            numbers = ["" if found.get(name) is None else found[name] for name in COLUMNS]
            size = self.num_parameters[str(row.step)]
            warnings = "; ".join(found.get("warnings", ()))
            cells = [row.step, size, row.model, row.data, row.status, *numbers, warnings, row.run]
            writer.writerow(cells)
        return text.getvalue()

    def write(self, folder: str | Path, name: str = "refined") -> tuple[Path, Path]:
        """Write `NAME.csv` and `NAME.json`, each in one piece.

        Raises:
            GermError: They cannot be written.
        """
        return tables.write(folder, name, self.to_csv(), self.to_dict())

    def widths(self) -> tuple[int, int]:
        """Of the columns of names: the widest component's and the widest data set's."""
        return widths_of([(str(row.step), row.data) for row in self.rows])

    def __str__(self) -> str:
        """The table as text."""
        widths = self.widths()
        lines = [line(row, self.num_parameters[str(row.step)], widths) for row in self.rows]
        return "\n".join([header(widths), *lines])


def refine(
    model: nn.Module,
    data: Any,
    *,
    components: str | Sequence[str] | Mapping[str, Restriction] = "heads",
    name: str = "model",
    loss: str | LossFn = "causal_lm",
    nbeta: float | str = "auto",
    localization: float | str = "auto",
    sampler: str | AnySampler = "auto",
    folder: str | Path | None = None,
    drop_failed: bool = False,
    listener: Listener | None = None,
    **settings: Any,
) -> Refined:
    """The LLC of each component on each data set, at the same nβ and γ.

    One that fails is a row that says why, and the others go on. Runs in `folder` that are complete
    are used again and those that were interrupted go on.

    Args:
        model: The model.
        data: Data as for `germ.LocalPosterior.from_model`, or several by name: a mapping whose
            values are `germ.data.Data` or trees of tensors. (One of tensors is a data set.)
        components: Patterns as for `germ.components.expand` (`all` is the LLC of all weights), or
            restrictions by name.
        name: The model's name, in the table and in the names of the runs.
        loss: As for `germ.LocalPosterior.from_model`.
        nbeta: nβ, likewise; `auto` is taken for each data set.
        localization: γ, likewise.
        sampler: As for `germ.sample`.
        folder: Where the runs are kept; None keeps none.
        drop_failed: Leave out chains that failed, and say so, instead of failing the row.
        listener: Told how it goes along; `started` gets the component and the data set.
        settings: More arguments of `germ.sample`: chains, draws, warmup, seed, fresh and so on.

    Returns:
        The table: data sets within components.

    Raises:
        GermError: A pattern selects nothing, a setting is out of range, nothing can be written to
            `folder`, or every row failed before it began.
    """
    listener = listener or Listener()
    chosen = components if isinstance(components, Mapping) else expand(model, components)
    if not chosen:
        raise GermError("expected at least one component; got none")
    sets = named_data(data)
    sizes = {c: size_of(model, restriction) for c, restriction in chosen.items()}
    pairs = [(component, of) for component in chosen for of in sets]
    rows: list[Measurement] = []
    begun = False

    def stage(stage: str, done: int, total: int) -> None:
        nonlocal begun
        begun = True
        listener.stage(stage, done, total)

    for index, (component, of) in enumerate(pairs):
        listener.started(index, len(pairs), f"{component} on {of}")
        run = None
        try:
            posterior = LocalPosterior.from_model(
                model, sets[of], loss=resolve_loss(loss),
                nbeta=nbeta, localization=localization, restrict=chosen[component],
            )  # fmt: skip
            if folder is not None:
                run = run_path(folder, f"{name}-{component}", posterior, sampler, settings)
            row = measure(
                posterior, model=name, data=of, step=component, sampler=sampler, store=run,
                drop_failed=drop_failed, progress=stage, **settings,
            )  # fmt: skip
            begun = True
        except SamplingFailed as error:
            begun = True
            row = Measurement(component, name, of, f"failed: {error}", run=run)
        except GermError as error:
            if isinstance(error.__cause__, OSError):  # A full disk ends it all.
                raise
            row = Measurement(component, name, of, f"error: {error}", run=run)
        rows.append(row)
        listener.finished(row)
    if not begun:
        raise GermError(
            f"none of {len(rows)} pairs of component and data could be measured: "
            f"{rows[0].status.removeprefix('error: ')}"
        )
    return Refined(tuple(rows), sizes)


def named_data(data: Any) -> dict[str, Data]:
    """Data sets by name; one alone is called `data`.

    Raises:
        GermError: There is none, or one is no data.
    """
    if isinstance(data, Mapping) and data and _are_sets(data):
        return {str(name): as_data(value) for name, value in data.items()}
    return {"data": as_data(data)}


def _are_sets(data: Mapping[Any, Any]) -> bool:
    # A batch is a mapping too: of tensors by the names of the model's arguments.
    return all(isinstance(value, Data | Mapping | tuple | list) for value in data.values())


def size_of(model: nn.Module, restriction: Restriction) -> int:
    """The number of weights that a restriction lets move."""
    if isinstance(restriction, Component):
        return restriction.num_parameters
    return select(model, restriction).num_coordinates


def header(widths: tuple[int, int]) -> str:
    """The names of the columns, the first two so wide."""
    names = [_left("component", widths[0]), _left("data", widths[1])]
    return "  ".join([*names, *(_right(n, size) for n, size in WIDTHS.items()), "status"])


def line(row: Measurement, num_parameters: int, widths: tuple[int, int]) -> str:
    """A row; where there is no estimate, why."""
    names = [_left(str(row.step), widths[0]), _left(row.data, widths[1])]
    cells = [f"{num_parameters:,}"]
    status = row.status
    found = row.estimate
    if found is None:
        cells += ["–"] * (len(WIDTHS) - 1)
    else:
        cells += [
            tables.plus_minus(found.value, found.budget.total),
            f"{found.loss_difference:.4f}",
            f"{found.rhat:.3f}",
            f"{found.virial:.3f}",
        ]
        status += f" ⚠ {len(found.warnings)}" if found.warnings else ""
        status += " (stored)" if row.stored else ""
    padded = [_right(cell, size) for cell, size in zip(cells, WIDTHS.values(), strict=True)]
    return "  ".join([*names, *padded, status])


def widths_of(names: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """How wide the columns of these components and data sets are."""
    first = max([len("component"), *(tables.cell_width(a) for a, _ in names)])
    return first, max([len("data"), *(tables.cell_width(b) for _, b in names)])


def _left(text: str, size: int) -> str:
    return text + " " * (size - tables.cell_width(text))


def _right(text: str, size: int) -> str:
    return " " * (size - tables.cell_width(text)) + text
