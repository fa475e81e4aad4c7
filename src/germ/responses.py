"""Susceptibilities, estimated: one data set of all components, tokens and probes."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from germ.errors import GermError
from germ.estimate.structure import standardized
from germ.store import datasets, files

NAME = "susceptibility"


@dataclass(frozen=True)
class Susceptibility:
    """χ of every component for every token, with standard errors.

    Attributes:
        data: `chi`, `standard_error` (component, token); `chi_probe`, `standard_error_probe`
            (component, probe), means over a probe's tokens; `chi_half` (half, component, token), χ
            plus and minus one realisation of its error, correlated between tokens as the error is;
            `loss_variance` (component), Cov(φ, L),
            and its error; `ess`, `ess_square` (component), of φ and of its square;
            `loss_at_anchor` (token); `tokens` (probe_example, context). Coordinates on `token`:
            `token_probe`, `example`, `position`, `token_id`, `row`. Of several checkpoints there
            is a first dimension `checkpoint`.
    """

    data: xr.Dataset

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know."""
        return tuple(self.data.attrs.get("warnings", ()))

    def standardize(self) -> xr.DataArray:
        """χ made comparable between components, and then between tokens.

        First each component's χ over all tokens (and checkpoints) is given mean 0 and standard
        deviation 1: its scale has no meaning across components (Baker et al. 2504.18274, and
        `docs/susceptibility.md`). Then each token's mean over components is taken off, which leaves
        what sets components apart.

        Returns:
            (component, token), or (checkpoint, component, token).

        Raises:
            GermError: There are too few components or tokens, or one does not respond at all.
        """
        return standardized(self.data["chi"])

    def rows(self) -> list[dict[str, Any]]:
        """A row for each checkpoint, component and probe: χ, its error, and their ratio z."""
        found = []
        steps: list[Any] = [None]
        if "checkpoint" in self.data.dims:
            steps = self.data["checkpoint"].values.tolist()
        for number, step in enumerate(steps):
            at = self.data if step is None else self.data.isel(checkpoint=number)
            for component in at["component"].values.tolist():
                for probe in at["probe"].values.tolist():
                    one = at.sel(component=component, probe=probe)
                    chi, error = float(one["chi_probe"]), float(one["standard_error_probe"])
                    row = {} if step is None else {"checkpoint": step}
                    row |= {"component": component, "probe": probe, "chi": chi}
                    row |= {"standard_error": error, "z": chi / error if error > 0 else None}
                    found.append(row)
        return found

    def to_csv(self) -> str:
        """The rows as comma-separated values."""
        text, rows = io.StringIO(), self.rows()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """The rows and what they are of, for JSON."""
        about = {name: files.plain(value) for name, value in self.data.attrs.items()}
        return {**about, "rows": self.rows()}

    def write(self, folder: str | Path) -> tuple[Path, Path]:
        """Write `susceptibility.zarr` (`germ.responses.read`) and `susceptibility.csv`.

        Raises:
            GermError: If they cannot be written.
        """
        folder = Path(folder)
        store, table = folder / f"{NAME}.zarr", folder / f"{NAME}.csv"
        with files.writing(folder):
            datasets.write(self.data, store)
            files.write_durable(table, [self.to_csv().encode()])
        return store, table

    def __str__(self) -> str:
        """A line a component: χ of each probe with its error."""
        probes = self.data["probe"].values.tolist()
        lines = [f"{'':24}" + "".join(f"{probe[-22:]:>24}" for probe in probes)]
        rows = self.rows()
        for start in range(0, len(rows), len(probes)):
            first = rows[start]
            name = first["component"]
            if "checkpoint" in first:
                name = f"{first['checkpoint']} {name}"
            cells = [
                f"{r['chi']:.3g} ± {r['standard_error']:.2g}" for r in rows[start:][: len(probes)]
            ]
            lines.append(f"{name:24}" + "".join(f"{cell:>24}" for cell in cells))
        return "\n".join(lines)


def read(path: str | Path) -> Susceptibility:
    """What `Susceptibility.write` wrote: its folder, or the `.zarr` in it.

    Raises:
        GermError: If there is none.
    """
    path = Path(path)
    if (path / f"{NAME}.zarr").is_dir():
        path = path / f"{NAME}.zarr"
    try:
        data = datasets.read(path)
    except (OSError, ValueError, KeyError) as error:
        raise GermError(f"expected the folder of a germ susceptibility; {path}: {error}") from error
    if "chi" not in data:
        raise GermError(f"expected the folder of a germ susceptibility; {path} holds another thing")
    return Susceptibility(data)


def across(found: Mapping[int | str, Susceptibility]) -> Susceptibility:
    """Those of several checkpoints as one, with a first dimension `checkpoint`.

    Args:
        found: By step; of the same components and probes.

    Raises:
        GermError: They are not.
    """
    names = list(found)
    first = found[names[0]].data
    for name in names[1:]:
        other = found[name].data
        same = all(
            first.sizes[dim] == other.sizes[dim] and bool((first[c] == other[c]).all())
            for dim, c in (("component", "component"), ("token", "token_id"), ("probe", "probe"))
            if first.sizes[dim] == other.sizes[dim]
        ) and all(first.sizes[d] == other.sizes[d] for d in ("component", "token", "probe"))
        if not same:
            raise GermError(
                f"expected the same components and probes at every checkpoint; {name} and "
                f"{names[0]} differ"
            )
    shared = [name for name in ("tokens",) if name in first]
    parts = [each.data.drop_vars(shared) for each in found.values()]
    step = xr.DataArray(names, dims="checkpoint", name="checkpoint")
    data = xr.concat(parts, step, combine_attrs="override")
    data = data.assign({name: first[name] for name in shared})
    data.attrs = {**first.attrs, **_joined([each.data.attrs for each in found.values()])}
    said = [f"{name}: {text}" for name, each in found.items() for text in each.warnings]
    data.attrs["warnings"] = list(dict.fromkeys(said))
    return Susceptibility(data)


def _joined(attrs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"model": [a.get("model", "") for a in attrs]}
