"""One calibration for all models of a sweep, made at the last and tested at each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from germ.calibrating import propose
from germ.errors import GermError
from germ.posterior import LocalPosterior
from germ.reuse import Kept, Reused

FILE = "calibration.safetensors"

_OF_A_RUN = ("chains", "draws", "warmup", "thin", "batch_size", "gradient", "seed")


class OneCalibration:
    """Calibrates at the first posterior it is given, and gives the same to all.

    A calibration costs as much as many draws, and neighbouring checkpoints have nearly the same.
    Whether it holds is measured at every w* (`germ.reuse`); where it does not, one is made for that
    model alone. With a folder it is kept there, so that checkpoints which are added to a finished
    sweep are measured with the one that the others were.
    """

    def __init__(self, folder: str | Path | None, settings: Mapping[str, Any]) -> None:
        """Nothing is measured yet.

        Args:
            folder: Where it is kept; None keeps it in memory.
            settings: Arguments of `germ.sample`.
        """
        self._path = None if folder is None else Path(folder) / FILE
        self._settings = {name: settings[name] for name in _OF_A_RUN if name in settings}
        self._kept: Kept | None = None

    def __call__(self, posterior: LocalPosterior) -> Reused:
        """What to sample `posterior` with.

        Raises:
            GermError: The folder holds a calibration for another nβ or γ.
        """
        if self._kept is None and self._path is not None and self._path.exists():
            self._kept = Kept.load(self._path)
        if self._kept is None:
            found = propose(posterior, **self._settings)
            self._kept = Kept.of(posterior, found.calibration)
            if self._path is not None:
                self._kept.save(self._path)
        for name, here, there in (
            ("nβ", posterior.nbeta, self._kept.nbeta),
            ("γ", posterior.localization, self._kept.localization),
        ):
            if abs(here - there) > 1e-6 * abs(there):
                raise GermError(
                    f"expected a sweep at {name} = {there:g}, which the calibration in "
                    f"{self._path} is for; got {here:g}: choose another folder, or delete that file"
                )
        return Reused(self._kept)
