from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from germ.errors import GermError
from germ.exact.monomial import monomial
from germ.exact.polynomial import polynomial

POWERS = st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any)


def test_a_jacobian_moves_the_poles():
    # ∫ |x⁴y²|^z |x| dx dy has the poles −2/4 and −1/2.
    found = monomial([4, 2], jacobian=[1, 0])
    assert (found.value, found.multiplicity) == (Fraction(1, 2), 2)


def test_a_variable_that_k_does_not_have_counts_nowhere():
    assert monomial([0, 4], jacobian=[0, 0]).value == Fraction(1, 4)
    assert monomial([0, 4], jacobian=[0, 0]).multiplicity == 1


@settings(deadline=None)
@given(POWERS)
def test_the_rule_is_that_of_polynomials(powers):
    found = monomial([2 * power for power in powers])
    text = "*".join(f"x{i}^{2 * power}" for i, power in enumerate(powers))
    again = polynomial(text)
    assert (found.value, found.multiplicity) == (again.value, again.multiplicity)


@pytest.mark.parametrize(
    ("powers", "jacobian", "told"),
    [
        ([0, 0], None, "one of them positive"),
        ([], None, "one of them positive"),
        ([2, -2], None, ">= 0"),
        ([2, 2], [0, -1], ">= 0"),
        ([2, 2], [1], "each of 2 variables; got 1"),
    ],
)
def test_what_is_no_monomial_is_refused(powers, jacobian, told):
    with pytest.raises(GermError, match=told):
        monomial(powers, jacobian)
