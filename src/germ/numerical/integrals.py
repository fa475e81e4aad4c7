r"""Z(nβ) and E[nβK] in one, two or three variables, by adaptive quadrature.

$$ Z(n\beta) = \int e^{-n\beta K(w)} \varphi(w)\, dw, \qquad
   \mathbb{E}[n\beta K] = -\,n\beta\, \frac{d \log Z}{d\, n\beta}. $$

A peak of width 1/√nβ cannot be found by looking at a few points. nβ therefore rises from where K is
of order one, four-fold at a time, and the cells that resolve one stage are where the next begins.
What no stage can see is a pit of K that is narrow at every height; cut the box there yourself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from germ.errors import GermError
from germ.numerical.cells import Cells, judge
from germ.numerical.checking import CHUNK, Potential, box, evaluate, raw, temperature

MAX_DIM = 3
INITIAL = {1: 64, 2: 12, 3: 4}
"""Cells along each axis to begin with, by dimension."""

TOLERANCE = {1: 1e-9, 2: 1e-7, 3: 1e-5}
"""Stated error of log Z and of E[nβK] that ends the search, by dimension."""

STAGE = 4.0
STAGE_TOLERANCE = 1e-5


@dataclass(frozen=True)
class PosteriorIntegral:
    """An integral over a posterior, with its error.

    Attributes:
        nbeta: nβ.
        log_z: log ∫ exp(−nβK) φ, φ normalized over the box: 0 at nβ = 0.
        log_z_error: Of `log_z`. Of quadrature: a sum of the differences to a coarser rule, an
            overestimate. Of Monte Carlo: one standard error.
        mean: E[nβK], nβ times the posterior mean of K.
        mean_error: Of `mean`, likewise.
        log_prior_mass: log ∫ φ over the box, of φ as it was given; the log volume of the box if
            there was none.
        method: `"quadrature"` or `"splitting"`.
        num_evaluations: How often K was evaluated.
        converged: Whether the errors are below the tolerance asked for.
    """

    nbeta: float
    log_z: float
    log_z_error: float
    mean: float
    mean_error: float
    log_prior_mass: float
    method: str
    num_evaluations: int
    converged: bool = True

    def __str__(self) -> str:
        """Log Z = −3.2 ± 1e-9, E[nβK] = 0.41 ± 1e-8 (quadrature, ...)."""
        return (
            f"log Z = {self.log_z:.8g} ± {self.log_z_error:.1g}, "
            f"E[nβK] = {self.mean:.8g} ± {self.mean_error:.1g} "
            f"at nβ = {self.nbeta:g} ({self.method}, {self.num_evaluations:,} evaluations)"
        )


def quadrature(
    potential: Potential,
    bounds: ArrayLike,
    nbeta: float,
    *,
    log_prior: Potential | None = None,
    localization: float = 0.0,
    anchor: Sequence[float] | None = None,
    tolerance: float | None = None,
    max_evaluations: int = 40_000_000,
) -> PosteriorIntegral:
    """Z(nβ) and E[nβK] over a box of at most three dimensions.

    The prior is exp(log_prior(w) − γ/2·‖w − w*‖²), normalized over the box: uniform by default.

    Args:
        potential: K, from (num_points, dim) to (num_points,).
        bounds: (lower, upper) for each coordinate.
        nbeta: nβ ≥ 0.
        log_prior: Log density of the prior up to a constant, of the same shapes as `potential`.
        localization: γ.
        anchor: w*; the origin by default.
        tolerance: Of log Z and of E[nβK], absolute; `TOLERANCE` by default.
        max_evaluations: Gives up refining there and says so: `converged` is False, and the errors
            are what was reached; infinite if that was before nβ did.

    Raises:
        GermError: Too many dimensions, a potential that is negative, not finite or of the wrong
            shape, or settings that mean nothing.

    Example:
        >>> found = quadrature(lambda w: (w[:, 0] * w[:, 1]) ** 2, [(-1, 1), (-1, 1)], 1e4)
        >>> f"{found.mean:.4f}"  # λ = 1/2, m = 2
        '0.4105'
    """
    return quadratures(
        potential, bounds, [nbeta],
        log_prior=log_prior, localization=localization, anchor=anchor,
        tolerance=tolerance, max_evaluations=max_evaluations,
    )[0]  # fmt: skip


def quadratures(
    potential: Potential,
    bounds: ArrayLike,
    nbetas: Sequence[float],
    *,
    log_prior: Potential | None = None,
    localization: float = 0.0,
    anchor: Sequence[float] | None = None,
    tolerance: float | None = None,
    max_evaluations: int = 40_000_000,
) -> list[PosteriorIntegral]:
    """`quadrature` at several nβ, which share the evaluations of K.

    Args:
        potential: As in `quadrature`, and so are the rest.
        bounds: (lower, upper) for each coordinate.
        nbetas: nβ, in any order; the results come in the same.
        log_prior: Log density of the prior up to a constant.
        localization: γ.
        anchor: w*.
        tolerance: Of log Z and of E[nβK].
        max_evaluations: Of K, in all.

    Raises:
        GermError: As in `quadrature`.
    """
    bounds = box(bounds)
    dim = len(bounds)
    if dim > MAX_DIM:
        raise GermError(
            f"expected at most {MAX_DIM} variables for quadrature; got {dim}: use "
            "germ.numerical.split, which is Monte Carlo and takes a dozen"
        )
    if not nbetas:
        raise GermError("expected at least one nbeta; got none")
    weight = _log_weight(dim, log_prior, localization, anchor)
    tolerance = TOLERANCE[dim] if tolerance is None else tolerance
    if not tolerance > 0:
        raise GermError(f"expected a tolerance > 0; got {tolerance}")
    mesh = _Mesh(potential, weight, bounds, max_evaluations)
    mesh.refine(0.0, tolerance)
    norm, norm_error = mesh.log_integral, mesh.log_error
    found: dict[float, PosteriorIntegral] = {}
    reached = 1.0 / max(mesh.typical(), 1e-300)
    # A stage that is left unresolved may hide mass from all that follow: their cells see nothing of
    # it, and so would their errors.
    hidden = 0.0
    for nbeta in sorted({temperature(each) for each in nbetas}):
        while reached * STAGE < nbeta:
            if not mesh.refine(reached, max(STAGE_TOLERANCE, tolerance)):
                hidden = math.inf
            reached *= STAGE
        converged = mesh.refine(nbeta, tolerance) and not hidden
        found[nbeta] = PosteriorIntegral(
            nbeta=nbeta,
            log_z=mesh.log_integral - norm if nbeta else 0.0,
            log_z_error=mesh.log_error + norm_error + hidden if nbeta else 0.0,
            mean=mesh.mean,
            mean_error=mesh.mean_error + hidden,
            log_prior_mass=norm,
            method="quadrature",
            num_evaluations=mesh.num_evaluations,
            converged=converged,
        )
    return [found[float(nbeta)] for nbeta in nbetas]


class _Mesh:
    """Cells with K at their nodes, refined for one nβ after another."""

    def __init__(
        self,
        potential: Potential,
        log_weight: Callable[[np.ndarray], np.ndarray] | None,
        bounds: np.ndarray,
        max_evaluations: int,
    ) -> None:
        self.potential, self.log_weight, self.limit = potential, log_weight, max_evaluations
        self.num_evaluations = 0
        self.cells = Cells.grid(bounds, INITIAL[len(bounds)])
        self.side = bounds[:, 1] - bounds[:, 0]
        self.values, self.weights = self._evaluate(self.cells)
        self.log_integral = self.log_error = self.mean = self.mean_error = math.nan

    def typical(self) -> float:
        """The median of K over the nodes of the first cells."""
        return float(np.median(self.values))

    def refine(self, nbeta: float, tolerance: float) -> bool:
        """Cut cells until log Z and E[nβK] are known to `tolerance`; whether they are."""
        while True:
            errors, axes = self._integrate(nbeta)
            if self.log_error <= tolerance and self.mean_error <= tolerance:
                return True
            order = np.argsort(errors)
            # What is left alone may add up to half of what is allowed; at least one cell is cut.
            kept = int(np.searchsorted(np.cumsum(errors[order]), tolerance / 2))
            which = order[min(kept, len(order) - 1) :]
            narrow = self._too_narrow(which, axes[which])
            which = which[~narrow]
            room = (self.limit - self.num_evaluations) // (2 * self.values.shape[1])
            if not len(which) or room <= 0:
                return False
            self._cut(which[-room:], axes)

    def _integrate(self, nbeta: float) -> tuple[np.ndarray, np.ndarray]:
        """Sets the integrals; the error of each cell, relative to Z, and its worst axis."""
        top = -math.inf
        for block in self._blocks():
            top = max(top, float(self._exponent(nbeta, block).max()))
        if top == -math.inf:
            raise GermError("expected a prior that is not zero in the box; got log_prior = −∞")
        # Of each cell ∫ e^{−nβK} and ∫ nβK e^{−nβK}: the values, and the errors along each axis.
        z, m = (np.empty((len(self.cells), 2 + self.cells.lower.shape[1])) for _ in range(2))
        for block in self._blocks():
            density = np.exp(self._exponent(nbeta, block) - top)
            cells = Cells(self.cells.lower[block], self.cells.width[block])
            z[block] = cells.integrals(density)
            m[block] = cells.integrals(density * (nbeta * self.values[block]))
        total = float(z[:, 0].sum())
        self.mean = float(m[:, 0].sum()) / total
        # The error of a ratio is that of ∫ (nβK − mean) e^{−nβK}: errors common to both cancel.
        z_errors = np.abs(z[:, 1:]) / total
        m_errors = np.abs(m[:, 1:] - self.mean * z[:, 1:]) / total
        z_error, _ = judge(z_errors, self.cells.width / self.side)
        m_error, _ = judge(m_errors, self.cells.width / self.side)
        self.log_integral = top + math.log(total)
        self.log_error, self.mean_error = float(z_error.sum()), float(m_error.sum())
        return judge(np.maximum(z_errors, m_errors), self.cells.width / self.side)

    def _blocks(self) -> list[slice]:
        """Cells by the thousand, so that temporary arrays stay small beside the values of K."""
        size = max(1, CHUNK // self.values.shape[1])
        return [slice(start, start + size) for start in range(0, len(self.cells), size)]

    def _exponent(self, nbeta: float, block: slice) -> np.ndarray:
        exponent = -nbeta * self.values[block]
        return exponent if self.weights is None else exponent + self.weights[block]

    def _cut(self, which: np.ndarray, axes: np.ndarray) -> None:
        new = self.cells.halves(which, axes[which])
        values, weights = self._evaluate(new)
        stay = np.ones(len(self.cells), dtype=bool)
        stay[which] = False
        self.cells = Cells(
            np.concatenate([self.cells.lower[stay], new.lower]),
            np.concatenate([self.cells.width[stay], new.width]),
        )
        self.values = np.concatenate([self.values[stay], values])
        if self.weights is not None and weights is not None:
            self.weights = np.concatenate([self.weights[stay], weights])

    def _too_narrow(self, which: np.ndarray, axes: np.ndarray) -> np.ndarray:
        """Where a cut would be lost in rounding."""
        lower, width = self.cells.lower[which, axes], self.cells.width[which, axes]
        return width < 1e-13 * np.maximum(np.abs(lower), 1e-280)

    def _evaluate(self, cells: Cells) -> tuple[np.ndarray, np.ndarray | None]:
        points = cells.points()
        self.num_evaluations += len(points)
        values = evaluate(self.potential, points).reshape(len(cells), -1)
        if self.log_weight is None:
            return values, None
        return values, self.log_weight(points).reshape(len(cells), -1)


def _log_weight(
    dim: int, log_prior: Potential | None, localization: float, anchor: Sequence[float] | None
) -> Callable[[np.ndarray], np.ndarray] | None:
    if not 0 <= localization < math.inf:
        raise GermError(f"expected localization finite and not negative; got {localization}")
    centre = np.zeros(dim) if anchor is None else np.asarray(anchor, dtype=float)
    if centre.shape != (dim,):
        raise GermError(f"expected an anchor of {dim} coordinates; got shape {centre.shape}")
    if log_prior is None and localization == 0:
        return None

    def log_weight(points: np.ndarray) -> np.ndarray:
        total = -localization / 2 * ((points - centre) ** 2).sum(1)
        if log_prior is not None:
            total = total + raw(log_prior, points, "log_prior")
        # −∞ is a prior that is zero there, and fine; the rest is not.
        if np.isnan(total).any() or (total == math.inf).any():
            raise GermError("expected log_prior below infinity and not NaN; got one that is")
        return total

    return log_weight
