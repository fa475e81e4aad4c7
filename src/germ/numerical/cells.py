"""Cells of a box, cut where an integrand is not yet resolved.

Each cell carries a tensor Clenshaw–Curtis rule. The rule of half the degree uses every other node:
putting it in for one axis at a time says, at no further evaluation, how far the integral over the
cell is from converged *along that axis*, and so where to cut. The differences are also the stated
error: that of the coarser rule, hence an overestimate where the integrand is resolved
(Clenshaw & Curtis 1960; O'Hara & Smith 1968). A kink along a diagonal passes through the same nodes
whichever axis is made coarser, and shows only when all of them are; so that is asked as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np

NUM_INTERVALS = {1: 16, 2: 12, 3: 8}
"""Degree of the rule along each axis, by dimension: 17, 169 and 729 nodes a cell."""


@dataclass(frozen=True)
class Rule:
    """A tensor rule on [−1, 1]^d.

    Attributes:
        nodes: (num_nodes, dim).
        weights: (num_nodes, 2 + dim): the rule in column 0; in column 1 + i, the rule minus the
            one that is coarser along axis i; in the last, minus the one coarser along all.
    """

    nodes: np.ndarray
    weights: np.ndarray


@lru_cache
def rule(dim: int) -> Rule:
    """The rule of a dimension."""
    n = NUM_INTERVALS[dim]
    nodes = np.cos(np.pi * np.arange(n + 1) / n)
    fine = _clenshaw_curtis(n)
    coarse = np.zeros(n + 1)
    coarse[::2] = _clenshaw_curtis(n // 2)
    grid = np.stack(np.meshgrid(*[nodes] * dim, indexing="ij"), -1).reshape(-1, dim)
    columns = [_outer([fine] * dim)]
    for axis in range(dim):
        columns.append(columns[0] - _outer([coarse if i == axis else fine for i in range(dim)]))
    columns.append(columns[0] - _outer([coarse] * dim))
    return Rule(grid, np.stack(columns, 1))


def judge(errors: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The error of each cell, and the axis to cut it across.

    Args:
        errors: Along each axis, and along all at once, not negative, (num_cells, dim + 1).
        width: Of the cells, in units of the whole box, (num_cells, dim).

    Returns:
        Two arrays (num_cells,).
    """
    along, together = errors[:, :-1], errors[:, -1]
    # Where no single axis explains the error, the longer side is cut.
    unexplained = together > 4 * along.sum(1)
    axis = np.where(unexplained, width.argmax(1), along.argmax(1))
    return np.maximum(along.sum(1), together), axis


@dataclass
class Cells:
    """Boxes that tile a box.

    Attributes:
        lower: (num_cells, dim).
        width: (num_cells, dim).
    """

    lower: np.ndarray
    width: np.ndarray

    @classmethod
    def grid(cls, bounds: np.ndarray, per_axis: int) -> Cells:
        """The box `bounds`, (dim, 2), cut `per_axis` times along every axis."""
        dim = len(bounds)
        index = np.stack(np.meshgrid(*[np.arange(per_axis)] * dim, indexing="ij"), -1)
        width = (bounds[:, 1] - bounds[:, 0]) / per_axis
        lower = bounds[:, 0] + index.reshape(-1, dim) * width
        return cls(lower, np.broadcast_to(width, lower.shape).copy())

    def __len__(self) -> int:
        """How many cells."""
        return len(self.lower)

    def points(self) -> np.ndarray:
        """Nodes of all cells, (num_cells · num_nodes, dim)."""
        nodes = rule(self.lower.shape[1]).nodes
        middle = self.lower + self.width / 2
        return (middle[:, None] + nodes * (self.width / 2)[:, None]).reshape(-1, nodes.shape[1])

    def integrals(self, values: np.ndarray) -> np.ndarray:
        """Integrals over each cell, their errors along each axis, and along all at once.

        Args:
            values: Of the integrand at the nodes, (num_cells, num_nodes).

        Returns:
            (num_cells, 2 + dim), signed.
        """
        half_volume = np.prod(self.width / 2, axis=1)
        return values @ rule(self.lower.shape[1]).weights * half_volume[:, None]

    def halves(self, which: np.ndarray, axis: np.ndarray) -> Cells:
        """The cells `which`, each cut in two across its own `axis`: first halves, then second."""
        lower, width = self.lower[which], self.width[which].copy()
        rows = np.arange(len(lower))
        width[rows, axis] /= 2
        second = lower.copy()
        second[rows, axis] += width[rows, axis]
        return Cells(np.concatenate([lower, second]), np.concatenate([width, width]))


def _clenshaw_curtis(n: int) -> np.ndarray:
    """Weights at cos(πk/n), k = 0..n, n even."""
    k, j = np.arange(n + 1), np.arange(1, n // 2 + 1)
    b = np.where(j == n // 2, 1.0, 2.0)
    sums = (b / (4 * j**2 - 1) * np.cos(2 * np.pi * np.outer(k, j) / n)).sum(1)
    ends = np.where((k == 0) | (k == n), 1.0, 2.0)
    return ends / n * (1 - sums)


def _outer(factors: list[np.ndarray]) -> np.ndarray:
    return reduce(np.multiply.outer, factors).ravel()
