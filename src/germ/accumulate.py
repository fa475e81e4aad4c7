"""Streaming summaries: what is kept of a stream of draws when its trace is not.

Each has `init`, `update`, `merge` and `result`; `merge` is associative, so a stream can be split
anywhere. A summary is a NamedTuple of tensors, float64, so it can be saved and taken up again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class MomentsSummary(NamedTuple):
    """Count, mean and sum of squared deviations."""

    count: Tensor
    mean: Tensor
    squares: Tensor


@dataclass(frozen=True)
class Moments:
    """Mean and variance of each entry, in one pass (Welford 1962; Chan, Golub & LeVeque 1983)."""

    fields = ("mean", "variance")

    def init(self, value: Tensor) -> MomentsSummary:
        """The empty summary of values like `value`."""
        zero = torch.zeros_like(value, dtype=torch.float64)
        return MomentsSummary(torch.zeros((), dtype=torch.float64), zero, zero.clone())

    def update(self, summary: MomentsSummary, value: Tensor) -> MomentsSummary:
        """With one more value."""
        value = value.double()
        count = summary.count + 1
        delta = value - summary.mean
        mean = summary.mean + delta / count
        return MomentsSummary(count, mean, summary.squares + delta * (value - mean))

    def merge(self, left: MomentsSummary, right: MomentsSummary) -> MomentsSummary:
        """Of two streams."""
        count = left.count + right.count
        if count == 0:
            return left
        delta = right.mean - left.mean
        return MomentsSummary(
            count,
            left.mean + delta * (right.count / count),
            left.squares + right.squares + delta.square() * (left.count * right.count / count),
        )

    def result(self, summary: MomentsSummary) -> dict[str, Tensor]:
        """`mean` and (unbiased) `variance`; the variance of fewer than two draws is NaN."""
        few = summary.count < 2
        variance = torch.full_like(summary.mean, torch.nan) if few else summary.squares
        return {"mean": summary.mean, "variance": variance / (summary.count - 1).clamp(min=1)}


class LogMeanExpSummary(NamedTuple):
    """Count, the largest value, and the sum of exp(value − largest)."""

    count: Tensor
    peak: Tensor
    total: Tensor


@dataclass(frozen=True)
class LogMeanExp:
    """log of the mean of exp(x) of each entry, in one pass and without overflow.

    Of log-likelihoods log p(z|w) it is the log of the predictive density E_w[p(z|w)].
    """

    fields = ("log_mean_exp",)

    def init(self, value: Tensor) -> LogMeanExpSummary:
        """The empty summary of values like `value`."""
        zero = torch.zeros_like(value, dtype=torch.float64)
        empty = torch.full_like(zero, -torch.inf)
        return LogMeanExpSummary(torch.zeros((), dtype=torch.float64), empty, zero)

    def update(self, summary: LogMeanExpSummary, value: Tensor) -> LogMeanExpSummary:
        """With one more value."""
        value = value.double()
        one = torch.ones((), dtype=torch.float64)
        return self.merge(summary, LogMeanExpSummary(one, value, torch.ones_like(value)))

    def merge(self, left: LogMeanExpSummary, right: LogMeanExpSummary) -> LogMeanExpSummary:
        """Of two streams."""
        peak = torch.maximum(left.peak, right.peak)
        # Where both are −inf there is nothing to scale: exp(−inf − −inf) would be NaN.
        base = torch.where(peak == -torch.inf, 0.0, peak)
        total = left.total * (left.peak - base).exp() + right.total * (right.peak - base).exp()
        return LogMeanExpSummary(left.count + right.count, peak, total)

    def result(self, summary: LogMeanExpSummary) -> dict[str, Tensor]:
        """`log_mean_exp`; NaN of an empty stream."""
        mean = summary.total / summary.count  # 0/0 is NaN where there was no draw
        return {"log_mean_exp": summary.peak + mean.log()}


class CovarianceSummary(NamedTuple):
    """Count, the two means, and the sum of products of deviations."""

    count: Tensor
    mean_x: Tensor
    mean_y: Tensor
    products: Tensor


@dataclass(frozen=True)
class Covariance:
    """Covariance of every entry of x with every entry of y, in one pass.

    Memory is O(x·y), whatever the number of draws. `update` takes `(x, y)`, both vectors.
    """

    fields = ("mean_x", "mean_y", "covariance")

    def init(self, value: tuple[Tensor, Tensor]) -> CovarianceSummary:
        """The empty summary of pairs like `value`."""
        x, y = value
        zeros = {"dtype": torch.float64, "device": x.device}
        return CovarianceSummary(
            torch.zeros((), dtype=torch.float64),
            torch.zeros(x.numel(), **zeros),
            torch.zeros(y.numel(), **zeros),
            torch.zeros(x.numel(), y.numel(), **zeros),
        )

    def update(self, summary: CovarianceSummary, value: tuple[Tensor, Tensor]) -> CovarianceSummary:
        """With one more pair."""
        x, y = (part.double().reshape(-1) for part in value)
        count = summary.count + 1
        delta = x - summary.mean_x
        mean_y = summary.mean_y + (y - summary.mean_y) / count
        return CovarianceSummary(
            count,
            summary.mean_x + delta / count,
            mean_y,
            summary.products + torch.outer(delta, y - mean_y),
        )

    def merge(self, left: CovarianceSummary, right: CovarianceSummary) -> CovarianceSummary:
        """Of two streams."""
        count = left.count + right.count
        if count == 0:
            return left
        share = right.count / count
        dx, dy = right.mean_x - left.mean_x, right.mean_y - left.mean_y
        cross = torch.outer(dx, dy) * (left.count * share)
        return CovarianceSummary(
            count,
            left.mean_x + dx * share,
            left.mean_y + dy * share,
            left.products + right.products + cross,
        )

    def result(self, summary: CovarianceSummary) -> dict[str, Tensor]:
        """`mean_x`, `mean_y` and (unbiased) `covariance`."""
        few = summary.count < 2
        products = torch.full_like(summary.products, torch.nan) if few else summary.products
        return {
            "mean_x": summary.mean_x,
            "mean_y": summary.mean_y,
            "covariance": products / (summary.count - 1).clamp(min=1),
        }
