r"""λ and m from λ̂ at several nβ: a mixture of models, so that the interval knows what it does not.

With Z(nβ) = ∫ exp(−nβK) φ, λ̂(nβ) = −d log Z/d log nβ. Watanabe's expansion of Z,

$$ Z = (n\beta)^{-\lambda}\,\bigl[(\log n\beta + c)^{m-1} + \dots\bigr]
       + O\bigl((n\beta)^{-\lambda - s}\bigr), $$

so gives, with L = log nβ,

$$ \hat\lambda(n\beta) = \lambda - \frac{m-1}{L + c} - b\,(n\beta)^{-s} - e\,n\beta. $$

The second term is exact for m = 2 and leads for m > 2. The third is the next pole, and what the
localization takes: of a quadratic direction h that is ½·γ/(nβh + γ), s = 1; singular directions and
spectra of many scales have s < 1. The last is there where w* is no exact minimum: with L_0 the
minimum, nβ(E[L] − L(w*)) = nβ(E[L] − L_0) − nβ(L(w*) − L_0).

Nothing is fitted once and believed. Every m, s, c, with and without the last two terms, and every
number of lowest rungs left out is a model; each is weighted by its marginal likelihood (b and e are
integrated out, b ≥ 0 and e ≥ 0), and λ has a flat prior on (0, d/2].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations_with_replacement, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from germ.errors import GermError

MIN_RUNGS = 3

MULTIPLICITIES = (1, 2, 3, 4)
MULTIPLICITY_WEIGHTS = (0.48, 0.24, 0.16, 0.12)
"""A priori ∝ 1/m."""

EXPONENTS = (0.25, 1 / 3, 0.5, 2 / 3, 1.0)
"""Of what the localization and the next pole take, s; below 1/4 a power looks like a logarithm."""

SHIFTS = (1.0, 1.5, 2.2, 3.3, 5.0, 7.5, 11.0, 16.0)
"""L + c at the lowest rung. The m − 1 terms 1/(L + c) of a polynomial in L have a c each."""

MODEL_ERROR = 0.008
"""Share of λ̂ by which even the best of these models may miss it."""

NUM_POINTS, REACH = 400, (0.5, 3.0)
"""Of the grid of λ, even in its logarithm, and where it ends in units of the last λ̂."""

DECIDED = 0.8
"""m is stated from this probability on."""

PROBABILITY = 0.9
"""Of the interval of λ."""


@dataclass(frozen=True)
class Extrapolation:
    """λ and m as nβ → ∞.

    Attributes:
        value: λ, the median over models.
        interval: The shortest that holds 90%: of Monte Carlo error and of which model is right.
        multiplicity: m, or None where no m has a probability of 0.8.
        probabilities: Of m = 1, 2, 3, 4.
        descent: e·nβ at the highest nβ, what λ̂ loses there as w* is no exact minimum; the mean
            over models.
        num_rungs: Mean number of rungs that the models use.
    """

    value: float
    interval: tuple[float, float]
    multiplicity: int | None
    probabilities: tuple[float, ...]
    descent: float
    num_rungs: float

    def __str__(self) -> str:
        """λ = 13.4 (13.1 … 13.8), m undecided (1: 61%, 2: 22%, 3: 11%, 4: 6%)."""
        low, high = self.interval
        places = max(0, 2 - math.floor(math.log10(max(high - low, 1e-6))) - 1)
        text = f"λ = {self.value:.{places}f} ({low:.{places}f} … {high:.{places}f})"
        if self.multiplicity is not None:
            return f"{text}, m = {self.multiplicity}"
        shares = ", ".join(
            f"{m}: {p:.0%}" for m, p in zip(MULTIPLICITIES, self.probabilities, strict=True)
        )
        return f"{text}, m undecided ({shares})"

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self)


def extrapolate(
    nbetas: ArrayLike,
    values: ArrayLike,
    errors: ArrayLike,
    *,
    dimension: int,
    exact_minimum: bool = False,
) -> Extrapolation:
    """λ and m from λ̂ at three or more nβ, of one γ.

    Args:
        nbetas: nβ > 1 of each rung, increasing.
        values: λ̂.
        errors: Standard errors, independent.
        dimension: d: λ ≤ d/2.
        exact_minimum: Whether L(w*) is known to be the minimum, so that e = 0.

    Returns:
        The extrapolation.

    Raises:
        GermError: Fewer than three rungs, nβ that do not increase from above 1, or errors that are
            not positive.
    """
    x, y, sd = (np.asarray(v, dtype=float) for v in (nbetas, values, errors))
    if len(x) < MIN_RUNGS:
        raise GermError(f"expected at least {MIN_RUNGS} rungs to extrapolate from; got {len(x)}")
    if not (x[0] > 1 and (np.diff(x) > 0).all()):
        raise GermError(f"expected nbeta to increase from above 1; got {x.tolist()}")
    if not (np.isfinite(y).all() and np.isfinite(sd).all() and (sd > 0).all()):
        raise GermError("expected finite values and positive errors to extrapolate from")
    if not y[-1] > 0:
        raise GermError(f"expected λ̂ > 0 at the highest nbeta; got {y[-1]:.3g}: there is no λ here")
    sd = np.hypot(sd, MODEL_ERROR * np.abs(y))
    grid = _grid(float(y[-1]), dimension)
    parts = list(_models(x, y, sd, grid, exact_minimum))
    highest = max(part.log.max() for part in parts)
    mass = np.zeros((len(MULTIPLICITIES), len(grid)))
    descent = rungs = 0.0
    for part in parts:
        # Even in log λ: the weight of a point is λ, for a prior that is flat in λ.
        weight = np.exp(part.log - highest).sum(axis=0) * grid
        mass[part.place] += weight
        rungs += part.num_rungs * float(weight.sum())
        descent += part.descent * float(weight.sum())
    total = mass.sum()
    probabilities = mass.sum(axis=1) / total
    cumulative = np.cumsum(mass.sum(axis=0)) / total
    starts = np.linspace(0, 1 - PROBABILITY, 101)
    ends = np.stack([np.interp(starts + shift, cumulative, grid) for shift in (0, PROBABILITY)])
    # The shortest: λ = d/2, the regular case, is the end of what is possible, and has to be in.
    low, high = ends[:, np.diff(ends, axis=0)[0].argmin()]
    middle = np.interp(0.5, cumulative, grid)
    best = int(probabilities.argmax())
    return Extrapolation(
        value=float(middle),
        interval=(float(low), float(high)),
        multiplicity=MULTIPLICITIES[best] if probabilities[best] >= DECIDED else None,
        probabilities=tuple(probabilities.tolist()),
        descent=descent / total,
        num_rungs=rungs / total,
    )


class _Part(NamedTuple):
    """Models that differ in the c alone: log weight (c, λ), place of m, rungs used, e·nβ."""

    log: np.ndarray
    place: int
    num_rungs: int
    descent: float


def _grid(last: float, dimension: int) -> np.ndarray:
    """λ from which to choose: fine beside the errors, up to d/2."""
    low, high = (factor * last for factor in REACH)
    return np.geomspace(low, max(min(high, dimension / 2), 1.01 * low), NUM_POINTS)


def _models(
    x: np.ndarray, y: np.ndarray, sd: np.ndarray, grid: np.ndarray, exact_minimum: bool
) -> Iterator[_Part]:
    """All models and their weights at each λ."""
    size = float(np.abs(y).max())
    # A rung that is left out could have been anywhere.
    ignorance = -math.log(2 * size)
    descents = (False,) if exact_minimum else (False, True)
    for first in range(len(x) - MIN_RUNGS + 1):
        used = slice(first, None)
        height = np.log(x[used] / x[first])
        for exponent, falling in product((None, *EXPONENTS), descents):
            if len(height) < 1 + (exponent is not None) + falling:
                continue
            columns = [] if exponent is None else [np.exp(-exponent * height)]
            if falling:
                columns.append(x[used] / x[-1])
            base = first * ignorance - math.log(len(EXPONENTS) + 1) - math.log(len(descents))
            for place, m in enumerate(MULTIPLICITIES):
                terms = [1 / (height + shift) for shift in SHIFTS]
                taken = [sum(c, 0 * height) for c in combinations_with_replacement(terms, m - 1)]
                log, descent = _evidence(y[used] + taken, sd[used], columns, grid, size / 2)
                weight = math.log(MULTIPLICITY_WEIGHTS[place]) - math.log(len(taken))
                yield _Part(log + base + weight, place, len(height), descent * falling)


def _evidence(
    targets: np.ndarray, sd: np.ndarray, columns: list[np.ndarray], grid: np.ndarray, width: float
) -> tuple[np.ndarray, float]:
    """Log p(target | λ), (targets, λ), and the mean of the last coefficient at the best of them.

    The model is target = λ − Σ_k a_k·column_k + noise, a_k half normal of scale `width`; the a_k
    are integrated out. All is quadratic in λ, but for the half that is cut off.
    """
    from scipy.special import log_ndtr

    scaled, ones = targets / sd, 1 / sd  # (targets, rungs), (rungs,)
    square = np.add.outer(np.square(scaled).sum(1), grid**2 * (ones @ ones))
    square -= 2 * np.outer(scaled @ ones, grid)
    log = -0.5 * square - np.log(sd).sum() - 0.5 * len(sd) * math.log(2 * math.pi)
    if not columns:
        return log, 0.0
    design = np.stack(columns, axis=1) / sd[:, None]
    precision = design.T @ design + np.eye(len(columns)) / width**2
    covariance = np.linalg.inv(precision)
    log -= 0.5 * float(np.linalg.slogdet(precision * width**2)[1])
    # (columns, targets, λ): what the residual λ − target says of each coefficient.
    pull = (ones @ design)[:, None, None] * grid - (scaled @ design).T[:, :, None]
    mean = np.einsum("ij,jtl->itl", covariance, pull)
    log += 0.5 * (pull * mean).sum(axis=0)
    for i in range(len(columns)):
        log += log_ndtr(mean[i] / covariance[i, i] ** 0.5) + math.log(2)
    best = np.unravel_index(log.argmax(), log.shape)
    return log, max(float(mean[-1][best]), 0.0)
