"""Stochastic gradient Langevin dynamics (Welling & Teh 2011)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from germ.errors import GermError
from germ.samplers.preconditioner import Diagonal
from germ.types import Positions, Preconditioner


def check_step_size(step_size: float) -> None:
    """Refuse a step size that is not a positive number.

    Raises:
        GermError: It is not.
    """
    if not 0 < step_size < float("inf"):
        raise GermError(f"expected step_size > 0 and finite; got {step_size}")


def check_friction(friction: float) -> None:
    """Refuse a friction that is not a positive number.

    Raises:
        GermError: It is not.
    """
    if not 0 < friction < float("inf"):
        raise GermError(f"expected friction > 0 and finite; got {friction}")


class SGLDState(NamedTuple):
    """Where the chains stand.

    Attributes:
        position: (chains, d).
    """

    position: Positions


@dataclass(frozen=True)
class SGLD:
    """Euler–Maruyama steps of overdamped Langevin dynamics.

        w ← w − (ε/2)·D∇U(w) + √(ε D)·ξ,   ξ ~ N(0, 1)

    Targets exp(−U) as ε → 0. The bias is of first order in ε: on a quadratic direction of
    curvature a the variance is 1/(a(1 − εda/4)), and diverges at εda ≥ 4. Gradient noise of
    variance s² on ∇U adds (ε²d²s²/4)/(εda(1 − εda/4)). Cost: one gradient a step; no copies.

    References:
        Welling & Teh 2011; Lau et al. 2023 (arXiv 2308.12108).

    Attributes:
        step_size: ε, in the field's convention (drift ε/2, noise variance ε); without unit under
            a preconditioner.
        preconditioner: D; None is the identity.
    """

    state_type: ClassVar[type] = SGLDState

    step_size: float
    preconditioner: Preconditioner | None = None

    def __post_init__(self) -> None:
        """Check the step size."""
        check_step_size(self.step_size)

    def init(self, position: Positions) -> SGLDState:
        """Chains at `position` (chains, d)."""
        return SGLDState(position)

    def step(self, state: SGLDState, grad: Positions, noise: Positions) -> SGLDState:
        """One update."""
        return SGLDState(move(state.position, grad, noise, self.step_size, self.preconditioner))


def move(
    position: Positions,
    grad: Positions,
    noise: Positions,
    step_size: float,
    preconditioner: Preconditioner | None,
) -> Positions:
    """The position after w − (ε/2)·D∇U + √(ε D)·ξ."""
    if isinstance(preconditioner, Diagonal):
        return preconditioner.moved(position, grad, noise, step_size)
    if preconditioner is not None:
        grad, noise = preconditioner.apply(grad), preconditioner.sqrt(noise)
    return position.add(grad, alpha=-0.5 * step_size).add_(noise, alpha=step_size**0.5)
