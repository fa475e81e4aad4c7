r"""Free energies of regions of parameter space, and the n at which two of them are equal.

$$ F_n(U) = -\log \int_U e^{-n K(w)} \varphi(w)\, dw $$

Of two regions the posterior prefers the one with the smaller F_n: its odds are exp(F_n(U) − F_n(V))
in favour of V. φ is normalized over all of the parameter space, not over the region: a region with
more prior mass has that advantage. Everything here is integrated; the prediction from λ and m is
`germ.crossover`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from germ.errors import GermError
from germ.numerical.checking import Potential, box
from germ.numerical.integrals import MAX_DIM, PosteriorIntegral, quadratures
from germ.numerical.splitting import split

OUTSIDE = 1e150
"""K outside of a region: finite, and exp(−nK) is 0 for any n that is asked for."""


@dataclass(frozen=True)
class Region:
    """A part of parameter space.

    Attributes:
        bounds: (lower, upper) for each coordinate.
        inside: Which points of the box belong to it, from (num_points, dim) to booleans; all of
            them by default. Quadrature is slow along an edge, so with it splitting is used in any
            dimension.
    """

    bounds: ArrayLike
    inside: Callable[[np.ndarray], np.ndarray] | None = None


@dataclass(frozen=True)
class FreeEnergy:
    """F_n of a region over n.

    Attributes:
        nums: n, (num,).
        values: F_n, (num,).
        errors: Of `values`, (num,): of quadrature an overestimate, of splitting a standard error.
        means: E[nK] within the region, (num,).
    """

    nums: np.ndarray
    values: np.ndarray
    errors: np.ndarray
    means: np.ndarray


def free_energies(
    potential: Potential,
    region: Region,
    nums: Sequence[float],
    *,
    within: ArrayLike | None = None,
    log_prior: Potential | None = None,
    **settings: Any,
) -> FreeEnergy:
    """F_n(U) at several n, by quadrature of a box up to three variables, by splitting else.

    Args:
        potential: K ≥ 0, from (num_points, dim) to (num_points,).
        region: U.
        nums: n ≥ 0.
        within: The box over which the prior is normalized; that of the region by default.
        log_prior: Log density of the prior up to a constant; uniform by default.
        **settings: Of `quadratures` (tolerance, max_evaluations) or of `split`.

    Raises:
        GermError: What `quadratures` or `split` refuse; a region that reaches outside `within`; a
            `log_prior` where splitting is used.
    """
    bounds = box(region.bounds)
    whole = bounds if within is None else box(within)
    if (
        whole.shape != bounds.shape
        or ((bounds[:, 0] < whole[:, 0]) | (bounds[:, 1] > whole[:, 1])).any()
    ):
        raise GermError(
            f"expected a region within {whole.tolist()}; got the bounds {bounds.tolist()}"
        )
    if len(bounds) > MAX_DIM or region.inside is not None:
        found, mass = _by_splitting(potential, region, bounds, whole, nums, log_prior, settings)
    else:
        found = quadratures(potential, bounds, nums, log_prior=log_prior, **settings)
        mass = found[0].log_prior_mass
        if log_prior is None:
            mass -= float(np.log(whole[:, 1] - whole[:, 0]).sum())
        else:
            everything = quadratures(
                lambda points: np.zeros(len(points)), whole, [0.0], log_prior=log_prior, **settings
            )[0]
            mass -= everything.log_prior_mass
    return FreeEnergy(
        nums=np.array(nums, dtype=float),
        values=np.array([-each.log_z - mass for each in found]),
        errors=np.array([each.log_z_error for each in found]),
        means=np.array([each.mean for each in found]),
    )


def crossings(
    potential: Potential,
    first: Region,
    second: Region,
    lowest: float,
    highest: float,
    *,
    num_scanned: int = 48,
    **settings: Any,
) -> list[float]:
    """Every n between `lowest` and `highest` at which F_n(U) = F_n(V), ascending.

    Args:
        potential: K ≥ 0.
        first: U.
        second: V.
        lowest: The smallest n, > 0.
        highest: The largest.
        num_scanned: How many n are looked at, evenly in log n, before roots are refined. Two
            crossings between neighbours are not seen.
        **settings: Of `free_energies`.

    Raises:
        GermError: What `free_energies` refuses, regions that take Monte Carlo, whose noise has
            roots of its own, or no range of n.
    """
    if not 0 < lowest < highest < math.inf:
        raise GermError(f"expected 0 < lowest < highest < infinity; got {lowest} and {highest}")
    for each in (first, second):
        if len(box(each.bounds)) > MAX_DIM or each.inside is not None:
            raise GermError(
                f"expected boxes of at most {MAX_DIM} variables to find a crossing; got one that "
                "takes Monte Carlo: compare free_energies, which has errors, at a few n"
            )

    def difference(nums: Sequence[float]) -> np.ndarray:
        one = free_energies(potential, first, nums, **settings)
        other = free_energies(potential, second, nums, **settings)
        return one.values - other.values

    scanned = np.geomspace(lowest, highest, num_scanned)
    signs = np.sign(difference(scanned.tolist()))
    found = []
    for place in np.flatnonzero(signs[:-1] * signs[1:] <= 0):
        if signs[place] == 0:
            found.append(float(scanned[place]))
        elif signs[place + 1] != 0:
            log_n: Any = brentq(
                lambda each: difference([math.exp(each)])[0],
                math.log(scanned[place]), math.log(scanned[place + 1]), xtol=1e-9,
            )  # fmt: skip
            found.append(math.exp(float(log_n)))
    if signs[-1] == 0:
        found.append(float(scanned[-1]))
    return found


def _by_splitting(
    potential: Potential,
    region: Region,
    bounds: np.ndarray,
    whole: np.ndarray,
    nums: Sequence[float],
    log_prior: Potential | None,
    settings: dict[str, Any],
) -> tuple[list[PosteriorIntegral], float]:
    if log_prior is not None:
        raise GermError(
            "expected a uniform prior where splitting is used; got a log_prior: call "
            "germ.numerical.split with a prior by function, and take its integral"
        )
    inside = region.inside

    def restricted(points: np.ndarray) -> np.ndarray:
        values = np.asarray(potential(points), dtype=float)
        return values if inside is None else np.where(inside(points), values, OUTSIDE)

    run = split(restricted, bounds, 0.1 / max([1.0, *nums]), **settings)
    mass = run.log_prior_mass - float(np.log(whole[:, 1] - whole[:, 0]).sum())
    return [run.integral(num) for num in nums], mass
