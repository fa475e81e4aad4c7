"""The polyhedron against brute force, and the check that it may speak."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import QQ
from sympy.polys.rings import ring

from germ.exact import faces
from germ.exact.crossing import newton
from germ.exact.degeneracy import Undecided, Zeros, examine
from germ.exact.faces import compact_faces
from germ.exact.form import Factor
from germ.exact.newton import corners, diagonal, minimal, on_compact_faces
from germ.exact.simplex import Programme, rank

RING, x, y, z = ring("x,y,z", QQ)


@st.composite
def exponents(draw, dim=None, largest=5):
    dim = draw(st.integers(1, 4)) if dim is None else dim
    monomial = st.tuples(*[st.integers(0, largest)] * dim).filter(any)
    return draw(st.lists(monomial, min_size=1, max_size=7, unique=True))


@settings(deadline=None)
@given(exponents(dim=2))
def test_no_weight_on_a_grid_does_better_and_one_does_as_well(monomials):
    found = diagonal(monomials)
    # In the plane the weights that matter are normals of edges: at most 5 and 5.
    ratios = [
        Fraction(sum(w), least)
        for w in itertools.product(range(6), repeat=2)
        if (least := min(sum(i * j for i, j in zip(w, a, strict=True)) for a in monomials))
    ]
    assert found.value == min(ratios)


@settings(deadline=None)
@given(exponents())
def test_no_weight_on_a_grid_does_better(monomials):
    found = diagonal(monomials)
    for w in itertools.product(range(4), repeat=len(monomials[0])):
        least = min(sum(i * j for i, j in zip(w, a, strict=True)) for a in monomials)
        assert least * found.value <= sum(w)
    assert sum(found.weight) == found.value
    for a in monomials:
        assert sum(i * j for i, j in zip(found.weight, a, strict=True)) >= 1


@settings(deadline=None)
@given(exponents(), st.data())
def test_the_diagonal_moves_as_it_must(monomials, data):
    found = diagonal(monomials)
    order = data.draw(st.permutations(range(len(monomials[0]))))
    moved = diagonal([tuple(a[i] for i in order) for a in monomials])
    assert (moved.value, moved.codimension) == (found.value, found.codimension)
    scaled = diagonal([tuple(3 * i for i in a) for a in monomials])
    assert (scaled.value, scaled.codimension) == (found.value / 3, found.codimension)
    more = diagonal([*monomials, tuple(i + 1 for i in monomials[0])])  # inside the polyhedron
    assert more == found
    idle = diagonal([(*a, 0) for a in monomials])
    assert (idle.value, idle.codimension) == (found.value, found.codimension)


@pytest.mark.parametrize(
    ("monomials", "value", "codimension", "compact"),
    [
        ([(2, 4)], "1/4", 1, False),
        ([(2, 2)], "1/2", 2, True),
        ([(2, 2, 2)], "1/2", 3, True),
        ([(4, 0), (2, 2)], "1/2", 2, True),
        ([(4, 0), (2, 4)], "3/8", 1, True),
        ([(2, 2, 0), (0, 2, 2)], "1/2", 1, False),
        ([(2, 0, 0), (0, 2, 0), (0, 0, 2)], "3/2", 1, True),
        ([(2, 2, 0), (2, 0, 2), (0, 2, 2)], "3/4", 1, True),
        ([(6, 0), (2, 2), (0, 6)], "1/2", 2, True),
    ],
)
def test_known_polyhedra(monomials, value, codimension, compact):
    found = diagonal(monomials)
    assert (found.value, found.codimension, found.compact) == (
        Fraction(value), codimension, compact,
    )  # fmt: skip


def test_faces_of_a_square_based_pyramid():
    square = [(2, 2, 0), (2, 0, 2), (4, 0, 0)]
    found = compact_faces(square)
    # (2,2,0), (2,0,2) and (4,0,0) span a triangle: itself and its three edges.
    assert sorted(map(len, found)) == [2, 2, 2, 3]
    assert compact_faces([(2, 4)]) == []


@settings(deadline=None)
@given(exponents())
def test_faces_and_linear_programmes_agree(monomials):
    on = on_compact_faces(monomials)
    vertices = set(corners(monomials))
    assert vertices <= on <= set(monomials)
    in_faces = {a for face in compact_faces(monomials) for a in face}
    # Every exponent of a compact face is a vertex, or on an edge or more together with others.
    assert on == in_faces | vertices
    assert vertices <= set(minimal(monomials))


def test_too_many_faces_are_said(monkeypatch):
    monkeypatch.setattr(faces, "MAX_FACES", 5)
    with pytest.raises(Undecided, match="too many faces"):
        examine([x**2 + x * y + y**2 + z**2 + y * z])
    monkeypatch.setattr(faces, "MAX_RAYS", 3)
    with pytest.raises(faces.TooManyFaces):
        faces.compact_faces([(2, 0, 0), (0, 2, 0), (0, 0, 2)])


def test_the_simplex_method_on_a_programme_that_cycles_without_blands_rule():
    # Beale's example.
    programme = Programme(
        [Fraction(3, 4), -150, Fraction(1, 50), -6],
        [
            [Fraction(1, 4), -60, Fraction(-1, 25), 9],
            [Fraction(1, 2), -90, Fraction(-1, 50), 3],
            [0, 0, 1, 0],
        ],
        [0, 0, 1],
    )
    assert programme.value == Fraction(1, 20)
    assert sum(b * w for b, w in zip([0, 0, 1], programme.prices, strict=True)) == Fraction(1, 20)


def test_rank():
    assert rank([[1, 2], [2, 4], [0, 1]]) == 2
    assert rank([[0, 0], [0, 0]]) == 0
    assert rank([]) == 0


@pytest.mark.parametrize(
    ("generators", "zeros"),
    [
        ([x**2 + y**2], set()),
        ([x**2 + x * y + y**2], {Zeros.NONE}),
        ([x**2 - 3 * x * y + y**2], {Zeros.SMOOTH}),
        ([x**2 - 2 * y**2, x * y], {Zeros.NONE}),
        ([x**2 + y**2 + z**2 + x * y + y * z], {Zeros.NONE, Zeros.UNKNOWN}),
        ([x**2 + y**2 - z**2 + x * y], {Zeros.NONE, Zeros.SMOOTH}),
        # Above the compact faces anything may stand.
        ([x**2 + y**2 - 7 * x * y**2 + y**3 * x], set()),
    ],
)
def test_zeros_of_face_polynomials(generators, zeros):
    assert set(examine(generators).values()) == zeros


@pytest.mark.parametrize(
    ("generators", "told"),
    [
        ([(x - y) ** 2], "multiplicity > 1"),
        ([(x**2 - 2 * y**2) ** 2 + z**8], "multiplicity > 1"),
        ([x - y, x - y + z], "has a zero"),
        ([x**2 - 2 * y**2, x**4 - 4 * y**4], "has a zero"),
        # Motzkin's polynomial: zero at (±1, ±1, ±1), and positive elsewhere.
        ([x**4 * y**2 + x**2 * y**4 + z**6 - 3 * x**2 * y**2 * z**2], "singular zero"),
    ],
)
def test_degenerate_faces_are_found(generators, told):
    with pytest.raises(Undecided, match=told):
        examine(generators)


@pytest.mark.parametrize(
    ("f", "value", "m"),
    [
        (x**2 + y**2 - z**2, 1, 1),  # 1/t = 3/2: the cone itself is what counts
        (x**3 + y**3 + z**3, 1, 2),  # 1/t = 1 on a face with real zeros
        (x * (x**2 + y**2 - z**2), 1, 3),  # plane and cone meet on the divisor
        (x**4 + y**4 - z**4, Fraction(3, 4), 1),
        (x**2 + y**2 + z**4 - x * z**3, Fraction(5, 4), 1),
        (x * y * z, 1, 3),
    ],
)
def test_both_signs(f, value, m):
    found = newton([Factor((f,), 1)])
    assert (found.value, found.multiplicity) == (value, m)
    half = newton([Factor((f,), 2)])
    assert (half.value, half.multiplicity) == (found.value / 2, m)
