r"""Deep linear networks learning from a small start, mode by mode, and the plateaus between.

$$ L(W_1, \dots, W_L) = \tfrac1{H_L} \lVert W_L \cdots W_1 - T \rVert_F^2, \qquad
   T = \mathrm{diag}(s_1, \dots, s_{H}) $$

This is the mean squared error for inputs of covariance 1. From small weights gradient descent stays
near zero, learns the mode of the largest s, stays near a network of rank one, and so on: saddle to
saddle (Jacot et al. 2021, arXiv 2106.15933). Seeds are trained side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy.signal import find_peaks
from torch import Tensor

from germ.zoo.deep_linear import DeepLinear

PROMINENCE = 1.0
"""Decades by which the squared gradient must rise and fall for a drop of the loss to count."""

SMOOTH = 5
"""Recorded steps that the gradient is averaged over before its peaks are looked for."""


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Attributes:
        widths: H_0 … H_L.
        values: s, decreasing; the others, up to the narrower end, are 0.
        spread: Standard deviation of the first weights.
        lr: Of gradient descent.
        num_steps: Steps.
        every: Steps between records.
    """

    widths: tuple[int, ...]
    values: tuple[float, ...]
    spread: float
    lr: float
    num_steps: int
    every: int = 20


@dataclass(frozen=True)
class Path:
    """One seed's way through training.

    Attributes:
        steps: Recorded steps, (record,).
        loss: L, (record,).
        slope: Squared norm of the gradient, (record,).
        weights: W_1 … W_L at every record, each (record, out, into).
    """

    steps: np.ndarray
    loss: np.ndarray
    slope: np.ndarray
    weights: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Plateau:
    """A place where training nearly stood still.

    Attributes:
        record: Place in the path where the gradient is least.
        step: The step there.
        loss: L there.
        rank: Modes learned: singular values of the product above half the teacher's.
    """

    record: int
    step: int
    loss: float
    rank: int


def teacher(plan: Plan) -> Tensor:
    """T, (out, into)."""
    target = torch.zeros(plan.widths[-1], plan.widths[0])
    target.diagonal()[: len(plan.values)].copy_(torch.tensor(plan.values))
    return target


def train(plan: Plan, seeds: Sequence[int]) -> list[Path]:
    """Gradient descent, all seeds at once.

    Args:
        plan: What to train.
        seeds: Of the first weights.
    """
    target = teacher(plan)
    weights = []
    for into, out in pairwise(plan.widths):
        each = [_normal(seed, len(weights), out, into) for seed in seeds]
        weights.append((plan.spread * torch.stack(each)).requires_grad_())
    records: list[tuple[int, np.ndarray, np.ndarray, list[np.ndarray]]] = []
    for step in range(plan.num_steps + 1):
        product = weights[0]
        for weight in weights[1:]:
            product = weight @ product
        losses = ((product - target) ** 2).sum((1, 2)) / plan.widths[-1]
        gradients = torch.autograd.grad(losses.sum(), weights)
        if step % plan.every == 0:
            slope = torch.stack([(g**2).sum((1, 2)) for g in gradients]).sum(0)
            kept = [weight.detach().numpy().copy() for weight in weights]
            records.append((step, losses.detach().numpy(), slope.numpy(), kept))
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight -= plan.lr * gradient
    steps = np.array([record[0] for record in records])
    return [
        Path(
            steps,
            np.array([record[1][i] for record in records], dtype=float),
            np.array([record[2][i] for record in records], dtype=float),
            tuple(
                np.stack([record[3][layer][i] for record in records])
                for layer in range(len(weights))
            ),
        )
        for i in range(len(seeds))
    ]


def plateaus(path: Path, values: Sequence[float]) -> list[Plateau]:
    """Where the gradient is least before, between and after the drops of the loss.

    A drop is a peak of the squared gradient that stands a decade above what surrounds it. How many
    there are is not assumed: two modes learned at once are one drop.

    Args:
        path: A seed's.
        values: The teacher's singular values, decreasing.
    """
    log = np.log10(np.maximum(path.slope, 1e-30))
    kernel = np.ones(SMOOTH) / SMOOTH
    smooth = np.convolve(np.pad(log, SMOOTH // 2, mode="edge"), kernel, mode="valid")
    peaks, _ = find_peaks(smooth, prominence=PROMINENCE)
    found = []
    for first, last in pairwise([0, *peaks.tolist(), len(log)]):
        record = first + int(np.argmin(smooth[first:last]))
        product = path.weights[0][record]
        for weight in path.weights[1:]:
            product = weight[record] @ product
        sizes = np.linalg.svd(product, compute_uv=False)[: len(values)]
        rank = int((sizes > np.array(values) / 2).sum())
        found.append(Plateau(record, int(path.steps[record]), float(path.loss[record]), rank))
    return found


def network(path: Path, record: int) -> DeepLinear:
    """The network at a record."""
    widths = [path.weights[0].shape[2], *(weight.shape[1] for weight in path.weights)]
    model = DeepLinear(widths)
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), path.weights, strict=True):
            parameter.copy_(torch.from_numpy(weight[record]))
    return model.eval()


def _normal(seed: int, layer: int, out: int, into: int) -> Tensor:
    source = torch.Generator().manual_seed(1_000_003 * seed + layer)
    return torch.randn(out, into, generator=source)
