r"""A Gaussian process through a curve over checkpoints: its mean, and paths it might have taken.

$$ y_i = f(x_i) + s\,e_i\,\xi_i, \qquad
   f \sim \mathrm{GP}(0, a^2 k(|x - x'|/\ell)), \qquad \xi_i \sim N(0, 1) $$

x is log₁₀(step); e are the stated standard errors, or 1 where there are none. ℓ, a and s are not
chosen but averaged over, on a grid, by their likelihood (Rasmussen & Williams 2006, eq. 5.8): with
twenty checkpoints many fit, and the best alone takes scatter for shape.

Stated errors have a factor s of their own, with a log-normal prior about 1, because the checkpoints
of a sweep share batches and noise: neighbours then agree far better than their errors say. What s
leaves of the errors, √(1 − s²)·e, checkpoints have in common, and no number of neighbours averages
it away: it goes into the paths as one slow curve (`SHARED_SCALE`).

The kernel is Matérn's with ν = 5/2. The smoother RBF of Hoogland et al. (arXiv 2402.02364) rings
beside a sharp rise and is too sure of places: on 72 planted curves of four seeds 33 false
boundaries against 5, of one run 48 of 76 places in their 90% interval against 71 of 78
(`python -m benchmarks.stages --kernels --repeats 1`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from germ.errors import GermError

Kernel = Callable[[np.ndarray], np.ndarray]

MIN_CHECKPOINTS = 8

SHORTEST = 0.1
"""Decades: the shortest length scale ℓ that is tried. Shorter ones follow single checkpoints."""

SHARED_SCALE = 1.0
"""Decades over which the noise that checkpoints share stays the same noise."""

AMPLITUDES = (0.5, 1.0, 2.0, 4.0)
NUM_LENGTHS, NUM_FACTORS = 12, 14
FREE_NOISE, STATED_NOISE = (1e-3, 1.5), (0.03, 5.0)
"""The grid of a and s, in units of the curve's standard deviation and, of s, of stated errors."""

MAX_CELLS = 25
"""Cells of the grid, the likeliest, that are averaged over."""


def matern(distance: np.ndarray) -> np.ndarray:
    """Matérn correlation with ν = 5/2 at distances in units of ℓ."""
    r = math.sqrt(5) * distance
    return (1 + r + r**2 / 3) * np.exp(-r)


def rbf(distance: np.ndarray) -> np.ndarray:
    """Squared-exponential correlation at distances in units of ℓ."""
    return np.exp(-0.5 * distance**2)


@dataclass(frozen=True)
class Smoothed:
    """A curve after smoothing.

    Attributes:
        grid: log₁₀(step), (point,).
        mean: The posterior mean there, (point,).
        paths: Draws of the posterior with the shared part of the errors, (path, point).
        length_scale: ℓ, in decades, geometric mean.
        noise: Root mean square of s·e, in the curve's unit: how far checkpoints scatter.
        noise_factor: s where errors were stated, geometric mean; NaN where they were not.
    """

    grid: np.ndarray
    mean: np.ndarray
    paths: np.ndarray
    length_scale: float
    noise: float
    noise_factor: float


@dataclass(frozen=True)
class _Cell:
    """A cell of the grid of ℓ, a and s, and its share of the likelihood."""

    length: float
    amplitude: float
    factor: float
    weight: float


def smooth(
    x: np.ndarray,
    y: np.ndarray,
    grid: np.ndarray,
    *,
    errors: np.ndarray | None = None,
    num_paths: int = 0,
    seed: int = 0,
    kernel: Kernel = matern,
) -> Smoothed:
    """Smooth a curve.

    Args:
        x: log₁₀(step) of the checkpoints, increasing, (checkpoint,).
        y: What was measured there.
        grid: Where the curve is wanted.
        errors: Standard errors of y; None fits the noise to the scatter alone.
        num_paths: Draws of the posterior.
        seed: Of these draws.
        kernel: Correlation at a distance in units of ℓ.

    Raises:
        GermError: There are fewer than eight checkpoints, or they are not in order, finite and
            different.
    """
    _check(x, y, errors)
    center, scale = float(y.mean()), float(y.std())
    if scale <= 1e-12 * max(abs(center), 1e-300):  # A constant has nothing to fit.
        flat = np.full((num_paths + 1, len(grid)), center)
        return Smoothed(grid, flat[0], flat[1:], math.nan, 0.0, math.nan)
    z = (y - center) / scale
    stated = errors is not None
    unit = np.ones_like(z) if errors is None else np.maximum(errors / scale, 1e-6)
    cells = _cells(x, z, unit, stated, kernel)
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(num_paths, [cell.weight for cell in cells])
    mean, paths = np.zeros(len(grid)), [np.empty((0, len(grid)))]
    for cell, count in zip(cells, counts.tolist(), strict=True):
        own, covariance = _posterior(x, z, unit, grid, cell, kernel)
        mean += cell.weight * own
        if count:
            drawn = own + _draws(covariance(), count, generator)
            if stated and cell.factor < 1:
                slow = _draws(rbf(_apart(grid, grid) / SHARED_SCALE), count, generator)
                shared = _local_mean(x, unit, grid, cell.length)
                drawn = drawn + math.sqrt(1 - cell.factor**2) * shared * slow
            paths.append(drawn)
    factor = _geometric([(cell.factor, cell.weight) for cell in cells])
    return Smoothed(
        grid=grid,
        mean=center + scale * mean,
        paths=center + scale * np.concatenate(paths),
        length_scale=_geometric([(cell.length, cell.weight) for cell in cells]),
        noise=scale * factor * float(np.sqrt((unit**2).mean())),
        noise_factor=factor if stated else math.nan,
    )


def _check(x: np.ndarray, y: np.ndarray, errors: np.ndarray | None) -> None:
    if len(x) < MIN_CHECKPOINTS:
        raise GermError(
            f"expected at least {MIN_CHECKPOINTS} checkpoints to smooth a curve; got {len(x)}: "
            "measure more"
        )
    if len(y) != len(x) or not (np.diff(x) > 0).all():
        raise GermError("expected one value a checkpoint, at steps that increase; sort them")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise GermError("expected finite values; got NaN or infinity: leave those checkpoints out")
    if errors is not None:
        good = len(errors) == len(y) and np.isfinite(errors).all() and (errors > 0).all()
        if not good:
            raise GermError("expected a positive standard error for every checkpoint, or none")


def _cells(
    x: np.ndarray, z: np.ndarray, unit: np.ndarray, stated: bool, kernel: Kernel
) -> list[_Cell]:
    """The likeliest cells; the grid is even in log ℓ, log a and log s."""
    span = float(x[-1] - x[0])
    distance, white = _apart(x, x), z / unit
    factors = np.geomspace(*(STATED_NOISE if stated else FREE_NOISE), NUM_FACTORS)
    amplitudes, factors = np.meshgrid(AMPLITUDES, factors)
    prior = -0.5 * np.log(factors) ** 2 if stated else 0.0
    found: list[tuple[float, float, float, float]] = []
    for length in np.geomspace(min(SHORTEST, span / 4), 3 * span, NUM_LENGTHS).tolist():
        # In units of the errors the noise is white: one decomposition does for every a and s.
        values, vectors = np.linalg.eigh(kernel(distance / length) / np.outer(unit, unit))
        power = (white @ vectors) ** 2
        total = amplitudes[..., None] ** 2 * values.clip(min=0.0) + factors[..., None] ** 2
        fit = prior - 0.5 * (power / total + np.log(total)).sum(-1)
        found += [
            (float(f), length, float(a), float(s))
            for f, a, s in zip(fit.ravel(), amplitudes.ravel(), factors.ravel(), strict=True)
        ]
    found = sorted(found, reverse=True)[:MAX_CELLS]
    weights = np.exp([one[0] - found[0][0] for one in found])
    weights /= weights.sum()
    return [_Cell(*one[1:], float(w)) for one, w in zip(found, weights, strict=True)]


def _posterior(
    x: np.ndarray, z: np.ndarray, unit: np.ndarray, grid: np.ndarray, cell: _Cell, kernel: Kernel
) -> tuple[np.ndarray, Callable[[], np.ndarray]]:
    """Mean and, when it is asked for, covariance on the grid (ibid., eq. 2.23 f.)."""
    signal = cell.amplitude**2
    noisy = signal * kernel(_apart(x, x) / cell.length) + np.diag((cell.factor * unit) ** 2)
    lower = np.linalg.cholesky(_lifted(noisy))
    between = solve_triangular(lower, signal * kernel(_apart(x, grid) / cell.length), lower=True)
    mean = between.T @ solve_triangular(lower, z, lower=True)

    def covariance() -> np.ndarray:
        return signal * kernel(_apart(grid, grid) / cell.length) - between.T @ between

    return mean, covariance


def _apart(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.abs(left[:, None] - right)


def _lifted(matrix: np.ndarray) -> np.ndarray:
    """With what keeps rounding from making it indefinite."""
    return matrix + 1e-9 * float(matrix[0, 0]) * np.eye(len(matrix))


def _draws(covariance: np.ndarray, num: int, generator: np.random.Generator) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(values.clip(min=0.0))
    return generator.standard_normal((num, len(root))) @ root.T


def _local_mean(x: np.ndarray, y: np.ndarray, grid: np.ndarray, width: float) -> np.ndarray:
    """A running mean: the stated errors are themselves estimates, and scatter."""
    weights = rbf(_apart(grid, x) / max(width, SHORTEST)) + 1e-12
    return (weights @ y) / weights.sum(1)


def _geometric(values: list[tuple[float, float]]) -> float:
    return math.exp(sum(weight * math.log(value) for value, weight in values))
