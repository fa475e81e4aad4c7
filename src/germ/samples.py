"""Samples: an `xarray.Dataset` with dims `chain, draw`, and where they gather while sampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import xarray as xr

from germ.errors import Status
from germ.store import Run

Block = dict[str, np.ndarray]


@runtime_checkable
class Sink(Protocol):
    """Where blocks of rows go: memory, or a run on disk."""

    @property
    def durable(self) -> bool:
        """Whether a commit outlives the process."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the run was finished before."""
        ...

    def last_commit(self) -> tuple[int, dict[str, Any]] | None:
        """Step and state of the newest commit."""
        ...

    def append(self, block: Block, phase: str) -> None:
        """Rows of shape (chain, rows, …) of `"warmup"` or `"draws"`."""
        ...

    def commit(self, step: int, state: dict[str, Any]) -> None:
        """From here a killed run goes on."""
        ...

    def finish(self, attrs: dict[str, Any], results: Block, pooled: Block | None = None) -> None:
        """The run is complete; `results` are (chain, …), `pooled` of all chains together."""
        ...

    def restart(self) -> None:
        """Forget all rows and commits."""
        ...

    def read(self) -> xr.Dataset:
        """All that was written."""
        ...

    def close(self) -> None:
        """Let go of files and locks."""
        ...


class MemorySink:
    """Keeps the blocks in memory."""

    durable = False
    complete = False

    def __init__(self) -> None:
        """Start empty."""
        self._blocks: dict[tuple[str, str], list[np.ndarray]] = {}
        self._attrs: dict[str, Any] = {}
        self._results: Block = {}
        self._pooled: Block = {}

    def last_commit(self) -> None:
        """None: memory forgets."""
        return None

    def append(self, block: Block, phase: str) -> None:
        """Keep a block."""
        for name, rows in block.items():
            self._blocks.setdefault((phase, name), []).append(rows)

    def commit(self, step: int, state: dict[str, Any]) -> None:
        """Nothing: memory forgets."""

    def finish(self, attrs: dict[str, Any], results: Block, pooled: Block | None = None) -> None:
        """Keep what describes the run."""
        self._attrs, self._results, self._pooled = attrs, results, pooled or {}

    def restart(self) -> None:
        """Start empty again."""
        self._blocks = {}

    def read(self) -> xr.Dataset:
        """The data set."""
        series = {key: np.concatenate(parts, axis=1) for key, parts in self._blocks.items()}
        return dataset(series, self._results, self._attrs, self._pooled)

    def close(self) -> None:
        """Nothing to let go of."""


class StoredSink:
    """Streams the blocks to a run on disk."""

    durable = True

    def __init__(self, run: Run, reopen: Callable[[], Run] | None = None) -> None:
        """Write to `run`, from where it stands; `reopen` replaces it by an empty one."""
        self.run = run
        self._reopen = reopen

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to do."""
        return self.run.state in ("complete", "failed")

    def last_commit(self) -> tuple[int, dict[str, Any]] | None:
        """Step and state of the newest commit."""
        return self.run.last_commit()

    def append(self, block: Block, phase: str) -> None:
        """Stream a block."""
        rows: Literal["draws", "warmup"] = "draws" if phase == "draws" else "warmup"
        dims = {
            name: ("chain", "draw", *_inner(name, values.ndim - 2))
            for name, values in block.items()
            if values.ndim > 2
        }
        self.run.append(rows, block, self.run.num_rows(rows), dims)

    def commit(self, step: int, state: dict[str, Any]) -> None:
        """A durable point."""
        self.run.commit(step, state)

    def finish(self, attrs: dict[str, Any], results: Block, pooled: Block | None = None) -> None:
        """The run is complete, or, where no chain is ok, failed."""
        kept = {name: value for name, value in attrs.items() if name != "seconds"}
        if not any(Status[name].ok for name in attrs["statuses"]):
            self.run.fail("no chain is ok", kept)
            return
        arrays: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
            name: (("chain", *_inner(name, values.ndim - 1)), values)
            for name, values in results.items()
        }
        for name, values in (pooled or {}).items():
            arrays[name] = (tuple(_inner(name, values.ndim)), values)
        self.run.finish(kept, arrays)

    def restart(self) -> None:
        """Replace the run by an empty one."""
        assert self._reopen is not None
        self.run.close()
        self.run = self._reopen()

    def read(self) -> xr.Dataset:
        """The data set, from disk."""
        return self.run.read()

    def close(self) -> None:
        """Let go of the run's lock."""
        self.run.close()


def _inner(name: str, num: int) -> list[str]:
    return [f"{name}_dim_{i}" for i in range(num)]


def dataset(
    series: Mapping[tuple[str, str], np.ndarray],
    results: Block,
    attrs: Mapping[str, Any],
    pooled: Block | None = None,
) -> xr.Dataset:
    """The data set of a run.

    Args:
        series: By (phase, name): arrays of shape (chain, rows, …).
        results: Arrays of shape (chain, …).
        attrs: What describes the run.
        pooled: Arrays of all chains together.

    Returns:
        `name (chain, draw, …)`, `warmup_name (chain, warmup_step, …)`, and the results.
    """
    variables = {}
    for (phase, name), rows in series.items():
        inner = _inner(name, rows.ndim - 2)
        if phase == "draws":
            variables[name] = (["chain", "draw", *inner], rows)
        else:
            variables[f"warmup_{name}"] = (["chain", "warmup_step", *inner], rows)
    for name, values in results.items():
        inner = _inner(name, values.ndim - 1)
        variables[name] = (["chain", *inner], values)
    for name, values in (pooled or {}).items():
        variables[name] = (_inner(name, values.ndim), values)
    found = xr.Dataset(variables, attrs=dict(attrs))
    for dim in ("chain", "draw"):
        if dim in found.dims:
            found = found.assign_coords({dim: np.arange(found.sizes[dim])})
    return found
