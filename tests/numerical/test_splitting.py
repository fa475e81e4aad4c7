"""Multilevel splitting: exact volumes, and error bars that cover."""

import math

import numpy as np
import pytest
from scipy.special import ndtri

from germ.errors import GermError
from germ.numerical import quadrature, split


def ball(dim, t, stretch=1.0):
    """Log of the share of [−1, 1]^d in {Σ sᵢwᵢ² < t}, Π sᵢ = stretch."""
    return (
        dim / 2 * math.log(math.pi * t)
        - math.lgamma(dim / 2 + 1)
        - dim * math.log(2)
        - math.log(stretch) / 2
    )


def test_area_between_hyperbolas():
    # area{(xy)² < ε} = 4√ε(1 + ½ log 1/ε) in [−1, 1]² (facts.md §2).
    run = split(lambda w: (w[:, 0] * w[:, 1]) ** 2, [(-1, 1)] * 2, 1e-10, seed=1)
    thresholds = np.array([1e-2, 1e-6, 1e-10])
    logs, errors = run.log_volumes(thresholds)
    exact = np.log(np.sqrt(thresholds) * (1 - np.log(thresholds) / 2))
    assert (errors < 0.06).all()
    assert (np.abs(logs - exact) < 4 * errors).all()


@pytest.mark.parametrize("dim", [2, 6])
def test_ellipsoids(dim):
    stiffness = 10.0 ** np.linspace(0, 3, dim)
    run = split(
        lambda w: (stiffness * w**2).sum(1), [(-1, 1)] * dim, 1e-3, num_points=300, seed=dim
    )
    logs, errors = run.log_volumes([1e-1, 1e-3])
    exact = [ball(dim, t, stiffness.prod()) for t in (1e-1, 1e-3)]
    assert (np.abs(logs - exact) < 4 * errors).all()
    assert errors.max() < 0.25


@pytest.mark.slow
def test_a_ball_in_twelve_variables():
    run = split(lambda w: (w**2).sum(1), [(-1, 1)] * 12, 1e-8, seed=3)
    logs, errors = run.log_volumes([1e-4, 1e-8])
    assert (np.abs(logs - [ball(12, 1e-4), ball(12, 1e-8)]) < 4 * errors).all()
    assert errors.max() < 0.3  # of a volume of 1e−51


def test_unbiased_with_bad_moves_and_errors_that_cover():
    # One move a level hardly forgets. 80 independent runs: E[V̂] = V, and with R = 8 replicas
    # z follows Student's t with 7 degrees of freedom, as far as V̂ is normal.
    num_runs, t = 80, 1e-2
    ratios, scores = [], []
    for seed in range(num_runs):
        run = split(
            lambda w: (w**2).sum(1), [(-1, 1)] * 3, t,
            num_points=60, num_replicas=8, num_moves=1, seed=seed,
        )  # fmt: skip
        logs, errors = run.log_volumes([t])
        ratios.append(math.exp(logs[0] - ball(3, t)))
        scores.append((logs[0] - ball(3, t)) / errors[0])
    standard_error = np.std(ratios, ddof=1) / math.sqrt(num_runs)
    assert standard_error < 0.05
    assert abs(np.mean(ratios) - 1) < 4 * standard_error
    covered = np.mean(np.abs(scores) < 1)
    expected = 0.649  # P(|t₇| < 1)
    assert abs(covered - expected) < 4 * math.sqrt(expected * (1 - expected) / num_runs)
    assert np.mean(np.abs(scores) < 2.365) > 0.95 - 4 * math.sqrt(0.95 * 0.05 / num_runs)


@pytest.mark.parametrize("nbeta", [1e2, 1e4])
@pytest.mark.parametrize(
    "potential",
    [
        lambda w: (w[:, 0] ** 2 - w[:, 1] ** 3) ** 2,
        lambda w: (w[:, 0] ** 2 - w[:, 1] ** 2) ** 2,
        lambda w: w[:, 0] ** 4 + (w[:, 0] * w[:, 1]) ** 2,
    ],
)
def test_agrees_with_quadrature(potential, nbeta):
    exact = quadrature(potential, [(-1, 1)] * 2, nbeta)
    found = split(potential, [(-1, 1)] * 2, 1e-6, seed=2).integral(nbeta)
    assert found.log_z_error < 0.06 and found.mean_error < 0.02
    assert abs(found.log_z - exact.log_z) < 4 * found.log_z_error
    assert abs(found.mean - exact.mean) < 4 * found.mean_error
    assert found.log_prior_mass == pytest.approx(exact.log_prior_mass)


def test_disconnected_wells_keep_their_shares():
    # Two wells of widths 1 : 3 at the same height; no move needs to find the other.
    def potential(w):
        return np.minimum((w[:, 0] + 0.5) ** 2, (w[:, 0] - 0.5) ** 2 / 9) + w[:, 1] ** 2

    run = split(potential, [(-1, 1)] * 2, 1e-6, num_points=300, seed=5)
    logs, errors = run.log_volumes([1e-6])
    assert abs(logs[0] - math.log(math.pi * 4e-6 / 4)) < 4 * errors[0]


def test_a_minimum_of_positive_volume():
    run = split(lambda w: np.maximum(w[:, 0] ** 2 - 0.01, 0), [(-1, 1)], 1e-9, seed=6)
    logs, errors = run.log_volumes([1e-9])
    assert abs(logs[0] - math.log(0.1)) < 4 * errors[0]


def test_prior_by_function():
    # ‖w‖² of three standard normal variables: χ² with 3 degrees of freedom.
    run = split(lambda w: (w**2).sum(1), ndtri, 1e-3, dim=3, num_points=300, seed=4)
    logs, errors = run.log_volumes([1e-3])
    exact = 1.5 * math.log(1e-3) + math.log(math.sqrt(2 / math.pi) / 3)
    assert abs(logs[0] - exact) < 4 * errors[0]


def test_same_seed_same_run_and_another_seed_another():
    runs = [
        split(lambda w: w[:, 0] ** 2, [(-1, 1)], 1e-4, num_points=50, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(runs[0].values, runs[1].values)
    assert not np.array_equal(runs[0].values[:, :5], runs[2].values[:, :5])


def test_volumes_of_the_whole_and_of_replicas():
    run = split(lambda w: w[:, 0] ** 2, [(-1, 1)], 1e-6, num_points=100)
    logs = run.replica_log_volumes([1e-6, 1e-3, 2.0])
    assert (np.diff(logs, axis=1) > 0).all()
    # Each replica's estimate of the whole is 1 on average, and near it.
    assert abs(np.exp(logs[:, -1]).mean() - 1) < 0.1
    assert 0.2 < run.inflation() < 5


@pytest.mark.parametrize(
    ("potential", "settings", "message"),
    [
        (lambda w: np.ones(len(w)), {}, "tie at K = 1"),
        (lambda w: np.abs((1 + w[:, 0]) - 1), {"smallest": 1e-20}, "is rounding"),
        (lambda w: w[:, 0], {}, "K >= 0"),
        (lambda w: w[:, 0] ** 2, {"smallest": 0.0}, "smallest > 0"),
        (lambda w: w[:, 0] ** 2, {"num_replicas": 2}, "num_replicas >= 4"),
        (lambda w: w[:, 0] ** 2, {"dim": 3}, "dim left out"),
        (lambda w: w[:, 0] ** 2, {"prior": ndtri}, "expected dim from 1"),
    ],
)
def test_refusals(potential, settings, message):
    settings = {"prior": [(-1, 1)], "smallest": 1e-3, "num_points": 50, **settings}
    with pytest.raises(GermError, match=message):
        split(potential, settings.pop("prior"), settings.pop("smallest"), **settings)


def test_refuses_what_lies_below_the_end():
    run = split(lambda w: w[:, 0] ** 2, [(-1, 1)], 1e-3, num_points=50)
    with pytest.raises(GermError, match=r"at least 0.001, where the splitting ended"):
        run.log_volumes([1e-4])
    with pytest.raises(GermError, match="nbeta at most 1e"):
        run.integral(1e4)
