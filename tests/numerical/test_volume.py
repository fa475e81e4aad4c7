"""λ and m from the volume: the truth lies within the stated errors, and they are not wide."""

import dataclasses

import numpy as np
import pytest

from germ.errors import GermError
from germ.numerical import fit_exponent, split, volume_exponent


def covers(found, truth):
    return abs(found.value - truth) < 4 * found.error + found.systematic


@pytest.mark.parametrize(
    ("potential", "dim", "truth", "m"),
    [
        (lambda w: w[:, 0] ** 2, 1, 1 / 2, 1),
        (lambda w: (w**2).sum(1), 3, 3 / 2, 1),
        (lambda w: w[:, 0] ** 2 * w[:, 1] ** 4, 2, 1 / 4, 1),
    ],
)
def test_regular_and_simple_poles(potential, dim, truth, m):
    found = volume_exponent(potential, [(-1, 1)] * dim, 1e-14, num_points=300, seed=1)
    assert covers(found, truth)
    assert found.multiplicity == m or not found.decided
    assert any(each.multiplicity == m for each in found.candidates[:2])
    assert found.error < 0.03 * truth and found.total_error < 0.15 * truth


def test_three_crossing_planes():
    found = volume_exponent(lambda w: w.prod(1) ** 2, [(-1, 1)] * 3, 1e-20, seed=1)
    assert found.multiplicity == 3 and found.decided
    assert covers(found, 1 / 2)
    # A straight line is biased by more than ten of its errors: the logarithms are needed.
    straight = next(each for each in found.candidates if str(each).count("m = 1 "))
    assert abs(straight.value - 1 / 2) > 0.06
    assert found.runner_up is not None and found.runner_up.aic > found.candidates[0].aic + 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("potential", "dim", "truth"),
    [
        (lambda w: (w[:, 0] * w[:, 1]) ** 2, 2, 1 / 2),
        (lambda w: (w[:, 0] ** 2 - w[:, 1] ** 3) ** 2, 2, 5 / 12),
        (lambda w: (w[:, 0] ** 2 - w[:, 1] ** 2) ** 2, 2, 1 / 2),
        (lambda w: (w[:, 0] * w[:, 1] * (w[:, 0] + w[:, 1])) ** 2, 2, 1 / 3),
        (lambda w: w[:, 0] ** 4 + w[:, 0] ** 2 * w[:, 1] ** 4, 2, 3 / 8),
        (lambda w: (w[:, :2] ** 2).sum(1) * (w[:, 2:] ** 2).sum(1), 4, 1),
        (
            lambda w: ((w[:, :4].reshape(-1, 2, 2) @ w[:, 4:].reshape(-1, 2, 2)) ** 2).sum((1, 2)),
            8,
            3 / 2,
        ),
    ],
)
def test_singular_cases(potential, dim, truth):
    found = volume_exponent(potential, [(-1, 1)] * dim, seed=1)
    assert covers(found, truth)
    assert found.total_error < 0.12 * truth


@pytest.mark.slow
def test_stated_noise_covers():
    # 40 seeds of a case whose form is known: 16 replicas, so Student's t with 15 degrees.
    scores = []
    for seed in range(40):
        run = split(lambda w: (w**2).sum(1), [(-1, 1)] * 2, 1e-8, num_points=100, seed=seed)
        found = fit_exponent(run, max_multiplicity=1)
        scores.append((found.candidates[0].value - 1) / found.error)
    assert np.mean(np.abs(scores) < 1) > 0.667 - 4 * np.sqrt(0.667 * 0.333 / 40)
    assert abs(np.mean(scores)) < 4 / np.sqrt(40)


def test_refuses_a_range_that_shows_nothing():
    run = split(lambda w: w[:, 0] ** 2, [(-1, 1)], 1e-2, num_points=50)
    with pytest.raises(GermError, match="halve at least 5 times"):
        fit_exponent(run)
    with pytest.raises(GermError, match="max_multiplicity from 1"):
        fit_exponent(run, max_multiplicity=0)


def test_refuses_a_replica_that_died_out():
    run = split(lambda w: w[:, 0] ** 2, [(-1, 1)], 1e-6, num_points=50)
    dead = np.where(run.values[:1] < 1e-3, -np.inf, run.weights[:1])
    broken = dataclasses.replace(run, weights=np.concatenate([dead, run.weights[1:]]))
    with pytest.raises(GermError, match="died out on the way down"):
        fit_exponent(broken)
    assert broken.inflation() == np.inf
    # The others still say what the volume is: a dead replica counts as 0.
    logs, _ = broken.log_volumes([1e-6])
    assert np.isfinite(logs).all()
