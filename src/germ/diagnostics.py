"""Is an average over draws to be believed? Error, mixing, temperature, drift.

Effective sample sizes and R̂ are ArviZ's (Vehtari et al. 2021, arXiv 1903.08008).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

MIN_DRAWS = 4
"""ArviZ needs four draws a chain."""


@dataclass(frozen=True)
class Average:
    """The mean of a series over chains and draws, and how well it is known.

    Attributes:
        mean: The mean.
        standard_error: Monte Carlo standard error of the mean.
        ess: Effective number of independent draws behind it.
        rhat: R̂ (rank-normalized, split); NaN for one chain.
    """

    mean: float
    standard_error: float
    ess: float
    rhat: float


def average(series: np.ndarray, *, shared_batches: bool = False) -> Average:
    """Mean of `series` (chain, draw) and its Monte Carlo error.

    The error is sd/√ESS over all chains. Chains that share batches are not independent: noise
    that all of them see does not average out over chains. The mean over chains is one series that
    holds this noise in full, so its own sd/√ESS is computed as well and the larger one stands.

    Args:
        series: Values, (chain, draw), finite.
        shared_batches: Whether the chains saw the same batches.

    Returns:
        The average. A constant series has error 0 and NaN diagnostics.
    """
    series = np.asarray(series, dtype=np.float64)
    mean = float(series.mean())
    if np.ptp(series) == 0:
        return Average(mean, 0.0, math.nan, math.nan)
    ess = _ess(series)
    error = float(series.std(ddof=1)) / ess**0.5
    if shared_batches and len(series) > 1:
        together = series.mean(axis=0, keepdims=True)
        if np.ptp(together) > 0:
            common = float(together.std(ddof=1)) / _ess(together) ** 0.5
            if common > error:
                ess *= (error / common) ** 2
                error = common
    # Always math.nan itself: two results that hold it compare equal.
    rhat = math.nan
    if len(series) > 1:
        # Chains that each stand still, at places of their own, have an infinite one.
        with np.errstate(divide="ignore", invalid="ignore"):
            rhat = np.asarray(_array_stats().rhat(series, chain_axis=0, draw_axis=1)).item()
    return Average(mean, error, ess, rhat)


def _array_stats() -> Any:
    # Imported at first use: with its SciPy parts it would double the time of `import germ`.
    from arviz_stats.base.array import array_stats

    return array_stats


def _ess(series: np.ndarray) -> float:
    return np.asarray(_array_stats().ess(series, chain_axis=0, draw_axis=1, method="mean")).item()


@dataclass(frozen=True)
class Drift:
    """Whether the series still moves.

    Attributes:
        change: Mean of its last half less mean of its first half.
        z: The change in units of its Monte Carlo standard error.
    """

    change: float
    z: float


def drift(series: np.ndarray, *, shared_batches: bool = False) -> Drift:
    """Compare the two halves of `series` (chain, draw), as Geweke (1992) does its ends."""
    middle = series.shape[1] // 2
    if middle < MIN_DRAWS:
        return Drift(math.nan, math.nan)
    first = average(series[:, :middle], shared_batches=shared_batches)
    last = average(series[:, -middle:], shared_batches=shared_batches)
    error = float(np.hypot(first.standard_error, last.standard_error))
    change = last.mean - first.mean
    return Drift(change, change / error if error > 0 else math.nan)
