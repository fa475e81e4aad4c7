"""SGNHT: Langevin dynamics whose friction finds the heat of gradient noise by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from germ.errors import GermError
from germ.samplers.sgld import check_friction, check_step_size
from germ.types import PerChain, Positions, Preconditioner


class SGNHTState(NamedTuple):
    """Where the chains stand, how fast they move, and how hard they are braked.

    Attributes:
        position: (chains, d).
        velocity: (chains, d), in the metric's unit: in equilibrium N(0, 1).
        thermostat: ξ, the friction of each chain, (chains,).
        temperature: Kinetic temperature of the last step, (chains,); 1 in equilibrium.
    """

    position: Positions
    velocity: Positions
    thermostat: PerChain
    temperature: PerChain


@dataclass(frozen=True)
class SGNHT:
    """Adaptive Langevin dynamics, by the BADODAB splitting; one gradient a step.

    With h = √ε and T(v) = ‖v‖²/d, from the gradient at the position where the chain stands:

        v ← v − h·√D∇U(w)                                B: two half kicks at one place
        w ← w + (h/2)·√D v                               A
        ξ ← ξ + (hΓ²/2μ)·(T(v) − 1)                        D
        v ← e^(−ξh)·v + √(Γ(1 − e^(−2ξh))/ξ)·noise       O
        ξ ← ξ + (hΓ²/2μ)·(T(v) − 1)                        D
        w ← w + (h/2)·√D v                               A

    Targets exp(−U), also under gradient noise whose size nobody has measured, as long as it is the
    same in all directions of the metric: ξ settles where the mean kinetic energy is right, at
    about Γ + κ/(2h) for kicks of variance κ (see `germ.samplers.BAOAB`), and the positions are
    right to within κ/8. Noise that differs between directions is braked on average only: some stay
    too hot, others are too cold. Where noise can be measured, `BAOAB.cooling` takes it out
    direction by direction. With ξ fixed at Γ this is BAOAB.

    The thermostat reads the velocity in the middle of the step, on both sides of the noise, where
    it is unbiased on quadratics at every step size. ξ settles within a time of μ/Γ and fluctuates
    by Γ/√(dμ); in one dimension that leaves a per cent or so in the positions' variance at
    ε = 0.5. Cost: one gradient a step; one more vector and a number a chain.

    References:
        Leimkuhler & Shang 2016 (arXiv 1505.06889), BADODAB; Ding et al. 2014 (SGNHT, μ = 1).

    Attributes:
        step_size: ε = h², as in `germ.samplers.BAOAB`.
        preconditioner: D; None is the identity. Its root has to be the symmetric one.
        friction: Γ > 0: the noise injected is what BAOAB of this friction injects. ξ starts there.
        thermal_mass: μ > 0, in units of 1/Γ² a coordinate: larger is slower, and steadier.
    """

    state_type: ClassVar[type] = SGNHTState

    step_size: float
    preconditioner: Preconditioner | None = None
    friction: float = 1.0
    thermal_mass: float = 4.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            GermError: A setting is not a positive number.
        """
        check_step_size(self.step_size)
        check_friction(self.friction)
        if not 0 < self.thermal_mass < math.inf:
            raise GermError(f"expected thermal_mass > 0 and finite; got {self.thermal_mass}")

    def init(self, position: Positions) -> SGNHTState:
        """Chains at `position` (chains, d), at rest, braked by Γ."""
        rest = torch.zeros_like(position)
        return SGNHTState(
            position,
            rest,
            rest.new_full((len(position),), self.friction),
            rest.new_zeros(len(position)),
        )

    def step(self, state: SGNHTState, grad: Positions, noise: Positions) -> SGNHTState:
        """One update."""
        h = math.sqrt(self.step_size)
        pull = 0.5 * h * self.friction**2 / self.thermal_mass
        velocity = state.velocity.sub(self._sqrt(grad), alpha=h)
        before = velocity.square().mean(1)
        thermostat = state.thermostat + pull * (before - 1)
        move = velocity.clone()
        velocity.mul_(torch.exp(-h * thermostat)[:, None])
        velocity.addcmul_(noise, self._injected(thermostat, h).sqrt()[:, None])
        after = velocity.square().mean(1)
        move = self._sqrt(move.add_(velocity))
        position = state.position.add(move, alpha=0.5 * h)
        return SGNHTState(
            position, velocity, thermostat + pull * (after - 1), 0.5 * (before + after)
        )

    def _injected(self, thermostat: PerChain, h: float) -> PerChain:
        """Γ(1 − e^(−2ξh))/ξ, which is 2Γh at ξ = 0."""
        near_zero = thermostat.abs() < 1e-6
        xi = torch.where(near_zero, torch.full_like(thermostat, 1e-6), thermostat)
        return self.friction * -torch.expm1(-2 * h * xi) / xi

    def _sqrt(self, vector: Positions) -> Positions:
        return vector if self.preconditioner is None else self.preconditioner.sqrt(vector)
