"""An upper bound on a learning coefficient, kept apart from what is known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True)
class UpperBound:
    """λ is at most this. It is no `Coefficient`: nothing that needs λ accepts it.

    Attributes:
        value: The bound.
        method: How it was found, in a few words.
        source: Where the theorem is.
    """

    value: Fraction
    method: str
    source: str

    def __str__(self) -> str:
        """λ ≤ 5/2."""
        return f"λ ≤ {self.value}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the bound as a string of a fraction and as a number."""
        return {
            "lambda_at_most": str(self.value),
            "lambda_at_most_float": float(self.value),
            "method": self.method,
            "source": self.source,
        }
