r"""Two variables: every singularity resolved, by toric blow-ups at real points.

One step takes the Newton polygon of all factors together. For the normal (p, q) of each edge, the
substitution x = u^p v^a, y = u^q v^b with pb − qa = 1 is a bijection of (ℝ∖0)², and u = 0 is an
exceptional divisor E on which

    |K| dx dy = |u|^N · |u|^{ν−1} · (...),   N = min (p, q)·exponents,   ν = p + q

A simple root v ≠ 0 of one factor's edge polynomial is a branch of the curve that crosses E: there
K has normal crossings. At a multiple or common root the same is done again, in coordinates
(u, v − root), with u = 0 carrying its (N, ν) along. This ends, since the branches of different
factors part after finitely many steps (Brieskorn and Knörrer 1986, *Plane Algebraic Curves*, §8;
Varchenko 1976). Then, over the divisors with real points,

    λ = min ν/N,   m = 2 if two divisors that attain it meet, else 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce
from itertools import pairwise
from typing import Any

from germ.exact.coefficient import Coefficient
from germ.exact.degeneracy import Undecided
from germ.exact.form import Element, Factor
from germ.exact.newton import Monomial, minimal
from germ.exact.realfield import RealField

SOURCE = "Varchenko 1976, Funct. Anal. Appl. 10:175; Watanabe 2009, ch. 3 (resolution)"
MAX_DEPTH = 40
MAX_DEGREE = 300

Pair = tuple[int, int]


@dataclass(frozen=True)
class Divisor:
    """A curve along which K vanishes to the order N, and the Jacobian to the order ν − 1."""

    order: int
    jacobian: int
    where: str

    @property
    def ratio(self) -> Fraction:
        """ν/N."""
        return Fraction(self.jacobian, self.order)


@dataclass
class Resolution:
    """What was found.

    Attributes:
        divisors: Those with real points, exceptional and branches of the curve.
        crossings: Pairs of them that meet at a real point.
        odd: Whether K changes its sign, across a branch of odd order.
    """

    divisors: list[Divisor] = field(default_factory=list)
    crossings: list[Pair] = field(default_factory=list)
    odd: bool = False

    def add(self, order: int, jacobian: int, where: str, *, branch: bool = False) -> int:
        """A new divisor; returns its number."""
        self.divisors.append(Divisor(order, jacobian, where))
        self.odd |= branch and order % 2 == 1
        return len(self.divisors) - 1

    def coefficient(self) -> Coefficient:
        """λ and m."""
        least = min(divisor.ratio for divisor in self.divisors)
        attained = {i for i, divisor in enumerate(self.divisors) if divisor.ratio == least}
        met = any(i in attained and j in attained for i, j in self.crossings)
        steps = [
            f"{d.where}: N = {d.order}, ν = {d.jacobian}, ν/N = {d.ratio}" for d in self.divisors
        ]
        steps.append(
            f"the least ν/N is {least}, " + ("at two divisors that meet" if met else "and m = 1")
        )
        return Coefficient(least, 2 if met else 1, "resolution in the plane", SOURCE, tuple(steps))


@dataclass(frozen=True)
class _Chart:
    """Coordinates (x, y) at a point of a resolution.

    Attributes:
        factors: What is left of K besides powers of the coordinates; none is a unit.
        orders: Of K along x = 0 and y = 0, so far.
        jacobians: ν of x = 0 and y = 0.
        axis: The number of the exceptional divisor x = 0.
    """

    factors: tuple[Factor, ...]
    orders: Pair
    jacobians: Pair
    axis: int | None
    name: str
    depth: int


def resolve(factors: Sequence[Factor], names: tuple[str, str]) -> Resolution:
    """Resolve Π N^p at 0.

    Args:
        factors: In a ring over ℚ of two variables. Single generators are irreducible over ℚ and
            different; the generators of each other ideal have no common factor.
        names: Of the variables, for the steps.

    Raises:
        Undecided: Two irrational numbers are needed at once, or it goes too deep.
    """
    resolution = Resolution()
    chart = _Chart(tuple(factors), (0, 0), (1, 1), None, ", ".join(names), 0)
    _visit(chart, RealField(), resolution, names)
    return resolution


def _visit(
    chart: _Chart, number_field: RealField, resolution: Resolution, names: tuple[str, str] | None
) -> None:
    if chart.depth > MAX_DEPTH:
        raise Undecided(f"its branches do not part within {MAX_DEPTH} blow-ups")
    factors, orders = [], list(chart.orders)
    for factor in chart.factors:
        content, rest = _without_content(factor)
        orders = [n + factor.power * c for n, c in zip(orders, content, strict=True)]
        if rest is not None:
            factors.append(rest)
    edges = sorted(
        {edge for factor in factors for edge in _edges(factor)}, key=lambda e: Fraction(e[1], e[0])
    )
    numbers: list[int | None] = [chart.axis]
    if chart.axis is None and orders[0]:
        where = f"{names[0]} = 0" if names else "a branch"
        numbers[0] = resolution.add(orders[0], chart.jacobians[0], where, branch=True)
    for edge in edges:
        order = _level(edge, (orders[0], orders[1])) + sum(
            factor.power * _least(factor, edge) for factor in factors
        )
        where = f"blow-up of {chart.name} with weights {edge}"
        numbers.append(resolution.add(order, _level(edge, chart.jacobians), where))
    last = None
    if orders[1]:
        where = f"{names[1]} = 0" if names else f"a branch through {chart.name}"
        last = resolution.add(orders[1], chart.jacobians[1], where, branch=True)
    numbers.append(last)
    # Consecutive rays of the fan span a cone: their divisors meet, or are joined by a chain of
    # divisors whose ratios lie between theirs.
    resolution.crossings += [
        (i, j) for i, j in pairwise(numbers) if i is not None and j is not None
    ]
    for edge, number in zip(edges, numbers[1:-1], strict=True):
        assert number is not None
        _roots_on(edge, number, tuple(factors), chart, number_field, resolution)


def _roots_on(
    edge: Pair,
    number: int,
    factors: tuple[Factor, ...],
    chart: _Chart,
    number_field: RealField,
    resolution: Resolution,
) -> None:
    """The points of an exceptional divisor at which more of K vanishes than the divisor."""
    from sympy.polys.rings import ring

    line = ring("s", number_field.domain)[0]
    on_edge = [_edge_polynomial(factor, edge, line) for factor in factors]
    bad = line.one
    for k, (factor, poly) in enumerate(zip(factors, on_edge, strict=True)):
        bad = _lcm(bad, poly.gcd(poly.diff(0)) if factor.principal else poly)
        for other in on_edge[:k]:
            bad = _lcm(bad, poly.gcd(other))
    for factor, poly in zip(factors, on_edge, strict=True):
        simple = _without(poly, bad)
        for _ in range(number_field.num_real_roots(simple)):
            where = f"a branch of order {factor.power}"
            branch = resolution.add(factor.power, 1, where, branch=True)
            resolution.crossings.append((number, branch))
    for irreducible, _ in bad.factor_list()[1]:
        num_roots = number_field.num_real_roots(irreducible)
        for index in range(num_roots):
            if irreducible.degree() == 1:
                deeper, root = number_field, -irreducible.const() / irreducible.LC
                shown = str(root) if number_field.rational else "a number of ℚ(α)"
            elif number_field.rational:
                deeper = RealField(irreducible, index)
                root, shown = deeper.domain.unit, f"α, {deeper.name.split(', ')[1]}"
            else:
                raise Undecided(
                    "its branches need two irrational numbers, one after the other, which is not "
                    "implemented"
                )
            child = _Chart(
                tuple(_moved(factor, edge, root, deeper.domain) for factor in factors),
                (resolution.divisors[number].order, 0),
                (resolution.divisors[number].jacobian, 1),
                number,
                f"the point v = {shown} of [{edge[0]}, {edge[1]}]",
                chart.depth + 1,
            )
            there = tuple(factor for factor in child.factors if not _unit(factor))
            child = _Chart(
                there, child.orders, child.jacobians, child.axis, child.name, child.depth
            )
            _visit(child, deeper, resolution, None)


def _moved(factor: Factor, edge: Pair, root: Any, domain: Any) -> Factor:
    """The strict transform at u = 0, v = root."""
    from sympy.polys.rings import ring

    target = ring("u,v", domain)[0]
    p, q = edge
    a, b = _unimodular(p, q)
    level = _least(factor, edge)
    low = min(a * i + b * j for f in factor.generators for i, j in f)
    shifted = target.gens[1] + target.ground_new(root)
    powers = [target.one]
    moved = []
    for f in factor.generators:
        parts: dict[int, Any] = {}
        for (i, j), c in f.items():
            degree = a * i + b * j - low
            if degree > MAX_DEGREE:
                raise Undecided("its degree grows too large under blow-ups")
            while len(powers) <= degree:
                powers.append(powers[-1] * shifted)
            u = p * i + q * j - level
            # SymPy converts within one field by way of its primitive element, at length.
            number = c if domain is f.ring.domain else domain.convert(c, f.ring.domain)
            scaled = powers[degree] * target.ground_new(number)
            parts[u] = parts.get(u, target.zero) + scaled
        moved.append(sum((part * target.gens[0] ** u for u, part in parts.items()), target.zero))
    return Factor(tuple(moved), factor.power)


def _edge_polynomial(factor: Factor, edge: Pair, line: Any) -> Element:
    """What of the factor is left on u = 0, as a polynomial in v without the root 0."""
    a, b = _unimodular(*edge)
    level = _least(factor, edge)
    found = []
    for f in factor.generators:
        terms = {a * i + b * j: c for (i, j), c in f.items() if _level(edge, (i, j)) == level}
        if terms:
            low = min(terms)
            found.append(line.from_dict({(t - low,): c for t, c in terms.items()}))
    return reduce(lambda f, g: f.gcd(g), found)


def _unimodular(p: int, q: int) -> Pair:
    """The least a, b ≥ 0 with pb − qa = 1."""
    b = pow(p, -1, q) if q > 1 else 1
    return (p * b - 1) // q, b


def _edges(factor: Factor) -> list[Pair]:
    """The primitive inward normals of the compact edges of the Newton polygon."""
    corners: list[Monomial] = []
    for i, j in sorted(minimal(a for f in factor.generators for a in f)):
        while len(corners) > 1:
            (i0, j0), (i1, j1) = corners[-2:]
            if (i1 - i0) * (j - j0) > (j1 - j0) * (i - i0):
                break  # A turn to the left: the last corner stays.
            corners.pop()
        corners.append((i, j))
    normals = []
    for (i0, j0), (i1, j1) in pairwise(corners):
        slope = Fraction(j0 - j1, i1 - i0)
        normals.append((slope.numerator, slope.denominator))
    return normals


def _without_content(factor: Factor) -> tuple[Monomial, Factor | None]:
    """The powers of the coordinates in N, and the rest if it vanishes at 0."""
    content = tuple(min(a[i] for f in factor.generators for a in f) for i in (0, 1))
    if not any(content):
        return content, factor
    rest = tuple(
        f.ring.from_dict({(a[0] - content[0], a[1] - content[1]): c for a, c in f.items()})
        for f in factor.generators
    )
    divided = Factor(rest, factor.power)
    return content, None if _unit(divided) else divided


def _unit(factor: Factor) -> bool:
    return any(f.const() for f in factor.generators)


def _least(factor: Factor, weight: Pair) -> int:
    return min(_level(weight, a) for f in factor.generators for a in f)


def _level(weight: Pair, a: Sequence[int]) -> int:
    return weight[0] * a[0] + weight[1] * a[1]


def _lcm(f: Element, g: Element) -> Element:
    return f * g.quo(f.gcd(g))


def _without(poly: Element, roots: Element) -> Element:
    """The polynomial without its roots in common with another."""
    while (common := poly.gcd(roots)).degree() > 0:
        poly = poly.quo(common)
    return poly
