"""Samplers: each a file, each its equation. They know gradients of U, no model and no data."""

from germ.samplers.baoab import BAOAB, BAOABState
from germ.samplers.ghmc import GHMC, GHMCState
from germ.samplers.hmc import HMC, MALA, HMCState
from germ.samplers.kronecker import Kronecker, Rotation
from germ.samplers.leimkuhler_matthews import LeimkuhlerMatthews, LeimkuhlerMatthewsState
from germ.samplers.preconditioner import Diagonal
from germ.samplers.rmsprop import RMSpropSGLD, RMSpropSGLDState
from germ.samplers.sgld import SGLD, SGLDState
from germ.samplers.sgnht import SGNHT, SGNHTState

__all__ = [
    "BAOAB",
    "BAOABState",
    "GHMC",
    "HMC",
    "MALA",
    "SGLD",
    "SGNHT",
    "Diagonal",
    "GHMCState",
    "HMCState",
    "Kronecker",
    "LeimkuhlerMatthews",
    "LeimkuhlerMatthewsState",
    "RMSpropSGLD",
    "RMSpropSGLDState",
    "Rotation",
    "SGLDState",
    "SGNHTState",
]
