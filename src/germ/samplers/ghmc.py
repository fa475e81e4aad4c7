"""Generalized HMC: underdamped Langevin steps, each with a Metropolis test; exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from germ.errors import GermError
from germ.samplers.hmc import acceptance
from germ.samplers.sgld import check_friction, check_step_size
from germ.types import PerChain, Positions, Potential, Preconditioner, UniformPairs

SMALL_STEPS, SMALL = 0.25, 0.125
"""A quarter of the steps are an eighth as long: they get out of corners where longer ones fail."""


class GHMCState(NamedTuple):
    """Where the chains stand, what is known there, and how fast they move.

    Attributes:
        position: (chains, d).
        potential: U at it, (chains,), float64.
        grad: ∇U at it, (chains, d).
        velocity: (chains, d), in the metric's unit: N(0, 1) in equilibrium.
        accepted: The last acceptance probability, (chains,).
    """

    position: Positions
    potential: PerChain
    grad: Positions
    velocity: Positions
    accepted: PerChain


@dataclass(frozen=True)
class GHMC:
    """One leapfrog step, its Metropolis test, and a velocity that is kept in part.

        v ← c·v + √(1 − c²)·ξ,   c = exp(−Γ√ε)
        (w', v') = leapfrog(w, v; √ε);   accept with min(1, exp(H − H')), else v ← −v

    Targets exp(−U) exactly, at any step size. It is `germ.samplers.BAOAB` with its step-size bias
    taken away by the test, for posteriors whose full data are cheap. Cost: one full-data gradient
    a step.

    The length √ε is multiplied by 1 − jitter·u, u uniform on [0, 1), and a quarter of the steps
    are eight times shorter, whatever the place: the mixture of reversible moves leaves exp(−U)
    invariant, and walls that stop a long step do not stop the chain.

    References:
        Horowitz 1991 (Phys. Lett. B 268); Neal 2011 (arXiv 1206.1901), §5.5.3.

    Attributes:
        step_size: ε = h².
        preconditioner: D, the inverse mass matrix; None is the identity.
        friction: Γ > 0, as of `BAOAB`.
        jitter: In [0, 1).
    """

    state_type: ClassVar[type] = GHMCState
    step_size: float
    preconditioner: Preconditioner | None = None
    friction: float = 1.0
    jitter: float = 0.3

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            GermError: The step size or the friction is not a positive number, or the jitter is
                outside [0, 1).
        """
        check_step_size(self.step_size)
        check_friction(self.friction)
        if not 0 <= self.jitter < 1:
            raise GermError(f"expected 0 <= jitter < 1; got {self.jitter}")

    @property
    def num_gradients_per_step(self) -> int:
        """Full-data gradients a step."""
        return 1

    def init_at(self, position: Positions, potential: Potential) -> GHMCState:
        """Chains at `position` (chains, d), at rest."""
        value, grad = potential(position)
        return GHMCState(position, value, grad, torch.zeros_like(position), torch.ones_like(value))

    def step_with(
        self, state: GHMCState, potential: Potential, noise: Positions, uniform: UniformPairs
    ) -> GHMCState:
        """One step and its test.

        Args:
            state: Where the chains stand.
            potential: U and ∇U.
            noise: Standard normal, (chains, d).
            uniform: Uniform on [0, 1), (2, chains): for the length and for the test.
        """
        # One uniform number for both choices: which kind of step, then how long.
        small = uniform[0] < SMALL_STEPS
        rest = torch.where(
            small, uniform[0] / SMALL_STEPS, (uniform[0] - SMALL_STEPS) / (1 - SMALL_STEPS)
        )
        factor = (1 - self.jitter * rest) * torch.where(small, SMALL, 1.0)
        length = (self.step_size**0.5 * factor)[:, None].to(state.position.dtype)
        # The velocity is forgotten by time travelled, so that a short step does not stop the chain.
        keep = torch.exp(-self.friction * length)
        start = keep * state.velocity + (1 - keep * keep).sqrt() * noise
        velocity = start - 0.5 * length * self._sqrt(state.grad)
        position = state.position + length * self._sqrt(velocity)
        value, grad = potential(position)
        velocity = velocity - 0.5 * length * self._sqrt(grad)
        probability = acceptance(state.potential, start, value, velocity)
        accept = uniform[1].double() < probability
        here = accept[:, None]
        return GHMCState(
            torch.where(here, position, state.position),
            torch.where(accept, value, state.potential),
            torch.where(here, grad, state.grad),
            torch.where(here, velocity, -start),
            probability,
        )

    def _sqrt(self, vector: Positions) -> Positions:
        return vector if self.preconditioner is None else self.preconditioner.sqrt(vector)
