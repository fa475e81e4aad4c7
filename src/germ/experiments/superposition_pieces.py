r"""The summed loss of the toy model of superposition and its gradient, for many points at once.

$$ S(W, b) = \sum_{i=1}^c \int \bigl\lVert \mu e_i - \mathrm{ReLU}(W^\top W_i\,\mu + b)
   \bigr\rVert^2 \rho_i(d\mu) $$

ρ_i is n/c times the uniform measure on [0, 1] for the population loss, S = n·L (`population`), and
a sum of point masses for a data set, S = n·L_n (`dataset`). Unit j is on for the μ on one side of
−b_j/G_ij, G = WᵀW, and squared errors are quadratic in μ: the moments 0, 1, 2 of ρ_i up to that
point give S and its gradient exactly, in time that grows with log n. A point is (W by rows, b).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Energy = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Points (points, d) to S (points,) and ∂S (points, d)."""


@dataclass(frozen=True)
class Examples:
    """A data set of one-hot inputs μ·e_i, which are their own targets.

    Attributes:
        inputs: i of each example.
        mu: μ of each example, in [0, 1).
        columns: c.
    """

    inputs: Int[np.ndarray, " n"]
    mu: Float[np.ndarray, " n"]
    columns: int = 6

    def __len__(self) -> int:
        """How many: n."""
        return len(self.mu)

    def part(self, first: int, last: int) -> Examples:
        """The examples `first` … `last` − 1."""
        return Examples(self.inputs[first:last], self.mu[first:last], self.columns)

    def dense(self) -> Float[np.ndarray, "n c"]:
        """The inputs as vectors."""
        found = np.zeros((len(self), self.columns))
        found[np.arange(len(self)), self.inputs] = self.mu
        return found


def draw_examples(num: int, seed: int, columns: int = 6) -> Examples:
    """Examples with i and μ uniform; those of a smaller `num` come first in those of a larger.

    Args:
        num: n.
        seed: Of the draw.
        columns: c.
    """
    # Two streams, so that the first examples are the same whatever num is.
    which, how_much = np.random.SeedSequence([seed, columns]).spawn(2)
    inputs = np.random.default_rng(which).integers(0, columns, num)
    return Examples(inputs, np.random.default_rng(how_much).random(num), columns)


def population(num: float, columns: int = 6) -> Energy:
    """S = n·L, exactly up to rounding.

    Args:
        num: n, any positive number.
        columns: c.
    """
    share = num / columns
    total = share * torch.tensor([1.0, 1 / 2, 1 / 3], dtype=torch.float64)

    def below(kink: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        square = kink * kink
        return share * kink, share / 2 * square, share / 3 * square * kink

    return _energy(below, total.expand(columns, 3), columns)


def dataset(examples: Examples, weights: Float[np.ndarray, " n"] | None = None) -> Energy:
    """S = Σ of the squared errors of a data set, exactly up to rounding.

    Args:
        examples: The data.
        weights: A weight of each; 1 if not given.
    """
    columns = examples.columns
    # One sorted list for all inputs: input i lies between i and i + 1.
    key = examples.inputs + examples.mu
    order = np.argsort(key, kind="stable")
    mu = examples.mu[order]
    weight = np.ones(len(mu)) if weights is None else np.asarray(weights, dtype=float)[order]
    moments = np.stack([weight, weight * mu, weight * mu**2], axis=1)
    # Summed within an input: a running sum over all of them would lose digits to differences.
    starts = np.searchsorted(key[order], np.arange(columns + 1))
    running = np.zeros((len(mu) + columns, 3))
    for i in range(columns):
        first, last = starts[i], starts[i + 1]
        running[first + i + 1 : last + i + 1] = np.cumsum(moments[first:last], axis=0)
    table = [torch.from_numpy(np.ascontiguousarray(running[:, k])) for k in range(3)]
    total = torch.from_numpy(running[starts[1:] + np.arange(columns)])
    keys = torch.from_numpy(key[order])
    shift = torch.arange(columns, dtype=torch.float64)[:, None]
    place = torch.arange(columns)[:, None]
    bounds = torch.from_numpy(starts)

    def below(kink: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        index = torch.searchsorted(keys, kink + shift)
        # A kink at 1 is the start of the next input, and rounding must not go past either end.
        index = torch.clamp(index, bounds[:-1, None], bounds[1:, None]) + place
        flat = index.flatten()
        zeroth, first, second = (each.index_select(0, flat).view(kink.shape) for each in table)
        return zeroth, first, second

    return _energy(below, total, columns)


def _energy(
    below: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]], total: Tensor, columns: int
) -> Energy:
    """S from moments: `below(kink)` are those of ρ_i on [0, kink_ij), `total` (c, 3) all."""
    diagonal = torch.arange(columns)
    all_moments = [total[:, k, None] for k in range(3)]

    def evaluate(points: Tensor) -> tuple[Tensor, Tensor]:
        w = points[:, : 2 * columns].view(-1, 2, columns)
        b = points[:, None, 2 * columns :]
        gram = w.mT @ w  # (points, input i, output j)
        # Where G is 0 the unit is on for all μ or for none: ∓inf, and NaN only where b is 0, too.
        kink = torch.nan_to_num(-b / gram, nan=1.0, posinf=1.0, neginf=0.0).clamp_(0.0, 1.0)
        lower = below(kink)
        rising = gram >= 0  # On above the kink; else below it.
        m0, m1, m2 = (
            torch.where(rising, whole - low, low)
            for whole, low in zip(all_moments, lower, strict=True)
        )
        crossed = gram * m2 + b * m1  # ∫ μ·ReLU
        summed = gram * m1 + b * m0  # ∫ ReLU
        squares = gram * crossed + b * summed  # ∫ ReLU²
        value = squares.sum((1, 2)) + (total[:, 2] - 2 * crossed[:, diagonal, diagonal]).sum(1)
        # ReLU² and μ·ReLU are continuous at the kink: moving it changes nothing.
        by_gram = 2 * crossed
        by_gram[:, diagonal, diagonal] -= 2 * m2[:, diagonal, diagonal]
        by_bias = 2 * (summed.sum(1) - m1[:, diagonal, diagonal])
        by_weight = w @ (by_gram + by_gram.mT)
        return value, torch.cat([by_weight.flatten(1), by_bias], dim=1)

    return evaluate
