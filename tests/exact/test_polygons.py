"""The toy model of superposition: its loss, its critical points, and their λ."""

from fractions import Fraction

import numpy as np
import pytest
from scipy import optimize

from germ.errors import GermError
from germ.exact import polygon, superposition, superposition_loss
from germ.exact.polygons import hessian

# Chen et al. 2023, table of critical points, c = 6: corners, positive, ℓ, b, L.
PUBLISHED = [
    (4, 0, 1.0, 0.0, 0.11111),
    (4, 1, 1.0, 0.0, 0.10417),
    (4, 2, 1.0, 0.0, 0.09722),
    (5, 0, 1.17046, -0.28230, 0.06874),
    (5, 1, 1.17046, -0.28230, 0.06180),
    (6, 0, 1.32053, -0.61814, 0.04819),
]


def midpoint_loss(weights, biases, num=20_000):
    """L by the midpoint rule in μ, from its definition."""
    mu = (np.arange(num) + 0.5) / num
    total = 0.0
    for i in range(len(biases)):
        out = np.maximum(np.outer(weights.T @ weights[:, i], mu) + biases[:, None], 0)
        out[i] -= mu
        total += (out**2).sum(axis=0).mean()
    return total / len(biases)


def test_the_loss_is_the_integral():
    rng = np.random.default_rng(0)
    for columns in (3, 6):
        weights, biases = rng.normal(size=(2, columns)), rng.normal(size=columns) / 2
        found = superposition_loss(weights, biases)
        assert found == pytest.approx(midpoint_loss(weights, biases), rel=1e-6)


def test_a_zero_column_is_on_with_a_positive_bias_and_off_without():
    weights = np.zeros((2, 3))
    assert superposition_loss(weights, np.full(3, -1.0)) == pytest.approx(1 / 3)
    # ∫(μ − b)² + (c − 1)b² for each of the three.
    assert superposition_loss(weights, np.full(3, 0.5)) == pytest.approx(1 / 12 + 2 / 4)


@pytest.mark.parametrize(("corners", "positive", "length", "bias", "loss"), PUBLISHED)
def test_the_published_critical_points(corners, positive, length, bias, loss):
    found = polygon(6, corners, positive)
    assert round(found.length, 5) == length and round(found.bias, 5) == bias
    assert round(found.loss, 5) == loss
    assert found.loss == pytest.approx(midpoint_loss(found.weights, found.biases), abs=1e-7)


@pytest.mark.parametrize(("corners", "positive"), [(5, 0), (5, 1), (6, 0)])
def test_they_are_minima_that_descent_does_not_leave(corners, positive):
    found = polygon(6, corners, positive)
    start = np.concatenate([found.weights.ravel(), found.biases])
    nearby = start + 1e-3 * np.random.default_rng(1).normal(size=start.shape)
    settled = optimize.minimize(
        lambda w: superposition_loss(w[:12].reshape(2, 6), w[12:]), nearby, tol=1e-12
    )
    assert settled.fun == pytest.approx(found.loss, abs=1e-8)


def test_the_learning_coefficients_of_the_paper():
    for corners, positive, value in ((5, 0, 7), (5, 1, Fraction(17, 2)), (6, 0, Fraction(17, 2))):
        found = superposition(6, corners, positive)
        assert (found.value, found.multiplicity) == (value, 1)


def test_the_hessian_is_that_of_the_loss():
    found = polygon(6, 5, 1)
    at = np.concatenate([found.weights.ravel(), found.biases])
    matrix = hessian(found.weights, found.biases)
    rng = np.random.default_rng(2)
    for _ in range(5):
        along = rng.normal(size=18)
        values = [
            superposition_loss((at + t * along)[:12].reshape(2, 6), (at + t * along)[12:])
            for t in (-1e-3, 0, 1e-3)
        ]
        second = (values[0] - 2 * values[1] + values[2]) / 1e-6
        assert second == pytest.approx(along @ matrix @ along, rel=1e-3)


def test_four_corners_sit_on_the_kink_and_are_refused():
    for corners in (3, 4):
        with pytest.raises(GermError, match="kink"):
            superposition(6, corners)


def test_a_saddle_is_refused():
    found = polygon(8, 6, 1)
    assert np.linalg.eigvalsh(hessian(found.weights, found.biases))[0] < -1e-4
    with pytest.raises(GermError, match="saddle"):
        superposition(8, 6, 1)


def test_counts_out_of_range():
    for case in ((6, 7, 0), (6, 5, 2), (6, 2, 0), (6, 5, -1)):
        with pytest.raises(GermError, match="corners <= columns"):
            polygon(*case)
