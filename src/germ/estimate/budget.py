"""The error budget of one estimate: what is wrong with λ̂, by cause, and how much in all.

Every term is in units of λ̂ and has the sign of what its cause has added to λ̂. The derivations are
in docs/budget.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from germ.diagnostics import Average, average, drift

CONFIDENCE = 0.90
"""Probability with which the stated interval is to hold the local expectation."""

NUM_BLOCKS = 12
"""Pieces of time that say how λ̂ and the virial move together."""

FIRST_ORDER = frozenset({"SGLD", "RMSpropSGLD"})
"""Samplers whose discretization adds to the variance at first order in ε, on quadratics too."""


COOLED = 0.5
"""The share of the heat taken out of the injected noise (`BAOAB.cooling`) that may still be there.
On a net of five layers all of it was; on four of the development nets less than half."""


@dataclass(frozen=True)
class ErrorBudget:
    """What λ̂ is wrong by, cause by cause, at the stated (nβ, γ).

    Attributes:
        value: λ̂.
        monte_carlo: Its Monte Carlo standard error.
        ess: Effective number of independent draws behind that.
        step_size: What the discretization of time has added to λ̂; 0 for Metropolis samplers.
        heating: What gradient noise has added; 0 without minibatches. Samplers without momentum
            have one thermometer for both causes: their heating includes the step size.
        drift: What is missing because the chains are not stationary yet, negative where λ̂ is
            still too small; or what they have not lost yet.
        not_a_minimum: ½·nβ²·gᵀDg, what a quadratic model would gain by descending from w*; NaN
            where it is not known. It is no error of the local expectation and stands beside the
            total: see docs/budget.md.
    """

    value: float
    monte_carlo: float
    ess: float
    step_size: float = 0.0
    heating: float = 0.0
    drift: float = 0.0
    not_a_minimum: float = math.nan

    @property
    def biases(self) -> dict[str, float]:
        """The terms of the total that more draws do not shrink, by name."""
        return {"step_size": self.step_size, "heating": self.heating, "drift": self.drift}

    @property
    def total(self) -> float:
        """√(Monte Carlo² + Σ bias²): a bias of unknown exact size counts as one deviation."""
        return math.hypot(self.monte_carlo, *self.biases.values())

    @property
    def half_width(self) -> float:
        """Half the 90% interval: the total, times Student's t for the Monte Carlo part.

        An error estimated from few effective draws is itself uncertain: t has ESS/4 degrees of
        freedom, at least 1.
        """
        from scipy.special import ndtri, stdtrit

        tail = (1 + CONFIDENCE) / 2
        freedom = max(1.0, self.ess / 4) if math.isfinite(self.ess) else math.inf
        t = float(stdtrit(freedom, tail) if math.isfinite(freedom) else ndtri(tail))
        z = float(ndtri(tail))
        return math.hypot(t * self.monte_carlo, *(z * bias for bias in self.biases.values()))

    @property
    def interval90(self) -> tuple[float, float]:
        """The stated 90% interval of the local expectation."""
        return self.value - self.half_width, self.value + self.half_width

    def __str__(self) -> str:
        """One line: the total and what it is made of."""
        if not math.isfinite(self.total):
            return "error budget: unknown"
        places = max(0, 1 - math.floor(math.log10(self.total))) if self.total > 0 else 0
        signed = (
            f"{name.replace('_', ' ')} {bias:+.{places}f}"
            if round(bias, places)
            else f"{name.replace('_', ' ')} 0"
            for name, bias in self.biases.items()
        )
        return (
            f"± {self.total:.{places}f}: Monte Carlo {self.monte_carlo:.{places}f}, "
            + ", ".join(signed)
        )

    def to_dict(self) -> dict[str, Any]:
        """All terms, the total and the interval, for JSON; NaN becomes None."""
        found: dict[str, Any] = {
            "monte_carlo": self.monte_carlo,
            **self.biases,
            "not_a_minimum": self.not_a_minimum,
            "total": self.total,
            "half_width": self.half_width,
        }
        kept = {k: x if math.isfinite(x) else None for k, x in found.items()}
        return {**kept, "interval90": [x if math.isfinite(x) else None for x in self.interval90]}


def error_budget(used: xr.Dataset, estimate: Average | None = None) -> ErrorBudget:
    r"""The budget of λ̂ from the series of chains that are ok.

    $$ \mathrm{total}^2 = \mathrm{MC}^2 + \mathrm{step}^2 + \mathrm{heat}^2 + \mathrm{drift}^2 $$

    With V the virial, T the kinetic temperature, λ' = λ̂/V and s = √(λ'·d/2) the scale on which a
    temperature is felt,

        heating = (T − 1)·s,    step size = (V − T)₊·s,    drift = −(T − V)₊·min(λ', dλ̂/dV)

    where a difference is what is left of it beyond its own Monte Carlo error; heating is at least
    half of what `germ.heat.response` says was taken out of the injected noise. A drift seen between
    the halves of the draws stands in where it is larger.

    Args:
        used: Samples as `germ.sample` returns them, chains that are ok only.
        estimate: The average of nβ·ΔL, if at hand.

    Returns:
        The budget.
    """
    return _Evidence(used, estimate).budget()


def resolved(change: float, error: float) -> float:
    """What of a change its own error does not explain: sign·√(change² − error²)₊.

    The square of what is left estimates the square of the true change without bias, until it is
    cut at 0; and squares are what the total adds up.

    Example:
        >>> resolved(-5.0, 3.0), resolved(1.0, 2.0)
        (-4.0, 0.0)
    """
    if not (math.isfinite(change) and math.isfinite(error)):
        return 0.0
    return math.copysign(math.sqrt(max(0.0, change**2 - error**2)), change) + 0.0


class _Evidence:
    """The averages that the terms are made of."""

    def __init__(self, used: xr.Dataset, estimate: Average | None) -> None:
        attrs = used.attrs
        self.used = used
        self.shared = bool(attrs["shared_batches"])
        self.nbeta = float(attrs["nbeta"])
        self.num_coordinates = int(attrs["num_coordinates"])
        descent = float(attrs.get("descent", math.nan))
        # NaN read from a file is another object: two budgets that hold it would compare unequal.
        self.descent = descent if math.isfinite(descent) else math.nan
        self.first_order = attrs.get("sampler") in FIRST_ORDER
        # Cooling mends the mean of a heat that is more of further out: half of it may be left.
        self.cooled = COOLED * float(attrs.get("gradient_heat", 0.0))
        self.metropolis = "acceptance" in used
        self.kinetic = "temperature" in used
        # Samples made elsewhere may not say: then gradient noise is not excluded.
        batch = float(attrs.get("batch_size", 0))
        self.noisy = not self.metropolis and batch < float(attrs["num_examples"])
        self.differences = self.nbeta * used["loss_difference"].values
        self.estimate = estimate or self.average(self.differences)

    def average(self, series: np.ndarray) -> Average:
        return average(series, shared_batches=self.shared)

    def budget(self) -> ErrorBudget:
        excess, error = self.excess()
        left = resolved(excess, error)
        heating, step_size, missing = self.heat * self.scale, 0.0, min(left, 0.0)
        if self.cooled > abs(heating):
            heating = self.cooled
        if self.metropolis:
            # Its law is exact: a virial off 1, either way, is a law not reached yet.
            missing = left
        else:
            if not self.kinetic and self.noisy:
                # The virial is the only thermometer, and missing spread pulls it down while heat
                # lifts it: where it stands below 1, as much heat again may be hidden.
                left = abs(excess) + error
            elif not self.kinetic and self.first_order:
                # Always too hot: what the virial cannot tell counts.
                left = max(excess, 0.0) + error if excess > -error else 0.0
            above = max(left, 0.0) * self.scale
            if self.kinetic or not self.noisy:
                step_size = above
            else:
                heating = above
        return ErrorBudget(
            value=self.estimate.mean,
            monte_carlo=self.estimate.standard_error,
            ess=self.estimate.ess,
            step_size=step_size,
            heating=heating,
            drift=self.drift(missing),
            not_a_minimum=self.descent,
        )

    @property
    def size(self) -> float:
        """What |λ̂| would be at a virial of 1 if it were in proportion to it.

        Its Monte Carlo error stands in where λ̂ is zero within that.
        """
        found = max(abs(self.estimate.mean), self.estimate.standard_error)
        return found / self.virial if self.virial > 0 else math.inf

    @property
    def scale(self) -> float:
        """What a temperature of 2 in place of 1 would add to λ̂.

        λ̂ where every direction is as hot as the next; d/2 where all the heat is in directions that
        the loss feels. The geometric mean is wrong by √(d/2λ̂) at most.
        """
        size = min(self.size, max(abs(self.estimate.mean), self.num_coordinates / 2))
        return max(size, math.sqrt(size * self.num_coordinates / 2))

    @cached_property
    def virial(self) -> float:
        return float(self.used["virial"].values.mean())

    @cached_property
    def heat(self) -> float:
        """T − 1, as far as it is no Monte Carlo error; 0 where nothing can heat, or shows it."""
        if not (self.kinetic and self.noisy):
            return 0.0
        found = self.average(self.used["temperature"].values)
        return resolved(found.mean - 1, found.standard_error)

    def excess(self) -> tuple[float, float]:
        """V − T and its standard error, where T is 1 unless heat was seen."""
        virial = self.used["virial"].values
        if self.heat:
            # Draw by draw: what both thermometers see of a fluctuation cancels.
            virial = virial - self.used["temperature"].values + 1
        found = self.average(virial)
        return found.mean - 1, found.standard_error

    def drift(self, missing: float) -> float:
        """The larger of two findings: what the virial misses, and how the halves differ."""
        spread = missing * self.response()
        moved = drift(self.differences, shared_batches=self.shared)
        # Where the drift ends with the first half, it has put half the change into the mean.
        error = moved.change / moved.z if moved.z else math.inf
        halves = -resolved(moved.change, error) / 2
        return max(spread, halves, key=abs)

    def response(self) -> float:
        """dλ̂/dV along the way to equilibrium: how much λ̂ gains while the virial does.

        At most λ̂/V, which it is where all directions spread alike. Directions that the loss does
        not feel spread last: where λ̂ has settled while the virial still rises, it is small.
        Measured by regression over pieces of time, the last half of warmup among them; one standard
        error of the slope is added.
        """
        slope, error = self._slope()
        most = min(self.size, max(abs(self.estimate.mean), self.num_coordinates / 2))
        return min(most, max(slope, 0.0) + error) if math.isfinite(slope + error) else most

    def _slope(self) -> tuple[float, float]:
        pieces = []
        thin = int(self.used.attrs.get("thin", 1))
        for name, factor in (("loss_difference", self.nbeta), ("virial", 1.0)):
            series = self.used[name].values
            warmup = self.used.get(f"warmup_{name}")
            if warmup is not None:
                late = warmup.values[:, warmup.shape[1] // 2 :: thin]
                series = np.concatenate([late, series], axis=1)
            together = factor * series.mean(axis=0)
            number = min(NUM_BLOCKS, len(together) // 2)
            if number < 3:
                return math.nan, math.nan
            pieces.append([part.mean() for part in np.array_split(together, number)])
        rises, virials = (np.asarray(part) - np.mean(part) for part in pieces)
        squares = float(virials @ virials)
        if squares == 0:
            return math.nan, math.nan
        slope = float(virials @ rises) / squares
        residual = rises - slope * virials
        return slope, math.sqrt(float(residual @ residual) / (len(rises) - 2) / squares)
