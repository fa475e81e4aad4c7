"""Coordinates in which smooth factors are straight.

A polynomial a·x + b with a(0) ≠ 0, where a and b do not have x, is a coordinate in place of x. If
a is a constant the change of variables is a polynomial one, and so is its inverse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from germ.exact.form import Element, Factor, raised, show, times
from germ.exact.simplex import rank

MAX_TERMS, MAX_DEGREE = 40, 30  # Of a generator that is factored to find coordinates.
MAX_IMAGE_TERMS = 2_000


def independent(polynomials: Sequence[Element]) -> bool:
    """Whether the gradients at 0 are linearly independent."""
    return rank([gradient(f) for f in polynomials]) == len(polynomials)


def gradient(f: Element) -> list[Fraction]:
    """The linear part at 0."""
    return [_rational(f.coeff(x)) for x in f.ring.gens]


def solvable(generators: Sequence[Element]) -> tuple[int, int] | None:
    """A generator a·x + b with a(0) ≠ 0, the shortest, and the index of x; None without one."""
    found = [
        (not _slope(f, i).is_ground, len(f), number, i)
        for number, f in enumerate(generators)
        for i in range(f.ring.ngens)
        if _linear_in(f, i)
    ]
    return min(found)[2:] if found else None


def substituted(f: Element, chosen: Element, index: int) -> Element:
    """`f` at x = −b/a, times the power of a that clears the denominators: a(0) ≠ 0.

    Raises:
        GermError: It is too large.
    """
    a = _slope(chosen, index)
    b = chosen - a * f.ring.gens[index]
    degree = max((monomial[index] for monomial in f), default=0)
    result = f.ring.zero
    for monomial, c in f.items():
        power = monomial[index]
        rest = f.ring.term_new(tuple(0 if i == index else k for i, k in enumerate(monomial)), c)
        if power:
            rest = times(rest, raised(-b, power)) if b else f.ring.zero
        result += times(rest, raised(a, degree - power)) if power < degree else rest
    return result


def straightened(factors: Sequence[Factor]) -> tuple[tuple[Factor, ...], str] | None:
    """Take smooth factors of the generators as coordinates, as many as go; None if none does.

    Returns:
        The factors in the new coordinates, each called as the variable it replaces, and a line
        that says which.
    """
    current = list(factors)
    candidates = _candidates(factors)
    taken: set[int] = set()
    said: list[str] = []
    while found := _first(candidates, taken):
        chosen, index = found
        x = chosen.ring.gens[index]
        a = _slope(chosen, index)
        image = (x - (chosen - a * x)).quo_ground(a.LC)  # x = (X − b)/a
        highest = max(monomial[index] for k in current for f in k.generators for monomial in f)
        if math.comb(highest + len(image) - 1, highest) > MAX_IMAGE_TERMS:
            return None
        current = [
            Factor(tuple(f.compose(x, image) for f in k.generators), k.power) for k in current
        ]
        candidates = [f.compose(x, image) for f in candidates]
        taken.add(index)
        said.append(f"{show(chosen)} as {x}")
    return (tuple(current), "coordinates: " + ", then ".join(said)) if said else None


def constant_direction(generators: Sequence[Element]) -> int | None:
    """The index of a variable that may be set to 0, since some direction changes nothing.

    Where v·∇f = 0 for every f, and v_i ≠ 0, each f depends on the x_j − x_i v_j/v_i alone.
    """
    ring = generators[0].ring
    used = sorted({i for f in generators for a in f for i, k in enumerate(a) if k})
    rows: dict[tuple[int, tuple[int, ...]], list[Fraction]] = {}
    for number, f in enumerate(generators):
        for column, i in enumerate(used):
            for a, c in f.diff(ring.gens[i]).items():
                row = rows.setdefault((number, a), [Fraction(0)] * len(used))
                row[column] = _rational(c)
    matrix = list(rows.values())
    full = rank(matrix)
    if full == len(used):
        return None
    # A column that is a combination of the others has a kernel vector with a 1 there.
    for column, i in reversed(list(enumerate(used))):
        if rank([[*row[:column], *row[column + 1 :]] for row in matrix]) == full:
            return i
    raise AssertionError("a matrix without full rank has a dependent column")


def _candidates(factors: Sequence[Factor]) -> list[Element]:
    """Factors of the generators with a zero at 0, the short ones first."""
    found: dict[Element, None] = {}
    for factor in factors:
        for f in factor.generators:
            if len(f) <= MAX_TERMS and max(map(sum, f)) <= MAX_DEGREE:
                for irreducible, _ in f.factor_list()[1]:
                    if len(irreducible) > 1 and not irreducible.const():
                        found[irreducible] = None
    return sorted(found, key=len)


def _first(candidates: Sequence[Element], taken: set[int]) -> tuple[Element, int] | None:
    """The first that can be taken as a coordinate, and in place of which variable."""
    for f in candidates:
        for i in range(f.ring.ngens):
            if len(f) > 1 and i not in taken and _linear_in(f, i) and _slope(f, i).is_ground:
                return f, i
    return None


def _linear_in(f: Element, i: int) -> bool:
    return bool(f.coeff(f.ring.gens[i])) and all(monomial[i] <= 1 for monomial in f)


def _slope(f: Element, i: int) -> Element:
    """The coefficient a of a·x + b."""
    lowered = {
        tuple(k - (j == i) for j, k in enumerate(monomial)): c
        for monomial, c in f.items()
        if monomial[i]
    }
    return f.ring.from_dict(lowered)


def _rational(c: Any) -> Fraction:
    return Fraction(int(c.numerator), int(c.denominator))
