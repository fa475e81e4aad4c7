"""When to stop: at a number of draws, or once the average is known well enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from germ.diagnostics import MIN_DRAWS, average

GROWTH = 1.5
"""Between one look at the precision and the next, draws grow by this factor.

Looking often and stopping at the first good moment favours errors that came out small by chance;
a few looks, far apart, do that little.
"""

DRAWS, PRECISION, BUDGET = "draws", "precision", "budget"
"""Why sampling ended: as many draws as were asked for; the precision was reached; or it was not,
and no more draws were allowed."""


@dataclass(frozen=True)
class Stopping:
    """Sample until the standard error of the mean loss difference is a share of it, or no longer.

    Attributes:
        draws: Draws a chain, or the least of them where a precision is asked for.
        max_draws: The most of them.
        precision: Wanted standard error of λ̂ as a share of |λ̂|; None is never looked at.
    """

    draws: int
    max_draws: int
    precision: float | None

    def marks(self) -> Iterator[int]:
        """Numbers of draws at which to look."""
        number = float(self.draws)
        while self.precision is not None and number < self.max_draws:
            yield int(number)
            number *= GROWTH
        yield self.max_draws

    def next_mark(self, num_draws: int) -> int:
        """The first mark after `num_draws`; the last one stays."""
        return next((mark for mark in self.marks() if mark > num_draws), self.max_draws)

    def reached(self, differences: np.ndarray, *, shared_batches: bool) -> bool:
        """Whether the precision is reached.

        Args:
            differences: Loss differences so far, (chain, draw).
            shared_batches: Whether the chains saw the same batches.
        """
        num_draws = differences.shape[1]
        if self.precision is None or num_draws < max(self.draws, MIN_DRAWS):
            return False
        if not np.isfinite(differences).all():
            return True  # A failed chain is not made better by more draws.
        found = average(differences, shared_batches=shared_batches)
        return found.standard_error <= self.precision * abs(found.mean)
