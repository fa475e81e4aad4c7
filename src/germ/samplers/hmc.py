"""Full-batch Hamiltonian Monte Carlo and MALA: exact, slow, what the others are judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from germ.errors import GermError
from germ.samplers.sgld import check_step_size
from germ.types import PerChain, Positions, Potential, Preconditioner, UniformPairs


class HMCState(NamedTuple):
    """Where the chains stand and what is known there.

    Attributes:
        position: (chains, d).
        potential: U at it, (chains,), float64.
        grad: ∇U at it, (chains, d).
        accepted: The last acceptance probability, (chains,).
    """

    position: Positions
    potential: PerChain
    grad: Positions
    accepted: PerChain


@dataclass(frozen=True)
class HMC:
    """Leapfrog trajectories with a Metropolis test.

        p ~ N(0, D⁻¹);  L leapfrog steps of length √ε;  accept with min(1, exp(H − H'))

    Targets exp(−U) exactly, for any stable ε (√ε is the leapfrog step, so that one leapfrog step
    is MALA with the ε of SGLD). Cost: L full-data gradients a step; the state keeps ∇U.

    References:
        Duane et al. 1987; Neal 2011 (arXiv 1206.1901), §5.2 (MALA as L = 1), §5.4.2.2 (jitter).

    Attributes:
        step_size: ε; the leapfrog step is √ε.
        num_leapfrog_steps: L.
        preconditioner: D, the inverse mass matrix; None is the identity.
        jitter: The leapfrog step is multiplied by a uniform number in 1 ± jitter, once a step, so
            that no trajectory length resonates with a quadratic direction.
    """

    state_type: ClassVar[type] = HMCState

    step_size: float
    num_leapfrog_steps: int = 10
    preconditioner: Preconditioner | None = None
    jitter: float = 0.2

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            GermError: No leapfrog step, or a jitter outside [0, 1).
        """
        check_step_size(self.step_size)
        if self.num_leapfrog_steps < 1:
            raise GermError(f"expected num_leapfrog_steps >= 1; got {self.num_leapfrog_steps}")
        if not 0 <= self.jitter < 1:
            raise GermError(f"expected 0 <= jitter < 1; got {self.jitter}")

    @property
    def num_gradients_per_step(self) -> int:
        """Full-data gradients a step."""
        return self.num_leapfrog_steps

    def init_at(self, position: Positions, potential: Potential) -> HMCState:
        """Chains at `position` (chains, d)."""
        value, grad = potential(position)
        return HMCState(position, value, grad, torch.ones_like(value))

    def step_with(
        self, state: HMCState, potential: Potential, noise: Positions, uniform: UniformPairs
    ) -> HMCState:
        """One trajectory and its test.

        Args:
            state: Where the chains stand.
            potential: U and ∇U.
            noise: Standard normal, (chains, d): the momenta, in units of √(D⁻¹).
            uniform: Uniform on [0, 1), (2, chains): for the jitter and for the test.
        """
        # Momenta in units of √(D⁻¹): p = D^(-1/2) v, so that only √D is ever needed.
        length = self.step_size**0.5 * (1 + self.jitter * (2 * uniform[0] - 1))
        length = length[:, None].to(state.position.dtype)
        velocity = noise - 0.5 * length * self._sqrt(state.grad)
        position, value, grad = state.position, state.potential, state.grad
        for step in range(self.num_leapfrog_steps):
            position = position + length * self._sqrt(velocity)
            value, grad = potential(position)
            last = step == self.num_leapfrog_steps - 1
            velocity = velocity - (0.5 if last else 1.0) * length * self._sqrt(grad)
        probability = acceptance(state.potential, noise, value, velocity)
        accept = uniform[1].double() < probability
        keep = accept[:, None]
        return HMCState(
            torch.where(keep, position, state.position),
            torch.where(accept, value, state.potential),
            torch.where(keep, grad, state.grad),
            probability,
        )

    def _sqrt(self, vector: Positions) -> Positions:
        return vector if self.preconditioner is None else self.preconditioner.sqrt(vector)


def acceptance(before: PerChain, start: Positions, after: PerChain, end: Positions) -> PerChain:
    """min(1, exp(H − H')), H = U + ½‖v‖², (chains,); 0 where H' is not a number.

    Args:
        before: U where the move begins, (chains,).
        start: The velocity there, in the metric's unit.
        after: U where it ends.
        end: The velocity there.
    """
    begun = before + 0.5 * start.double().square().sum(1)
    ended = after + 0.5 * end.double().square().sum(1)
    return torch.nan_to_num((begun - ended).clamp(max=0).exp(), nan=0.0)


def MALA(step_size: float, preconditioner: Preconditioner | None = None) -> HMC:
    """The Metropolis-adjusted Langevin algorithm: SGLD's full-batch step, then a test.

        w' = w − (ε/2)·D∇U(w) + √(ε D)·ξ,  accepted with min(1, p(w')q(w|w') / p(w)q(w'|w))

    Targets exp(−U) exactly. It is HMC with one leapfrog step of length √ε (Neal 2011, §5.2).

    Args:
        step_size: ε, as in `germ.samplers.SGLD`.
        preconditioner: D; None is the identity.

    Returns:
        The sampler.

    References:
        Roberts & Tweedie 1996.
    """
    return HMC(step_size, num_leapfrog_steps=1, preconditioner=preconditioner, jitter=0.0)
