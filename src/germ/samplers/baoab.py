"""BAOAB: underdamped Langevin dynamics, whose chains coast through flat directions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from germ.errors import GermError
from germ.samplers.sgld import check_friction, check_step_size
from germ.types import PerChain, Positions, Preconditioner


class BAOABState(NamedTuple):
    """Where the chains stand, and how fast they move.

    Attributes:
        position: (chains, d).
        velocity: (chains, d), in the metric's unit: in equilibrium N(0, 1).
        temperature: Kinetic temperature of the last step, (chains,); 1 in equilibrium.
    """

    position: Positions
    velocity: Positions
    temperature: PerChain


@dataclass(frozen=True)
class BAOAB:
    """Langevin dynamics with momentum, by the BAOAB splitting; one gradient a step.

    With h = √ε and c = exp(−Γh), from the gradient at the position where the chain stands:

        v ← v − h·√D∇U(w)                 B: the last half kick and the next, at one place
        w ← w + (h/2)·√D v                A
        v ← c·v + √(1 − c² − κ̂(1 + c)²/4)·ξ    O
        w ← w + (h/2)·√D v                A

    Targets exp(−U). On a quadratic the positions have the right variance at every stable step size
    (εda < 4); elsewhere the bias is of second order in h², as `LeimkuhlerMatthews`'s, which is
    this sampler at Γ → ∞ and the same ε. A direction of low curvature a relaxes in about
    1/(h√(da)) steps where an overdamped chain takes 1/(εda). Cost: one gradient a step; one more
    vector a chain.

    Gradient noise of variance s² on ∇U kicks with a variance κ = εds² and heats: the temperature of
    the positions becomes 1 + (κ/4)(1 + c)/(1 − c) (exactly so where da → 0, within 10% of the
    excess for εda < 1). `cooling` is κ̂, an estimate of κ whose heat is left out of the injected
    noise.

    The kinetic temperature T = mean of v² over coordinates, half of it before O and half after, is
    a thermometer: on a quadratic it is 1 at every step size, and with gradient noise it is the
    temperature of the positions to within (κ/4)(1 − c)/(1 + c). Unlike the virial it does not wait
    for flat directions to spread.

    References:
        Leimkuhler & Matthews 2013 (arXiv 1203.5428); stochastic gradients: Chen, Fox & Guestrin
        2014 (arXiv 1402.4102), whose B̂ is κ̂/h here; half-step velocities as thermometer:
        Grønbech-Jensen & Grønbech-Jensen 2019 (arXiv 1909.04380).

    Attributes:
        step_size: ε = h², as in `germ.samplers.SGLD`: the drift of one step is (ε/2)·D∇U.
        preconditioner: D; None is the identity. It is the inverse of the mass. Its root has to be
            the symmetric one.
        friction: Γ > 0. With a metric that fits, directions have frequency 1 and no unit: they are
            critically damped at Γ = 2.
        cooling: κ̂ ≥ 0, (d,), in the coordinates that √D maps to; None is 0.
    """

    state_type: ClassVar[type] = BAOABState

    step_size: float
    preconditioner: Preconditioner | None = None
    friction: float = 1.0
    cooling: Tensor | None = None

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            GermError: The step size or the friction is not a positive number, or the cooling is
                negative or not finite.
        """
        check_step_size(self.step_size)
        check_friction(self.friction)
        if self.cooling is not None and not bool(
            ((self.cooling >= 0) & self.cooling.isfinite()).all()
        ):
            raise GermError("expected cooling >= 0 and finite")

    @property
    def memory(self) -> float:
        """c, the share of its velocity that a chain keeps from one step to the next."""
        return math.exp(-self.friction * math.sqrt(self.step_size))

    def init(self, position: Positions) -> BAOABState:
        """Chains at `position` (chains, d), at rest: forgotten after one relaxation."""
        rest = torch.zeros_like(position)
        return BAOABState(position, rest, rest.new_zeros(len(position)))

    def step(self, state: BAOABState, grad: Positions, noise: Positions) -> BAOABState:
        """One update."""
        h, c = math.sqrt(self.step_size), self.memory
        # One new vector for the velocity, one for the position; the rest is in place.
        velocity = state.velocity.sub(self._sqrt(grad), alpha=h)
        before = _mean_square(velocity)
        move = velocity.clone()
        if self.cooling is None:
            velocity.mul_(c).add_(noise, alpha=math.sqrt(1 - c * c))
        else:
            room = (1 - c * c) - 0.25 * (1 + c) ** 2 * self.cooling.to(noise)
            velocity.mul_(c).addcmul_(noise, room.clamp_(min=0).sqrt_())
        after = _mean_square(velocity)
        move = self._sqrt(move.add_(velocity))
        position = state.position.add(move, alpha=0.5 * h)
        return BAOABState(position, velocity, 0.5 * (before + after))

    def _sqrt(self, vector: Positions) -> Positions:
        return vector if self.preconditioner is None else self.preconditioner.sqrt(vector)


def _mean_square(velocity: Positions) -> PerChain:
    return torch.linalg.vector_norm(velocity, dim=1).square() / velocity.shape[1]
