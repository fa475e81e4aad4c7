r"""The LLC from weighted draws of the localization's Gaussian, without a chain.

$$ \hat\lambda = n\beta\,\mathbf E_p[\varphi]
   = n\beta\,\frac{\mathbf E_q[\psi\,\varphi]}{\mathbf E_q[\psi]}, \qquad
   \psi = e^{-n\beta\varphi},\quad q = \mathcal N(w^*, 1/\gamma), $$

exact where the weights ψ of some draws are worth many unweighted ones, as for single heads at the
field's nβ and γ: no warmup, no step size, no gradient; forward passes alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from germ import prefix
from germ.errors import GermError
from germ.estimate.interpolation import WORTH, worth
from germ.estimate.response import spread
from germ.excess import Excess
from germ.gaussian import Gaussian
from germ.posterior import LocalPosterior

DRAWS = 32


@dataclass(frozen=True)
class GaussianLLC:
    """λ̂ from draws of the Gaussian.

    Attributes:
        value: λ̂.
        standard_error: Of the delete-one-draw jackknife; draws are independent.
        share: What a weighted draw was worth, of an unweighted one.
        num_draws: Draws, each with its mirror image.
        nbeta: nβ.
        localization: γ.
    """

    value: float
    standard_error: float
    share: float
    num_draws: int
    nbeta: float
    localization: float

    def __str__(self) -> str:
        """In a line."""
        return (
            f"λ̂ = {self.value:.4g} ± {self.standard_error:.2g} at nβ = {self.nbeta:g}, "
            f"γ = {self.localization:g} ({self.num_draws} weighted draws, worth {self.share:.2f})"
        )


def gaussian_llc(
    posterior: LocalPosterior,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    excess: Excess | None = None,
) -> GaussianLLC:
    """The LLC of a posterior that hardly leaves its localization, such as a head's.

    φ at a draw is of 128 fresh examples, and of all where they are few; a weight is of one half of
    them and the φ that it weighs of the other, so that their noise is no bias.

    Args:
        posterior: The posterior; γ > 0.
        draws: How many, at least 8; each is evaluated at both ends.
        seed: Of all randomness.
        excess: Of another component of the same model and data: losses at w* are used again.

    Raises:
        GermError: There are too few draws, no localization, or their weights are worth too little:
            then `germ.sample` is the way.
    """
    if draws < 8:
        raise GermError(f"expected at least 8 draws; got {draws}")
    if posterior.localization == 0:
        raise GermError("expected a localization γ > 0, whose Gaussian is drawn from; got 0")
    short = prefix.shorten(posterior)
    source = Gaussian(short, Excess(short, like=excess), _no_gradient, seed=seed)
    found = [source.phi(number) for number in range(draws)]
    phi = torch.stack([each[0] for each in found]).double().cpu()
    halves = torch.stack([each[1] for each in found]).double().cpu()
    share = worth(phi.flatten(), posterior.nbeta)
    if not share >= WORTH:
        raise GermError(
            f"expected a posterior near the Gaussian of its localization; weighted draws of that "
            f"are worth {100 * share:.0f}% of the posterior's own: sample it (germ.sample), or "
            "take a larger γ"
        )
    halves = halves - phi.mean()
    weight = torch.exp(-posterior.nbeta * halves)
    sums = torch.stack([(weight * halves.flip(2)).sum((1, 2)), weight.sum((1, 2))])
    whole = _mean(sums.sum(1))
    without = _mean(sums.sum(1, keepdim=True) - sums)
    values = draws * whole - (draws - 1) * without
    mean = float(values.mean() + phi.mean())
    return GaussianLLC(
        posterior.nbeta * mean,
        posterior.nbeta * float(spread(values)),
        share,
        draws,
        posterior.nbeta,
        posterior.localization,
    )


def _mean(sums: Tensor) -> Tensor:
    return sums[0] / sums[1]


def _no_gradient() -> Tensor:
    raise AssertionError("φ needs no gradient")
