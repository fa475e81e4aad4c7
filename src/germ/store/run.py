"""The writer of a run."""

from __future__ import annotations

import datetime
import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
import zarr

from germ.errors import GermError
from germ.fingerprint import canonical_json
from germ.store import blocks, files, reading, snapshot
from germ.store.lock import Lock
from germ.store.series import ROW_DIMS, Series, write_array

Phase = Literal["draws", "warmup"]
RunState = Literal["new", "interrupted", "complete", "failed"]


class Run:
    """One sampling run on disk: rows stream in, a commit makes them durable, `finish` ends it.

    Opened with `Run.open`; a context manager, which lets go of the run at its end (and keeps what
    was committed). Only one `Run` at a time can write a folder.

    Attributes:
        path: The folder.
        identity: What decides the numbers, as stored.
        state: "new" (nothing committed), "interrupted" (go on from `last_commit`), "complete" or
            "failed" (nothing to do: `read` it).
        provenance: What does not decide the numbers, of this session: versions, platform, command,
            and whatever is added before `finish`.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "demo.zarr"
    >>> with Run.open(path, identity={"seed": 0, "num_draws": 4}) as run:
    ...     for draw in range(run.num_rows("draws"), 4):
    ...         run.append("draws", {"loss": np.full((2, 1), draw / 4)}, start=draw)
    ...         run.commit(draw + 1, {"position": torch.zeros(2, 3)})
    ...     run.finish({"llc": 0.5})
    >>> run.read().loss.dims, run.read().attrs["llc"]
    (('chain', 'draw'), 0.5)
    """

    def __init__(self, path: Path, attributes: dict[str, Any], lock: Lock | None) -> None:
        """Made by `open`."""
        self.path = path
        self._attributes = attributes
        self._lock = lock
        self._series: dict[str, Series] = {}
        self._rows = dict.fromkeys(ROW_DIMS, 0)
        self._sizes: dict[str, int] = {}
        self._commit: snapshot.Snapshot | None = None
        self._has_commit = False
        self._clock = time.monotonic()
        self._seconds_before = 0.0

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        identity: Mapping[str, Any],
        fresh: bool = False,
        resume: bool = True,
        provenance: Mapping[str, Any] | None = None,
    ) -> Run:
        """Start a run, go on with it, or find it done.

        Args:
            path: Its folder, made if need be. A folder that holds anything but a run of germ's is
                refused and never changed.
            identity: Everything that decides the numbers, as nested dictionaries of plain JSON.
                A stored run is only ever continued or returned for an equal identity.
            fresh: Replace a run that is there, whatever it holds.
            resume: False refuses to go on with an interrupted run.
            provenance: More to record of this session, for example the device.

        Returns:
            The run. If its `state` is "new" or "interrupted" it is locked for writing.

        Raises:
            GermError: If another identity, another version, another writer or another thing is
                there, or it cannot be written.
        """
        path = Path(path)
        canonical_json(identity)  # Refuses what is not JSON, by name.
        asked: dict[str, Any] = files.plain(dict(identity))
        attributes = files.read_meta(path)
        if attributes is not None and not fresh:
            _check(path, attributes, asked)
            over = attributes["status"] != files.INCOMPLETE
            if over and not (path / files.STATE).exists():
                return cls(path, attributes, None)  # Also from a folder that cannot be written.
        with files.writing(path):
            path.mkdir(parents=True, exist_ok=True)
            lock = Lock(path / files.LOCK, path)
            try:
                return cls._open_locked(path, lock, asked, fresh, resume, provenance or {})
            except BaseException:
                lock.release()
                raise

    @classmethod
    def _open_locked(
        cls,
        path: Path,
        lock: Lock,
        asked: dict[str, Any],
        fresh: bool,
        resume: bool,
        provenance: Mapping[str, Any],
    ) -> Run:
        session = _session() | files.plain(dict(provenance))
        attributes = files.read_meta(path)  # Again: only now does nobody else write.
        if attributes is None or fresh:
            # The order matters: a commit must never meet an identity that is not its own.
            (path / files.STATE).unlink(missing_ok=True)
            attributes = _new_attributes(asked, session)
            files.write_meta(path, attributes, {})
            files.clean(path, keep=set())
            files.sync_folder(path.absolute().parent)
            return cls(path, attributes, lock)
        _check(path, attributes, asked)
        if attributes["status"] != files.INCOMPLETE:
            (path / files.STATE).unlink(missing_ok=True)  # The writer died one line before this.
            lock.release()
            return cls(path, attributes, None)
        commit = snapshot.load(path)
        if commit is not None and not resume:
            raise GermError(
                f"{path} holds an interrupted run of the same settings, at step {commit.step}; "
                "give --resume to go on with it, or --fresh to start again"
            )
        attributes["sessions"].append(session)
        files.write_meta(path, attributes, {})
        run = cls(path, attributes, lock)
        run._restore(commit)
        return run

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the numbers."""
        return self._attributes["identity"]

    @property
    def provenance(self) -> dict[str, Any]:
        """What does not decide the numbers, of the last session."""
        return self._attributes["sessions"][-1]

    @property
    def state(self) -> RunState:
        """How far the run is."""
        status = self._attributes["status"]
        if status != files.INCOMPLETE:
            return status
        return "interrupted" if self._has_commit else "new"

    @property
    def reason(self) -> str:
        """Why the run failed; empty if it did not."""
        return self._attributes["reason"]

    def num_rows(self, phase: Phase) -> int:
        """How many rows a phase has; the `start` of the next `append`."""
        if self._attributes["status"] != files.INCOMPLETE:
            return self._attributes["rows"][phase]
        return self._rows[phase]

    def append(
        self,
        phase: Phase,
        block: Mapping[str, np.ndarray],
        start: int,
        dims: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Add rows to every series of a phase. They last from the next `commit` on.

        Args:
            phase: "draws" or "warmup".
            block: By name, arrays (chain, row, ...) of float, int or bool with equal numbers of
                chains and rows. The first block says which series there are, and their dtypes.
            start: Index of the first row; must be `num_rows(phase)`.
            dims: Names of all dimensions, for series that have more than chain and row, such as
                `{"token_loss": ("chain", "draw", "token")}`; read at the first block.

        Raises:
            ValueError: If the block does not fit what came before.
            GermError: If it cannot be written.
        """
        self._check_open()
        if phase not in ROW_DIMS or start != self._rows[phase]:
            rows = ", ".join(f"{rows} of {phase!r}" for phase, rows in self._rows.items())
            raise ValueError(f"rows start at {start} of {phase!r}; the run has {rows}")
        arrays = {name: np.asarray(array) for name, array in block.items()}
        specs = [s.spec for s in self._series.values() if s.spec.phase == phase]
        num_new = blocks.check_block(phase, arrays, specs, self._sizes.get("chain"))
        growing: dict[str, Series] = {}
        sizes = dict(self._sizes)
        for name, array in arrays.items():
            known = self._series.get(f"{phase}/{name}")
            if known is None:
                spec = blocks.new_spec(phase, name, array, (dims or {}).get(name), sizes)
                sizes |= blocks.named_sizes(spec)
                known = Series(self.path, spec)
            growing[f"{phase}/{name}"] = known
        for series in growing.values():
            series.append(arrays[series.spec.name], start)
        # Only now do the rows count: Ctrl-C above leaves rows that the next append overwrites.
        self._series |= growing
        self._sizes = sizes
        self._rows[phase] = start + num_new
        with files.writing(self.path):
            for series in growing.values():
                series.flush(self._rows[phase])

    def commit(self, step: int, state: Mapping[str, Any]) -> None:
        """Make everything so far last: a run killed after this goes on from exactly here.

        Costs one file of the size of `state`, written, synced and renamed over the last one.

        Args:
            step: How far the writer is, as it counts.
            state: What it needs to go on: tensors (any device), arrays, numbers, strings.

        Raises:
            GermError: If it cannot be written; the commit before it then still stands.
        """
        self._check_open()
        with files.writing(self.path):
            for series in self._series.values():
                series.cover()
            commit = snapshot.Snapshot(
                step=int(step),
                rows=dict(self._rows),
                specs=[series.spec for series in self._series.values()],
                tails=[
                    series.tail(self._rows[series.spec.phase]) for series in self._series.values()
                ],
                state=dict(state),
                seconds=self._seconds(),
            )
            snapshot.save(self.path, commit)
        self._has_commit = True
        self._commit = None

    def last_commit(self) -> tuple[int, dict[str, Any]] | None:
        """The last durable point.

        Returns:
            Its step and its state (tensors on the CPU), or None if there is none: a new run, or
            one that is over.
        """
        if self._lock is None:
            return None
        commit = self._commit or snapshot.load(self.path)
        self._commit = None  # It may be large: the caller has it now.
        return None if commit is None else (commit.step, commit.state)

    def finish(
        self,
        attrs: Mapping[str, Any] | None = None,
        arrays: Mapping[str, tuple[Sequence[str], np.ndarray]] | None = None,
    ) -> None:
        """End the run: all rows are kept, the state is deleted, and the run is let go of.

        Args:
            attrs: Results, as JSON (NumPy numbers welcome); they become attributes of the data set.
            arrays: Results that are arrays, as (dims, array) by name: means, covariances, labels.

        Raises:
            ValueError: If a name is taken.
            GermError: If it cannot be written; the last commit then still stands.
        """
        self._end(files.COMPLETE, "", attrs or {}, arrays or {})

    def fail(self, reason: str, attrs: Mapping[str, Any] | None = None) -> None:
        """End a run that went wrong: as `finish`, and whoever opens it learns why.

        Args:
            reason: One line.
            attrs: As in `finish`.
        """
        self._end(files.FAILED, reason, attrs or {}, {})

    def read(self) -> xr.Dataset:
        """What is on disk, committed rows only: see `germ.store.load`."""
        return reading.load(self.path)

    def close(self) -> None:
        """Let go of the run, so that another process can go on with it."""
        if self._lock is not None:
            self._lock.release()
        self._lock = None

    def __enter__(self) -> Run:
        """The run itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Let go of the run."""
        self.close()

    def __repr__(self) -> str:
        """Where it is and how far."""
        rows = ", ".join(f"{self.num_rows(phase)} {phase} rows" for phase in ("draws", "warmup"))
        return f"Run({str(self.path)!r}, {self.state}, {rows})"

    def _restore(self, commit: snapshot.Snapshot | None) -> None:
        specs = commit.specs if commit else []
        files.clean(self.path, keep={spec.folder for spec in specs})
        if commit is None:
            return
        self._rows |= commit.rows
        for spec, tail in zip(specs, commit.tails, strict=True):
            series = self._series[f"{spec.phase}/{spec.name}"] = Series(self.path, spec)
            series.rewind(commit.rows[spec.phase], tail)
            self._sizes |= blocks.named_sizes(spec)
        self._seconds_before = commit.seconds
        self._commit = commit
        self._has_commit = True

    def _end(
        self,
        status: str,
        reason: str,
        attrs: Mapping[str, Any],
        arrays: Mapping[str, tuple[Sequence[str], np.ndarray]],
    ) -> None:
        self._check_open()
        if taken := sorted(reading.RESERVED & attrs.keys()):
            raise ValueError(f"{taken[0]!r} is taken in every run; call the result something else")
        results = {name: (dims, np.asarray(array)) for name, (dims, array) in arrays.items()}
        sizes = self._sizes | {dim: self._rows[phase] for phase, dim in ROW_DIMS.items()}
        folders = {series.spec.folder for series in self._series.values()}
        blocks.check_results(results, folders, sizes)
        result = files.plain(dict(attrs))
        documents: dict[str, Any] = {}
        with files.writing(self.path):
            for series in self._series.values():
                rows = self._rows[series.spec.phase]
                documents[series.spec.folder] = series.close(rows)
            for name, (dims, array) in results.items():
                documents[name] = write_array(self.path, name, dims, array)
            ended = {
                **self._attributes,
                "status": status,
                "reason": reason,
                "finished": _now(),
                "seconds": self._seconds(),
                "rows": dict(self._rows),
                "arrays": {
                    # Zarr leaves the names out where there is no dimension.
                    name: doc.get("dimension_names", [])
                    for name, doc in documents.items()
                },
                "result": result,
                "sessions": files.plain(self._attributes["sessions"]),
            }
            files.write_meta(self.path, ended, documents)
            self._attributes = ended
            (self.path / files.STATE).unlink(missing_ok=True)
        self._commit = None
        self.close()

    def _check_open(self) -> None:
        if self._lock is None:
            raise ValueError(f"{self.path} is not open for writing: it is {self.state}, or closed")

    def _seconds(self) -> float:
        return round(self._seconds_before + time.monotonic() - self._clock, 3)


def _check(path: Path, attributes: dict[str, Any], asked: dict[str, Any]) -> None:
    files.check_schema(path, attributes)
    files.check_identity(path, attributes["identity"], asked)


def _new_attributes(identity: dict[str, Any], session: dict[str, Any]) -> dict[str, Any]:
    return {
        "germ_store": files.SCHEMA,
        "germ_version": files.germ_version(),
        "status": files.INCOMPLETE,
        "reason": "",
        "created": _now(),
        "finished": "",
        "seconds": 0.0,
        "identity": identity,
        "result": {},
        "rows": dict.fromkeys(ROW_DIMS, 0),
        "arrays": {},
        "sessions": [session],
    }


def _session() -> dict[str, Any]:
    return {
        "started": _now(),
        "command": shlex.join(sys.argv),
        "germ": files.germ_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "zarr": zarr.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
