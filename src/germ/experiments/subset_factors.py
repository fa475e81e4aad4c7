r"""One factor, or more? λ̂ of a model on the subsets of its data, over checkpoints.

Columns are log λ̂ on each subset, rows are checkpoints. Where every column rises with training, one
principal component explains nearly everything *whatever* the columns have in common. So beside the
share of the first component stand

- the same of surrogates: each subset's changes from checkpoint to checkpoint in an order of its
  own, which keeps every rise and breaks what is shared in time,
- the share in the changes from checkpoint to checkpoint,
- what is left once the mean over subsets is taken off every checkpoint: there the common rise is
  gone, and a factor has to tell subsets apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from germ.experiments.published_tables import Series

NUM_SURROGATES = 200
NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class Factors:
    """What one factor explains in one model.

    Attributes:
        num_checkpoints: Rows.
        levels: Share of the first component of standardized log λ̂.
        surrogates: The mean of the same over surrogates.
        changes: The share in changes from checkpoint to checkpoint.
        left: Share of the variance of log λ̂ over checkpoints that is left once the mean over
            subsets is taken off.
        contrast: Share of the first component of what is left.
        loadings: Its loadings by subset, of norm 1; the largest is positive.
    """

    num_checkpoints: int
    levels: float
    surrogates: float
    changes: float
    left: float
    contrast: float
    loadings: dict[str, float]


def factors(series: Series, *, seed: int = 0) -> Factors:
    """Analyse one model.

    Args:
        series: λ̂ > 0 by checkpoint and subset.
        seed: Of the surrogates.
    """
    table = np.log(series.values)
    steps = np.diff(table, axis=0)
    source = np.random.default_rng([seed, 1904])
    surrogates = [
        _first(np.cumsum(source.permuted(steps, axis=0), axis=0)) for _ in range(NUM_SURROGATES)
    ]
    centred = table - table.mean(0)
    rest = centred - centred.mean(1, keepdims=True)
    _, values, right = np.linalg.svd(rest, full_matrices=False)
    first = right[0] * np.sign(right[0][np.abs(right[0]).argmax()])
    return Factors(
        len(table),
        _first(table),
        float(np.mean(surrogates)),
        _first(steps),
        float((rest**2).sum() / (centred**2).sum()),
        float(values[0] ** 2 / (values**2).sum()),
        dict(zip(series.names, first.tolist(), strict=True)),
    )


def _first(table: np.ndarray) -> float:
    """Share of the first principal component of standardized columns."""
    table = table - table.mean(0)
    values = np.linalg.svd(table / table.std(0), compute_uv=False) ** 2
    return float(values[0] / values.sum())


@dataclass(frozen=True)
class Explained:
    """How much of log λ̂ by subset the loss on the same subset tells (R²), with 95% intervals.

    Attributes:
        over_time: Within subsets, over checkpoints: columns centred.
        between: Between subsets: means over checkpoints.
        contrast: With both the subset's and the checkpoint's mean taken off.
        intervals: Of the three, by name, from a bootstrap over subsets.
    """

    over_time: float
    between: float
    contrast: float
    intervals: dict[str, tuple[float, float]]


def explained(llc: np.ndarray, loss: np.ndarray, *, seed: int = 0) -> Explained:
    """Regress log λ̂ on the loss of the same subset.

    Args:
        llc: λ̂ > 0, (checkpoint, subset).
        loss: L, likewise.
        seed: Of the bootstrap, whose units are the subsets.
    """
    table = np.log(llc)
    found = _shares(table, loss)
    source = np.random.default_rng([seed, 1934])
    drawn = [
        _shares(table[:, picked], loss[:, picked])
        for picked in source.integers(llc.shape[1], size=(NUM_RESAMPLES, llc.shape[1]))
        if len(set(picked.tolist())) > 2
    ]
    intervals = {
        name: tuple(np.quantile([each[name] for each in drawn], [0.025, 0.975]).tolist())
        for name in found
    }
    return Explained(found["over_time"], found["between"], found["contrast"], intervals)


def _shares(table: np.ndarray, loss: np.ndarray) -> dict[str, float]:
    columns = [x - x.mean(0) for x in (table, loss)]
    rests = [x - x.mean(1, keepdims=True) for x in columns]
    return {
        "over_time": _share(*columns),
        "between": _share(*(x.mean(0) - x.mean() for x in (table, loss))),
        "contrast": _share(*rests),
    }


def _share(y: np.ndarray, x: np.ndarray) -> float:
    """R² of a line through 0; what does not vary explains nothing."""
    if not x.any():
        return 0.0
    return float((x * y).sum() ** 2 / ((x**2).sum() * (y**2).sum()))
