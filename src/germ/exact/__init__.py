"""Learning coefficients that are known exactly: λ as a fraction, m, the rule and its source.

    germ.exact.polynomial("x^2*y^4")                # λ = 1/4, m = 1
    germ.exact.deep_linear([10, 10, 10, 10], 5)     # λ = 46, m = 3

A question that no proved rule answers is refused with a `GermError`. Neither PyTorch nor SymPy is
imported before something needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from germ.exact.bound import UpperBound
from germ.exact.coefficient import Coefficient

# Functions that have the name of their module must be bound here, once the import system has bound
# the module: so these are imported at once, and their modules import nothing heavy.
from germ.exact.deep_linear import deep_linear, deep_linear_at
from germ.exact.factor_analysis import factor_analysis, factor_analysis_bound
from germ.exact.mixture import emerging_component, mixture_bound, split_component
from germ.exact.modular_addition import idle_unit, modular_addition_bound
from germ.exact.monomial import monomial
from germ.exact.polynomial import ideal, polynomial
from germ.exact.reduced_rank import reduced_rank, reduced_rank_at
from germ.exact.tanh import tanh

if TYPE_CHECKING:
    from germ.exact.polygons import polygon, superposition, superposition_loss

__all__ = [
    "Coefficient",
    "UpperBound",
    "deep_linear",
    "deep_linear_at",
    "emerging_component",
    "factor_analysis",
    "factor_analysis_bound",
    "ideal",
    "idle_unit",
    "mixture_bound",
    "modular_addition_bound",
    "monomial",
    "polygon",
    "polynomial",
    "reduced_rank",
    "reduced_rank_at",
    "split_component",
    "superposition",
    "superposition_loss",
    "tanh",
]

_HOMES = {"polygons": ("polygon", "superposition", "superposition_loss")}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"germ.exact.{home}"), name)
    raise AttributeError(f"module 'germ.exact' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
