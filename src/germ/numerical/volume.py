r"""λ and m read off the volume V(t) of {K < t}.

As t → 0 (Watanabe 2009, ch. 4; Arnold, Gusein-Zade & Varchenko 1988, vol. II, §7),

$$ V(t) = c\, t^{\lambda} (\log 1/t)^{m-1} (1 + o(1)). $$

The o(1) is what makes this hard: for m > 1 it falls as 1/log, for a cusp as t^{1/12}. The
candidates are, with L = log(t₀/t),

    m = 1:               log V = c + λ log t
    m = 1, corrected:    log V = c + λ log t + log(1 + b (t/t₀)^δ)
    m ≥ 2:               log V = c + λ log t + (m − 1) log(L + a)

and those that the data cannot tell apart make up the systematic error. Neighbouring values of log V
share their past: each is the last one plus an independent increment. Least squares is therefore
over the increments, which is generalized least squares over log V.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from germ.errors import GermError
from germ.numerical.checking import Potential
from germ.numerical.splitting import Splitting, split

NUM_KNOTS = 24
"""Values of t that are fitted, evenly spaced in log t."""

POWERS = (1 / 12, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 1.0)
"""δ of the correction: gaps between poles of the zeta function are simple fractions."""

ALIKE = 4.0
"""AIC within which two candidates are not told apart; e^{−2} is their relative likelihood."""

SHIFT = 5.0
"""a reaches up to this many (m − 1)/λ. For K = Π wᵢ², t₀ its maximum, it is (m − 1)/λ."""


@dataclass(frozen=True)
class Candidate:
    """One form of V(t), fitted.

    Attributes:
        value: λ.
        multiplicity: m.
        corrected: Whether with the term in t^δ.
        chi_squared: Of the fit, for `num_points` increments.
        aic: χ² + 2·(number of free parameters).
    """

    value: float
    multiplicity: int
    corrected: bool
    chi_squared: float
    aic: float

    def __str__(self) -> str:
        """The candidate's λ, m and AIC."""
        kind = ", corrected" if self.corrected else ""
        return f"λ = {self.value:.4f}, m = {self.multiplicity}{kind} (AIC {self.aic:.1f})"


@dataclass(frozen=True)
class VolumeExponent:
    """λ and m from the volume of sublevel sets.

    Attributes:
        value: λ of the best candidate.
        error: Its standard error, by the jackknife over replicas.
        systematic: How far λ moves among the candidates that the data cannot tell from the best,
            and when only the lower part of the range is fitted, beyond what noise explains.
        multiplicity: m of the best candidate.
        decided: Whether no candidate of another m is within `ALIKE` of it.
        candidates: All of them, the best first.
        num_increments: How many increments were fitted.
        largest: The largest t of the fit.
        smallest: The smallest.
        inflation: Variance of the increments in units of that of perfect moves.
        num_evaluations: How often K was evaluated.
    """

    value: float
    error: float
    systematic: float
    multiplicity: int
    decided: bool
    candidates: tuple[Candidate, ...]
    num_increments: int
    largest: float
    smallest: float
    inflation: float
    num_evaluations: int

    @property
    def total_error(self) -> float:
        """Both errors in quadrature."""
        return math.hypot(self.error, self.systematic)

    @property
    def runner_up(self) -> Candidate | None:
        """The best candidate of another m."""
        others = [each for each in self.candidates if each.multiplicity != self.multiplicity]
        return others[0] if others else None

    def __str__(self) -> str:
        """The value with both errors, m, and the range of t."""
        sure = "" if self.decided else "?"
        return (
            f"λ = {self.value:.4f} ± {self.error:.4f} (noise) ± {self.systematic:.4f} (form), "
            f"m = {self.multiplicity}{sure}, t from {self.largest:.1e} to {self.smallest:.1e}"
        )


def volume_exponent(
    potential: Potential,
    prior: ArrayLike | Callable[[np.ndarray], np.ndarray],
    smallest: float = 1e-20,
    *,
    max_multiplicity: int | None = None,
    **settings: Any,
) -> VolumeExponent:
    """λ and m of a potential, by splitting and a fit.

    Args:
        potential: K, from (num_points, dim) to (num_points,).
        prior: Bounds for each coordinate, or a function from the unit cube: as in `split`.
        smallest: The t to go down to. Rounding of K must not matter there.
        max_multiplicity: The largest m that is tried; the dimension, at most 4, by default.
        **settings: Of `split`.

    Raises:
        GermError: What `split` and `fit_exponent` refuse.
    """
    run = split(potential, prior, smallest, **settings)
    return fit_exponent(run, max_multiplicity=max_multiplicity)


def fit_exponent(
    run: Splitting, *, max_multiplicity: int | None = None, largest: float | None = None
) -> VolumeExponent:
    """λ and m of a splitting.

    Args:
        run: From `split`.
        max_multiplicity: The largest m that is tried; the dimension, at most 4, by default.
        largest: The t to begin at; where V(t) is an eighth, by default.

    Raises:
        GermError: Fewer than 5 halvings of V(t) below `largest`, or a replica that died out.
    """
    most = min(run.dim, 4) if max_multiplicity is None else max_multiplicity
    if not 1 <= most <= 20:
        raise GermError(f"expected max_multiplicity from 1 to 20; got {most}")
    used = run.levels[2:] if largest is None else run.levels[run.levels <= largest]
    if len(used) < 5:
        raise GermError(
            f"expected V(t) to halve at least 5 times over the fit; got {len(used)}: split with a "
            "smaller `smallest`"
        )
    knots = np.geomspace(used[0], used[-1], NUM_KNOTS)
    knots[-1] = used[-1]
    logs = run.replica_log_volumes(knots)
    if not np.isfinite(logs).all():
        raise GermError("a replica died out on the way down: split with more `num_points`")
    noise = _Noise.measured(logs, run.num_points)
    top = float(run.levels[0])
    data = _Data(knots, top, logs, noise)
    candidates = sorted(data.candidates(most), key=lambda each: each.aic)
    best = candidates[0]
    error = data.jackknife(best)
    alike = [each for each in candidates if each.aic <= best.aic + ALIKE]
    spread = max(abs(each.value - best.value) for each in alike)
    return VolumeExponent(
        value=best.value,
        error=error,
        systematic=max(spread, data.drift(best, error)),
        multiplicity=best.multiplicity,
        decided=all(each.multiplicity == best.multiplicity for each in alike),
        candidates=tuple(candidates),
        num_increments=len(knots) - 1,
        largest=float(knots[0]),
        smallest=float(knots[-1]),
        inflation=noise.inflation,
        num_evaluations=run.num_evaluations,
    )


@dataclass(frozen=True)
class _Noise:
    """The variance of the mean increments."""

    variances: np.ndarray
    inflation: float

    @classmethod
    def measured(cls, logs: np.ndarray, num_points: int) -> _Noise:
        """One factor for all increments, from the spread of replicas: (R − 1)·J degrees."""
        increments = -np.diff(logs, axis=1)
        perfect = increments.mean(0) / math.log(2) / num_points
        inflation = float((increments.var(0, ddof=1) / perfect).mean())
        return cls(inflation * perfect / len(logs), inflation)


@dataclass(frozen=True)
class _Data:
    """log V at the knots, and what is fitted to it."""

    knots: np.ndarray
    top: float
    logs: np.ndarray
    noise: _Noise

    def candidates(self, most: int) -> list[Candidate]:
        """Every form, fitted to the mean over replicas."""
        forms = [(1, False), (1, True), *((m, False) for m in range(2, most + 1))]
        found = []
        for m, corrected in forms:
            value, chi_squared = self.fit(_log_mean(self.logs), m, corrected)
            num_parameters = 3 if corrected else 1 + (m > 1)
            found.append(
                Candidate(value, m, corrected, chi_squared, chi_squared + 2 * num_parameters)
            )
        return found

    def jackknife(self, form: Candidate) -> float:
        """The standard error of λ from leaving out one replica at a time."""
        values = []
        for left_out in range(len(self.logs)):
            logs = _log_mean(np.delete(self.logs, left_out, axis=0))
            values.append(self.fit(logs, form.multiplicity, form.corrected)[0])
        return math.sqrt((len(values) - 1) * np.var(values))

    def drift(self, form: Candidate, error: float) -> float:
        """How far λ moves when the upper two fifths are left out, beyond twice its noise."""
        start = 2 * len(self.knots) // 5
        lower = _Data(
            self.knots[start:], self.top, self.logs[:, start:],
            _Noise(self.noise.variances[start:], self.noise.inflation),
        )  # fmt: skip
        moved = abs(
            lower.fit(_log_mean(lower.logs), form.multiplicity, form.corrected)[0] - form.value
        )
        noise = math.sqrt(max(lower.jackknife(form) ** 2 - error**2, 0.0))
        return moved if moved > 2 * noise else 0.0

    def fit(self, logs: np.ndarray, m: int, corrected: bool) -> tuple[float, float]:
        """λ and χ² of one form."""
        steps, log_t = np.diff(logs), np.diff(np.log(self.knots))
        weights = 1 / self.noise.variances

        def linear(extra: np.ndarray) -> tuple[float, float]:
            target = steps - np.diff(extra)
            value = float((weights * log_t * target).sum() / (weights * log_t**2).sum())
            return value, float((weights * (target - value * log_t) ** 2).sum())

        plain = linear(np.zeros_like(logs))
        if m == 1 and not corrected:
            return plain
        if corrected:
            ratio = self.knots / self.top
            fits = [
                _minimum(lambda b, p=power: linear(np.log1p(b * ratio**p)), -0.98, 10.0)
                for power in POWERS
            ]
            return min(fits, key=lambda each: each[1])
        depth = np.log(self.top / self.knots)
        # The scale of a is 1/λ, and λ is at least what a straight line says.
        upper = SHIFT * (m - 1) / plain[0]
        lower = -0.9 * float(depth.min())
        return _minimum(lambda a: linear((m - 1) * np.log(depth + a)), lower, upper)


def _minimum(
    fit: Callable[[float], tuple[float, float]], lower: float, upper: float
) -> tuple[float, float]:
    """The fit with the least χ² over its one nonlinear parameter."""
    result: Any = minimize_scalar(lambda p: fit(p)[1], bounds=(lower, upper), method="bounded")
    ends = [fit(float(p)) for p in (result.x, lower, upper)]
    return min(ends, key=lambda each: each[1])


def _log_mean(logs: np.ndarray) -> np.ndarray:
    top = logs.max(0)
    return np.log(np.exp(logs - top).mean(0)) + top
