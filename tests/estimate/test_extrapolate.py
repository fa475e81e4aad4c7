"""λ and m from exact values of λ̂ at finite nβ, with noise put on."""

from __future__ import annotations

import numpy as np
import pytest
from tests.estimate.exact_draws import expectation, log_evidence, log_evidence_of_a_product

from germ.errors import GermError
from germ.estimate.extrapolate import extrapolate

LADDER = np.geomspace(1e2, 1e6, 9)


def noisy(values, share, seed):
    errors = share * np.abs(values)
    return values + errors * np.random.default_rng(seed).normal(size=len(values)), errors


def product():
    """E[nβ·x²y²] under a standard normal, by quadrature: λ = 1/2, m = 2."""
    return np.array(
        [x * expectation(lambda b: log_evidence_of_a_product(b, 1.0), x) for x in LADDER]
    )


def quartic():
    """E[nβ·x⁴], likewise: λ = 1/4, m = 1."""
    return np.array(
        [x * expectation(lambda b: log_evidence(lambda w: w**4, b, 1.0), x) for x in LADDER]
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_product_of_two_squares(seed):
    values = product()
    assert values[-1] < 0.44  # 13% below λ at the highest nβ
    found = extrapolate(LADDER, *noisy(values, 0.01, seed), dimension=4, exact_minimum=True)
    assert found.value == pytest.approx(0.5, rel=0.09)
    assert found.interval[0] < 0.5 < found.interval[1]
    assert found.multiplicity in (2, None)


@pytest.mark.parametrize("seed", range(3))
def test_a_quartic(seed):
    found = extrapolate(LADDER, *noisy(quartic(), 0.01, seed), dimension=2, exact_minimum=True)
    assert found.value == pytest.approx(0.25, rel=0.03)
    assert found.multiplicity == 1


def test_a_quadratic_that_the_localization_bends():
    curvatures = np.geomspace(1e-3, 10, 40)
    scaled = np.multiply.outer(LADDER, curvatures)
    values = 0.5 * (scaled / (scaled + 1)).sum(axis=1)[:6]
    assert values[0] < 15  # of λ = 20
    found = [
        extrapolate(LADDER[:6], *noisy(values, 0.005, seed), dimension=60, exact_minimum=True)
        for seed in range(10)
    ]
    # Its interval is too narrow here: it held 20 for 11 of 24 seeds (docs/profile.md).
    for one in found:
        assert one.value == pytest.approx(20, rel=0.07)
    assert np.median([abs(one.value / 20 - 1) for one in found]) < 0.04


def test_a_regular_minimum_is_within_its_interval():
    # λ = d/2 is the largest there can be: the interval must not stop short of it.
    found = extrapolate(LADDER, *noisy(np.full(9, 5.0), 0.01, 1), dimension=10, exact_minimum=True)
    assert found.interval[1] == pytest.approx(5.0, rel=1e-6)
    assert found.multiplicity == 1


def test_what_descending_takes_is_given_back():
    nbetas = np.geomspace(50, 1e4, 8)
    values, errors = noisy(np.full(8, 30.0), 0.005, 3)
    values = values - 6e-4 * nbetas  # 6 at the highest nβ
    found = extrapolate(nbetas, values, errors, dimension=200)
    assert found.interval[0] < 30 < found.interval[1]
    assert found.descent == pytest.approx(6, rel=0.25)


def test_the_interval_holds_lambda_as_often_as_it_says():
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(30):
        # From the family itself: a plateau, a logarithm or a power, drawn at random.
        value, shift = rng.uniform(2, 20), rng.uniform(1.5, 8)
        m, power = rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2]), rng.choice([0.5, 1.0])
        logs = np.log(LADDER[::2] / LADDER[0])
        exact = value - (m - 1) / (logs + shift) - 0.2 * value * np.exp(-power * logs)
        errors = 0.01 * exact
        found = extrapolate(
            LADDER[::2], exact + errors * rng.normal(size=5), errors, dimension=200,
            exact_minimum=True,
        )  # fmt: skip
        held += found.interval[0] <= value <= found.interval[1]
    assert held >= 23  # of 30 at 90%: fewer once in 200 times


def test_m_is_undecided_where_it_cannot_be_told():
    # (m − 1)/log nβ is a tenth of λ's error here.
    found = extrapolate(LADDER, *noisy(np.full(9, 50.0), 0.02, 0), dimension=400)
    assert found.multiplicity is None and "undecided" in str(found)
    assert sum(found.probabilities) == pytest.approx(1)


@pytest.mark.parametrize(
    ("nbetas", "values", "message"),
    [
        ([10, 100], [1, 1], "3 rungs"),
        ([0.5, 10, 100], [1, 1, 1], "above 1"),
        ([10, 100, 1000], [1, 1, -1], "no λ"),
        ([10, 100, 1000], [1, np.nan, 1], "finite"),
    ],
)
def test_what_has_no_limit_is_refused(nbetas, values, message):
    with pytest.raises(GermError, match=message):
        extrapolate(nbetas, values, [0.1] * len(values), dimension=10)
