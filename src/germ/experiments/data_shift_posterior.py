r"""Which solution a posterior prefers, against n and the share of data on which they differ.

$$ p(w) \propto e^{-n L_\varepsilon(w)}\, \mathcal N(w; 0, 1) $$

with L_ε the loss without sampling error where a share ε of cues disagrees with the product, which
is the target. To leading order the free energy of a solution is nL + λ log n + C. Where they agree
(ε = 0) the odds of the cue against the product grow as n to the power of λ_product − λ_cue; a share
ε takes n·ΔL_ε from their log, ΔL_ε being the least loss of a model that uses the cue.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from germ.experiments.data_shift_model import Monomials, known, num_weights
from germ.experiments.superposition_tempering import Effort, temper

HALF = 0.5
"""A model uses the product where at least so much of the target comes from it."""


@dataclass(frozen=True)
class Growth:
    """A leg of the sampler: from n = `first` to n = `last` at one ε.

    Attributes:
        monomials: The loss.
        first: n at the start.
        last: n at the end.
        disagree: ε.
    """

    monomials: Monomials
    first: float
    last: float
    disagree: float

    def at(self, t: float) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """Energy and gradient of (first + t·(last − first))·L_ε."""
        num = self.first + t * (self.last - self.first)

        def energy(points: Tensor) -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                moving = points.detach().requires_grad_()
                value = num * self.monomials.loss(moving, self.disagree)
                (gradient,) = torch.autograd.grad(value.sum(), moving)
            return value.detach(), gradient

        return energy

    def gain(self, points: Tensor) -> Tensor:
        """(last − first)·L_ε."""
        return (self.last - self.first) * self.monomials.loss(points, self.disagree)


def follow(
    dim: int, nums: Sequence[float], disagree: float, effort: Effort, seed: int
) -> dict[str, Any]:
    """The share of the posterior that uses the product, at each n; JSON-able.

    Args:
        dim: d.
        nums: n, increasing.
        disagree: ε.
        effort: Of the sampler.
        seed: Of it; runs with other seeds are the replicates.

    Returns:
        `product`: shares by n; `between`: the share that is no clear case (a quarter to three
        quarters of the target from either); `log_evidence` of all; `accepted`; `num_particles`.
    """
    monomials = Monomials(dim)
    legs = [Growth(monomials, a, b, disagree) for a, b in zip([0.0, *nums[:-1]], nums, strict=True)]
    shares, between, accepted, evidence = [], [], [], []
    for cloud in temper(legs, num_weights(dim), effort, seed):
        part = monomials.uses(cloud.points)[:, 1]
        shares.append(float((part >= HALF).double().mean()))
        between.append(float(((part > HALF / 2) & (part < 3 * HALF / 2)).double().mean()))
        accepted.append(cloud.acceptance)
        evidence.append(cloud.log_evidence)
    return {
        "disagree": disagree,
        "nums": list(nums),
        "product": shares,
        "between": between,
        "accepted": accepted,
        "log_evidence": evidence,
        "num_particles": effort.num_particles,
        "seed": seed,
    }


def log_odds(share: float, num_particles: int) -> float:
    """Log of cue against product; shares of 0 and 1 count as half a particle."""
    inside = min(max(share, 0.5 / num_particles), 1 - 0.5 / num_particles)
    return math.log((1 - inside) / inside)


def cue_loss(disagree: float) -> float:
    """The least loss of a model that uses the cue: 4ε(1 − ε), at f = (1 − 2ε)u, as E u² = 1."""
    return 4 * disagree * (1 - disagree)


def predicted(
    dim: int, nums: Sequence[float], disagree: float, start: float, start_odds: float
) -> list[float]:
    """Log odds of the cue at each n, from those at one n where solutions agree.

    Args:
        dim: d.
        nums: n.
        disagree: ε.
        start: An n.
        start_odds: Log odds of the cue there at ε = 0.
    """
    exponent = known(dim).product - known(dim).cue
    return [
        start_odds + exponent * math.log(num / start) - num * cue_loss(disagree) for num in nums
    ]


def crossing(nums: Sequence[float], odds: Sequence[float]) -> float:
    """The last n at which the log odds of the cue fall through 0; NaN where they do not.

    Read off a straight line in log n between neighbours.
    """
    values = np.asarray(odds, dtype=float)
    falls = np.flatnonzero((values[:-1] > 0) & (values[1:] <= 0))
    if not falls.size:
        return math.nan
    i = int(falls[-1])
    share = values[i] / (values[i] - values[i + 1])
    return float(math.exp((1 - share) * math.log(nums[i]) + share * math.log(nums[i + 1])))
