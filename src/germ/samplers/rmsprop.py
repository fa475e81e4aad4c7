"""RMSprop-SGLD as published: a baseline whose target is not the posterior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from germ.errors import GermError
from germ.samplers.sgld import check_step_size
from germ.types import PerChain, Positions


class RMSpropSGLDState(NamedTuple):
    """Where the chains stand, where they started, and what they adapt.

    Attributes:
        position: (chains, d).
        start: w*, (chains, d).
        mean_square: V, the running mean of squared loss gradients, (chains, d).
        num_steps: Steps made so far, (chains,).
    """

    position: Positions
    start: Positions
    mean_square: Positions
    num_steps: PerChain


@dataclass(frozen=True)
class RMSpropSGLD:
    """SGLD in a metric that follows the gradients: **biased**, a baseline, not an estimator.

    With g = ∇L_B(w), the gradient of the loss alone, and V = 1 before the first step:

        V ← ρV + (1 − ρ)g²,    V̂ = V/(1 − ρᵗ),    G = 1/(√V̂ + a)
        w ← w − (ε/2)·G(nβ·g + γ(w − w*)) + √(ε G)·ξ

    It does *not* target exp(−U). G depends on the path, and what that owes, the drift ½∇·G of
    Ma, Chen & Fox 2015, is left out as it was published. A chain lingers where gradients are large,
    for there its steps are short: on a quadratic direction the variance comes out 1.5 to 1.7 times
    too large where √V ≫ a and a relaxation outlasts the memory 1/(1 − ρ)
    (`tests/samplers/test_rmsprop.py`). Where √V ≪ a, G is constant and it is SGLD with the step
    ε/a. Diagnostics that hold for any target, the virial among them, show the bias. Use
    `germ.samplers.BAOAB` with a frozen metric for an estimate, and this to compare with the
    literature, with `gradient="minibatch"`, which is what was published.

    Cost: one gradient a step; two more vectors a chain.

    References:
        Hitchcock & Hoogland 2025 (arXiv 2507.21449), app. D.3, for V_{-1} = 1, the bias correction
        and g; Li et al. 2016 (arXiv 1512.07666), pSGLD. ρ and a are devinterp 2.0.1's defaults.

    Attributes:
        step_size: ε, in the field's convention (drift ε/2, noise variance ε).
        nbeta: nβ > 0 of the posterior, which turns ∇U back into ∇L.
        localization: γ ≥ 0 of the posterior, likewise.
        decay: ρ, in [0, 1).
        floor: a > 0.
    """

    state_type: ClassVar[type] = RMSpropSGLDState

    step_size: float
    nbeta: float
    localization: float
    decay: float = 0.99
    floor: float = 0.1

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            GermError: A setting is out of range.
        """
        check_step_size(self.step_size)
        for name, value in (("nbeta", self.nbeta), ("floor", self.floor)):
            if not 0 < value < math.inf:
                raise GermError(f"expected {name} > 0 and finite; got {value}")
        if not 0 <= self.localization < math.inf:
            raise GermError(f"expected localization >= 0 and finite; got {self.localization}")
        if not 0 <= self.decay < 1:
            raise GermError(f"expected 0 <= decay < 1; got {self.decay}")

    @property
    def preconditioner(self) -> None:
        """None: the metric is not frozen, it is part of the state."""
        return None

    def init(self, position: Positions) -> RMSpropSGLDState:
        """Chains at `position` (chains, d), which is w*."""
        count = position.new_zeros(len(position))
        return RMSpropSGLDState(position, position.clone(), torch.ones_like(position), count)

    def step(self, state: RMSpropSGLDState, grad: Positions, noise: Positions) -> RMSpropSGLDState:
        """One update."""
        pull = self.localization * (state.position - state.start)
        squared = ((grad - pull) / self.nbeta).square_()
        mean_square = state.mean_square.lerp(squared, 1 - self.decay)
        count = state.num_steps + 1
        corrected = mean_square / (1 - self.decay**count)[:, None]
        metric = 1 / (corrected.sqrt_() + self.floor)
        position = state.position.addcmul(metric, grad, value=-0.5 * self.step_size)
        position.addcmul_(metric.sqrt(), noise, value=self.step_size**0.5)
        return RMSpropSGLDState(position, state.start, mean_square, count)
