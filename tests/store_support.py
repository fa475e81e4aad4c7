"""What the tests of the store share: an identity, rows, and runs in the states they can be in."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from germ.store import Run

IDENTITY = {
    "sampler": {"name": "sgld", "step_size": 1e-3},
    "posterior": {"nbeta": 30.0, "localization": 100.0},
    "seed": 0,
    "weights": "3fa2" * 16,
}


def losses(num_chains: int, first: int, num_rows: int) -> np.ndarray:
    rows = np.arange(first, first + num_rows)
    return np.arange(num_chains)[:, None] * 100.0 + rows


def finished(path: Path, **options) -> Run:
    with Run.open(path, identity=IDENTITY, **options) as run:
        run.append("draws", {"loss": losses(2, 0, 3)}, start=0)
        run.finish({"llc": 1.5})
    return run


def interrupted(path: Path) -> None:
    with Run.open(path, identity=IDENTITY) as run:
        run.append("draws", {"loss": losses(2, 0, 3)}, start=0)
        run.commit(7, {"x": 1})


def listing(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}
