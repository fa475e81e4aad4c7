r"""A polynomial near a point, up to constant factors: what λ and m depend on, and no more.

    |K| ≍ Π_k N_k^{p_k},   N_k = |f_{k1}| + ... + |f_{kr}|

where ≍ means that either side is at most a constant times the other, near the point. Two
functions with that relation have the same λ and m, so of a sum of squares only the ideal of its
members counts, a factor without a zero at the point does not count at all, and

    N(f, g)^p + N(h)^p ≍ N(f, g, h)^p,    N(f, g)^{pq} ≍ N(f^q, g^q)^p,    N(F) N(G) = N(F·G).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

from germ.errors import GermError
from germ.exact.expression import Node, Number, Power, Product, Sum, Variable

MAX_TERMS = 5_000
MAX_GENERATORS = 400
MAX_LENGTH, MAX_SHOWN = 48, 6  # What is shown of a polynomial, and of a list of them.

Element = Any
"""A `sympy.polys.rings.PolyElement`, which has no types to import."""


@dataclass(frozen=True)
class Factor:
    """N^p, with N = Σ|f| over the generators.

    Attributes:
        generators: Polynomials, none of them zero.
        power: p >= 1.
    """

    generators: tuple[Element, ...]
    power: int

    @property
    def principal(self) -> bool:
        """Whether it is |f|^p of a single f."""
        return len(self.generators) == 1

    @property
    def order(self) -> int:
        """The order of vanishing at 0."""
        return self.power * min(sum(m) for f in self.generators for m in f)

    def __str__(self) -> str:
        """|f|^p, or |f, g|^p."""
        shown = ", ".join(map(show, self.generators[:MAX_SHOWN]))
        more = len(self.generators) - MAX_SHOWN
        shown += f", ... ({more} more)" if more > 0 else ""
        return f"|{shown}|" + (f"^{self.power}" if self.power > 1 else "")


@dataclass(frozen=True)
class Form:
    """K ≍ sign · Π N^p. `sign` is 0 for K ≡ 0; `factors` are empty where K(0) ≠ 0."""

    sign: int
    factors: tuple[Factor, ...]

    @property
    def definite(self) -> bool:
        """Whether K keeps the one sign near 0, as can be seen from the powers."""
        return all(factor.power % 2 == 0 for factor in self.factors)


def show(f: Element) -> str:
    """A polynomial on one line, shortened when it is long."""
    text = str(f).replace("**", "^")
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}... ({len(f)} terms)"


def form(node: Node, ring: Any, point: dict[str, Fraction]) -> Form:
    """The form of an expression at a point, in coordinates in which the point is 0.

    Raises:
        GermError: It would have to be multiplied out, and is too large for that.
    """
    if isinstance(node, Power) and node.exponent == 0:
        return Form(1, ())
    if isinstance(node, Power):
        base = form(node.base, ring, point)
        factors = (Factor(f.generators, f.power * node.exponent) for f in base.factors)
        return Form(base.sign ** (node.exponent % 2 or 2), tuple(factors))
    if isinstance(node, Product):
        parts = [form(factor, ring, point) for factor in node.factors]
        return Form(math.prod(p.sign for p in parts), merged([f for p in parts for f in p.factors]))
    if isinstance(node, Sum):
        terms = [form(term, ring, point) for term in node.terms]
        terms = [term for term in terms if term.sign]
        signs = {term.sign for term in terms}
        if terms and len(signs) == 1 and all(term.definite for term in terms):
            return Form(signs.pop(), _joined([term.factors for term in terms]))
    return _of_polynomial(expand(node, ring, point))


def expand(node: Node, ring: Any, point: dict[str, Fraction]) -> Element:
    """The polynomial, multiplied out, with the point moved to 0.

    Raises:
        GermError: It is too large.
    """
    if isinstance(node, Number):
        return _constant(ring, node.value)
    if isinstance(node, Variable):
        names = [str(symbol) for symbol in ring.symbols]
        return ring.gens[names.index(node.name)] + _constant(ring, point[node.name])
    if isinstance(node, Sum):
        return sum((expand(term, ring, point) for term in node.terms), ring.zero)
    if isinstance(node, Product):
        result = ring.one
        for factor in node.factors:
            result = times(result, expand(factor, ring, point))
        return result
    return raised(expand(node.base, ring, point), node.exponent)


def times(f: Element, g: Element) -> Element:
    """f·g.

    Raises:
        GermError: It is too large.
    """
    if len(f) * len(g) > 20 * MAX_TERMS:
        raise _too_large()
    return f * g


def raised(f: Element, n: int) -> Element:
    """fⁿ.

    Raises:
        GermError: It is too large.
    """
    if len(f) > 1 and (n > MAX_TERMS or math.comb(n + len(f) - 1, n) > MAX_TERMS):
        raise _too_large()
    if len(f) == 1:
        bits = max(max(abs(c.numerator), c.denominator).bit_length() for c in f.values())
        if n * bits > 10**5 and abs(f.LC) != 1:
            raise _too_large()
        ((monomial, coefficient),) = f.items()
        return f.ring.term_new(tuple(n * a for a in monomial), coefficient**n)
    return f**n


def merged(factors: list[Factor]) -> tuple[Factor, ...]:
    """The same ideals once, with the sum of their powers."""
    powers: dict[tuple[Element, ...], int] = {}
    for factor in factors:
        generators = factor.generators
        if factor.principal:
            generators = (generators[0].monic(),)  # Constants do not count: 2x and x are one.
        powers[generators] = powers.get(generators, 0) + factor.power
    return tuple(Factor(generators, power) for generators, power in powers.items())


def collapsed(factors: tuple[Factor, ...], power: int) -> tuple[Element, ...]:
    """Generators of the one ideal I with N(I)^power ≍ Π N^p; `power` divides every p.

    Raises:
        GermError: It is too large.
    """
    lists = [[raised(f, k.power // power) for f in k.generators] for k in factors]
    if math.prod(map(len, lists)) > MAX_GENERATORS:
        raise _too_large()
    found: dict[Element, None] = {}
    for chosen in product(*lists):
        result = chosen[0].ring.one
        for f in chosen:
            result = times(result, f)
        found[result.monic()] = None
    return tuple(found)


def even_positive(f: Element) -> bool:
    """Whether f or −f has only even exponents and positive coefficients."""
    signs = {c > 0 for c in f.values()}
    return len(signs) == 1 and all(a % 2 == 0 for monomial in f for a in monomial)


def roots_of_monomials(f: Element) -> tuple[Element, ...]:
    """Monomials whose squares are those of f."""
    return tuple(
        f.ring.term_new(tuple(a // 2 for a in monomial), f.ring.domain.one) for monomial in f
    )


def _of_polynomial(f: Element) -> Form:
    if not f:
        return Form(0, ())
    at_zero = f.const()
    if at_zero:
        return Form(1 if at_zero > 0 else -1, ())
    if even_positive(f):
        return Form(1 if f.LC > 0 else -1, (Factor(roots_of_monomials(f), 2),))
    return Form(1 if f.LC > 0 else -1, (Factor((f.monic(),), 1),))


def _joined(terms: list[tuple[Factor, ...]]) -> tuple[Factor, ...]:
    """A sum of products of even powers of N, as a power of one N."""
    if any(not factors for factors in terms):
        return ()  # A positive constant, and the rest is >= 0.
    power = math.gcd(*(factor.power for factors in terms for factor in factors))
    generators: dict[Element, None] = {}
    for factors in terms:
        generators |= dict.fromkeys(collapsed(factors, power))
    if len(generators) > MAX_GENERATORS:
        raise _too_large()
    return (Factor(tuple(generators), power),)


def _constant(ring: Any, number: Fraction) -> Element:
    return ring.ground_new(ring.domain(number.numerator, number.denominator))


def _too_large() -> GermError:
    return GermError(
        f"expected a polynomial that can be multiplied out into {MAX_TERMS:,} terms; this one has "
        "more: lower the exponents, or write it as a product of powers or a sum of squares"
    )
