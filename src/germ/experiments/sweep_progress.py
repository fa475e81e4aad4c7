"""A sweep's progress as an experiment's."""

from __future__ import annotations

from germ.experiments.catalogue import Progress
from germ.sweeping import Listener


class SweepProgress(Listener):
    """Tells an experiment's `progress` which checkpoint a sweep is at."""

    def __init__(self, progress: Progress) -> None:
        """Pass on to `progress`."""
        self._progress = progress

    def started(self, index: int, total: int, name: str) -> None:
        """As of `Listener`."""
        self._progress("λ̂ of the checkpoints", index, total)
