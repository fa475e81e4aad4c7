from fractions import Fraction as F

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from germ.errors import GermError
from germ.exact.coefficient import Coefficient


def known(value, multiplicity=1, source="a theorem"):
    return Coefficient(F(value), multiplicity, "a rule", source)


# Built in the test: what checks types as they are built draws random numbers of its own.
parts = st.tuples(st.fractions(min_value=F(1, 50), max_value=50), st.integers(1, 9))


def test_sums_and_products_of_separate_variables():
    half, third = known("1/2", 2), known("1/3")
    assert str(half + third) == "λ = 5/6, m = 2"
    assert str(half * third) == "λ = 1/3, m = 1"
    assert str(half * half) == "λ = 1/2, m = 4"


@settings(deadline=None)
@given(parts, parts, parts)
def test_the_calculus_does_not_care_for_order_or_brackets(one, two, three):
    x, y, z = known(*one), known(*two), known(*three)
    for left, right in [(x + y, y + x), ((x + y) + z, x + (y + z)),
                        (x * y, y * x), ((x * y) * z, x * (y * z))]:  # fmt: skip
        assert (left.value, left.multiplicity) == (right.value, right.multiplicity)


def test_the_leading_terms():
    assert known("1/2", 2).expected(1e4) == pytest.approx(0.5 - 1 / 9.210340371976184)
    assert known("1/2").expected(10.0) == 0.5


@pytest.mark.parametrize("nbeta", [1.0, 0.0, -3.0, float("inf"), float("nan")])
def test_no_expansion_below_one(nbeta):
    with pytest.raises(GermError, match="nbeta > 1"):
        known("1/2", 2).expected(nbeta)


@pytest.mark.parametrize(("value", "m"), [("0", 1), ("-1/2", 1), ("1/2", 0)])
def test_what_no_function_has_is_refused(value, m):
    with pytest.raises(GermError, match="λ > 0"):
        known(value, m)


def test_json_and_sources():
    joined = known("1/2", source="one") + known("1/4", source="two") + known("1/4", source="one")
    found = joined.to_dict()
    assert found["lambda"] == "1"
    assert found["source"] == "one; two"
    assert len(found["steps"]) == 2
