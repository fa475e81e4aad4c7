"""The Leimkuhler–Matthews integrator: SGLD with the noise of two successive steps averaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from germ.samplers.sgld import check_step_size, move
from germ.types import Positions, Preconditioner


class LeimkuhlerMatthewsState(NamedTuple):
    """Where the chains stand, and the noise that the next step shares with the last.

    Attributes:
        position: (chains, d).
        noise: ξ_t, (chains, d).
    """

    position: Positions
    noise: Positions


@dataclass(frozen=True)
class LeimkuhlerMatthews:
    """Overdamped Langevin dynamics, second order in the step size at no cost.

        w ← w − (ε/2)·D∇U(w) + √(ε D)·(ξ_t + ξ_{t+1})/2

    Targets exp(−U). On a quadratic the variance is 1/a at *every* stable step size (εda < 4);
    elsewhere the bias is of second order in ε. Gradient noise heats it as it heats SGLD. Cost:
    one gradient a step; one more vector a chain.

    References:
        Leimkuhler & Matthews 2013 (arXiv 1203.5428), the γ → ∞ limit of BAOAB;
        Leimkuhler, Matthews & Tretyakov 2014 (arXiv 1308.2339).

    Attributes:
        step_size: ε, as in `germ.samplers.SGLD`.
        preconditioner: D; None is the identity.
    """

    state_type: ClassVar[type] = LeimkuhlerMatthewsState

    step_size: float
    preconditioner: Preconditioner | None = None

    def __post_init__(self) -> None:
        """Check the step size."""
        check_step_size(self.step_size)

    def init(self, position: Positions) -> LeimkuhlerMatthewsState:
        """Chains at `position` (chains, d). ξ_0 = 0: forgotten after one relaxation."""
        return LeimkuhlerMatthewsState(position, torch.zeros_like(position))

    def step(
        self, state: LeimkuhlerMatthewsState, grad: Positions, noise: Positions
    ) -> LeimkuhlerMatthewsState:
        """One update."""
        averaged = (state.noise + noise).mul_(0.5)
        position = move(state.position, grad, averaged, self.step_size, self.preconditioner)
        return LeimkuhlerMatthewsState(position, noise)
