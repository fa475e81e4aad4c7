"""Samplers: each a file, each its equation. They know gradients of U, no model and no data."""

from germ.samplers.baoab import BAOAB, BAOABState
from germ.samplers.hmc import HMC, MALA, HMCState
from germ.samplers.leimkuhler_matthews import LeimkuhlerMatthews, LeimkuhlerMatthewsState
from germ.samplers.preconditioner import Diagonal
from germ.samplers.sgld import SGLD, SGLDState

__all__ = [
    "BAOAB",
    "BAOABState",
    "HMC",
    "MALA",
    "SGLD",
    "Diagonal",
    "HMCState",
    "LeimkuhlerMatthews",
    "LeimkuhlerMatthewsState",
    "SGLDState",
]
