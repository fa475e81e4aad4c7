"""Stages of training, from λ̂ and the loss over checkpoints.

Both are smoothed on log step (`smoothing`), their turns and pauses found and tested (`turning`),
and put together: a place that both curves have is one boundary. Between boundaries stand Δλ̂ and
ΔL with their errors. Seeds are the replicates: with several, each is smoothed by itself, and every
error and every test is between them. With one, errors are those of its own curve, and say nothing
of what another seed would do.

Hoogland et al. (arXiv 2402.02364) take zeros of dλ̂/dlog step, of a Gaussian process with an RBF
kernel; pauses are theirs too, where λ̂ only stops for a while between two stages of type A.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from germ.development.curves import Curves, curves
from germ.development.smoothing import Smoothed, smooth
from germ.development.stage_table import UNDECIDED, Boundary, Stage, Stages, kind_of
from germ.development.turning import Ensemble, Mark, marks
from germ.errors import GermError
from germ.estimate.restatement import MIN_CHECKPOINTS, Restatement, restatement_of

LEVEL = 0.9
"""The support without which nothing is a boundary."""

SMALLEST = 0.01
"""The least change of a stage, as a share of the range of its curve."""

NUM_PATHS, NUM_PATHS_SEED = 2000, 50
"""Draws of the posterior of one curve, and of each of several."""

SPACING = 0.02
"""Decades between points of the grid, where the curve is not too long for it."""

TOGETHER = 0.1
"""Decades: boundaries of λ̂ and of the loss are one where their intervals come nearer than this."""

SHARED_NOISE = 0.3
"""Where neighbours scatter by less than this share of their errors, they share noise."""


def stages(
    steps: Any,
    llc: Any,
    loss: Any = None,
    *,
    errors: Any = None,
    nbeta: float | None = None,
    untrained_loss: float | None = None,
    level: float = LEVEL,
    smallest: float = SMALLEST,
    seed: int = 0,
) -> Stages:
    """The stages of a training run.

    Args:
        steps: (checkpoint,), eight or more; 0 may be among them.
        llc: λ̂ at equal nβ and γ, (checkpoint,) or, of several training seeds, (seed, checkpoint).
        loss: L(w*), of the same shape; None looks at λ̂ alone.
        errors: Standard errors of λ̂, of the same shape; None fits the noise to the scatter.
        nbeta: nβ: with it and the loss it is checked whether λ̂ only restates the loss.
        untrained_loss: Loss of an untrained model, for the same check.
        level: The support without which nothing is a boundary.
        smallest: The least change of a stage, as a share of the range of its curve.
        seed: Of the draws of the posterior.

    Returns:
        Boundaries, stages, what was dropped, and warnings.

    Raises:
        GermError: There are too few checkpoints, shapes differ, or a setting is out of range.
    """
    given = curves(steps, llc, loss, errors=errors, nbeta=nbeta, untrained_loss=untrained_loss)
    return stages_of(given, level=level, smallest=smallest, seed=seed)


def stages_of(
    given: Curves, *, level: float = LEVEL, smallest: float = SMALLEST, seed: int = 0
) -> Stages:
    """As `stages`, of curves: `germ.development.curves.of_sweeps`, `stage_files.read_curves`.

    Raises:
        GermError: As `stages`.
    """
    if not (0.5 <= level < 1 and 0 <= smallest < 1):
        raise GermError(
            f"expected level from 0.5 to 1 and smallest from 0 to 1; got {level:g}, {smallest:g}"
        )
    grid = _grid(given)
    llc, smoothed = _ensemble(given, given.llc, given.errors, grid, seed)
    loss = None
    if given.loss is not None:
        loss, _ = _ensemble(given, given.loss, None, grid, seed)
    kept, dropped = marks(llc, level=level, smallest=smallest)
    found = [_boundary(given, llc, mark, "llc") for mark in kept]
    refused = [_boundary(given, llc, mark, "llc") for mark in dropped]
    if loss is not None:
        kept, dropped = marks(loss, level=level, smallest=smallest)
        found = _together(found, [_boundary(given, loss, mark, "loss") for mark in kept])
        refused += [_boundary(given, loss, mark, "loss") for mark in dropped]
    restated = _restatement(given)
    return Stages(
        stages=_stages(given, found, llc, loss, level, restated),
        boundaries=tuple(found),
        dropped=tuple(sorted(refused, key=lambda one: one.step)),
        level=level,
        num_seeds=len(given.llc),
        restatement=restated,
        warnings=_warnings(given, smoothed, restated),
        curves=given,
        llc=llc,
        loss=loss,
    )


def _grid(given: Curves) -> np.ndarray:
    """Even points where every seed has a curve, the first and last checkpoint among them."""
    measured = [given.x[np.isfinite(values)] for values in given.llc]
    if any(not len(x) for x in measured):
        raise GermError("expected every seed to have checkpoints; one has none")
    first, last = max(x[0] for x in measured), min(x[-1] for x in measured)
    if not last > first:
        raise GermError("expected checkpoints of different steps that all seeds have; got none")
    num = int(np.clip(np.ceil((last - first) / SPACING) + 1, 101, 301))
    return np.linspace(first, last, num)


def _ensemble(
    given: Curves, values: np.ndarray, errors: np.ndarray | None, grid: np.ndarray, seed: int
) -> tuple[Ensemble, list[Smoothed]]:
    several = len(values) > 1
    smoothed = []
    for k, row in enumerate(values):
        good = np.isfinite(row)
        error = None if errors is None else errors[k][good]
        smoothed.append(
            smooth(
                given.x[good], row[good], grid, errors=error, seed=seed + k,
                num_paths=NUM_PATHS_SEED if several else NUM_PATHS,
            )
        )  # fmt: skip
    known = given.x[np.isfinite(values).any(0)]
    measured = np.zeros(len(grid), dtype=bool)
    measured[np.abs(grid - known[:, None]).argmin(1)] = True
    if not several:
        return Ensemble(grid, smoothed[0].mean, smoothed[0].paths, measured=measured), smoothed
    paths = np.stack([one.mean for one in smoothed])
    draws = np.stack([one.paths for one in smoothed])
    return Ensemble(grid, paths.mean(0), paths, draws, measured), smoothed


def _boundary(given: Curves, ensemble: Ensemble, mark: Mark, of: str) -> Boundary:
    seeds = mark.places if ensemble.draws is not None else ()
    ends = (mark.place, mark.place) if np.isnan(mark.low) else (mark.low, mark.high)
    return Boundary(
        step=given.step_at(mark.place),
        interval=(given.step_at(ends[0]), given.step_at(ends[1])),
        kind=mark.kind,
        of=of,
        support=mark.support,
        seed_steps=tuple(given.step_at(x) for x in seeds),
    )


def _together(llc: list[Boundary], loss: list[Boundary]) -> list[Boundary]:
    """Boundaries of both curves in order; where they meet, that of λ̂ stands for both."""
    found, near = list(llc), 10**TOGETHER
    for one in loss:
        meeting = [
            k
            for k, at in enumerate(llc)
            if one.interval[0] <= at.interval[1] * near and at.interval[0] <= one.interval[1] * near
        ]
        if not meeting:
            found.append(one)
            continue
        k = min(meeting, key=lambda k: abs(np.log(llc[k].step / one.step)))
        found[k] = Boundary(**{**llc[k].__dict__, "of": "both"})
    return sorted(found, key=lambda at: at.step)


def _stages(
    given: Curves,
    boundaries: list[Boundary],
    llc: Ensemble,
    loss: Ensemble | None,
    level: float,
    restated: Restatement | None,
) -> tuple[Stage, ...]:
    grid = llc.grid
    inner = [int(np.abs(grid - np.log10(at.step)).argmin()) for at in boundaries]
    places = [0, *inner, len(grid) - 1]
    first, last = given.step_at(float(grid[0])), given.step_at(float(grid[-1]))
    steps = [first, *(at.step for at in boundaries), last]
    found = []
    for (a, b), (start, end) in zip(
        itertools.pairwise(places), itertools.pairwise(steps), strict=True
    ):
        llc_change, llc_error, llc_does = _moved(llc, a, b, level)
        loss_change, loss_error, loss_does = float("nan"), float("nan"), None
        if loss is not None:
            loss_change, loss_error, loss_does = _moved(loss, a, b, level)
        found.append(
            Stage(
                start, end, kind_of(loss_does, llc_does), llc_change, llc_error, loss_change,
                loss_error, _is_restated(given, restated, float(grid[a]), float(grid[b])),
            )
        )  # fmt: skip
    return tuple(found)


def _moved(ensemble: Ensemble, a: int, b: int, level: float) -> tuple[float, float, str]:
    """By how much a curve changes, its error, and whether that is a rise or a fall at all."""
    change = float(ensemble.mean[b] - ensemble.mean[a])
    paths = ensemble.paths[:, b] - ensemble.paths[:, a]
    # Its sign was not known beforehand: half of what may go wrong is on either side.
    sure = change != 0 and ensemble.support(paths * np.sign(change)) >= (1 + level) / 2
    does = ("rises" if change > 0 else "falls") if sure else UNDECIDED
    return change, ensemble.error(paths), does


def _restatement(given: Curves) -> Restatement | None:
    """λ̂ against the loss, of the mean over seeds at the checkpoints that all have."""
    if given.nbeta is None or given.loss is None:
        return None
    good = np.isfinite(given.llc).all(0) & np.isfinite(given.loss).all(0)
    if good.sum() < MIN_CHECKPOINTS:
        return None
    values, loss = given.llc[:, good], given.loss[:, good]
    num = len(values)
    if num > 1:
        error = (loss + values / given.nbeta).std(0, ddof=1) / np.sqrt(num)
    else:
        error = np.zeros(values.shape[1])
        if given.errors is not None:
            error = given.errors[0, good] / given.nbeta
    untrained = given.untrained_loss
    if untrained is None and given.steps[good][0] == 0:
        untrained = float(loss[:, 0].mean())
    names = [int(step) if step == int(step) else step for step in given.steps[good].tolist()]
    return restatement_of(
        loss.mean(0), values.mean(0), error, nbeta=given.nbeta, names=names,
        untrained_loss=untrained,
    )  # fmt: skip


def _is_restated(given: Curves, found: Restatement | None, a: float, b: float) -> bool:
    if found is None or not found.restates:
        return False
    good = np.isfinite(given.llc).all(0) & np.isfinite(given.loss).all(0)  # type: ignore[arg-type]
    x = given.x[good]
    common = min(b, float(x[found.last])) - max(a, float(x[found.first]))
    return common >= 0.9 * (b - a)


def _warnings(
    given: Curves, smoothed: list[Smoothed], restated: Restatement | None
) -> tuple[str, ...]:
    said = [] if restated is None else list(restated.warnings)
    if restated is None and given.loss is None:
        said.append(
            "there is no loss: stages have no type, and whether λ̂ restates the loss is not known"
        )
    elif restated is None:
        said.append("nβ is not known: whether λ̂ restates the loss is not checked; give nbeta")
    if len(given.llc) == 1:
        said.append(
            "one training run: intervals and errors are those of its own curve, and say nothing of "
            "what another seed would do; sweep several seeds"
        )
    factors = [one.noise_factor for one in smoothed]
    if max(factors) < SHARED_NOISE:
        said.append(
            f"neighbouring checkpoints scatter by {max(factors):.2g} of their stated errors: they "
            "share noise, and what they share was not averaged"
        )
    return tuple(said)
