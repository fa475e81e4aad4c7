"""λ̂ of checkpoints, one process a core, all with the calibration made at the last of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from germ.experiments.catalogue import Progress
from germ.experiments.side_by_side import Report, run_all
from germ.sweeping import Listener, Sweep, sweep

Checkpoint = tuple[int, Callable[[], nn.Module]]
"""The step, and what loads the model; picklable."""


def sweep_in_parts(
    checkpoints: Sequence[Checkpoint], data: Any, folder: Path, progress: Progress, **settings: Any
) -> Sweep:
    """What `germ.sweeping.sweep` finds at checkpoints, sooner.

    Args:
        checkpoints: In order of training.
        data: As for `sweep`; picklable.
        folder: Where runs and calibration are kept; the same call goes on there.
        progress: Told (stage, done, total).
        settings: More arguments of `sweep`.

    Raises:
        GermError: As `sweep` raises it.
    """
    parts = [
        functools.partial(_one, step, load, data, folder, settings) for step, load in checkpoints
    ]
    # The last makes the calibration that the others find there.
    parts[-1](functools.partial(progress, "λ̂ of the last checkpoint"))
    run_all(parts[:-1], "λ̂ of the other checkpoints", progress)
    models = [(step, load()) for step, load in checkpoints]
    return sweep(models, data, folder=folder, calibrate_once=True, **settings)


def _one(
    step: int,
    load: Callable[[], nn.Module],
    data: Any,
    folder: Path,
    settings: dict[str, Any],
    report: Report,
) -> None:
    listener = _Told(report)
    sweep([(step, load())], data, folder=folder, calibrate_once=True, listener=listener, **settings)


class _Told(Listener):
    """Passes on how many draws there are."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def stage(self, stage: str, done: int, total: int) -> None:
        if stage == "draws":
            self._report(done, total)
