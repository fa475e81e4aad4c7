r"""Is the Newton polyhedron allowed to speak? The zeros of the face polynomials, checked.

On a compact face σ each generator f keeps the terms f_σ on σ. With (ℝ∖0)^d the torus,

- if no σ has a common zero of all f_σ in the torus, then N = Σ|f| ≥ c Σ|x^a|, and λ, m are those
  of the monomials;
- a single f may have zeros there, as long as they are smooth on {f_σ = 0}: the set {f = 0} then
  crosses the exceptional divisors of a toric resolution like one more coordinate.

Edges are decided exactly, by counting real roots. Larger faces are decided where signs or a
Gröbner basis over ℂ settle them. Everything else is `Undecided`, and nothing is claimed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

from germ.exact import faces
from germ.exact.form import Element, show
from germ.exact.newton import Monomial, on_compact_faces

# Gröbner bases explode without warning; faces beyond these sizes are left undecided.
MAX_DIM, MAX_FACE_TERMS, MAX_DEGREE = 3, 24, 12
_SAMPLES = (Fraction(1, 4), Fraction(1), Fraction(3))

Terms = dict[Monomial, Fraction]


class Undecided(Exception):
    """Why a method does not apply, or cannot be shown to."""


class Zeros(enum.Enum):
    """The common zeros of face polynomials in the torus."""

    NONE = "no real zero off the axes"
    SMOOTH = "real zeros off the axes, all smooth"
    UNKNOWN = "no singular real zero off the axes"


def examine(generators: Sequence[Element]) -> dict[tuple[Monomial, ...], Zeros]:
    """The zeros on every compact face that needs to be looked at.

    Returns:
        What is on each face with more than one term; empty if there is nothing to fear.

    Raises:
        Undecided: A face is degenerate, or it cannot be told.
    """
    terms = [_terms(f) for f in generators]
    support = {a for f in terms for a in f}
    relevant = on_compact_faces(support)
    kept = [{a: c for a, c in f.items() if a in relevant} for f in terms]
    if all(_one_signed(list(f.items())) for f in kept):
        return {}
    try:
        found = faces.compact_faces(relevant)
    except faces.TooManyFaces:
        raise Undecided("the Newton polyhedron has too many faces to check one by one") from None
    return {face: _on_face([_restricted(f, face) for f in kept], generators[0]) for face in found}


def _on_face(restricted: list[Terms], sample: Element) -> Zeros:
    # A generator without a term on the face vanishes there; one with a single term never does.
    present = [f for f in restricted if f]
    if any(_one_signed(list(f.items())) for f in present):
        return Zeros.NONE
    dim, reduced = _reduced(present)
    single = len(restricted) == 1
    try:
        return _on_edge(reduced, single) if dim == 1 else _on_larger(reduced, single, dim)
    except Undecided as reason:
        shown = ", ".join(show(sample.ring.from_dict(f)) for f in present)
        raise Undecided(f"the face polynomial {shown} {reason}") from None


def _on_edge(reduced: list[Terms], single: bool) -> Zeros:
    import sympy

    s = sympy.Symbol("s")
    common = None
    for f in reduced:
        poly = sympy.Poly.from_dict({a: _rational(c) for a, c in f.items()}, s, domain="QQ")
        common = poly if common is None else common.gcd(poly)
    assert common is not None
    if not _real_roots(common):
        return Zeros.NONE
    if single and not _real_roots(common.gcd(common.diff(s))):
        return Zeros.SMOOTH
    raise Undecided("has a zero off the axes" + (", of multiplicity > 1" if single else ""))


def _on_larger(reduced: list[Terms], single: bool, dim: int) -> Zeros:
    orthants = list(product((0, 1), repeat=dim))
    if all(any(len(_signs(f, o)) == 1 for f in reduced) for o in orthants):
        return Zeros.NONE
    if (
        any(len(f) > MAX_FACE_TERMS for f in reduced)
        or dim > MAX_DIM
        or _degree(reduced) > MAX_DEGREE
    ):
        raise Undecided("is too large to decide whether it has a singular zero off the axes")
    if _may_vanish(reduced, single, dim):
        raise Undecided("may have a singular zero off the axes")
    if not single:
        return Zeros.NONE
    both = any(len({v > 0 for v in _values(reduced[0], o, dim) if v}) == 2 for o in orthants)
    return Zeros.SMOOTH if both else Zeros.UNKNOWN


def _may_vanish(reduced: list[Terms], single: bool, dim: int) -> bool:
    """Whether a (for one polynomial: singular) real zero in the torus cannot be excluded."""
    import sympy

    gens = sympy.symbols(f"y:{dim}")
    inverse = sympy.Symbol("inverse")
    polys = [
        sympy.Poly.from_dict({a: _rational(c) for a, c in f.items()}, *gens, domain="QQ").as_expr()
        for f in reduced
    ]
    if single:
        polys += [sympy.diff(polys[0], y) for y in gens]
    polys.append(1 - inverse * sympy.prod(gens))
    basis = sympy.groebner(polys, inverse, *gens, order="grevlex")
    if basis.exprs == [1]:
        return False
    if not basis.is_zero_dimensional:
        return True
    # Finitely many complex points. Each coordinate satisfies an equation in one variable; if one
    # of these has no real root, no point is real.
    for y in gens:
        others = [inverse, *(g for g in gens if g != y), y]
        last = sympy.groebner(polys, *others, order="lex").exprs[-1]
        if last.free_symbols == {y} and not _real_roots(sympy.Poly(last, y)):
            return False
    return True


def _values(f: Terms, orthant: tuple[int, ...], dim: int) -> Iterable[Fraction]:
    for sizes in product(_SAMPLES, repeat=dim):
        point = [-s if odd else s for s, odd in zip(sizes, orthant, strict=True)]
        total = Fraction(0)
        for a, c in f.items():
            for x, i in zip(point, a, strict=True):
                c *= x**i
            total += c
        yield total


def _signs(f: Terms, orthant: tuple[int, ...]) -> set[bool]:
    """The signs of the terms in an orthant, whose 1s are the negative coordinates."""
    return {(c > 0) ^ bool(_dot(a, orthant) % 2) for a, c in f.items()}


def _one_signed(terms: list[tuple[Monomial, Fraction]]) -> bool:
    """Whether all terms have one sign in every orthant: never a zero in the torus, then."""
    parities = {tuple(i % 2 for i in a) for a, _ in terms}
    return len(parities) <= 1 and len({c > 0 for _, c in terms}) <= 1


def _reduced(present: list[Terms]) -> tuple[int, list[Terms]]:
    """The same zeros in as few variables as the face has dimensions.

    A unimodular matrix of exponents is a bijection of the torus, real points to real points.
    """
    first = next(iter(present[0]))
    rows = [[i - j for i, j in zip(a, first, strict=True)] for f in present for a in f]
    dim, change = _hermite(rows)
    moved = [
        {tuple(_dot(a, column) for column in change[:dim]): c for a, c in f.items()}
        for f in present
    ]
    reduced = []
    for f in moved:
        least = [min(a[i] for a in f) for i in range(dim)]
        reduced.append(
            {tuple(i - j for i, j in zip(a, least, strict=True)): c for a, c in f.items()}
        )
    return dim, reduced


def _hermite(rows: list[list[int]]) -> tuple[int, list[list[int]]]:
    """The rank, and unimodular columns of which the rows see only the first so many."""
    width = len(rows[0])
    columns = [[row[i] for row in rows] for i in range(width)]
    change = [[int(i == j) for i in range(width)] for j in range(width)]
    done = 0
    for row in range(len(rows)):
        while True:
            live = [j for j in range(done, width) if columns[j][row]]
            if len(live) <= 1:
                break
            least = min(live, key=lambda j: abs(columns[j][row]))
            for j in live:
                if j != least:
                    times = columns[j][row] // columns[least][row]
                    columns[j] = [
                        a - times * b for a, b in zip(columns[j], columns[least], strict=True)
                    ]
                    change[j] = [
                        a - times * b for a, b in zip(change[j], change[least], strict=True)
                    ]
        if live:
            for table in (columns, change):
                table[done], table[live[0]] = table[live[0]], table[done]
            done += 1
    return done, change


def _real_roots(poly: Any) -> int:
    """Real roots other than 0, each counted once."""
    if poly.degree() <= 0:
        return 0
    return int(poly.count_roots()) - int(poly.eval(0) == 0)


def _restricted(f: Terms, face: tuple[Monomial, ...]) -> Terms:
    return {a: f[a] for a in face if a in f}


def _terms(f: Element) -> Terms:
    return {a: Fraction(int(c.numerator), int(c.denominator)) for a, c in f.items()}


def _degree(reduced: list[Terms]) -> int:
    return max(sum(a) for f in reduced for a in f)


def _dot(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(i * j for i, j in zip(a, b, strict=True))


def _rational(c: Fraction) -> Any:
    import sympy

    return sympy.Rational(c.numerator, c.denominator)
