r"""The exact learning coefficient of a polynomial K at a zero.

    polynomial("(x^2 - y^3)^2")           λ = 5/12, m = 1
    polynomial("x^2*y^4")                 λ = 1/4, m = 1
    ideal(["x*y", "z^2"])                 of (x*y)^2 + z^4

The answer is exact or it is refused: every rule is used only where its hypothesis has been checked
(`germ.exact.reduction` has the ladder). K may take both signs; λ and m are then those of |K|.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from germ.errors import GermError
from germ.exact import expression as reading
from germ.exact.coefficient import Coefficient
from germ.exact.expression import Node, Power, Sum
from germ.exact.form import Form, form, show
from germ.exact.reduction import solve
from germ.exact.squares import nonnegative


def polynomial(expression: Any, at: Mapping[str, Any] | None = None) -> Coefficient:
    """λ and m of |K| at a zero of K.

    Args:
        expression: K as text (`"(x^2 - y^3)^2"`; `^` or `**`) or as a SymPy expression. Squares
            that are written as squares help: of Σ c·f², c > 0, only the ideal of the f counts.
        at: The point, by variable: numbers, or text such as `"3/10"`. Left out, a coordinate is 0.

    Raises:
        GermError: Not a polynomial, K is not zero at the point, the point is not critical, or no
            method can be shown to apply.

    Examples:
        >>> print(polynomial("(x^2 - y^3)^2"))
        λ = 5/12, m = 1
        >>> print(polynomial("((x-1)*(x^2+y^2)^2)^2", at={"x": 1, "y": "3/10"}))
        λ = 1/2, m = 1
    """
    return _solved(reading.read(expression), at)


def ideal(generators: Sequence[Any], at: Mapping[str, Any] | None = None) -> Coefficient:
    """λ and m of f_1² + ... + f_r² at a common zero: they depend on the ideal of the f alone.

    Args:
        generators: The f, each as in `polynomial`.
        at: The point, as in `polynomial`.

    Raises:
        GermError: As in `polynomial`, or there are no generators.

    Examples:
        >>> print(ideal(["a*b", "a*b^3"]))
        λ = 1/2, m = 2
    """
    if isinstance(generators, str) or not generators:
        raise GermError(f"expected a list of polynomials; got {generators!r}")
    squares = tuple(Power(reading.read(generator), 2) for generator in generators)
    return _solved(squares[0] if len(squares) == 1 else Sum(squares), at)


def _solved(node: Node, at: Mapping[str, Any] | None) -> Coefficient:
    from sympy.polys.domains import QQ
    from sympy.polys.rings import PolyRing

    names = reading.variables(node)
    point = _point(names, at or {})
    if not names:
        raise GermError("expected a polynomial with variables; got a constant")
    try:
        found = form(node, PolyRing(names, QQ), point)
        _check(node, found, point)
        coefficient = solve(found.factors)
    except RecursionError:
        raise GermError("expected a polynomial of moderate size; this one nests too deep") from None
    notes = _notes(found, point)
    return replace(coefficient, steps=(*notes, *coefficient.steps))


def _point(names: list[str], at: Mapping[str, Any]) -> dict[str, Fraction]:
    if unknown := [name for name in at if name not in names]:
        raise GermError(
            f"expected a point in the variables {', '.join(names) or '(none)'}; got {unknown[0]}"
        )
    return {name: reading.rational(at.get(name, 0)) for name in names}


def _check(node: Node, found: Form, point: dict[str, Fraction]) -> None:
    """K(point) = 0, K is not identically 0, and the gradient vanishes."""
    where = ", ".join(f"{name} = {x}" for name, x in point.items())
    if found.sign == 0:
        raise GermError("expected a polynomial that is not identically zero; got K = 0")
    if not found.factors or any_unit(found):
        value = reading.value(node, point)
        raise GermError(
            f"expected a zero of K; at {where} it is {value}: give a zero with at (--at), or "
            "subtract the value"
        )
    if sum(factor.order for factor in found.factors) == 1:
        raise GermError(
            f"expected a minimum; at {where} the gradient of K is not zero, so K takes negative "
            "values there: give a critical point"
        )


def any_unit(found: Form) -> bool:
    """Whether no factor vanishes at 0."""
    return all(factor.order == 0 for factor in found.factors)


def _notes(found: Form, point: dict[str, Fraction]) -> list[str]:
    notes = []
    if any(point.values()):
        moved = ", ".join(f"{name} → {name} + {x}" for name, x in point.items() if x)
        notes.append(f"the point is moved to 0: {moved}")
    notes.append(f"|K| ≍ {' · '.join(map(str, found.factors))}")
    if not found.definite:
        odd = [factor.generators[0] for factor in found.factors if factor.power % 2]
        unclear = [f for f in odd if f.const() == 0 and not nonnegative(f) and not nonnegative(-f)]
        if unclear:
            notes.append(
                f"K may take negative values near the point ({show(unclear[0])} is not shown to "
                "keep its sign): λ and m are those of |K|"
            )
    return notes
