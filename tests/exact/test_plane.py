"""Resolution in the plane: known curves, irrational branches, and agreement with other rules."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import QQ
from sympy.polys.rings import ring

from germ.exact import plane, realfield
from germ.exact.crossing import newton
from germ.exact.degeneracy import Undecided
from germ.exact.form import Factor
from germ.exact.reduction import normalised, solve
from germ.exact.variables import occurring

RING, x, y = ring("x,y", QQ)


def resolved(*factors):
    """λ and m of Π|f|^p, with the plane's method alone."""
    normal = normalised([Factor(f if isinstance(f, tuple) else (f,), p) for f, p in factors])
    found = plane.resolve(normal, ("x", "y")).coefficient()
    return found.value, found.multiplicity


@pytest.mark.parametrize(
    ("factors", "value", "m"),
    [
        ([(x**2 - y**3, 2)], "5/12", 1),
        ([(x**2 - y**5, 2)], "7/20", 1),
        ([(x, 2), (x**2 - y**3, 2)], "5/18", 1),
        ([(x, 2), (y, 2), (x + y, 2)], "1/3", 1),
        ([(x - y, 2), (x + y, 2)], "1/2", 2),
        ([(y**2 - 2 * x**2, 2)], "1/2", 2),
        ([(x**3 - 2 * y**3, 2)], "1/3", 1),
        ([((x, y), 4)], "1/2", 1),
        ([(((x + y**2), y**3), 2)], "2/3", 1),
        # Two smooth branches that touch to the order 5: (1/2 + 1/10)/2.
        ([(y - x**2, 2), (y - x**2 - x**5, 2)], "3/10", 1),
        # One branch with the Puiseux pairs (3, 2), (13, 2): (1/4 + 1/6)/2.
        ([((y**2 - x**3) ** 2 - x**5 * y, 2)], "5/24", 1),
        # Two pairs of branches, tangent to y = ±√2 x.
        ([(y**2 - 2 * x**2, 2), (y**2 - 2 * x**2 - x**3, 2)], "1/4", 2),
        ([((x**2 - 2 * y**2) ** 2 + y**6, 1)], "1/2", 2),
        # The same with a cube root: three branches of which one is real.
        ([((x**3 - 2 * y**3) ** 2 + y**8, 1)], "1/3", 1),
        # A point alone, and a double point of two complex branches.
        ([(x**2 + y**2 - x**3, 1)], "1", 1),
        ([(x**4 + y**4 + x**3 * y**3, 1)], "1/2", 1),
        # Both signs.
        ([(x**2 - y**2, 1)], "1", 2),
        ([(x**2 - y**3, 1)], "5/6", 1),
    ],
)
def test_known_singularities(factors, value, m):
    assert resolved(*factors) == (Fraction(value), m)


@pytest.mark.parametrize("k", range(1, 8))
def test_two_branches_that_touch(k):
    # A_{2k−1}: the log canonical threshold of y² − x^{2k} is 1/2 + 1/(2k).
    value, m = Fraction(1, 2) + Fraction(1, 2 * k), 1 if k > 1 else 2
    assert resolved((y - x, 1), (y - x - x**k if k > 1 else y + x, 1)) == (value, m)
    assert resolved((y**2 - x ** (2 * k), 1)) == (value, m)
    # Complex branches: the same exceptional divisors, and no branch to cross.
    assert resolved((y**2 + x ** (2 * k), 1)) == (value, 1)


@pytest.mark.parametrize(("p", "q"), [(2, 3), (3, 4), (3, 5), (5, 7), (4, 9), (7, 12)])
def test_cusps(p, q):
    assert resolved((x**p - y**q, 1)) == (Fraction(1, p) + Fraction(1, q), 1)
    assert resolved(((x + y**2) ** p - y**q, 2)) == (
        (Fraction(1, p) + Fraction(1, q)) / 2 if q > p else None, 1,
    )  # fmt: skip


def test_sign_changes_are_seen():
    for f, odd in [
        (x**2 - y**3, True), (x * y, True), ((x - y) ** 2, False), (x**2 + y**4, False),
        ((x**2 - 2 * y**2) ** 2 + y**7, True), ((x**2 - 2 * y**2) ** 2 + y**6, False),
        ((y - x) ** 2 - x**3, True), (x**3 - 2 * y**3, True),
    ]:  # fmt: skip
        assert plane.resolve(normalised([Factor((f,), 1)]), ("x", "y")).odd is odd, f


def test_divisors_are_told_with_their_numbers():
    found = plane.resolve([Factor((x**2 - y**3,), 2)], ("x", "y"))
    assert [(d.order, d.jacobian) for d in found.divisors] == [(12, 5), (2, 1)]
    assert found.crossings == [(0, 1)]
    steps = found.coefficient().steps
    assert "weights (3, 2): N = 12, ν = 5, ν/N = 5/12" in steps[0]


def test_two_irrational_numbers_are_refused():
    # Branches at y = √2 x, which part at ∛3·√2-ish slopes: v³ = 3 over ℚ(√2), twice.
    part = (y**2 - 2 * x**2) ** 3 - 3 * x**9
    with pytest.raises(Undecided, match="two irrational"):
        plane.resolve(normalised([Factor((part,), 1), Factor((part + x**10,), 1)]), ("x", "y"))


def test_depth_is_limited(monkeypatch):
    monkeypatch.setattr(plane, "MAX_DEPTH", 2)
    with pytest.raises(Undecided, match="2 blow-ups"):
        resolved((y - x - x**2 - x**3 - x**4, 1), (y - x - x**2 - x**3 - x**4 - x**5, 1))


@st.composite
def polynomials(draw):
    """A polynomial with a zero at 0."""
    monomial = st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(any)
    coefficient = st.integers(-3, 3).filter(bool)
    return RING.from_dict(
        {
            a: QQ(c)
            for a, c in draw(st.dictionaries(monomial, coefficient, min_size=1, max_size=4)).items()
        }
    )


@st.composite
def factors(draw):
    generators = st.lists(polynomials(), min_size=1, max_size=2).map(tuple)
    factor = st.builds(Factor, generators, st.sampled_from([1, 2, 4]))
    return draw(st.lists(factor, min_size=1, max_size=2))


@settings(deadline=None, max_examples=15)
@given(factors())
def test_the_plane_and_the_polyhedron_agree_where_both_apply(given):
    normal = normalised(given)
    if not normal or len(set().union(*(occurring(k.generators) for k in normal))) < 2:
        return
    found = plane.resolve(normal, ("x", "y")).coefficient()
    try:
        other = newton(normal)
    except Undecided:
        return
    assert (found.value, found.multiplicity) == (other.value, other.multiplicity)


CHANGES = (
    {"x": x + 2 * y, "y": x + y},
    {"x": x, "y": y - 3 * x},
    {"x": x + y**2, "y": y},
    {"x": x, "y": 2 * y - x**2 + x * y},
)


@settings(deadline=None, max_examples=15)
@given(factors(), st.sampled_from(CHANGES))
def test_coordinates_do_not_matter(given, change):
    found = solve(given)
    images = [(x, change["x"]), (y, change["y"])]
    moved = [Factor(tuple(f.compose(images) for f in k.generators), k.power) for k in given]
    again = solve(moved)
    assert (again.value, again.multiplicity) == (found.value, found.multiplicity)


def test_signs_and_roots_in_a_number_field():
    line, s = ring("s", QQ)
    minus, plus = (realfield.RealField(s**2 - 2, index) for index in (0, 1))
    for number_field, root in ((minus, -(2**0.5)), (plus, 2**0.5)):
        alpha = number_field.domain.unit
        close = number_field.domain.convert(QQ(141421356237309, 10**14))
        assert number_field.sign(alpha) == (1 if root > 0 else -1)
        assert number_field.sign(alpha - close) == (1 if root > 0 else -1)
        assert number_field.sign(alpha**2 - 2 * number_field.domain.one) == 0
        _, t = ring("t", number_field.domain)
        assert number_field.num_real_roots(t**2 - alpha) == (2 if root > 0 else 0)
        assert number_field.num_real_roots((t - alpha) ** 2 * (t**2 + 1)) == 1
        assert number_field.num_real_roots(t * (t**3 - alpha)) == 1  # 0 is not counted
    assert realfield.RealField().num_real_roots((s**2 - 2) * (s**2 + 2) * s) == 2
    assert realfield.RealField().num_real_roots(line.one) == 0
