"""BAOAB: underdamped Langevin dynamics, whose chains coast through flat directions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from germ.errors import GermError
from germ.samplers.sgld import check_step_size
from germ.types import Positions, Preconditioner


class BAOABState(NamedTuple):
    """Where the chains stand, and how fast they move.

    Attributes:
        position: (chains, d).
        velocity: (chains, d), in equilibrium N(0, D).
    """

    position: Positions
    velocity: Positions


@dataclass(frozen=True)
class BAOAB:
    """Langevin dynamics with momentum, by the BAOAB splitting; one gradient a step.

    With h = √ε and c = exp(−Γh), from the gradient at the position where the chain stands:

        u ← u − h·D∇U(w)                  B: the last half kick and the next, at one place
        w ← w + (h/2)·u                   A
        u ← c·u + √(1 − c²)·√D·ξ          O
        w ← w + (h/2)·u                   A

    Targets exp(−U). On a quadratic the positions have the right variance at every stable step size
    (εda < 4); elsewhere the bias is of second order in h², as `LeimkuhlerMatthews`'s, which is
    this sampler at Γ → ∞ and the same ε. A direction of low curvature a relaxes in about
    1/(h√(da)) steps where an overdamped chain takes 1/(εda). The price: gradient noise of variance
    s² on ∇U adds (εds²/4)·(1 + c)/(1 − c) to the temperature, against εds²/4. Cost: one gradient
    a step; one more vector a chain.

    References:
        Leimkuhler & Matthews 2013 (arXiv 1203.5428); stochastic gradients: Chen, Fox & Guestrin
        2014 (arXiv 1402.4102).

    Attributes:
        step_size: ε = h², as in `germ.samplers.SGLD`: the drift of one step is (ε/2)·D∇U.
        preconditioner: D; None is the identity. It is the inverse of the mass.
        friction: Γ > 0. With a metric that fits, directions have frequency 1 and no unit: they are
            critically damped at Γ = 2.
    """

    state_type: ClassVar[type] = BAOABState

    step_size: float
    preconditioner: Preconditioner | None = None
    friction: float = 1.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            GermError: The step size or the friction is not a positive number.
        """
        check_step_size(self.step_size)
        if not 0 < self.friction < math.inf:
            raise GermError(f"expected friction > 0 and finite; got {self.friction}")

    @property
    def memory(self) -> float:
        """c, the share of its velocity that a chain keeps from one step to the next."""
        return math.exp(-self.friction * math.sqrt(self.step_size))

    def init(self, position: Positions) -> BAOABState:
        """Chains at `position` (chains, d), at rest: forgotten after one relaxation."""
        return BAOABState(position, torch.zeros_like(position))

    def step(self, state: BAOABState, grad: Positions, noise: Positions) -> BAOABState:
        """One update."""
        h, c = math.sqrt(self.step_size), self.memory
        if self.preconditioner is not None:
            grad, noise = self.preconditioner.apply(grad), self.preconditioner.sqrt(noise)
        velocity = state.velocity.add(grad, alpha=-h)
        position = state.position.add(velocity, alpha=0.5 * h)
        velocity.mul_(c).add_(noise, alpha=math.sqrt(1 - c * c))
        return BAOABState(position.add_(velocity, alpha=0.5 * h), velocity)
