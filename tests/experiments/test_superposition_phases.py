"""Phases: hulls against scipy, polygons turned and shuffled, and where descent ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull

from germ.experiments.superposition_phases import (
    PHASES,
    classify,
    corners,
    descend,
    nearest,
    shares,
)
from germ.experiments.superposition_pieces import population
from germ.experiments.superposition_points import COUNTS, critical_point, levels


def test_corners_are_those_of_the_hull():
    points = np.random.default_rng(0).normal(size=(60, 18))
    found = corners(torch.from_numpy(points))
    for row, mine in zip(points, found.numpy(), strict=True):
        hull = ConvexHull(row[:12].reshape(2, 6).T)
        assert set(np.flatnonzero(mine)) == set(hull.vertices)


def placed(name: str, rng: np.random.Generator) -> np.ndarray:
    """A polygon, turned, with its columns shuffled."""
    found = critical_point(name)
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    order = rng.permutation(6)
    return np.concatenate([(turn @ found.weights)[:, order].ravel(), found.biases[order]])


@pytest.mark.parametrize("name", list(COUNTS))
def test_polygons_are_told_wherever_they_are(name):
    rng = np.random.default_rng(1)
    points = np.stack([placed(name, rng) + 0.01 * rng.normal(size=18) for _ in range(20)])
    assert [PHASES[phase] for phase in classify(torch.from_numpy(points))] == [name] * 20


def test_three_corners_are_other_and_shares_add_up():
    rng = np.random.default_rng(2)
    point = placed("4", rng)
    point[:12] = 0.0
    point[[0, 7]] = 1.0
    point[[2, 8]] = -1.0
    found = classify(torch.from_numpy(np.stack([point, placed("6", rng)])))
    assert [PHASES[phase] for phase in found] == ["other", "6"]
    assert shares(found)[PHASES.index("6")] == 0.5 and sum(shares(found)) == 1


def test_descent_ends_at_the_polygon_it_started_near():
    rng = np.random.default_rng(3)
    points = torch.from_numpy(
        np.stack([placed(name, rng) + 0.02 * rng.normal(size=18) for name in ("5", "5+", "6")])
    )
    ends = descend(points, 1500)
    losses = population(1.0)(ends)[0].numpy()
    assert [PHASES[phase] for phase in nearest(losses)] == ["5", "5+", "6"]
    assert losses == pytest.approx([levels()[name] for name in ("5", "5+", "6")], abs=1e-5)
    assert PHASES[nearest([0.2])[0]] == "other"
