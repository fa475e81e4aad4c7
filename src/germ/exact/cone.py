r"""One blow-up of the point: where the lowest form of f has no singular zero, it is enough.

Let f = f_k + higher terms in d variables, with f_k homogeneous of degree k. At x = r·θ,

    |f| dx = r^k |f_k(θ) + r(...)| · r^{d−1} dr dθ,

and if ∇f_k ≠ 0 at every zero but 0, the zero set of the bracket is smooth and crosses r = 0. So

    λ(|f|) = d/k, m = 1                       if f_k has no real zero but 0
    λ(|f|) = min(d/k, 1), m = 2 if d = k      otherwise

With k = 2 this is the Morse lemma: all that counts is whether the quadratic form is definite.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from typing import Any

from germ.exact.coefficient import Coefficient
from germ.exact.degeneracy import Undecided
from germ.exact.form import Element, Factor, show
from germ.exact.simplex import rank
from germ.exact.squares import nonnegative
from germ.exact.variables import occurring, projected

SOURCE = "Arnold, Gusein-Zade, Varchenko 1988, Singularities II, ch. 7 (homogeneous lowest form)"
MAX_DIM, MAX_TERMS = 4, 40


def cone(factors: Sequence[Factor]) -> Coefficient:
    """λ and m of |f|^p by one blow-up.

    Raises:
        Undecided: There are several factors or generators, or f_k may have a singular zero.
    """
    if len(factors) > 1 or not factors[0].principal:
        raise Undecided("needs a single polynomial")
    indices = sorted(occurring(factors[0].generators))
    _, (factor,) = projected(factors, indices)
    (f,) = factor.generators
    degree, dim = min(map(sum, f)), len(indices)
    lowest = f.ring.from_dict({a: c for a, c in f.items() if sum(a) == degree})
    if not _smooth(lowest, dim, degree):
        raise Undecided(f"the lowest form {show(lowest)} may have a singular zero")
    ratio = Fraction(dim, degree)
    said = f"blow-up of 0: d/k = {dim}/{degree}; the lowest form has no singular zero but 0"
    definite = nonnegative(lowest) or nonnegative(-lowest)
    # Completing squares decides every quadratic form: not shown definite is indefinite.
    crossed = not definite and (degree == 2 or _changes_sign(lowest, dim))
    if definite:
        value, m = ratio, 1
        said += ", and no real one"
    elif ratio < 1 or crossed:
        value = min(ratio, Fraction(1))
        m = 2 if ratio == 1 else 1
        said += "; where it vanishes f = 0 crosses, with ν/N = 1"
    else:
        raise Undecided(f"cannot tell whether {show(lowest)} is definite")
    return Coefficient(value / factor.power, m, "blow-up of the point", SOURCE, (said,))


def _smooth(form: Element, dim: int, degree: int) -> bool:
    """Whether ∇f_k = 0 at 0 alone, over ℂ even."""
    gradient = [form.diff(i) for i in range(dim)]
    if degree == 2:
        return rank([[_fraction(g.coeff(x)) for x in form.ring.gens] for g in gradient]) == dim
    if dim > MAX_DIM or len(form) > MAX_TERMS:
        return False
    import sympy

    basis = sympy.groebner([g.as_expr() for g in gradient], *form.ring.symbols, order="grevlex")
    return bool(basis.is_zero_dimensional)


def _changes_sign(form: Element, dim: int) -> bool:
    """Whether both signs are seen. A smooth zero has both beside it; odd degrees always do."""
    values = (
        form.evaluate(list(zip(form.ring.gens, point, strict=True)))
        for point in product((-3, -1, 0, 1, 2), repeat=dim)
    )
    signs = {value > 0 for value in values if value}
    return len(signs) == 2


def _fraction(c: Any) -> Fraction:
    return Fraction(int(c.numerator), int(c.denominator))
