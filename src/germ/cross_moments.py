"""A streaming summary of two vectors: every covariance and every correlation between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class CrossSummary(NamedTuple):
    """Count, the two means, the sum of products of deviations, and the two sums of squares."""

    count: Tensor
    mean_x: Tensor
    mean_y: Tensor
    products: Tensor
    squares_x: Tensor
    squares_y: Tensor


@dataclass(frozen=True)
class CrossMoments:
    """Sums from which the correlation of every entry of x with every entry of y is had.

    Memory is O(x·y), whatever the number of draws. `update` takes `(x, y)`, both vectors. Unlike
    `germ.accumulate.Covariance` it keeps the two variances as well, and hands over sums, which can
    be put together over chains in any way (`germ.estimate.influence.pooled`).
    """

    fields = ("count", "mean_x", "mean_y", "products", "squares_x", "squares_y")

    def init(self, value: tuple[Tensor, Tensor]) -> CrossSummary:
        """The empty summary of pairs like `value`."""
        x, y = value
        zeros = {"dtype": torch.float64, "device": x.device}
        return CrossSummary(
            torch.zeros((), dtype=torch.float64),
            torch.zeros(x.numel(), **zeros),
            torch.zeros(y.numel(), **zeros),
            torch.zeros(x.numel(), y.numel(), **zeros),
            torch.zeros(x.numel(), **zeros),
            torch.zeros(y.numel(), **zeros),
        )

    def update(self, summary: CrossSummary, value: tuple[Tensor, Tensor]) -> CrossSummary:
        """With one more pair (Welford 1962)."""
        x, y = (part.double().reshape(-1) for part in value)
        count = summary.count + 1
        before_x, before_y = x - summary.mean_x, y - summary.mean_y
        mean_x = summary.mean_x + before_x / count
        mean_y = summary.mean_y + before_y / count
        # A new tensor, not in place: an interrupted block goes back to the summary before it.
        return CrossSummary(
            count,
            mean_x,
            mean_y,
            torch.addr(summary.products, before_x, y - mean_y),
            summary.squares_x + before_x * (x - mean_x),
            summary.squares_y + before_y * (y - mean_y),
        )

    def merge(self, left: CrossSummary, right: CrossSummary) -> CrossSummary:
        """Of two streams (Chan, Golub & LeVeque 1983)."""
        count = left.count + right.count
        if count == 0:
            return left
        share = right.count / count
        weight = left.count * share
        dx, dy = right.mean_x - left.mean_x, right.mean_y - left.mean_y
        return CrossSummary(
            count,
            left.mean_x + dx * share,
            left.mean_y + dy * share,
            left.products + right.products + torch.outer(dx, dy) * weight,
            left.squares_x + right.squares_x + dx.square() * weight,
            left.squares_y + right.squares_y + dy.square() * weight,
        )

    def result(self, summary: CrossSummary) -> dict[str, Tensor]:
        """The sums themselves."""
        return summary._asdict()
