"""germ: singular learning theory on real neural networks.

`LocalPosterior.from_model` says what to sample, `sample` samples it, `llc` reads off λ̂.

Names are imported when they are first used: `germ --help` does not wait for PyTorch, and Ctrl-C
while it loads is met by the command line.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from germ.development.behaving import behaviour
    from germ.development.stage_table import Stages
    from germ.development.staging import stages
    from germ.errors import GermError, SamplingFailed, Status
    from germ.estimate.budget import ErrorBudget
    from germ.estimate.control import Control, control
    from germ.estimate.crossover import crossover
    from germ.estimate.llc import LLC, llc
    from germ.estimate.patterning import Pattern, pattern
    from germ.estimate.profile import Profile
    from germ.estimate.restatement import Restatement, restatement
    from germ.estimate.thermodynamic import FreeEnergy, free_energy
    from germ.estimate.two_temperatures import TwoTemperatures, two_temperatures
    from germ.estimate.waic import WAIC, waic, waic_observables
    from germ.estimate.wbic import WBIC, wbic
    from germ.gaussian_measuring import GaussianLLC, gaussian_llc
    from germ.influence_result import Influence
    from germ.influencing import influence
    from germ.laddering import ladder
    from germ.measuring import Measurement, measure
    from germ.posterior import LocalPosterior
    from germ.profiling import profile
    from germ.refining import Refined, refine
    from germ.responding import susceptibility
    from germ.responses import Susceptibility
    from germ.sampling import sample
    from germ.store import load
    from germ.sweeping import Sweep, sweep

__all__ = [
    "LLC",
    "WAIC",
    "WBIC",
    "Control",
    "ErrorBudget",
    "FreeEnergy",
    "GaussianLLC",
    "GermError",
    "Influence",
    "LocalPosterior",
    "Measurement",
    "Pattern",
    "Profile",
    "Refined",
    "Restatement",
    "SamplingFailed",
    "Stages",
    "Status",
    "Susceptibility",
    "Sweep",
    "TwoTemperatures",
    "behaviour",
    "control",
    "crossover",
    "free_energy",
    "gaussian_llc",
    "influence",
    "ladder",
    "llc",
    "load",
    "measure",
    "pattern",
    "profile",
    "refine",
    "restatement",
    "sample",
    "stages",
    "susceptibility",
    "sweep",
    "two_temperatures",
    "waic",
    "waic_observables",
    "wbic",
]

_HOMES = {
    "development.behaving": ("behaviour",),
    "development.stage_table": ("Stages",),
    "development.staging": ("stages",),
    "errors": ("GermError", "SamplingFailed", "Status"),
    "estimate.budget": ("ErrorBudget",),
    "estimate.control": ("Control", "control"),
    "estimate.crossover": ("crossover",),
    "estimate.llc": ("LLC", "llc"),
    "estimate.patterning": ("Pattern", "pattern"),
    "estimate.profile": ("Profile",),
    "estimate.restatement": ("Restatement", "restatement"),
    "estimate.thermodynamic": ("FreeEnergy", "free_energy"),
    "estimate.two_temperatures": ("TwoTemperatures", "two_temperatures"),
    "estimate.waic": ("WAIC", "waic", "waic_observables"),
    "estimate.wbic": ("WBIC", "wbic"),
    "gaussian_measuring": ("GaussianLLC", "gaussian_llc"),
    "influence_result": ("Influence",),
    "influencing": ("influence",),
    "laddering": ("ladder",),
    "measuring": ("Measurement", "measure"),
    "posterior": ("LocalPosterior",),
    "profiling": ("profile",),
    "refining": ("Refined", "refine"),
    "responding": ("susceptibility",),
    "responses": ("Susceptibility",),
    "sampling": ("sample",),
    "store": ("load",),
    "sweeping": ("Sweep", "sweep"),
}


_PACKAGES = ("components", "exact", "numerical")


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"germ.{name}")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"germ.{home}"), name)
    raise AttributeError(f"module 'germ' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
