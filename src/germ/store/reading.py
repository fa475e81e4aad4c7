"""Runs as data sets: whole ones, growing ones, and folders full of them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.storage import LocalStore

from germ.errors import GermError
from germ.store import files, snapshot
from germ.store.series import ROW_DIMS

INTERRUPTED = "interrupted"
"""How an incomplete run is called to its readers, who cannot know whether it still runs."""


RESERVED = {
    "germ_store", "germ_version", "status", "created", "finished", "seconds", "identity",
    "provenance", "step", "reason",
}  # fmt: skip
"""Attributes that results may not be called."""


def load(path: str | Path) -> xr.Dataset:
    """Everything a run holds, also while it is being written.

    Args:
        path: The folder of the run.

    Returns:
        Series with dims (chain, draw, ...), those of the warmup as `warmup_NAME` with dims (chain,
        warmup_step, ...), only rows that were committed. Attributes: `status` ("complete",
        "failed" or "interrupted"), `identity` and `provenance` (JSON text), `created`, `finished`,
        `seconds` (wall-clock, all sessions), `step` of the last commit if interrupted, `reason` if
        failed, `germ_version` and `germ_store`, and the results that `Run.finish` was given.

    Raises:
        GermError: If there is no run, it is none of germ's, of another version, or damaged.
    """
    path = Path(path)
    for _ in range(10):
        attributes = read_run(path)
        if attributes["status"] != files.INCOMPLETE:
            return _dataset(path, attributes, _finished(path, attributes), {})
        commit = snapshot.load(path, with_state=False)
        if commit is not None:
            extra = {"step": commit.step, "seconds": commit.seconds}
            return _dataset(path, attributes, _committed(path, commit), extra)
        # No commit: none yet, or the writer finished between our two looks.
        if read_run(path) == attributes:
            return _dataset(path, attributes, {}, {})
    raise GermError(f"{path} keeps changing while it is read; try again when its writer is done")


def read_run(path: Path) -> dict[str, Any]:
    """The attributes of a run that this germ can read.

    Raises:
        GermError: If there is none.
    """
    attributes = files.read_meta(path)
    if attributes is None:
        raise GermError(f"there is no run at {path}; give the folder that a run was written to")
    files.check_schema(path, attributes)
    return attributes


@dataclass(frozen=True)
class RunInfo:
    """One line about a run.

    Attributes:
        path: Its folder.
        status: "complete", "failed", "interrupted", or "unreadable".
        created: When it was started, ISO 8601.
        num_draws: Draws it holds, per chain.
        identity: What was asked.
        result: What came out, as given to `Run.finish`.
        problem: Why it failed or cannot be read; empty otherwise.
    """

    path: Path
    status: str
    created: str = ""
    num_draws: int = 0
    identity: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


def list_runs(folder: str | Path) -> list[RunInfo]:
    """The runs in a folder, oldest first. What is not a run is passed over.

    Args:
        folder: A folder that holds runs, directly.

    Returns:
        One entry per run, those of another version or damaged included, as "unreadable".

    Raises:
        GermError: If there is no such folder.
    """
    folder = Path(folder)
    try:
        paths = sorted(path for path in folder.iterdir() if (path / files.META).is_file())
    except OSError as error:
        raise GermError(
            f"cannot list {folder}: {error.strerror}; give a folder that holds runs"
        ) from error
    found = []
    for path in paths:
        try:
            attributes = files.read_meta(path)
        except GermError:
            continue  # Somebody else's.
        if attributes is not None:
            found.append(_info(path, attributes))
    return sorted(found, key=lambda info: info.created)


def _info(path: Path, attributes: dict[str, Any]) -> RunInfo:
    created = str(attributes.get("created", ""))
    try:
        files.check_schema(path, attributes)
        rows = attributes["rows"]
        status = attributes["status"]
        if status == files.INCOMPLETE:
            status = INTERRUPTED
            commit = snapshot.load(path, with_state=False)
            rows = commit.rows if commit else {}
    except GermError as error:
        return RunInfo(path, "unreadable", created, problem=str(error))
    return RunInfo(
        path,
        status,
        created,
        rows.get("draws", 0),
        attributes["identity"],
        attributes["result"],
        attributes["reason"],
    )


def _finished(path: Path, attributes: dict[str, Any]) -> dict[str, Any]:
    variables = {}
    for folder, dims in attributes["arrays"].items():
        with _readable(path, folder):
            variables[folder] = (dims, _read(path, folder, _open(path, folder)))
    return variables


def _committed(path: Path, commit: snapshot.Snapshot) -> dict[str, Any]:
    variables = {}
    for spec, tail in zip(commit.specs, commit.tails, strict=True):
        num_stored = commit.rows[spec.phase] - tail.shape[1]
        rows = tail
        if num_stored:
            with _readable(path, spec.folder):
                stored = _read(path, spec.folder, _open(path, spec.folder), num_stored)
                rows = np.concatenate([stored, tail], axis=1)
        variables[spec.folder] = (spec.dims, rows)
    return variables


def _open(path: Path, folder: str) -> zarr.Array:
    return zarr.open_array(LocalStore(path, read_only=True), path=folder, mode="r", zarr_format=3)


def _read(path: Path, folder: str, array: zarr.Array, num_rows: int | None = None) -> np.ndarray:
    """The array, or its first rows. Zarr reads a lost chunk as fill values: look for it first."""
    shape = array.shape if num_rows is None else (array.shape[0], num_rows, *array.shape[2:])
    if num_rows is not None and array.shape[1] < num_rows:
        raise ValueError(f"{array.shape[1]} rows, expected {num_rows}")
    grid = [-(-size // chunk) for size, chunk in zip(shape, array.chunks, strict=True)]
    for index in np.ndindex(*grid):
        name = ".".join(["c", *map(str, index)])
        if not (path / folder / name).is_file():
            raise ValueError(f"chunk {name} is missing")
    return np.asarray(array[tuple(slice(size) for size in shape)])


@contextlib.contextmanager
def _readable(path: Path, folder: str) -> Iterator[None]:
    """Zarr and its codecs raise whatever they please on damaged files."""
    try:
        yield
    except Exception as error:
        raise GermError(
            f"{path} is damaged: {folder}: {error}; restore it from a copy, or sample again with "
            "--fresh or another --out"
        ) from error


def _dataset(
    path: Path, attributes: dict[str, Any], variables: dict[str, Any], extra: dict[str, Any]
) -> xr.Dataset:
    status = attributes["status"]
    about: dict[str, Any] = {
        "germ_store": attributes["germ_store"],
        "germ_version": attributes["germ_version"],
        "status": INTERRUPTED if status == files.INCOMPLETE else status,
        "created": attributes["created"],
        "finished": attributes["finished"],
        "seconds": attributes["seconds"],
        "identity": json.dumps(attributes["identity"]),
        "provenance": json.dumps(attributes["sessions"]),
        **extra,
    }
    if attributes["reason"]:
        about["reason"] = attributes["reason"]
    try:
        dataset = xr.Dataset(variables, attrs={**attributes["result"], **about})
    except ValueError as error:
        raise GermError(f"{path} is damaged: {error}; sample again with --fresh") from error
    numbers = [dim for dim in ("chain", *ROW_DIMS.values()) if dim in dataset.sizes]
    return dataset.assign_coords({dim: np.arange(dataset.sizes[dim]) for dim in numbers})
