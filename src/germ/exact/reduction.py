r"""The ladder: from a form |K| ≍ Π N^p to λ and m, by rules each of which is proven to apply.

Products and sums of separate variables, factors without a zero, smooth directions, completed
squares; what is left goes to the Newton polyhedron, to a resolution in the plane, to arrangements
of hyperplanes and cones. Where no rule applies the answer is a refusal that says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from typing import Any

from germ.errors import GermError
from germ.exact import arrangement, cone, plane, projective, straight
from germ.exact.coefficient import Coefficient
from germ.exact.crossing import newton
from germ.exact.degeneracy import Undecided
from germ.exact.form import Element, Factor, even_positive, merged, roots_of_monomials, show
from germ.exact.squares import completed_square, nonnegative, separated
from germ.exact.variables import component_indices, occurring, projected

WATANABE = "Watanabe 2009, Algebraic Geometry and Statistical Learning Theory"
SPLITTING = "splitting lemma, Arnold, Gusein-Zade, Varchenko 1985, Singularities I, §11.1"

MAX_DEGREE = 40  # Of what is not a monomial: factoring x^40 − y^40 takes 8 s, and soon minutes.
MAX_VARIABLES, MAX_TERMS = 4, 10  # With more of both, factors are taken out as far as is cheap.


def solve(factors: Sequence[Factor]) -> Coefficient:
    """λ and m of Π N^p at 0.

    Args:
        factors: Of which at least one vanishes at 0, and none is identically 0.

    Raises:
        GermError: No rule applies, or none can be shown to; with the reasons.
    """
    normal = normalised(factors)
    if not normal:
        raise GermError("expected a function with a zero at the point; this one has none there")
    groups = component_indices([occurring(k.generators) for k in normal])
    parts = [_connected(tuple(normal[i] for i in group)) for group in groups]
    return reduce(lambda first, second: first * second, parts)


def normalised(factors: Sequence[Factor]) -> tuple[Factor, ...]:
    """Irreducible factors and ideals without a common factor; those without a zero left out.

    Raises:
        GermError: Degrees at which factoring takes too long.
    """
    found: list[Factor] = []
    for factor in factors:
        generators = _without_multiples(factor.generators)
        if any(len(f) > 1 and max(map(sum, f)) > MAX_DEGREE for f in generators):
            raise GermError(
                f"expected degrees up to {MAX_DEGREE} in what is not a monomial; got {factor}"
            )
        common = reduce(lambda f, g: f.gcd(g), generators)
        if len(generators) > 1:
            rest = tuple(f.quo(common) for f in generators)
            if not any(f.const() for f in rest):
                found.append(Factor(rest, factor.power))
        for irreducible, power in _factored(common):
            if irreducible.const():
                continue
            if len(irreducible) > 1 and even_positive(irreducible):
                squares = Factor(roots_of_monomials(irreducible), 2 * factor.power * power)
                found += normalised([squares])
            else:
                found.append(Factor((irreducible.monic(),), factor.power * power))
    return merged(found)


def _factored(f: Element) -> list[tuple[Element, int]]:
    """Factors and their powers: irreducible, or with many variables and terms square-free.

    Only the plane needs irreducible ones. In many variables factoring may take minutes, and a
    factor that is missed makes no rule wrong.
    """
    if len(f) <= MAX_TERMS or len(occurring([f])) <= MAX_VARIABLES:
        return f.factor_list()[1]
    content = [min(a[i] for a in f) for i in range(f.ring.ngens)]
    rest = f.quo(f.ring.term_new(tuple(content), f.ring.domain.one))
    monomials = [(x, power) for x, power in zip(f.ring.gens, content, strict=True) if power]
    return [*monomials, *rest.sqf_list()[1]]


def _connected(factors: tuple[Factor, ...]) -> Coefficient:
    """Factors that hang together by their variables."""
    index = straight.constant_direction([f for k in factors for f in k.generators])
    if index is not None:
        return _without_variable(factors, index)
    if len(factors) != 1:
        return _crossings(factors) or _ladder(factors)
    (factor,) = factors
    if factor.principal:
        return _single(factor)
    return _sum(factor) or _eliminated(factor) or _ladder(factors)


def _without_variable(factors: tuple[Factor, ...], index: int) -> Coefficient:
    """In linear coordinates in which the variable does not occur."""
    ring = factors[0].generators[0].ring
    x = ring.gens[index]
    fewer = [Factor(tuple(f.compose(x, ring.zero) for f in k.generators), k.power) for k in factors]
    found = solve(fewer)
    step = f"constant along a direction with {ring.symbols[index]}: set {ring.symbols[index]} = 0"
    return replace(found, steps=(step, *found.steps))


def _crossings(factors: tuple[Factor, ...]) -> Coefficient | None:
    """Smooth factors with independent gradients are coordinates."""
    if not all(factor.principal for factor in factors):
        return None
    if not straight.independent([factor.generators[0] for factor in factors]):
        return None
    least = max(factor.power for factor in factors)
    m = sum(factor.power == least for factor in factors)
    step = f"{' · '.join(map(str, factors))}: smooth, with independent gradients: coordinates"
    return Coefficient(Fraction(1, least), m, "normal crossings", f"{WATANABE}, ch. 3", (step,))


def _single(factor: Factor) -> Coefficient:
    """|f|^p for an irreducible f."""
    (f,) = factor.generators
    if straight.independent([f]):
        step = f"{factor}: {show(f)} is a coordinate, λ = 1/{factor.power}"
        return Coefficient(Fraction(1, factor.power), 1, "smooth zero set", WATANABE, (step,))
    parts = separated(f)
    if len(parts) > 1:
        signed = parts if nonnegative(parts[0]) else [-part for part in parts]
        if all(map(nonnegative, signed)):
            sums = [solve([Factor((part,), 1)]) for part in signed]
            return _to_power(reduce(lambda a, b: a + b, sums), factor)
    try:
        return _ladder((factor,))
    except GermError:
        square = completed_square(f)
        if square is None:
            raise
    name, rest = square
    step = f"{show(f)}: a square in {name}, completed, plus {show(rest)} >= 0"
    half = Coefficient(Fraction(1, 2), 1, "smooth direction", SPLITTING, (step,))
    return _to_power(half + solve([Factor((rest,), 1)]) if rest else half, factor)


def _sum(factor: Factor) -> Coefficient | None:
    """An ideal whose generators fall apart into groups of separate variables."""
    generators = factor.generators
    groups = component_indices([occurring([f]) for f in generators])
    if len(groups) < 2:
        return None
    parts = [solve([Factor(tuple(generators[i] for i in group), factor.power)]) for group in groups]
    return reduce(lambda first, second: first + second, parts)


def _eliminated(factor: Factor) -> Coefficient | None:
    """A generator a·x + b, where a(0) ≠ 0, is a coordinate: on it the others have x = −b/a."""
    found = straight.solvable(factor.generators)
    if found is None:
        return None
    number, index = found
    chosen = factor.generators[number]
    others = [f for i, f in enumerate(factor.generators) if i != number]
    try:
        rest = [g for f in others if (g := straight.substituted(f, chosen, index))]
    except GermError:
        return None  # Too large; another rule may do.
    name = chosen.ring.symbols[index]
    step = f"{show(chosen)} is a coordinate in place of {name}: λ = 1/{factor.power} and the rest"
    half = Coefficient(Fraction(1, factor.power), 1, "smooth direction", SPLITTING, (step,))
    return half + solve([Factor(tuple(rest), factor.power)]) if rest else half


def _ladder(factors: tuple[Factor, ...]) -> Coefficient:
    """What is left after all reductions, by the first method that applies."""
    reasons = []
    for name, method in _METHODS.items():
        try:
            return method(factors)
        except Undecided as reason:
            reasons.append(f"{name}: {reason}")
    shown = " · ".join(map(str, factors))
    raise GermError(
        f"expected a polynomial whose λ can be decided; of {shown} it cannot: {'; '.join(reasons)}"
    )


def _in_the_plane(factors: tuple[Factor, ...]) -> Coefficient:
    indices = sorted(set().union(*(occurring(factor.generators) for factor in factors)))
    if len(indices) != 2:
        raise Undecided(f"needs two variables, and there are {len(indices)}")
    names, moved = projected(factors, indices)
    return plane.resolve(moved, (names[0], names[1])).coefficient()


def _by_directions(factors: tuple[Factor, ...]) -> Coefficient:
    own, local = projective.directions(factors)
    try:
        return projective.least(own, [solve([factor]) for factor in local])
    except GermError as error:
        raise Undecided(f"at a direction, {error}") from error


def _straightened(factors: tuple[Factor, ...]) -> Coefficient:
    changed = straight.straightened(factors)
    if changed is None:
        raise Undecided("no smooth factors to take as coordinates")
    moved, step = changed
    found = newton(moved)
    return replace(found, steps=(step, *found.steps))


_METHODS: dict[str, Callable[[tuple[Factor, ...]], Coefficient]] = {
    "Newton polyhedron": newton,
    "resolution in the plane": _in_the_plane,
    "Newton polyhedron in other coordinates": _straightened,
    "blow-up of the point": cone.cone,
    "blow-up of the point, further": _by_directions,
    "arrangement": arrangement.arrangement,
}


def _to_power(found: Coefficient, factor: Factor) -> Coefficient:
    """Of |f|^p, from that of |f|."""
    if factor.power == 1:
        return found
    step = f"to the power {factor.power}: λ = {found.value}/{factor.power}"
    return replace(found, value=found.value / factor.power, steps=(*found.steps, step))


def _without_multiples(generators: Sequence[Element]) -> tuple[Element, ...]:
    """The same ideal with fewer and shorter generators: no multiples of a generator x^a."""
    monomials: list[Any] = []
    for f in sorted((f for f in generators if len(f) == 1), key=lambda f: sum(f.LM)):
        if not any(_divides(a, f.LM) for a in monomials):
            monomials.append(f.LM)
    kept: dict[Element, None] = {}
    for f in generators:
        if len(f) > 1:
            left = {a: c for a, c in f.items() if not any(_divides(b, a) for b in monomials)}
            if left:
                kept[f.ring.from_dict(left).monic()] = None
    ring, one = generators[0].ring, generators[0].ring.domain.one
    return (*(ring.term_new(a, one) for a in monomials), *kept)


def _divides(a: Sequence[int], b: Sequence[int]) -> bool:
    return all(i <= j for i, j in zip(a, b, strict=True))
