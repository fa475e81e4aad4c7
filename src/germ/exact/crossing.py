r"""The rung of the Newton polyhedron: is it non-degenerate, and what then are λ and m?

Of a product Π N_k^{p_k} the polyhedron is the sum of the p_k-fold polyhedra. An ideal may have no
common zero on any of its compact faces. Single polynomials may, as long as the zeros of their
product are smooth: {f_k = 0} then crosses the toric divisors, as one more with ν/N = 1/p_k.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import product

from germ.errors import GermError
from germ.exact.coefficient import Coefficient
from germ.exact.degeneracy import Undecided, Zeros, examine
from germ.exact.form import Factor, times
from germ.exact.newton import Diagonal, Monomial, corners, diagonal
from germ.exact.variables import occurring

SOURCE = (
    "Varchenko 1976, Funct. Anal. Appl. 10:175; Arnold, Gusein-Zade, Varchenko 1988, "
    "Singularities II, ch. 8"
)
MAX_CORNERS = 4_000

Parts = tuple[Monomial, ...]
"""An exponent of each factor; together they make one of the product."""


def newton(factors: Sequence[Factor]) -> Coefficient:
    """λ and m of Π N^p from the Newton polyhedron.

    Raises:
        Undecided: It is degenerate, or cannot be shown not to be.
    """
    used = sorted(set().union(*(occurring(factor.generators) for factor in factors)))
    names = [str(factors[0].generators[0].ring.symbols[i]) for i in used]
    sums = _sums(factors, used)
    found = diagonal(sums)
    zeros = _examined(factors)
    steps = [_said(found, names)]
    crossing = {
        k: seen for k, seen in zeros.items() if any(z is not Zeros.NONE for z in seen.values())
    }
    value, m = found.value, found.codimension
    if not crossing:
        steps.append("non-degenerate: no face polynomial vanishes off the axes")
    else:
        touched = {k: {sums[a][k] for a in found.face} for k in crossing}
        value, m = _crossed(found, factors, crossing, touched, used)
        said = ", ".join(sorted({str(Fraction(1, factors[k].power)) for k in crossing}))
        steps.append(
            "non-degenerate: the zeros of face polynomials off the axes are smooth; there {f = 0} "
            f"crosses, with ν/N = {said}; the least is {value}"
        )
    return Coefficient(value, m, "Newton polyhedron", SOURCE, tuple(steps))


def _sums(factors: Sequence[Factor], used: list[int]) -> dict[Monomial, Parts]:
    """The corners of the polyhedron (and a few others), and what they are sums of."""
    lists = [
        corners({tuple(a[i] for i in used) for f in factor.generators for a in f})
        for factor in factors
    ]
    if math.prod(map(len, lists)) > MAX_CORNERS:
        raise Undecided("the polyhedron of the product has too many corners")
    return {
        tuple(
            sum(factor.power * k for factor, k in zip(factors, powers, strict=True))
            for powers in zip(*parts, strict=True)
        ): parts
        for parts in product(*lists)
    }


def _examined(factors: Sequence[Factor]) -> dict[int, dict[Parts, Zeros]]:
    """What is on the faces of each single polynomial, by its place.

    Raises:
        Undecided: Something is degenerate, or cannot be shown not to be.
    """
    single = {}
    for k, factor in enumerate(factors):
        seen = examine(factor.generators)
        if factor.principal:
            single[k] = seen
    vanishing = [k for k, seen in single.items() if any(z is not Zeros.NONE for z in seen.values())]
    if len(vanishing) > 1:
        together = factors[vanishing[0]].generators[0]
        try:
            for k in vanishing[1:]:
                together = times(together, factors[k].generators[0])
        except GermError as error:
            raise Undecided("too large to be multiplied out") from error
        examine([together])  # Where two vanish at once their product is singular.
    return single


def _crossed(
    found: Diagonal,
    factors: Sequence[Factor],
    crossing: dict[int, dict[Parts, Zeros]],
    touched: dict[int, set[Monomial]],
    used: list[int],
) -> tuple[Fraction, int]:
    """With each {f = 0} as one more divisor, of order p; they do not meet each other.

    Raises:
        Undecided: It matters whether one has real points somewhere, and that is not known.
    """
    ratios = {k: Fraction(1, factors[k].power) for k in crossing}
    least = min(ratios.values())
    if found.value < least:
        return found.value, found.codimension
    first = [k for k, ratio in ratios.items() if ratio == least]
    if found.value > least:
        if any(z is Zeros.SMOOTH for k in first for z in crossing[k].values()):
            return least, 1
        raise Undecided("cannot tell whether a factor has zeros off the axes")
    # A tie: do they meet the divisors of the smallest face σ through the diagonal?
    if not found.compact:
        raise Undecided("1/t is that of {f = 0}, on a face that is not compact")
    meets = [_on_face(crossing[k], touched[k], used) for k in first]
    if Zeros.UNKNOWN in meets and Zeros.SMOOTH not in meets:
        raise Undecided("cannot tell whether a factor has zeros off the axes")
    return least, found.codimension + (Zeros.SMOOTH in meets)


def _on_face(seen: dict[Parts, Zeros], touched: set[Monomial], used: list[int]) -> Zeros:
    """What is on the smallest face with these exponents; a vertex has no zeros."""
    if len(touched) == 1:
        return Zeros.NONE
    with_all = [face for face in seen if touched <= {tuple(a[i] for i in used) for a in face}]
    return seen[min(with_all, key=len)]


def _said(found: Diagonal, names: list[str]) -> str:
    weights = ", ".join(f"{name}: {w}" for name, w in zip(names, found.weight, strict=True))
    return (
        f"Newton polyhedron: weights {{{weights}}} have sum {found.value}, and at least 1 on every "
        f"exponent; 1/t = {found.value}, on a face of codimension {found.codimension} with the "
        f"exponents {_exponents(found.face)}"
    )


def _exponents(face: Sequence[Monomial]) -> str:
    shown = ", ".join(str(a).replace(",)", ")") for a in face[:6])
    return shown + (", ..." if len(face) > 6 else "")
