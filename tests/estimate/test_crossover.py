"""The n at which the posterior goes over from one region to another."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import germ
from germ.errors import GermError
from germ.exact import polygon, superposition


def difference(n, loss_u, lambda_u, loss_v, lambda_v, m_u=1, m_v=1, constant=0.0):
    """F_n(u) − F_n(v)."""
    complexity = (lambda_u - lambda_v) * math.log(n) - (m_u - m_v) * math.log(math.log(n))
    return n * (loss_u - loss_v) + complexity + constant


def test_the_polygons_of_the_toy_model_cross_at_601():
    """Chen et al. 2023: from the 5-gon to the 6-gon under the prior N(0, 1), at n = 601."""
    one, two = polygon(6, 5), polygon(6, 6)

    def prior_energy(found, corners):
        return corners * (found.length**2 + found.bias**2) / 2

    constant = prior_energy(one, 5) - prior_energy(two, 6)
    coefficients = [superposition(6, corners).value for corners in (5, 6)]
    n = germ.crossover(one.loss, coefficients[0], two.loss, coefficients[1], constant=constant)
    assert n is not None and round(n) == 601
    without = germ.crossover(one.loss, coefficients[0], two.loss, coefficients[1])
    assert without is not None and abs(without - 601) > 100


@settings(deadline=None, max_examples=40)
@given(
    st.floats(1e-4, 1), st.floats(0.1, 5), st.floats(0.05, 5), st.integers(1, 3),
    st.integers(1, 3), st.floats(-5, 5),
)  # fmt: skip
def test_it_is_the_last_zero(gain, lambda_u, cost, m_u, m_v, constant):
    arguments = (gain, lambda_u, 0.0, lambda_u + cost)
    n = germ.crossover(*arguments, multiplicity_u=m_u, multiplicity_v=m_v, constant=constant)
    beyond = np.geomspace((n or math.e) * 1.001, (n or math.e) * 1e6, 200)
    after = [difference(x, *arguments, m_u, m_v, constant) for x in beyond]
    assert min(after) > -1e-6
    if n is not None:
        scale = gain * n + cost * math.log(n) + abs(constant) + 1
        assert abs(difference(n, *arguments, m_u, m_v, constant)) < 1e-9 * scale
        assert difference(n * 0.999, *arguments, m_u, m_v, constant) < 0


@pytest.mark.parametrize("ratio", [2.72, 5.0, 1e3, 1e9])
def test_lambert_w_and_root_finding_agree(ratio):
    closed = germ.crossover(1.0, 1.0, 0.0, 1.0 + ratio)
    found = germ.crossover(1.0, 1.0, 0.0, 1.0 + ratio, constant=1e-12)
    assert closed == pytest.approx(found, rel=1e-6)
    assert closed is not None and closed / math.log(closed) == pytest.approx(ratio)


def test_below_e_the_better_region_always_wins():
    assert germ.crossover(1.0, 1.0, 0.0, 1.0 + 2.71) is None
    assert germ.crossover(1.0, 1.0, 0.0, 1.5, constant=3.0) is None


def test_nothing_to_trade_is_refused():
    for arguments in ((0.1, 2, 0.2, 1), (0.2, 2, 0.1, 1), (0.1, 1, 0.1, 2), (math.nan, 1, 0.1, 2)):
        with pytest.raises(GermError, match="v fits better and is more"):
            germ.crossover(*arguments)
