r"""The number of examples at which the posterior goes over from one region to another."""

from __future__ import annotations

import math
from fractions import Fraction

from germ.errors import GermError

Number = float | int | Fraction

GRID = 4000
"""Points, even in log n, on which signs are looked at before a root is refined."""


def crossover(
    loss_u: Number,
    lambda_u: Number,
    loss_v: Number,
    lambda_v: Number,
    *,
    multiplicity_u: int = 1,
    multiplicity_v: int = 1,
    constant: Number = 0.0,
) -> float | None:
    r"""The n from which on the better, more complex region v has the smaller free energy.

    $$ F_n(u) - F_n(v) = n(L_u - L_v) - (\lambda_v - \lambda_u)\log n
       + (m_v - m_u)\log\log n + c $$

    (Watanabe 2009). With c = 0 and equal m it is 0 where n/log n = (λ_v − λ_u)/(L_u − L_v) = R:
    n = −R·W₋₁(−1/R), the larger of two roots; if R < e there is none, and v wins at every n. With
    c or different m the largest root is found numerically. c matters: it is of order one where
    λ log n is of order ten.

    Args:
        loss_u: L of the simpler region, in nats.
        lambda_u: Its learning coefficient.
        loss_v: L of the better one, smaller.
        lambda_v: Its learning coefficient, larger.
        multiplicity_u: m of u.
        multiplicity_v: m of v.
        constant: c, the terms of order one of F(u) less those of F(v); minus the log of prior
            densities and volumes is what is usually known of them.

    Returns:
        n, not rounded; None if v has the smaller free energy at every n > e.

    Raises:
        GermError: u is not simpler, or v not better: nothing is traded.

    Example:
        >>> print(f"{crossover(0.02, 1, 0.01, 2):.2f}")
        647.28
    """
    if not (loss_u > loss_v and lambda_v > lambda_u > 0):
        raise GermError(
            "expected loss_u > loss_v and lambda_v > lambda_u > 0 (v fits better and is more "
            f"complex); got losses {loss_u}, {loss_v} and coefficients {lambda_u}, {lambda_v}"
        )
    gain, cost = float(loss_u - loss_v), float(lambda_v - lambda_u)
    if multiplicity_u == multiplicity_v and constant == 0:
        return _without_constants(cost / gain)
    loglog = multiplicity_v - multiplicity_u

    def difference(log_n: float) -> float:
        return gain * math.exp(log_n) - cost * log_n + loglog * math.log(log_n) + constant

    # From n = e, where log log n = 0, to where the linear term exceeds all others together.
    top = 2.0
    while gain * math.exp(top) < 2 * (cost * top + abs(loglog) * math.log(top) + abs(constant)):
        top += 1.0
    logs = [1 + (top - 1) * i / GRID for i in range(GRID + 1)]
    below = [i for i, log_n in enumerate(logs) if difference(log_n) < 0]
    if not below:
        return None
    from scipy.optimize import brentq

    low, high = logs[below[-1]], logs[below[-1] + 1]
    return math.exp(float(brentq(difference, low, high, xtol=1e-14)))  # type: ignore[arg-type]


def _without_constants(ratio: float) -> float | None:
    if ratio < math.e:
        return None
    from scipy.special import lambertw

    return float(-ratio * lambertw(-1 / ratio, k=-1).real)
