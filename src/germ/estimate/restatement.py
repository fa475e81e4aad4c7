r"""Does λ̂ across checkpoints say anything that the loss does not?

$$ \hat\lambda_k = n\beta\,(E_k[L] - L(w^*_k)) $$

If the sampled loss E[L] is the same at every checkpoint, λ̂ is nβ·(constant − L(w*)): the loss
curve, turned over and multiplied by nβ. That happens where the chains leave what was learned: then
E[L] is a loss of the neighbourhood's size, often that of an untrained model, and knows nothing of
the checkpoint. The published LLC curve of a regression transformer is of this kind over its first
40,000 steps (design.md §5, lesson 8).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from germ.errors import GermError
from germ.estimate.llc import LLC

MIN_CHECKPOINTS = 4

CONSTANT = 0.1
"""E[L] counts as constant where its spread is at most this share of the spread of L(w*), or where
its own errors explain all of it."""

KNOWN = 0.3
"""And where its own errors are at most this share: else nothing can be said."""

SIGNIFICANT = 5.0
"""L(w*) must move by so many errors of E[L] for there to be anything to restate."""

PART = 0.3
"""A part of training is named where L(w*) makes at least this share of its whole way in it."""

UNTRAINED = 0.8
"""Share of the way from L(w*) to the untrained loss from which E[L] counts as near it."""


@dataclass(frozen=True)
class Restatement:
    """How much of λ̂ over checkpoints is the loss L(w*) over again.

    Attributes:
        slope: dE[L]/dL(w*) by least squares: 0 where λ̂ restates the loss, 1 where λ̂ does not
            depend on it.
        slope_error: Its standard error, from the scatter about the line.
        correlation: Of λ̂ and L(w*); −1 where one tells the other. By itself it proves nothing:
            a model may well grow more complex as its loss falls.
        spread: sd(E[L])/sd(L(w*)), the estimates' own errors taken off.
        first: Place of the first checkpoint of the longest part where E[L] is constant; −1: none.
        last: Place of the last one.
        untrained: Median share of the way from L(w*) to the untrained loss that E[L] has gone; NaN
            where no untrained loss is known.
        warnings: Sentences; none where λ̂ says something of its own.
    """

    slope: float
    slope_error: float
    correlation: float
    spread: float
    first: int
    last: int
    untrained: float
    warnings: tuple[str, ...]

    @property
    def restates(self) -> bool:
        """Whether E[L] is constant over a part of training that matters."""
        return self.first >= 0


def restatement(
    estimates: Sequence[LLC],
    *,
    names: Sequence[int | str] | None = None,
    untrained_loss: float | None = None,
) -> Restatement:
    """Compare λ̂ with L(w*) over checkpoints at equal nβ and γ.

    Args:
        estimates: Of the checkpoints, in order of training; at least four.
        names: What the warnings call them, such as their steps; by default their places.
        untrained_loss: Loss of an untrained model, such as log(vocabulary); None says nothing of
            it.

    Returns:
        The comparison.

    Raises:
        GermError: There are fewer than four, or they are at different nβ.
    """
    if len(estimates) < MIN_CHECKPOINTS:
        raise GermError(f"expected at least {MIN_CHECKPOINTS} checkpoints; got {len(estimates)}")
    scales = {estimate.nbeta for estimate in estimates}
    if len(scales) > 1:
        raise GermError(
            f"expected checkpoints at one nbeta; got {', '.join(f'{s:g}' for s in sorted(scales))}"
        )
    nbeta = scales.pop()
    return restatement_of(
        np.array([estimate.anchor_loss for estimate in estimates]),
        np.array([estimate.value for estimate in estimates]),
        np.array([estimate.standard_error for estimate in estimates]) / nbeta,
        nbeta=nbeta,
        names=names,
        untrained_loss=untrained_loss,
    )


def restatement_of(
    loss: np.ndarray,
    values: np.ndarray,
    error: np.ndarray,
    *,
    nbeta: float,
    names: Sequence[int | float | str] | None = None,
    untrained_loss: float | None = None,
) -> Restatement:
    """As `restatement`, of numbers.

    Args:
        loss: L(w*), (checkpoint,).
        values: λ̂ at this nβ.
        error: Standard errors of E[L] = L(w*) + λ̂/nβ.
        nbeta: nβ.
        names: As for `restatement`.
        untrained_loss: As for `restatement`.

    Raises:
        GermError: There are fewer than four.
    """
    if len(loss) < MIN_CHECKPOINTS:
        raise GermError(f"expected at least {MIN_CHECKPOINTS} checkpoints; got {len(loss)}")
    names = range(len(loss)) if names is None else names
    sampled = loss + values / nbeta
    slope, slope_error = _line(loss, sampled)
    first, last = _longest_constant(loss, sampled, error)
    way = math.nan
    if untrained_loss is not None:
        # Only where there is a way to go: an untrained checkpoint has none.
        left = untrained_loss - loss
        gone = (sampled - loss)[left > 0.1 * left.max()] / left[left > 0.1 * left.max()]
        way = float(np.median(gone)) if left.max() > 0 else math.nan
    found = Restatement(
        slope=slope,
        slope_error=slope_error,
        correlation=_correlation(values, loss),
        spread=_spread(loss, sampled, error),
        first=first,
        last=last,
        untrained=way,
        warnings=(),
    )
    said = _sentences(found, names, loss, sampled, nbeta, untrained_loss)
    return Restatement(**{**found.__dict__, "warnings": said})


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope of y on x and its standard error; NaN where x does not move."""
    away = x - x.mean()
    total = float((away**2).sum())
    if total == 0:
        return math.nan, math.nan
    slope = float((away * y).sum()) / total
    rest = y - y.mean() - slope * away
    freedom = max(len(x) - 2, 1)
    return slope, math.sqrt(float((rest**2).sum()) / freedom / total)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if x.std() > 0 and y.std() > 0 else math.nan


def _spread(loss: np.ndarray, sampled: np.ndarray, error: np.ndarray) -> float:
    variance = max(float(sampled.var(ddof=1)) - float((error**2).mean()), 0.0)
    moved = float(loss.var(ddof=1))
    return math.sqrt(variance / moved) if moved > 0 else math.nan


def _constant(loss: np.ndarray, sampled: np.ndarray, error: np.ndarray) -> bool:
    """Whether E[L] stays where it is while L(w*) moves by much more than can be seen of E[L]."""
    moved, noise = float(loss.std(ddof=1)), float(np.sqrt((error**2).mean()))
    if not (np.ptp(loss) > SIGNIFICANT * noise and noise <= KNOWN * moved):
        return False
    # By its size, or because its own errors explain all of it.
    return _spread(loss, sampled, error) <= CONSTANT or _within_errors(sampled, error)


def _within_errors(sampled: np.ndarray, error: np.ndarray) -> bool:
    """Whether χ² of a constant is one that chance exceeds in one case of a hundred or more."""
    if not (error > 0).all():
        return False
    weights = error**-2
    center = float((weights * sampled).sum() / weights.sum())
    freedom = len(sampled) - 1
    chi_square = float((weights * (sampled - center) ** 2).sum())
    return chi_square <= freedom + 2.33 * math.sqrt(2 * freedom)


def _longest_constant(loss: np.ndarray, sampled: np.ndarray, error: np.ndarray) -> tuple[int, int]:
    """The part where E[L] is constant over which L(w*) goes furthest, as places; −1, −1: none."""
    best, ends = PART * float(np.ptp(loss)), (-1, -1)
    for first in range(len(loss) - MIN_CHECKPOINTS + 1):
        for last in range(first + MIN_CHECKPOINTS - 1, len(loss)):
            part = slice(first, last + 1)
            way = float(np.ptp(loss[part]))
            further = way > best * (1 + 1e-9) or (way >= best and last - first > ends[1] - ends[0])
            if further and _constant(loss[part], sampled[part], error[part]):
                best, ends = way, (first, last)
    return ends


def _sentences(
    found: Restatement,
    names: Sequence[int | float | str],
    loss: np.ndarray,
    sampled: np.ndarray,
    nbeta: float,
    untrained_loss: float | None,
) -> tuple[str, ...]:
    said = []
    if found.restates:
        part = slice(found.first, found.last + 1)
        whole = found.last - found.first + 1 == len(loss)
        where = "" if whole else f" from {names[found.first]} to {names[found.last]}"
        slope, _ = _line(loss[part], sampled[part])
        said.append(
            f"λ̂ restates the loss{where}: E[L] stays at {sampled[part].mean():.3g} "
            f"(± {sampled[part].std(ddof=1):.2g} between checkpoints) while L(w*) moves by "
            f"{np.ptp(loss[part]):.2g}; dE[L]/dL(w*) = {slope:+.2f}, so λ̂ ≈ "
            f"{nbeta:g}·({sampled[part].mean():.3g} − L(w*)). Raise nβ or γ until E[L] follows "
            "L(w*) (germ profile)"
        )
    if found.untrained > UNTRAINED:
        said.append(
            f"E[L] has gone {found.untrained:.0%} of the way from L(w*) to the untrained loss "
            f"{untrained_loss:.3g}: the chains have left what was learned, and λ̂ measures how much "
            "there was to lose. Raise nβ or γ (germ profile)"
        )
    return tuple(said)
