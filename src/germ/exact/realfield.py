"""Real number fields: ℚ, or ℚ(α) with a real α, in which signs and real roots are decided.

SymPy does the algebra of ℚ(α). It does not know which root of the minimal polynomial α is; the
isolating interval kept here does, and with it every sign is exact.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

from germ.exact.form import Element


class RealField:
    """ℚ(α) inside ℝ.

    Attributes:
        domain: SymPy's, for coefficients.
    """

    def __init__(self, minimal: Element | None = None, index: int = 0) -> None:
        """The rationals, or with a root of a polynomial adjoined.

        Args:
            minimal: Irreducible over ℚ, in one variable, of degree > 1.
            index: Which of its real roots, in ascending order.
        """
        import sympy

        self.domain: Any = sympy.QQ
        self.name = "ℚ"
        self._minimal: list[Fraction] = []
        if minimal is not None:
            symbol = sympy.Symbol("s")
            poly = sympy.Poly.from_dict(dict(minimal), symbol, domain="QQ").monic()
            self.domain = sympy.QQ.algebraic_field(sympy.CRootOf(poly, index, radicals=False))
            self._minimal = [_fraction(c) for c in poly.all_coeffs()]
            interval: Any = poly.intervals()[index]
            (low, high), _ = interval
            self._interval = (_fraction(low), _fraction(high))
            self.name = f"ℚ(α), {poly.as_expr()} = 0 at s = α".replace("**", "^")

    @property
    def rational(self) -> bool:
        """Whether it is ℚ."""
        return not self._minimal

    def sign(self, number: Any) -> int:
        """−1, 0 or 1."""
        if not number:
            return 0
        if self.rational:
            return 1 if number > 0 else -1
        coefficients = [_fraction(c) for c in number.to_list()]
        while True:  # It is not zero, so a small enough interval tells: this ends.
            low, high = self._range(coefficients)
            if low > 0 or high < 0:
                return 1 if low > 0 else -1
            self._halve()

    def num_real_roots(self, poly: Element) -> int:
        """The number of different real roots ≠ 0 of a polynomial in one variable, by Sturm."""
        poly = poly.quo(poly.gcd(poly.diff(0))) if poly.degree() > 0 else poly
        chain = [poly, poly.diff(0)]
        while chain[-1]:
            chain.append(-chain[-2].rem(chain[-1]))
        chain.pop()
        leading = [(self.sign(f.LC), f.degree()) for f in chain if f]
        at_minus = [s * (-1) ** degree for s, degree in leading]
        at_plus = [s for s, _ in leading]
        return _changes(at_minus) - _changes(at_plus) - (not poly.const())

    def _range(self, coefficients: list[Fraction]) -> tuple[Fraction, Fraction]:
        """An interval that holds the value at α, by Horner."""
        low = high = Fraction(0)
        for c in coefficients:
            ends = [a * b for a in (low, high) for b in self._interval]
            low, high = min(ends) + c, max(ends) + c
        return low, high

    def _halve(self) -> None:
        low, high = self._interval
        middle = (low + high) / 2
        # α is irrational and alone in the interval: the sign changes there, and not at a rational.
        same = (_value(self._minimal, low) > 0) == (_value(self._minimal, middle) > 0)
        self._interval = (middle, high) if same else (low, middle)


def _value(coefficients: list[Fraction], x: Fraction) -> Fraction:
    result = Fraction(0)
    for c in coefficients:
        result = result * x + c
    return result


def _changes(signs: list[int]) -> int:
    return sum(a != b for a, b in pairwise(signs))


def _fraction(number: Any) -> Fraction:
    return Fraction(int(number.numerator), int(number.denominator))
