r"""V(t), the prior volume of {K < t}, over many decades and in a dozen variables.

Multilevel splitting (Kahn & Harris 1951; Au & Beck 2001; Cérou et al. 2012, *Sequential Monte Carlo
for rare event estimation*): N points are drawn from the prior; those with K ≥ t are dropped, copies
of the others take their place and are moved about inside {K < t}; then the same at the next t,
smaller. The points that were dropped carry the volume they stood for,

$$ V(t) = \sum_i w_i [K_i < t], \qquad Z(n\beta) = \int e^{-n\beta t}\, dV(t)
   = \sum_i w_i e^{-n\beta K_i}. $$

The levels are fixed beforehand, by a pilot run that goes down by halves. With fixed levels V and Z
are unbiased **whatever the moves are worth** (Del Moral 2004, *Feynman–Kac Formulae*, §7.4): moves
that forget slowly cost variance, and the spread between independent replicas, which is the stated
error, shows it. (With levels chosen from the same points, slow moves biased log V of a ball in 12
dimensions by 5 of its stated errors.) Perfect moves would give Var[log V] = (halvings)/N; the ratio
to that is `inflation`. What no spread can show is a part of {K < t} so small at the top that every
replica misses it: take more points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from germ.errors import GermError
from germ.numerical.checking import Potential, box, evaluate, temperature
from germ.numerical.integrals import PosteriorIntegral
from germ.numerical.slices import move

MAX_DIM = 64
MAX_LEVELS = 2000


@dataclass(frozen=True)
class Splitting:
    """What a run of multilevel splitting left behind.

    Attributes:
        values: K of every point that was dropped, and of those alive at the end, ascending,
            (num_replicas, num_values).
        weights: The logarithm of the volume each stands for; of a replica they sum to 1.
        levels: Every t at which the points were cut, falling.
        num_points: N, of a replica.
        dim: Of the points.
        log_prior_mass: Of the box: its log volume; 0 for a prior given as a transform.
        num_evaluations: How often K was evaluated.
    """

    values: np.ndarray
    weights: np.ndarray
    levels: np.ndarray
    num_points: int
    dim: int
    log_prior_mass: float
    num_evaluations: int

    @property
    def num_replicas(self) -> int:
        """R, how many independent runs."""
        return len(self.values)

    @property
    def smallest(self) -> float:
        """The t down to which every replica went."""
        return float(self.levels[-1])

    def replica_log_volumes(self, thresholds: ArrayLike) -> np.ndarray:
        """Log V(t) of each replica, (num_replicas, num_thresholds).

        Args:
            thresholds: t, (num_thresholds,).

        Raises:
            GermError: A threshold below what was reached.
        """
        thresholds = np.asarray(thresholds, dtype=float)
        if thresholds.size and not thresholds.min() >= self.smallest:
            raise GermError(
                f"expected thresholds of at least {self.smallest:.3g}, where the splitting ended; "
                f"got {thresholds.min():.3g}: split with a smaller `smallest`"
            )
        rows = []
        for values, weights in zip(self.values, self.weights, strict=True):
            total = np.concatenate([[-np.inf], np.logaddexp.accumulate(weights)])
            rows.append(total[np.searchsorted(values, thresholds, side="left")])
        return np.stack(rows)

    def log_volumes(self, thresholds: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Log V(t) and its standard error.

        Args:
            thresholds: t, (num_thresholds,).

        Returns:
            Two arrays (num_thresholds,).

        Raises:
            GermError: A threshold below what was reached.
        """
        replicas = self.replica_log_volumes(thresholds)
        return _mean_of_logs(replicas)

    def inflation(self) -> float:
        """Variance of log V at the last common level, in units of that of perfect moves.

        About 1 where the moves forget; uncertain by √(2/(R − 1)) of itself.
        """
        logs = self.replica_log_volumes([self.smallest])[:, 0]
        if not np.isfinite(logs).all():
            return math.inf  # a replica died out on the way
        halvings = -float(logs.mean()) / math.log(2)
        return float(logs.var(ddof=1)) * self.num_points / max(halvings, 1e-12)

    def integral(self, nbeta: float) -> PosteriorIntegral:
        """Z(nβ) and E[nβK], with one standard error.

        Args:
            nbeta: nβ ≥ 0.

        Raises:
            GermError: The splitting ended at a t above 1/nβ, where the mass still is.
        """
        nbeta = temperature(nbeta)
        if nbeta * self.smallest > 1:
            raise GermError(
                f"expected nbeta at most {1 / self.smallest:.3g} = 1/smallest; got {nbeta:.3g}: "
                "split with a smaller `smallest`"
            )
        exponents = self.weights - nbeta * self.values
        top = exponents.max()
        density = np.exp(exponents - top)
        z = density.sum(1)
        energy = (density * nbeta * self.values).sum(1)
        log_z, log_z_error = _mean_of_logs(np.log(z)[:, None] + top)
        mean = float(energy.sum() / z.sum())
        residual = (energy - mean * z) / z.mean()
        return PosteriorIntegral(
            nbeta=nbeta,
            log_z=float(log_z[0]),
            log_z_error=float(log_z_error[0]),
            mean=mean,
            mean_error=float(residual.std(ddof=1) / math.sqrt(len(z))),
            log_prior_mass=self.log_prior_mass,
            method="splitting",
            num_evaluations=self.num_evaluations,
        )


def split(
    potential: Potential,
    prior: ArrayLike | Callable[[np.ndarray], np.ndarray],
    smallest: float,
    *,
    dim: int | None = None,
    num_points: int = 500,
    num_replicas: int = 16,
    num_moves: int = 5,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Splitting:
    """Split down to {K < smallest}.

    Args:
        potential: K, from (num_points, dim) to (num_points,).
        prior: Bounds (lower, upper) for each coordinate, for a uniform prior; or a function from
            points of the unit cube to points of the prior, such as `scipy.special.ndtri`.
        smallest: The t > 0 to reach.
        dim: Of the prior, where that is a function.
        num_points: N, of a replica.
        num_replicas: R ≥ 4, whose spread is the error.
        num_moves: Slice moves of every point at each level; 5 by default.
        seed: Of everything.
        progress: Told the t that was reached.

    Raises:
        GermError: Settings that mean nothing, a potential that is negative or not finite, one that
            is constant on a set of positive volume above its minimum, or one that is nothing but
            rounding above `smallest`.

    Example:
        >>> run = split(lambda w: (w**2).sum(1), [(-1, 1)] * 4, 1e-3, num_points=200)
        >>> logs, errors = run.log_volumes([1e-2])
        >>> bool(abs(logs[0] - np.log(np.pi**2 / 2 * 1e-4 / 16)) < 4 * errors[0])
        True
    """
    transform, dim, log_mass = _prior(prior, dim)
    if not 0 < smallest < math.inf:
        raise GermError(f"expected smallest > 0 and finite; got {smallest}")
    if num_points < 20 or num_replicas < 4 or num_moves < 1:
        raise GermError(
            "expected num_points >= 20, num_replicas >= 4 and num_moves >= 1; got "
            f"{num_points}, {num_replicas}, {num_moves}"
        )

    def on_cube(points: np.ndarray) -> np.ndarray:
        return evaluate(potential, transform(points))

    seeds = np.random.SeedSequence(seed).spawn(2)
    pilot = _descend(
        on_cube, dim, (1, max(100, num_points // 2)), num_moves, seeds[0], smallest=smallest
    )
    found = _descend(
        on_cube,
        dim,
        (num_replicas, num_points),
        num_moves,
        seeds[1],
        pilot=pilot,
        progress=progress,
    )
    order = np.argsort(found.values, axis=1, kind="stable")
    return Splitting(
        values=np.take_along_axis(found.values, order, axis=1),
        weights=np.take_along_axis(found.weights, order, axis=1),
        levels=np.array(found.levels),
        num_points=num_points,
        dim=dim,
        log_prior_mass=log_mass,
        num_evaluations=pilot.num_evaluations + found.num_evaluations,
    )


@dataclass
class _Descent:
    """What points left behind on their way down, the levels, and where the first of them were."""

    values: np.ndarray
    weights: np.ndarray
    levels: list[float]
    references: list[np.ndarray]
    num_evaluations: int


def _descend(
    potential: Callable[[np.ndarray], np.ndarray],
    dim: int,
    shape: tuple[int, int],
    num_moves: int,
    seed: np.random.SeedSequence,
    *,
    smallest: float = 0.0,
    pilot: _Descent | None = None,
    progress: Callable[[float], None] | None = None,
) -> _Descent:
    """Go down the levels of a pilot; without one, be one: to the median, until `smallest`."""
    rng = np.random.default_rng(seed)
    num_points = shape[1]
    points = rng.random((*shape, dim))
    values = potential(points.reshape(-1, dim)).reshape(shape)
    found = _Descent(np.empty(0), np.empty(0), [], [], values.size)
    log_volume = np.zeros(shape[0])
    left, weights = [], []
    while pilot is None or len(found.levels) < len(pilot.levels):
        if pilot is None:
            level = _next_level(values, found.levels, smallest)
        else:
            level = pilot.levels[len(found.levels)]
        alive = values < level
        with np.errstate(divide="ignore"):
            each = (log_volume - math.log(num_points))[:, None]
            left.append(values.copy())
            weights.append(np.where(alive, -np.inf, each))
            log_volume = log_volume + np.log(alive.mean(1))
        _replace(points, values, alive, rng)
        flat, flat_values = points.reshape(-1, dim), values.reshape(-1)
        for _ in range(num_moves):
            # Directions from the pilot's points, not from these: the moves are then the same
            # whatever these points are, which unbiasedness asks for.
            reference = flat.copy() if pilot is None else pilot.references[len(found.levels)]
            found.num_evaluations += move(flat, flat_values, level, reference, potential, rng)
        found.levels.append(level)
        if pilot is None:
            found.references.append(flat.copy())
        if progress is not None:
            progress(level)
        if pilot is None and level <= smallest:
            break
    left.append(values)
    weights.append(np.broadcast_to((log_volume - math.log(num_points))[:, None], shape))
    found.values, found.weights = np.concatenate(left, 1), np.concatenate(weights, 1)
    return found


def _next_level(values: np.ndarray, levels: list[float], smallest: float) -> float:
    """The median of a pilot's values, or `smallest` when that is near."""
    level = max(float(np.median(values)), smallest)
    if not (values < level).any():
        raise GermError(
            f"half of the points tie at K = {level:.3g}: K is constant there on a set of prior "
            f"volume near {0.5 ** len(levels):.2g}, and nothing is left to split; ask for a larger "
            "`smallest`"
        )
    positive = values[(values > 0) & (values < level)]
    if positive.size > 20 and len(np.unique(positive)) < 0.9 * positive.size:
        raise GermError(
            f"K repeats the same few values below {level:.3g}: what is left of it there is "
            "rounding; ask for a larger `smallest`"
        )
    if len(levels) == MAX_LEVELS:
        raise GermError(
            f"expected to reach {smallest:.3g} in {MAX_LEVELS} halvings; got to {level:.3g}: ask "
            "for a larger `smallest`"
        )
    return level


def _replace(
    points: np.ndarray, values: np.ndarray, alive: np.ndarray, rng: np.random.Generator
) -> None:
    """Put copies of the living in place of the dead, in place; each is copied about as often."""
    whole_population = np.argwhere(alive)
    for replica, here in enumerate(alive):
        dead = np.flatnonzero(~here)
        living = rng.permutation(np.flatnonzero(here))
        if living.size:
            parents = np.resize(living, dead.size)
            points[replica, dead] = points[replica, parents]
            values[replica, dead] = values[replica, parents]
        else:
            # An extinct replica has volume 0 from here on; its points only have to be somewhere.
            rows = whole_population[rng.integers(len(whole_population), size=dead.size)]
            points[replica, dead] = points[rows[:, 0], rows[:, 1]]
            values[replica, dead] = values[rows[:, 0], rows[:, 1]]


def _prior(
    prior: ArrayLike | Callable[[np.ndarray], np.ndarray], dim: int | None
) -> tuple[Callable[[np.ndarray], np.ndarray], int, float]:
    """A map from the unit cube, the dimension, and the log volume of a box."""
    if callable(prior):
        if dim is None or not 1 <= dim <= MAX_DIM:
            raise GermError(f"expected dim from 1 to {MAX_DIM} with a prior by function; got {dim}")
        return prior, dim, 0.0
    bounds = box(prior)
    if len(bounds) > MAX_DIM or (dim is not None and dim != len(bounds)):
        raise GermError(
            f"expected bounds of at most {MAX_DIM} coordinates and dim left out; got "
            f"{len(bounds)} coordinates, dim = {dim}"
        )
    lower, width = bounds[:, 0], bounds[:, 1] - bounds[:, 0]
    return lambda cube: lower + width * cube, len(bounds), float(np.log(width).sum())


def _mean_of_logs(logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log of the mean over replicas (rows), and its standard error by the delta method."""
    top = logs.max(0)
    if not np.isfinite(top).all():
        raise GermError("expected a volume > 0 in a replica at least; got none: take more points")
    ratios = np.exp(logs - top)
    mean = ratios.mean(0)
    error = ratios.std(0, ddof=1) / (mean * math.sqrt(len(logs)))
    return np.log(mean) + top, error
