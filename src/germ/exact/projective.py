r"""Homogeneous ideals: one blow-up of the point, and what is left at finitely many directions.

Let f_1, ..., f_r be homogeneous of degree k in d variables, and N = Σ|f_i|. At x = s·(z, 1), in
each chart,

    N dx = |s|^k N(z) · |s|^{d−1} ds dz,

so near a direction z at which N vanishes λ and m are those of |s|^k under |s|^{d−1} ds, λ = d/k,
times those of N(z), a product of separate variables; and the answer at 0 is the least λ over all
directions, with the largest m. If there are finitely many directions, all with rational
coordinates, that is a finite computation with one variable less.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

from germ.exact.coefficient import Coefficient
from germ.exact.degeneracy import Undecided
from germ.exact.form import Element, Factor
from germ.exact.variables import occurring, projected

SOURCE = "Watanabe 2009, Algebraic Geometry and Statistical Learning Theory, ch. 3 (blow-up)"
MAX_DIM, MAX_DEGREE, MAX_POINTS = 4, 8, 64

Point = tuple[Fraction, ...]


def directions(factors: Sequence[Factor]) -> tuple[Coefficient, Iterator[Factor]]:
    """λ and m of the blow-up itself, and the germs of N at the directions where it vanishes.

    Raises:
        Undecided: The generators are not homogeneous of one degree, or the directions are not
            finitely many rational ones.
    """
    if len(factors) != 1:
        raise Undecided("needs a single ideal")
    indices = sorted(occurring(factors[0].generators))
    _, (factor,) = projected(factors, indices)
    degrees = {sum(a) for f in factor.generators for a in f}
    dim, degree = len(indices), max(degrees)
    if len(degrees) != 1:
        raise Undecided("the generators are not homogeneous of one degree")
    if dim > MAX_DIM or degree > MAX_DEGREE:
        raise Undecided("too many variables, or too high a degree, for a Gröbner basis")
    ratio = Fraction(dim, degree * factor.power)
    step = f"blow-up of 0: the divisor has N = {degree * factor.power}, ν = {dim}, ν/N = {ratio}"
    own = Coefficient(ratio, 1, "blow-up of the point", SOURCE, (step,))
    found = []
    for chart in range(dim):
        generators = [f.compose(f.ring.gens[chart], f.ring.one) for f in factor.generators]
        for point in _real_zeros(generators, chart):
            # A direction is counted in the first chart that has it.
            if all(not x for x in point[:chart]):
                gens = factor.generators[0].ring.gens
                shifts = [(x, x + value) for x, value in zip(gens, point, strict=True)]
                moved = tuple(f.compose(shifts) for f in generators)
                found.append(Factor(tuple(f for f in moved if f), factor.power))
    return own, iter(found)


def least(own: Coefficient, local: Sequence[Coefficient]) -> Coefficient:
    """The least λ of the divisor alone and of its products with what it meets."""
    every = [own, *(own * other for other in local)]
    best = min(every, key=lambda known: (known.value, -known.multiplicity))
    step = f"the least λ over {len(local)} directions in which all generators vanish"
    return replace(best, steps=(*best.steps, step), method=own.method)


def _real_zeros(generators: Sequence[Element], chart: int) -> list[Point]:
    """The real zeros in a chart, where one coordinate is 1 (and 0 stands in its place).

    Raises:
        Undecided: They are not finitely many rational points.
    """
    import sympy

    symbols = generators[0].ring.symbols
    others = [symbol for i, symbol in enumerate(symbols) if i != chart]
    polys = [f.as_expr() for f in generators]
    if any(f.is_ground and f for f in generators):
        return []
    basis = sympy.groebner(polys, *others, order="grevlex")
    if basis.exprs == [1]:
        return []
    if not basis.is_zero_dimensional:
        raise Undecided("the generators vanish in infinitely many directions")
    coordinates: list[list[Fraction]] = []
    for symbol in symbols:
        if symbol == symbols[chart]:
            coordinates.append([Fraction(0)])
            continue
        order = [*(s for s in others if s != symbol), symbol]
        last = sympy.Poly(sympy.groebner(polys, *order, order="lex").exprs[-1], symbol)
        coordinates.append(_rational_roots(last))
    if len(points := list(product(*coordinates))) > MAX_POINTS:
        raise Undecided("the generators vanish in too many directions")
    return [point for point in points if not any(_value(f, point) for f in generators)]


def _rational_roots(poly: Any) -> list[Fraction]:
    """All real roots.

    Raises:
        Undecided: One of them is irrational.
    """
    roots = []
    for factor, _ in poly.factor_list()[1]:
        if factor.degree() == 1:
            slope, constant = factor.all_coeffs()
            root = -constant / slope
            roots.append(Fraction(int(root.p), int(root.q)))
        elif factor.count_roots():
            raise Undecided("the generators vanish in an irrational direction")
    return roots


def _value(f: Element, point: Point) -> Any:
    domain = f.ring.domain
    return f.evaluate(
        [
            (x, domain(value.numerator, value.denominator))
            for x, value in zip(f.ring.gens, point, strict=True)
        ]
    )
