"""A whole xarray data set in a folder: results, as opposed to runs that grow."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import xarray as xr

from germ.store import files


def write(data: xr.Dataset, path: Path) -> None:
    """Replace what is at `path`, in one piece; attributes may be nested.

    Raises:
        OSError: It cannot be written. What was there is then still there, or beside it.
        GermError: An attribute has no JSON.
    """
    kept = data.copy()
    kept.attrs = files.plain(dict(kept.attrs))
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}{files.TEMPORARY}")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with warnings.catch_warnings():
            # Zarr warns that its format has no settled form for text; it reads what it writes.
            warnings.filterwarnings("ignore", module="zarr")
            kept.to_zarr(fresh, mode="w", consolidated=False)
        if path.exists():
            shutil.rmtree(path)
        os.replace(fresh, path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    files.sync_folder(path.parent)


def read(path: Path) -> xr.Dataset:
    """What `write` wrote, in memory.

    Raises:
        OSError: There is none.
        ValueError: It is something else.
        KeyError: Likewise.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="zarr")
        return xr.open_zarr(path, consolidated=False).load()
