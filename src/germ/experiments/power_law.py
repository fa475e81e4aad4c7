r"""The loss as an offset power law of λ̂ over checkpoints, with intervals from a block bootstrap.

$$ L = L_\infty + c\,\hat\lambda^{-r} $$

For given r the law is linear in L_∞ and c: so r is searched on a grid and the others follow by
least squares (variable projection), for all resamples at once. Checkpoints of one run are not
independent: residuals are resampled in blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from germ.errors import GermError

EXPONENTS = np.geomspace(0.05, 50.0, 400)
"""Where r is searched; neighbours differ by 1.7%. At the last, the law is an exponential."""

NUM_RESAMPLES = 2000
MIN_POINTS = 5


@dataclass(frozen=True)
class PowerLaw:
    """A fit, and the 95% intervals of its parameters.

    Attributes:
        floor: L_∞ ≥ 0, the loss at infinite λ̂.
        scale: c in units of the loss at `center`: L = L_∞ + c (λ̂/center)^−r.
        exponent: r.
        center: Geometric mean of λ̂.
        rms: Root mean square residual, in the loss's unit.
        floor_interval: Of the floor.
        exponent_interval: Of the exponent.
        at_end: Share of the resamples whose exponent is at an end of `EXPONENTS`.
    """

    floor: float
    scale: float
    exponent: float
    center: float
    rms: float
    floor_interval: tuple[float, float]
    exponent_interval: tuple[float, float]
    at_end: float

    def __call__(self, llc: np.ndarray) -> np.ndarray:
        """The loss at given λ̂."""
        return self.floor + self.scale * (llc / self.center) ** -self.exponent


def fit(
    llc: np.ndarray, loss: np.ndarray, *, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> PowerLaw:
    """Fit the law, by least squares in the loss; λ̂ is taken as exact.

    Args:
        llc: λ̂ > 0 of the checkpoints, in order of training.
        loss: L of the same.
        seed: Of the bootstrap.
        num_resamples: Its resamples.

    Returns:
        The fit. Its intervals speak of scatter about the law in this one run, not of other runs.

    Raises:
        GermError: Fewer than five checkpoints, or a λ̂ that is not positive.
    """
    llc, loss = np.asarray(llc, dtype=float), np.asarray(loss, dtype=float)
    if len(llc) < MIN_POINTS or not np.all(llc > 0) or np.ptp(llc) == 0:
        raise GermError(
            f"expected {MIN_POINTS} or more checkpoints with positive, differing LLCs; got {llc}"
        )
    center = float(np.exp(np.log(llc).mean()))
    place, floor, scale = _fits(llc / center, loss[None])
    fitted = floor[0] + scale[0] * (llc / center) ** -EXPONENTS[place[0]]
    residuals = loss - fitted
    rows = _resampled(residuals, num_resamples, np.random.default_rng([seed, 2501]))
    # Least squares with three parameters leaves residuals smaller than the errors were.
    rows = fitted + rows * np.sqrt(len(llc) / max(len(llc) - 3, 1))
    places, floors, _ = _fits(llc / center, rows)
    ends = (places == 0) | (places == len(EXPONENTS) - 1)
    return PowerLaw(
        float(floor[0]), float(scale[0]), float(EXPONENTS[place[0]]), center,
        float(np.sqrt(np.mean(residuals**2))), _interval(floors), _interval(EXPONENTS[places]),
        float(ends.mean()),
    )  # fmt: skip


def _fits(x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place of the exponent, L_∞ and c of each row (row, checkpoint)."""
    found = []
    for exponent in EXPONENTS:
        power = x**-exponent
        centred = power - power.mean()
        scale = rows @ centred / (centred @ centred)
        floor = rows.mean(1) - scale * power.mean()
        # A loss is not negative, neither is its limit.
        alone = rows @ power / (power @ power)
        below = floor < 0
        scale, floor = np.where(below, alone, scale), np.where(below, 0.0, floor)
        error = ((rows - floor[:, None] - scale[:, None] * power) ** 2).sum(1)
        found.append((error, floor, scale))
    errors, floors, scales = (np.stack(part) for part in zip(*found, strict=True))
    place = errors.argmin(0)
    each = np.arange(len(rows))
    return place, floors[place, each], scales[place, each]


def _resampled(residuals: np.ndarray, num: int, source: np.random.Generator) -> np.ndarray:
    """Circular blocks of n^(1/3) centred residuals, (resample, checkpoint)."""
    n = len(residuals)
    length = int(np.ceil(n ** (1 / 3)))
    starts = source.integers(n, size=(num, -(-n // length)))
    places = (starts[:, :, None] + np.arange(length)).reshape(num, -1)[:, :n] % n
    return (residuals - residuals.mean())[places]


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
