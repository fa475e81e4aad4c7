"""Numerical truth in low dimension: integrals and volumes with honest errors.

Quadrature where there are at most three variables, multilevel splitting where there are more;
the learning coefficient from the volume of sublevel sets; free energies of regions. NumPy and SciPy
only. Names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from germ.numerical.integrals import PosteriorIntegral, quadrature, quadratures
    from germ.numerical.regions import FreeEnergy, Region, crossings, free_energies
    from germ.numerical.splitting import Splitting, split
    from germ.numerical.volume import Candidate, VolumeExponent, fit_exponent, volume_exponent

__all__ = [
    "Candidate",
    "FreeEnergy",
    "PosteriorIntegral",
    "Region",
    "Splitting",
    "VolumeExponent",
    "crossings",
    "fit_exponent",
    "free_energies",
    "quadrature",
    "quadratures",
    "split",
    "volume_exponent",
]

_HOMES = {
    "integrals": ("PosteriorIntegral", "quadrature", "quadratures"),
    "regions": ("FreeEnergy", "Region", "crossings", "free_energies"),
    "splitting": ("Splitting", "split"),
    "volume": ("Candidate", "VolumeExponent", "fit_exponent", "volume_exponent"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"germ.numerical.{home}"), name)
    raise AttributeError(f"module 'germ.numerical' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
