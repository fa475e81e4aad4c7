r"""Does λ̂ go with benchmark scores over training, and does it once the loss is known?

Within one model: Spearman's correlation of λ̂ and a score over checkpoints; and Pearson's between
what is left of both after least squares on 1, L and L² of the loss L, or on 1, log t and log² t of
the step t. (Ranks cannot be used for that: where λ̂ rises and L falls at every checkpoint, the three
have the same ranks, and nothing is left.)

Both λ̂ and the score follow training, so checkpoints of one run are *not* independent: whatever
rises together is correlated. Models trained apart are the replicates: the interval is that of the
mean of Fisher's z over models. What the checkpoints' number would have given, taken as independent,
is kept beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from germ.experiments.published_tables import Series
from germ.experiments.replicates import Mean, mean_correlation

KINDS = ("plain", "given the loss", "given the step")


@dataclass(frozen=True)
class Correlation:
    """Of λ̂ and one benchmark.

    Attributes:
        benchmark: Its name.
        kind: One of `KINDS`.
        by_model: The correlation in each model; a model whose score never changes is left out.
        mean: The mean over models.
        naive: p-value if the checkpoints of all models were independent.
    """

    benchmark: str
    kind: str
    by_model: dict[str, float]
    mean: Mean
    naive: float


def correlations(
    pile: Mapping[str, Series], scores: Mapping[str, Series], ranges: Mapping[str, tuple[int, int]]
) -> list[Correlation]:
    """Correlate every benchmark with λ̂ in the models that both tables have.

    Args:
        pile: λ̂ and L by size.
        scores: Benchmark scores by size.
        ranges: First and last step of each size.

    Returns:
        For every benchmark, each of `KINDS`.
    """
    both = [size for size in pile if size in scores]
    found = []
    for name in scores[both[0]].names if both else ():
        for kind in KINDS:
            by_model, num = {}, 0
            for size in both:
                columns = _joined(pile[size], scores[size].between(*ranges[size]), name)
                value = correlation(columns, kind)
                if math.isfinite(value):
                    by_model[size], num = (
                        value,
                        num + len(columns[0]) - (3 if kind == "plain" else 5),
                    )
            values = list(by_model.values())
            found.append(
                Correlation(name, kind, by_model, mean_correlation(values), _naive(values, num))
            )
    return found


def correlation(columns: Sequence[np.ndarray], kind: str) -> float:
    """One of `KINDS` over checkpoints; NaN where something does not vary.

    Args:
        columns: λ̂, the score, L and the step, (checkpoint,) each.
        kind: Which.
    """
    llc, score, loss, step = columns
    if len(llc) < 6 or np.ptp(llc) == 0 or np.ptp(score) == 0:
        return float("nan")
    if kind == "plain":
        return float(np.corrcoef(rankdata(llc), rankdata(score))[0, 1])
    known = loss if kind == "given the loss" else np.log1p(step)
    return float(np.corrcoef(_rest(llc, known), _rest(score, known))[0, 1])


def _rest(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What is left of y after a parabola in x."""
    x = (x - x.mean()) / x.std()
    powers = np.vander(x, 3)
    return y - powers @ np.linalg.lstsq(powers, y, rcond=None)[0]


def _joined(pile: Series, scores: Series, name: str) -> list[np.ndarray]:
    """λ̂, the score, L and the step, at the checkpoints of the scores.

    λ̂ and L are known at other steps than the scores: between, a line over log(step).
    """
    inside = scores.between(int(pile.steps[0]), int(pile.steps[-1]))
    x, at = np.log1p(inside.steps), np.log1p(pile.steps)
    llc, loss = (np.interp(x, at, pile.column(column)) for column in ("llc", "loss"))
    return [llc, inside.column(name), loss, inside.steps.astype(float)]


def _naive(values: Sequence[float], num: int) -> float:
    if not values or num < 1:
        return float("nan")
    z = float(np.arctanh(np.clip(values, -1 + 1e-6, 1 - 1e-6)).mean())
    return float(2 * norm.sf(abs(z) * math.sqrt(num)))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given; NaN stays.

    Args:
        p: p-values of a family of tests.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    good = [i for i in range(len(p)) if math.isfinite(p[i])]
    adjusted, highest = [float("nan")] * len(p), 0.0
    for rank, i in enumerate(sorted(good, key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(good) - rank) * p[i]))
        adjusted[i] = highest
    return adjusted
