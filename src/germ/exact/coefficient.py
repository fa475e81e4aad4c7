r"""A learning coefficient that is known exactly, and the calculus of separate variables.

For K ≥ 0 near a zero w*, and as t → 0 or nβ → ∞,

$$ \mathrm{vol}\{K < t\} \sim c\, t^{\lambda} (-\log t)^{m-1},
   \qquad \mathbb{E}[n\beta K] = \lambda - \frac{m-1}{\log n\beta} + o(1/\log n\beta). $$

If K₁ and K₂ have no variable in common (Watanabe 2009, *Algebraic Geometry and Statistical Learning
Theory*, ch. 7):

    K₁ + K₂:  λ₁ + λ₂, m₁ + m₂ − 1
    K₁ · K₂:  the smaller λ and its m; where they are equal, m₁ + m₂
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from germ.errors import GermError


@dataclass(frozen=True)
class Coefficient:
    """λ and m, exactly.

    Attributes:
        value: λ > 0.
        multiplicity: m ≥ 1.
        method: How it was found, in a few words: `"Newton polyhedron"`.
        source: Where the theorem is: author, year, number.
        steps: The way to it, one line each, for a reader who wants to follow.
    """

    value: Fraction
    multiplicity: int
    method: str
    source: str
    steps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no function has.

        Raises:
            GermError: λ is not positive, or m is less than 1.
        """
        if self.value <= 0 or self.multiplicity < 1:
            raise GermError(
                f"expected λ > 0 and m >= 1; got λ = {self.value}, m = {self.multiplicity}"
            )

    def __str__(self) -> str:
        """λ = 1/4, m = 1."""
        return f"λ = {self.value}, m = {self.multiplicity}"

    def __add__(self, other: Coefficient) -> Coefficient:
        """Of K₁(x) + K₂(y)."""
        return self._joined(
            other,
            "sum of separate variables",
            self.value + other.value,
            self.multiplicity + other.multiplicity - 1,
        )

    def __mul__(self, other: Coefficient) -> Coefficient:
        """Of K₁(x) · K₂(y)."""
        smaller = min(self, other, key=lambda known: known.value)
        tied = self.value == other.value
        return self._joined(
            other,
            "product of separate variables",
            smaller.value,
            self.multiplicity + other.multiplicity if tied else smaller.multiplicity,
        )

    def expected(self, nbeta: float) -> float:
        """The leading terms of E[nβK] at this nβ: λ − (m − 1)/log nβ.

        Raises:
            GermError: nβ is not above 1, where the expansion means nothing.
        """
        if not 1 < nbeta < math.inf:
            raise GermError(f"expected nbeta > 1 and finite; got {nbeta}")
        return float(self.value) - (self.multiplicity - 1) / math.log(nbeta)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: λ as a string of a fraction and as a number."""
        return {
            "lambda": str(self.value),
            "lambda_float": float(self.value),
            "multiplicity": self.multiplicity,
            "method": self.method,
            "source": self.source,
            "steps": list(self.steps),
        }

    def _joined(self, other: Coefficient, rule: str, value: Fraction, m: int) -> Coefficient:
        sources = dict.fromkeys([*self.source.split("; "), *other.source.split("; ")])
        step = f"{rule}: ({self}) and ({other}) → λ = {value}, m = {m}"
        return Coefficient(value, m, rule, "; ".join(sources), (*self.steps, *other.steps, step))
