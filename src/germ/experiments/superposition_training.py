r"""Stochastic gradient descent from a 4-gon, and the plateaus that it stays on.

$$ w \leftarrow w - \eta\, \nabla \frac1m \sum_{x \in B} \lVert x - \mathrm{ReLU}(W^\top W x + b)
   \rVert^2 $$

Runs go side by side, each on a data set of its own, in an order of its own (Chen et al. 2023,
arXiv 2310.06301: batches of 20, η = 0.005, 4500 epochs).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float, Int

from germ.experiments.superposition_phases import PHASES, classify
from germ.experiments.superposition_pieces import draw_examples, population
from germ.experiments.superposition_points import critical_point, levels

COLUMNS = 6


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Attributes:
        num_examples: n of a run.
        batch_size: m.
        lr: η.
        num_epochs: Epochs.
        spread: Standard deviation of what is added to the 4-gon.
        num_records: Times at which the weights are written down, the start and the end included.
    """

    num_examples: int = 1000
    batch_size: int = 20
    lr: float = 0.005
    num_epochs: int = 4500
    spread: float = 0.01
    num_records: int = 91


@dataclass(frozen=True)
class Paths:
    """The runs.

    Attributes:
        epochs: Of the records, (record,).
        points: (run, record, d): W by rows, b.
        loss: L, of the population, (run, record).
        phases: Places in `PHASES`, (run, record).
    """

    epochs: Int[np.ndarray, " record"]
    points: Float[np.ndarray, "run record d"]
    loss: Float[np.ndarray, "run record"]
    phases: Int[np.ndarray, "run record"]


def start(seed: int, spread: float) -> Float[np.ndarray, " d"]:
    """A 4-gon of six columns, the two others at zero, every bias 0; and noise on all of it.

    Args:
        seed: Of the noise.
        spread: Its standard deviation.
    """
    # The dead columns' bias is 0 here and not negative: with a clearly negative one nothing that
    # is learned could reach them, and no transition would be seen.
    point = np.concatenate([critical_point("4").weights.ravel(), np.zeros(COLUMNS)])
    return point + spread * np.random.default_rng([seed, 1]).normal(size=point.shape)


def train(
    plan: Plan, seeds: Sequence[int], progress: Callable[[int, int], None] = lambda *_: None
) -> Paths:
    """Train every seed's network, all side by side.

    Args:
        plan: What.
        seeds: Of starts, data and orders.
        progress: Told (epochs done, epochs).
    """
    data = np.stack([draw_examples(plan.num_examples, seed).dense() for seed in seeds])
    orders = [np.random.default_rng([seed, 2]) for seed in seeds]
    at = np.stack([start(seed, plan.spread) for seed in seeds])
    w = at[:, : 2 * COLUMNS].reshape(-1, 2, COLUMNS).copy()
    b = at[:, None, 2 * COLUMNS :].copy()
    wanted = np.unique(np.linspace(0, plan.num_epochs, plan.num_records).round().astype(int))
    kept = [at]
    for epoch in range(1, plan.num_epochs + 1):
        places = np.stack([order.permutation(plan.num_examples) for order in orders])
        mixed = np.take_along_axis(data, places[:, :, None], axis=1)
        for first in range(0, plan.num_examples - plan.batch_size + 1, plan.batch_size):
            _descend(w, b, mixed[:, first : first + plan.batch_size], plan.lr)
        if epoch in wanted:
            kept.append(np.concatenate([w.reshape(len(w), -1), b[:, 0]], axis=1))
            progress(epoch, plan.num_epochs)
    points = np.stack(kept, axis=1)
    flat = torch.from_numpy(points.reshape(-1, 3 * COLUMNS))
    shape = points.shape[:2]
    return Paths(
        wanted,
        points,
        population(1.0)(flat)[0].numpy().reshape(shape),
        classify(flat).reshape(shape),
    )


def on_plateau(loss: Float[np.ndarray, ...], within: float) -> np.ndarray:
    """Whether L is as near as that to the L of a critical point.

    Args:
        loss: L.
        within: Largest distance.
    """
    return np.abs(np.asarray(loss)[..., None] - np.array(list(levels().values()))).min(-1) <= within


def stays(phases: Sequence[int], least: int) -> list[tuple[str, int, int]]:
    """Stretches of one phase: its name, the first record and the last.

    Args:
        phases: Places in `PHASES`, one a record.
        least: Records that a stretch must have.
    """
    found, first = [], 0
    for phase, group in groupby(phases):
        num = len(list(group))
        if num >= least:
            found.append((PHASES[phase], first, first + num - 1))
        first += num
    return found


def _descend(w: np.ndarray, b: np.ndarray, x: np.ndarray, lr: float) -> None:
    """One step of every run, in place: w (run, 2, c), b (run, 1, c), x (run, example, c)."""
    hidden = x @ w.transpose(0, 2, 1)
    out = hidden @ w + b
    # ∂/∂(pre-activation) of the mean squared error, where the unit is on.
    slope = np.where(out > 0, out - x, 0.0) * (2 / x.shape[1])
    back = slope @ w.transpose(0, 2, 1)
    w -= lr * (hidden.transpose(0, 2, 1) @ slope + back.transpose(0, 2, 1) @ x)
    b -= lr * slope.sum(1, keepdims=True)
