"""A posterior whose λ̂ is known exactly, sampled in a second: does this installation work?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from germ.data import TensorData
from germ.estimate.llc import LLC, llc
from germ.posterior import LocalPosterior
from germ.sampling import sample

CURVATURES = (0.1, 1.0, 5.0)
NBETA, LOCALIZATION = 30.0, 5.0
MAX_Z = 5.0
"""Standard errors that the estimate may be away from theory: one in a million by chance."""


class Quadratic(nn.Module):
    """L(w) = ½ Σ h_i w_i², at its minimum w* = 0."""

    curvature: Tensor

    def __init__(self) -> None:
        """Stand at the minimum."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(len(CURVATURES)))
        self.register_buffer("curvature", torch.tensor(CURVATURES))

    def forward(self) -> Tensor:
        """The loss."""
        return 0.5 * (self.curvature * self.weight.square()).sum()


def quadratic_loss(model: nn.Module, batch: Tensor) -> Tensor:
    """The same loss for every example."""
    return model() + 0.0 * batch


@dataclass(frozen=True)
class SelfCheck:
    """What theory says and what came out.

    Attributes:
        expected: ½ Σ nβh_i/(nβh_i + γ): the posterior is a Gaussian.
        estimate: What germ measured.
    """

    expected: float
    estimate: LLC

    @property
    def passed(self) -> bool:
        """Whether they agree within `MAX_Z` standard errors, and these are small."""
        error = self.estimate.standard_error
        return 0 < error < 0.2 and abs(self.estimate.value - self.expected) < MAX_Z * error


def self_check(device: str = "cpu", draws: int = 150) -> SelfCheck:
    """Sample a quadratic with the default sampler, which is exact there at any step size.

    Args:
        device: Where to sample.
        draws: Draws a chain, of 8 chains.
    """
    model = Quadratic().to(device).eval()
    posterior = LocalPosterior.from_model(
        model, TensorData(torch.zeros(1)), loss=quadratic_loss,
        nbeta=NBETA, localization=LOCALIZATION,
    )  # fmt: skip
    samples = sample(posterior, chains=8, draws=draws, thin=4, seed=0)
    expected = sum(0.5 * NBETA * h / (NBETA * h + LOCALIZATION) for h in CURVATURES)
    return SelfCheck(expected, llc(samples))
