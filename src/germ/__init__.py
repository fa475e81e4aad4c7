"""germ: singular learning theory on real neural networks.

`LocalPosterior.from_model` says what to sample, `sample` samples it, `llc` reads off λ̂.

Names are imported when they are first used: `germ --help` does not wait for PyTorch, and Ctrl-C
while it loads is met by the command line.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from germ.errors import GermError, SamplingFailed, Status
    from germ.estimate.llc import LLC, llc
    from germ.measuring import Measurement, measure
    from germ.posterior import LocalPosterior
    from germ.sampling import sample
    from germ.store import load
    from germ.sweeping import Sweep, sweep

__all__ = [
    "LLC",
    "GermError",
    "LocalPosterior",
    "Measurement",
    "SamplingFailed",
    "Status",
    "Sweep",
    "llc",
    "load",
    "measure",
    "sample",
    "sweep",
]

_HOMES = {
    "errors": ("GermError", "SamplingFailed", "Status"),
    "estimate.llc": ("LLC", "llc"),
    "measuring": ("Measurement", "measure"),
    "posterior": ("LocalPosterior",),
    "sampling": ("sample",),
    "store": ("load",),
    "sweeping": ("Sweep", "sweep"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"germ.{home}"), name)
    raise AttributeError(f"module 'germ' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
