r"""Susceptibilities from streams of draws: how the loss of a token moves with that of the model.

With φ = L_n(w) − L_n(w*) in the run in which component C alone moves (Baker et al. 2504.18274),

$$ \chi^C_{xy} = -\mathrm{Cov}(\varphi_C,\ \ell_{xy} - L)
             = \mathrm{Cov}(\varphi_C, L) - \mathrm{Cov}(\varphi_C, \ell_{xy}). $$

Everything comes from one stream a chain, of one number x = φ̂ (an estimate of φ from examples drawn
for it, `germ.excess`) against a vector y = (a, b, a·b, ℓ − ℓ(w*)), where a and b are φ from the two
halves of those examples. Given w, φ̂ is independent of ℓ(w), so Cov(φ̂, ℓ) has none of its noise;
Cov(φ, L) is Cov(a, b), which has none either, where Var(φ̂) would be too large by all of it.

A product of means is taken of two different chains, so that it has no bias however slowly a chain
mixes and however few its draws:

$$ \widehat{\mathrm{Cov}}(x, y) = \frac1C\sum_c \overline{xy}_c
   - \frac1{C(C-1)}\sum_{c\neq c'} \bar x_c\,\bar y_{c'}
   = \frac1C\sum_c \mathrm{cov}_c(x, y)
   + \frac1{C-1}\sum_c (\bar x_c - \bar x)(\bar y_c - \bar y), $$

where cov_c is taken within a chain. The standard error is that of the delete-one-chain jackknife,
sd(z)/√C of its pseudo-values z_c, which have a closed form (`shares`). It assumes that chains are
independent, and has C − 1 degrees of freedom.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from germ.accumulate import Covariance, CovarianceSummary

FORM = 2
"""Of the results: raised when they change, so that a stored run without some is not used again."""

NUM_OWN = 3
"""Entries of y before the losses: a, b, a·b."""

MIN_CHAINS, MIN_DRAWS = 2, 8
"""The least of which a covariance and its error can be had."""


def observed(draw_difference: Tensor, halves: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
    """What is folded at a draw: x = (φ̂,) and y = (a, b, a·b, losses).

    Args:
        draw_difference: φ̂, a scalar.
        halves: a and b, (2,).
        losses: ℓ(w) − ℓ(w*) of every token, (tokens,).
    """
    own = torch.stack([halves[0], halves[1], halves[0] * halves[1]]).double()
    return draw_difference.double().reshape(1), torch.cat([own, losses.double()])


def shares(x: Tensor, y: Tensor, within: Tensor) -> Tensor:
    r"""z_c, each chain's share in the covariance of x and y: the jackknife's pseudo-values.

    Without chain c the estimate is θ₍c₎, and z_c = Cθ − (C − 1)θ₍c₎, which comes to

    $$ z_c = \mathrm{cov}_c + \frac{C}{C-2}\,(p_c - \bar p) + \frac{C}{C-1}\,\bar p, \quad
       p_c = (\bar x_c - \bar x)(\bar y_c - \bar y). $$

    Of two chains neither can be left out; the factor of the second term is C/(C − 1) then.

    Args:
        x: Means of x, (chains, 1).
        y: Means of y, (chains, entries).
        within: Covariances within chains (divided by the number of draws), (chains, entries).

    Returns:
        Shares, (chains, entries); their mean is unbiased for Cov(x, y).
    """
    num = len(x)
    product = (x - x.mean(0)) * (y - y.mean(0))
    mean = product.mean(0)
    factor = num / (num - 2) if num > 2 else num / (num - 1)
    return within + factor * (product - mean) + (num / (num - 1)) * mean


def contrast(values: Tensor) -> Tensor:
    """One realisation of the error of the mean of `values` (chains, …) over chains.

    Chains with alternate signs: what they have in common cancels, and what is left has the variance
    of the error, and the correlations between entries that come of their sharing draws. Of an odd
    number of chains the last is left out.
    """
    num = len(values) - len(values) % 2
    signs = torch.tensor([1.0, -1.0], dtype=values.dtype, device=values.device).repeat(num // 2)
    total = torch.einsum("c,c...->...", signs, values[:num])
    return total / (num * len(values)) ** 0.5


def spread(values: Tensor) -> Tensor:
    """sd/√C of the mean of `values` (chains, …) over chains."""
    return values.std(0, unbiased=True) / len(values) ** 0.5


@dataclass(frozen=True)
class Baseline:
    """Means under the run of all weights, which the full centring subtracts.

    Attributes:
        gap: E_f[L − ℓ] relative to w*, (tokens,).
        error: Its standard error.
        probe_gap: Its mean over each probe, (probes,).
        probe_error: The standard error of that.
    """

    gap: Tensor
    error: Tensor
    probe_gap: Tensor
    probe_error: Tensor

    def __repr__(self) -> str:
        """By content: it is part of a run's identity."""
        digest = hashlib.blake2b(self.gap.numpy().tobytes(), digest_size=8).hexdigest()
        return f"Baseline({digest})"


class _Chains(NamedTuple):
    """The summaries of all chains, stacked."""

    x: Tensor
    own: Tensor
    losses: Tensor
    within_own: Tensor
    within_losses: Tensor


@dataclass(frozen=True)
class Response(Covariance):
    """Folds draws (`observed`) into susceptibilities; `pooled` makes them of all chains.

    Memory is four numbers a token and chain, whatever the number of draws.

    Attributes:
        sizes: Tokens of each probe, in order.
        baseline: For the full centring; None is the restricted one.
    """

    sizes: tuple[int, ...]
    baseline: Baseline | None = None

    def pooled(self, summaries: Sequence[CovarianceSummary]) -> dict[str, Tensor]:
        """χ of every token and probe with standard errors, from one summary a chain.

        Returns:
            `chi`, `error`, `noise` (tokens,) float32, `noise` being one realisation of the errors
            of all tokens together (`contrast`); `chi_probe`, `error_probe` (probes,);
            `chi_probe_chain` (chains, probes), whose mean `chi_probe` is; `variance`, Cov(φ, L)
            without the batch's noise, and its `variance_error`, scalars. NaN of fewer than two
            chains.
        """
        chains = _stack(summaries)
        product = shares(chains.own[:, :1], chains.own[:, 1:2], _half_covariance(chains))
        if self.baseline is None:
            each = product - shares(chains.x, chains.losses, chains.within_losses)
            error = spread(each)
            by_probe = self._probe_means(each)
            error_probe = spread(by_probe)
        else:
            # E[φL] − E[φℓ] − E[φ]·(E_f[L] − E_f[ℓ]): plain means over a chain's draws.
            gap = self.baseline.gap.to(chains.x.device)
            against = chains.within_losses + chains.x * chains.losses
            each = chains.own[:, 2:] - against - chains.x * gap
            by_probe = self._probe_means(each)
            mean = chains.x.mean().abs()
            error = torch.hypot(spread(each), mean * self.baseline.error.to(gap.device))
            other = mean * self.baseline.probe_error.to(gap.device)
            error_probe = torch.hypot(spread(by_probe), other)
        return {
            "chi": each.mean(0).float(),
            "error": error.float(),
            "noise": contrast(each).float(),
            "chi_probe": by_probe.mean(0),
            "error_probe": error_probe,
            "chi_probe_chain": by_probe,
            "variance": product.mean(),
            "variance_error": spread(product[:, 0]),
        }

    def _probe_means(self, values: Tensor) -> Tensor:
        return probe_means(values, self.sizes)


@dataclass(frozen=True)
class Means(Covariance):
    """Folds draws (`observed`) of the run of all weights into a `Baseline`.

    Attributes:
        sizes: Tokens of each probe, in order.
    """

    sizes: tuple[int, ...]

    def pooled(self, summaries: Sequence[CovarianceSummary]) -> dict[str, Tensor]:
        """The fields of a `Baseline`."""
        chains = _stack(summaries)
        gaps = chains.x - chains.losses
        by_probe = probe_means(gaps, self.sizes)
        return {
            "gap": gaps.mean(0),
            "error": spread(gaps),
            "probe_gap": by_probe.mean(0),
            "probe_error": spread(by_probe),
        }


def _stack(summaries: Sequence[CovarianceSummary]) -> _Chains:
    x = torch.stack([s.mean_x for s in summaries])
    y = torch.stack([s.mean_y for s in summaries])
    within = torch.stack([s.products[0] / s.count for s in summaries])
    return _Chains(x, y[:, :NUM_OWN], y[:, NUM_OWN:], within[:, :NUM_OWN], within[:, NUM_OWN:])


def _half_covariance(chains: _Chains) -> Tensor:
    """cov_c(a, b) = mean(ab) − mean(a)·mean(b), (chains, 1)."""
    a, b, product = chains.own.split(1, dim=1)
    return product - a * b


def probe_means(values: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Means of `values` (rows, tokens) over each probe, (rows, probes)."""
    return torch.stack([part.mean(1) for part in values.split(list(sizes), dim=1)], dim=1)
