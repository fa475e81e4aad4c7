"""How predictions of patterning and measurements agree, over the targets of one seed or of many.

A seed is a replicate; heads and targets of one seed share its model. Intervals of correlations and
slopes are the 95% of a bootstrap that draws seeds, and in every seed targets; with one seed it is
over targets alone and says nothing about other seeds. Intervals of signs are binomial, as if
targets were independent, and so the least that they can be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binomtest

Rows = Sequence[dict[str, Any]]
"""Mixtures of one mode and one seed, as `patterning.run` makes them."""

NUM_BOOTSTRAP = 2000

LEVEL = 0.95


class Pairs(NamedTuple):
    """Predicted and measured changes, (seeds, targets or mixtures, entries) each."""

    predicted: np.ndarray
    measured: np.ndarray


def verdict(runs: Sequence[Rows], num_heads: int) -> dict[str, Any]:
    """Everything that is said about a mode.

    Args:
        runs: By seed, its rows.
        num_heads: Heads, all of them aimed at.

    Returns:
        Numbers; `[value, low, high]` where there is an interval; `[right, of, low, high]` of signs.
        None stands where there is nothing to be said.
    """
    aimed, halves, even = _aimed(runs, num_heads), _halves(runs, num_heads), _even(runs, num_heads)
    targets = list(range(num_heads))
    own = Pairs(*(part[:, targets, targets, None] for part in halves))
    random = _of_kind(runs, "random")
    replicas = np.array([[r["measured"] for r in run if r["kind"] == "replica"] for run in runs])
    errors = np.array([r["measured_error"] for run in runs for r in run if "measured_error" in r])
    above = np.array(
        [[any(_is(r, i, 1.0) and r["above_noise"] for r in run) for i in targets] for run in runs]
    )
    found: dict[str, Any] = {
        "num_seeds": len(runs),
        "own_correlation": interval(aimed, correlation),
        "own_signs": signs(aimed),
        "odd_own_signs": signs(own),
        "odd_own_above_signs": signs(Pairs(own.predicted[above], own.measured[above])),
        "odd_own_slope": interval(own, slope),
        "odd_own_correlation": interval(own, cosine),
        "odd_slope": interval(halves, slope),
        "odd_correlation": interval(halves, cosine),
        "random_correlation": interval(random, cosine),
        "random_signs": signs(random),
        "predicted_size": _rms(aimed.predicted),
        "measured_size": _rms(aimed.measured),
        "random_size": _rms(random.measured),
        "noise": _rms(replicas),
        "error": _rms(errors),
        "even_part": _rms(even) / max(_rms(halves.measured), 1e-300),
    }
    return {name: _plain(value) for name, value in found.items()}


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's."""
    return float(np.corrcoef(x, y)[0, 1]) if len(x) > 2 else float("nan")


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    """Correlation about zero: of changes whose sign is a matter of convention."""
    size = np.linalg.norm(x) * np.linalg.norm(y)
    return float(x @ y / size) if size > 0 else float("nan")


def slope(x: np.ndarray, y: np.ndarray) -> float:
    """Of y on x, through zero."""
    square = float(x @ x)
    return float(x @ y) / square if square > 0 else float("nan")


def interval(
    pairs: Pairs,
    statistic: Callable[[np.ndarray, np.ndarray], float],
    *,
    seed: int = 0,
    num_bootstrap: int = NUM_BOOTSTRAP,
) -> list[float]:
    """[value, low, high] by a bootstrap over seeds, and in each over targets or mixtures."""
    num_seeds, num = pairs.predicted.shape[:2]
    if num_seeds * num == 0:
        return [float("nan")] * 3
    source = np.random.default_rng(seed)
    found = []
    for _ in range(num_bootstrap):
        run = source.integers(num_seeds, size=(num_seeds, 1))
        unit = source.integers(num, size=(num_seeds, num))
        found.append(statistic(*(part[run, unit].ravel() for part in pairs)))
    tail = 50 * (1 - LEVEL)
    low, high = np.nanpercentile(found, [tail, 100 - tail]).tolist()
    return [statistic(*(part.ravel() for part in pairs)), low, high]


def signs(pairs: Pairs) -> list[Any]:
    """[right, of, low, high]: how many signs agree, and the binomial interval of their share."""
    right = int((np.sign(pairs.predicted) == np.sign(pairs.measured)).sum())
    num = pairs.predicted.size
    if num == 0:
        return [0, 0, float("nan"), float("nan")]
    found = binomtest(right, num).proportion_ci(LEVEL)
    return [right, num, float(found.low), float(found.high)]


def _plain(value: Any) -> Any:
    """None for NaN, which JSON has none of."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if value != value else value


def _is(row: dict[str, Any], target: int, sign: float) -> bool:
    return row["kind"] == "pattern" and row["target"] == target and row["sign"] == sign


def _find(run: Rows, target: int, sign: float, field: str) -> np.ndarray:
    return np.array(next(row[field] for row in run if _is(row, target, sign)), dtype=np.float64)


def _aimed(runs: Sequence[Rows], num_heads: int) -> Pairs:
    """The head aimed at, up and down: (seeds, targets, 2)."""

    def both(run: Rows, head: int, field: str) -> list[float]:
        return [_find(run, head, sign, field)[head] for sign in (1.0, -1.0)]

    return Pairs(
        *(
            np.array([[both(run, i, field) for i in range(num_heads)] for run in runs])
            for field in ("predicted", "measured")
        )
    )


def _halves(runs: Sequence[Rows], num_heads: int) -> Pairs:
    """What changes sign with the tilt, ½(up − down), of all heads: (seeds, targets, heads).

    Linear response is of this alone. Training noise that opposite mixtures share, having begun at
    the same weights with the same random numbers, is of the other half.
    """
    return Pairs(*(_half(runs, num_heads, field, -1.0) for field in ("predicted", "measured")))


def _even(runs: Sequence[Rows], num_heads: int) -> np.ndarray:
    """What does not change sign, ½(up + down)."""
    return _half(runs, num_heads, "measured", 1.0)


def _half(runs: Sequence[Rows], num_heads: int, field: str, sign: float) -> np.ndarray:
    return np.array(
        [
            [0.5 * (_find(run, i, 1.0, field) + sign * _find(run, i, -1.0, field))
             for i in range(num_heads)]
            for run in runs
        ]
    )  # fmt: skip


def _of_kind(runs: Sequence[Rows], kind: str) -> Pairs:
    return Pairs(
        *(
            np.array([[row[field] for row in run if row["kind"] == kind] for run in runs])
            for field in ("predicted", "measured")
        )
    )


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean())) if values.size else float("nan")
