r"""Means over replicates, with intervals that count the replicates and nothing else.

$$ \bar x \pm t_{0.975,\,k-1}\, \frac{s}{\sqrt k} $$

Runs with other seeds, or models trained apart, are replicates. Chains of one run and checkpoints of
one training run are not: they come one from another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

LEVEL = 0.95
"""Of the intervals."""

CLOSEST = 1 - 1e-6
"""A correlation is taken no nearer to ±1 than this, where Fisher's z is infinite."""


@dataclass(frozen=True)
class Mean:
    """A mean over replicates.

    Attributes:
        value: The mean.
        low: Lower end of the 95% interval; NaN for fewer than two replicates.
        high: Upper end.
        num: Replicates.
        p: Two-sided p-value of a mean of 0; NaN for fewer than two.
    """

    value: float
    low: float
    high: float
    num: int
    p: float

    @property
    def apart(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON; NaN becomes None."""
        return {
            name: (value if isinstance(value, int) or math.isfinite(value) else None)
            for name, value in vars(self).items()
        }


def mean(values: Sequence[float] | np.ndarray) -> Mean:
    """The mean of replicates and its 95% t-interval; NaNs are left out.

    Args:
        values: One a replicate.

    Example:
        >>> found = mean([1.0, 2.0, 3.0])
        >>> round(found.low, 2), round(found.high, 2)
        (-0.48, 4.48)
    """
    good = np.asarray(values, dtype=float)
    good = good[np.isfinite(good)]
    nan = float("nan")
    if len(good) < 2:
        return Mean(float(good[0]) if len(good) else nan, nan, nan, len(good), nan)
    middle, error = float(good.mean()), float(good.std(ddof=1)) / math.sqrt(len(good))
    half = error * float(student.ppf((1 + LEVEL) / 2, len(good) - 1))
    p = 2 * float(student.sf(abs(middle) / error, len(good) - 1)) if error > 0 else nan
    return Mean(middle, middle - half, middle + half, len(good), p)


def mean_correlation(values: Sequence[float] | np.ndarray) -> Mean:
    """As `mean`, of correlations: taken on Fisher's z = artanh r, and brought back.

    Args:
        values: Correlations, one a replicate.
    """
    found = mean(np.arctanh(np.clip(np.asarray(values, dtype=float), -CLOSEST, CLOSEST)))
    value, low, high = (math.tanh(x) for x in (found.value, found.low, found.high))
    return Mean(value, low, high, found.num, found.p)


def said(found: Mean, digits: int = 2) -> str:
    """As `0.52 (0.31 … 0.73)`; without an interval where there is none."""
    if not math.isfinite(found.value):
        return "—"
    if not math.isfinite(found.low):
        return f"{found.value:.{digits}f} (no interval)"
    return f"{found.value:.{digits}f} ({found.low:.{digits}f} … {found.high:.{digits}f})"
