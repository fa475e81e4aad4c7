r"""The Newton polyhedron: where it meets the diagonal, and on which face.

Of generators f_1, ..., f_r with exponents A ⊂ ℕ^d, the polyhedron is P = conv(A) + ℝ^d_{≥0}, and
with N = Σ|f_i|, if no compact face is degenerate (`germ.exact.degeneracy`),

    λ(N) = min_w (w_1 + ... + w_d) / min_{a∈A} w·a  =  1/t  where (t, ..., t) ∈ ∂P
    m(N) = the codimension of the smallest face of P that contains (t, ..., t)

over weights w ≥ 0 (Varchenko 1976, *Funct. Anal. Appl.* 10:175; Arnold, Gusein-Zade, Varchenko
1988, *Singularities of Differentiable Maps* II, ch. 8; for ideals Lin 2011, thesis, §4.3). The
polyhedron alone bounds: N ≤ C Σ|x^a|, so λ is never above 1/t.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from germ.exact.simplex import Programme, rank

Monomial = tuple[int, ...]


@dataclass(frozen=True)
class Diagonal:
    """Where the diagonal meets the Newton polyhedron.

    Attributes:
        value: 1/t.
        codimension: Of the smallest face through (t, ..., t).
        weight: A weight w whose minimal face contains the point, scaled to min w·a = 1.
        face: The corners of that smallest face.
        compact: Whether that smallest face is compact.
    """

    value: Fraction
    codimension: int
    weight: tuple[Fraction, ...]
    face: tuple[Monomial, ...]
    compact: bool


def minimal(monomials: Iterable[Monomial]) -> list[Monomial]:
    """Those that no other one divides: they have the same polyhedron."""
    found: list[Monomial] = []
    for a in sorted(set(monomials), key=lambda a: (sum(a), a)):
        if not any(all(i <= j for i, j in zip(b, a, strict=True)) for b in found):
            found.append(a)
    return found


def corners(monomials: Iterable[Monomial]) -> list[Monomial]:
    """The vertices of the polyhedron: what is in the hull of the others and above is none."""
    candidates = minimal(monomials)
    found = []
    for b in candidates:
        others = [a for a in candidates if a != b]
        matrix = [[a[i] for a in others] for i in range(len(b))]
        ones = [1] * len(others)
        if not others or Programme(ones, [*matrix, ones], [*b, 1]).value < 1:
            found.append(b)
    return found


def diagonal(monomials: Iterable[Monomial]) -> Diagonal:
    r"""Solve min Σw_i subject to w·a ≥ 1, w ≥ 0, by its dual: max Σy_a subject to Σ y_a a ≤ 1.

    Args:
        monomials: Exponents of d ≥ 1 variables, none of them zero.
    """
    found = minimal(monomials)
    dim = len(found[0])
    matrix = [[a[i] for a in found] for i in range(dim)]
    programme = Programme([1] * len(found), matrix, [1] * dim)
    # The weights that attain the minimum form a polytope. Its dimension is what is left free by
    # the constraints that hold with equality all over it.
    tight = programme.positive_somewhere()
    face = [a for j, a in enumerate(found) if j in tight]
    free = [i for i in range(dim) if len(found) + i not in tight]
    equations = [[a[i] for i in free] for a in face]
    codimension = len(free) - rank(equations) + 1
    return Diagonal(programme.value, codimension, programme.prices, tuple(face), len(free) == dim)


def on_compact_faces(monomials: Iterable[Monomial]) -> frozenset[Monomial]:
    """The exponents on some compact face of their polyhedron.

    By Farkas: b is on none if and only if it lies above a mixture of the corners a, that is,
    Σμ_a (b − a) ≥ 0 with a positive sum, for some μ ≥ 0.
    """
    lowest = minimal(monomials)  # What another one divides lies above it: on no compact face.
    dim = len(lowest[0])
    found = set()
    for b in lowest:
        differences = [[i - j for i, j in zip(b, a, strict=True)] for a in lowest]
        matrix = [[-row[i] for row in differences] for i in range(dim)]
        bounds = [0] * dim + [1]
        programme = Programme(
            [sum(row) for row in differences], [*matrix, [1] * len(lowest)], bounds
        )
        if programme.value == 0:
            found.add(b)
    return frozenset(found)
