"""Quadrature against closed forms and one-dimensional integrals by another library."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import erf, gammainc

from germ.errors import GermError
from germ.numerical import quadrature, quadratures

SQUARE = [(-1.0, 1.0)] * 2


def half_line(nbeta, k):
    """∫₀¹ exp(−nβ x^{2k}) dx by the incomplete gamma function."""
    a = 1 / (2 * k)
    return math.gamma(a) * gammainc(a, nbeta) / (2 * k) * nbeta**-a


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("nbeta", [0.5, 1e2, 1e6])
def test_powers_of_one_variable(k, nbeta):
    found = quadrature(lambda w: w[:, 0] ** (2 * k), [(-1, 1)], nbeta)
    log_z = math.log(half_line(nbeta, k))
    assert found.converged
    assert abs(found.log_z - log_z) <= found.log_z_error + 1e-13
    # d log Z / d nβ by hand: E[nβK] = 1/(2k) − exp(−nβ) / (2k Z).
    mean = (1 - math.exp(-nbeta - log_z)) / (2 * k)
    assert abs(found.mean - mean) <= found.mean_error + 1e-13


@pytest.mark.parametrize("nbeta", [1e2, 1e4, 1e6])
def test_product_of_two_squares(nbeta):
    # The inner integral is an error function; the outer is smooth in log y.
    def inner(s):
        y = math.exp(-s)
        return y * math.sqrt(math.pi / nbeta) / (2 * y) * erf(math.sqrt(nbeta) * y)

    z, _ = quad(inner, 0, 60, epsabs=0, epsrel=1e-11, limit=500)
    # Σ w ∂K = 2·2K: integration by parts in x alone leaves the edges x = ±1.
    edge = half_line(nbeta, 1)
    found = quadrature(lambda w: (w[:, 0] * w[:, 1]) ** 2, SQUARE, nbeta)
    assert abs(found.log_z - math.log(z)) <= found.log_z_error + 1e-9
    assert abs(found.mean - (1 - edge / z) / 2) <= found.mean_error + 1e-9


@pytest.mark.parametrize(
    ("potential", "truths"),
    [
        # facts.md §2, rows 5, 20, 22, 25 at nβ = 10², 10⁴.
        (lambda w: (w[:, 0] * w[:, 1]) ** 2, (0.3478, 0.4105)),
        (lambda w: (w[:, 0] * w[:, 1] * (w[:, 0] + w[:, 1])) ** 2, (0.2365, 0.3011)),
        (lambda w: w[:, 0] ** 4 + (w[:, 0] * w[:, 1]) ** 2, (0.3753, 0.4204)),
        (lambda w: (w[:, 0] + w[:, 1] ** 2) ** 2 + w[:, 1] ** 6, (0.6667, 0.6667)),
    ],
)
def test_published_finite_values(potential, truths):
    found = quadratures(potential, SQUARE, [1e2, 1e4])
    assert [round(each.mean, 4) for each in found] == list(truths)


def test_a_curved_layer_a_thousandth_wide():
    # (x² − y³)², nβ = 10⁶: computed once by iterated Gauss rules on panels graded towards the
    # curve and the corner where it leaves the square.
    found = quadrature(lambda w: (w[:, 0] ** 2 - w[:, 1] ** 3) ** 2, SQUARE, 1e6)
    assert abs(found.mean - 0.400927723) < 1e-7


def test_three_variables():
    # The radius alone: K = r⁶ in a ball inside the cube, the rest is below exp(−nβ).
    found = quadrature(lambda w: (w**2).sum(1) ** 3, [(-1, 1)] * 3, 1e4)
    volume = 4 * math.pi / 6 * math.gamma(0.5) * 1e4**-0.5 / 8
    assert abs(found.log_z - math.log(volume)) <= found.log_z_error
    assert abs(found.mean - 0.5) <= found.mean_error


@settings(deadline=None, max_examples=20)
@given(st.floats(-0.9, 0.9), st.floats(-0.9, 0.9), st.floats(0.3, 30), st.floats(1, 1e6))
def test_finds_a_peak_wherever_it_is(x, y, stretch, nbeta):
    found = quadrature(lambda w: (w[:, 0] - x) ** 2 + stretch * (w[:, 1] - y) ** 2, SQUARE, nbeta)
    truth = 0.0
    for centre, scale in ((x, nbeta), (y, nbeta * stretch)):
        root = math.sqrt(scale)
        truth += math.log(
            math.sqrt(math.pi / scale) / 4 * (erf(root * (1 - centre)) + erf(root * (1 + centre)))
        )
    assert abs(found.log_z - truth) <= found.log_z_error + 1e-12


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-6])
def test_stated_error_bounds_the_error(tolerance):
    def potential(w):
        return (w[:, 0] ** 2 - w[:, 1] ** 3) ** 2

    exact = quadrature(potential, SQUARE, 1e4, tolerance=1e-9)
    found = quadrature(potential, SQUARE, 1e4, tolerance=tolerance)
    assert found.log_z_error <= tolerance and found.mean_error <= tolerance
    assert abs(found.log_z - exact.log_z) <= found.log_z_error
    assert abs(found.mean - exact.mean) <= found.mean_error
    assert found.num_evaluations < exact.num_evaluations


def test_localization_is_a_gaussian_prior():
    nbeta, gamma, anchor = 50.0, 30.0, 0.2
    found = quadrature(
        lambda w: w[:, 0] ** 2, [(-9, 9)], nbeta, localization=gamma, anchor=[anchor]
    )
    total = 2 * nbeta + gamma
    exponent = nbeta * gamma * anchor**2 / total
    assert found.log_z == pytest.approx(0.5 * math.log(gamma / total) - exponent, abs=1e-8)
    spread = 1 / total + (gamma * anchor / total) ** 2
    assert found.mean == pytest.approx(nbeta * spread, abs=1e-8)
    assert found.log_prior_mass == pytest.approx(0.5 * math.log(2 * math.pi / gamma), abs=1e-8)
    same = quadrature(
        lambda w: w[:, 0] ** 2, [(-9, 9)], nbeta,
        log_prior=lambda w: -gamma / 2 * (w[:, 0] - anchor) ** 2 + 7,
    )  # fmt: skip
    assert same.log_z == pytest.approx(found.log_z, abs=1e-8)


def test_thermodynamic_integration_gives_log_z():
    # −log Z(nβ) = ∫₀^{nβ} E_b[K] db = ∫ E_b[bK] d log b.
    def potential(w):
        return w[:, 0] ** 2 * (w[:, 0] ** 2 - w[:, 1] ** 3) ** 2

    low, high = 1e-3, 1e4
    nodes, weights = np.polynomial.legendre.leggauss(40)
    half = math.log(high / low) / 2
    nbetas = low * np.exp(half * (nodes + 1))
    found = quadratures(potential, SQUARE, [0.0, *nbetas, low, high])
    integral = half * sum(w * each.mean for w, each in zip(weights, found[1:-2], strict=True))
    assert -found[-1].log_z == pytest.approx(integral - found[-2].log_z, abs=1e-6)
    assert found[0].log_z == 0


def test_order_of_nbeta_does_not_matter():
    def potential(w):
        return w[:, 0] ** 4

    up = quadratures(potential, [(-1, 1)], [1.0, 10.0, 1000.0])
    down = quadratures(potential, [(-1, 1)], [1000.0, 1.0, 10.0])
    assert [each.nbeta for each in down] == [1000, 1, 10]
    assert up[2].log_z == pytest.approx(down[0].log_z, abs=2e-9)


def test_refuses_a_prior_that_means_nothing():
    def run(value):
        return quadrature(
            lambda w: w[:, 0] ** 2, [(-1, 1)], 1.0, log_prior=lambda w: np.full(len(w), value)
        )

    assert run(5.0).log_z == pytest.approx(run(0.0).log_z)
    for value, message in ((-np.inf, "not zero in the box"), (np.nan, "not NaN")):
        with pytest.raises(GermError, match=message):
            run(value)
    with pytest.raises(GermError, match="localization finite"):
        quadrature(lambda w: w[:, 0] ** 2, [(-1, 1)], 1.0, localization=-1.0)
    with pytest.raises(GermError, match="anchor of 1 coordinates"):
        quadrature(lambda w: w[:, 0] ** 2, [(-1, 1)], 1.0, localization=1.0, anchor=[0.0, 0.0])


def test_says_when_it_gave_up():
    def kink(w):
        return np.abs(w[:, 0] ** 2 - w[:, 1] ** 2)

    early, late = quadratures(kink, SQUARE, [1.0, 1e8], max_evaluations=400_000)
    assert late.num_evaluations <= 500_000
    better = quadrature(kink, SQUARE, 1.0, tolerance=1e-6)
    assert better.converged and not early.converged
    assert 1e-7 < early.mean_error < 1e-2
    assert abs(early.mean - better.mean) <= early.mean_error + better.mean_error
    # At 10⁸ the cells see nothing of what they were too coarse for before: no error can be stated.
    assert not late.converged
    assert late.mean_error == late.log_z_error == math.inf


@pytest.mark.parametrize(
    ("potential", "bounds", "nbeta", "message"),
    [
        (lambda w: w[:, 0], [(-1, 1)], 1.0, r"K >= 0; got K = -1 at \(-1\)"),
        (lambda w: 1 / w[:, 0] ** 2, [(-1, 1)], 1.0, "finite values of the potential; got inf"),
        (lambda w: w, [(-1, 1)], 1.0, r"shape \(1088,\); got shape \(1088, 1\)"),
        (lambda w: w[:, 0] ** 2, [(-1, 1)] * 4, 1.0, "at most 3 variables .* germ.numerical.split"),
        (lambda w: w[:, 0] ** 2, [(1, -1)], 1.0, "lower < upper"),
        (lambda w: w[:, 0] ** 2, [-1, 1], 1.0, r"shape \(dim, 2\)"),
        (lambda w: w[:, 0] ** 2, [(-1, 1)], -1.0, "nbeta finite and not negative"),
        (lambda w: w[:, 0] ** 2, [(-1, 1)], math.inf, "nbeta finite"),
    ],
)
def test_refusals(potential, bounds, nbeta, message):
    with np.errstate(divide="ignore"), pytest.raises(GermError, match=message):
        quadrature(potential, bounds, nbeta)
