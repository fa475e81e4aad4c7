"""Which critical point a network is near: the corners of its columns' hull, and its biases.

The columns of W are points in the plane. Those that are corners of their convex hull are the
polygon; of the others the bias says whether they are dead (b ≤ 0) or answer with a constant (b > 0,
a "+"). That is the classification of Chen et al. (2023, arXiv 2310.06301). It looks at signs and
corners alone, so that every network belongs somewhere; `descend` asks instead where descent on L
ends, and is what the classification is checked against.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from germ.experiments.superposition_pieces import population
from germ.experiments.superposition_points import COUNTS, levels

PHASES = (*COUNTS, "other")
"""Corners, and a + for each column inside the hull with a positive bias; `other`: three corners."""


def corners(points: Float[Tensor, "points d"]) -> Bool[Tensor, "points c"]:
    """Which columns are corners of the convex hull of all.

    A point of the plane is a corner if and only if no triangle of others holds it (Carathéodory).

    Args:
        points: (W by rows, b), d = 3c.
    """
    columns = points.shape[1] // 3
    w = points[:, : 2 * columns].view(-1, 2, columns)
    found = []
    for i in range(columns):
        inside = torch.zeros(len(points), dtype=torch.bool)
        for triangle in combinations([j for j in range(columns) if j != i], 3):
            sides = [
                _turn(w[:, :, a], w[:, :, b], w[:, :, i])
                for a, b in zip(triangle, triangle[1:] + triangle[:1], strict=True)
            ]
            positive = torch.stack([side >= 0 for side in sides]).all(0)
            negative = torch.stack([side <= 0 for side in sides]).all(0)
            inside |= positive | negative
        found.append(~inside)
    return torch.stack(found, dim=1)


def classify(points: Float[Tensor, "points d"]) -> np.ndarray:
    """The phase of each point, as its place in `PHASES`.

    Args:
        points: (W by rows, b) of six columns.
    """
    outer = corners(points)
    positive = (~outer & (points[:, 12:] > 0)).sum(1).numpy()
    num = outer.sum(1).numpy()
    found = np.full(len(points), len(PHASES) - 1)
    for name, (k, plus) in COUNTS.items():
        found[(num == k) & (positive == plus)] = PHASES.index(name)
    return found


def shares(phases: np.ndarray) -> list[float]:
    """The share of each of `PHASES`."""
    return (np.bincount(phases, minlength=len(PHASES)) / len(phases)).tolist()


def descend(points: Tensor, num_steps: int = 3000, rate: float = 0.3) -> Tensor:
    """Where gradient descent with momentum 0.9 on the population loss takes the points.

    Args:
        points: (W by rows, b).
        num_steps: Steps.
        rate: Of a step; the curvature of L at the polygons is of order one.
    """
    energy = population(1.0, points.shape[1] // 3)
    velocity = torch.zeros_like(points)
    for _ in range(num_steps):
        velocity = 0.9 * velocity - rate * energy(points)[1]
        points = points + velocity
    return points


def nearest(losses: Sequence[float] | np.ndarray, within: float = 1e-3) -> np.ndarray:
    """The phase whose critical point has this loss, as its place in `PHASES`; else `other`.

    Args:
        losses: L.
        within: Largest distance; critical points are 0.0069 apart or more.
    """
    named = levels()
    away = np.abs(np.asarray(losses)[:, None] - np.array(list(named.values())))
    places = np.array([PHASES.index(name) for name in named])[away.argmin(1)]
    return np.where(away.min(1) <= within, places, len(PHASES) - 1)


def _turn(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Twice the signed area of the triangle a, b, c."""
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
