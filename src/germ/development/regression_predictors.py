r"""In-context linear regression: its ideal predictors, exactly, and how far from them a model is.

A sequence is $x_1, y_1, x_2, y_2, \dots$ with $y_k = t \cdot x_k + \varepsilon_k$,
$\varepsilon \sim N(0, \sigma^2)$. A model that has seen $M$ tasks alone does best by weighing those
(dMMSE); one that has seen all of $N(0, I)$ does best by ridge regression.

Raventós et al. 2023, arXiv 2306.15063; Carroll et al. 2025, arXiv 2501.17745.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from germ import rng
from germ.development.scores import MODEL, Score, mean
from germ.errors import GermError

TASKS, INPUTS = 0x7A5, 0x1A9
"""Streams of random numbers (`germ.rng`)."""

_BLOCK = 64
MAX_NUMBERS = 2**24

Inputs = Float[Tensor, "examples length dim"]
Targets = Float[Tensor, "examples length"]
Tasks = Float[Tensor, "tasks width"]


def ridge(x: Inputs, y: Targets, noise_variance: float) -> Targets:
    r"""What ridge regression on the first k − 1 pairs predicts for the k-th, for every k.

    $$ \hat y_k = x_k \cdot (X^\top X + \sigma^2 I)^{-1} X^\top Y, \qquad
       X = x_{1 \dots k-1},\; Y = y_{1 \dots k-1} $$

    and 0 for k = 1: the posterior mean under tasks drawn from N(0, I). Solved as the least squares
    of $(X; \sigma I)$ against $(Y; 0)$ by QR, which does not square the condition number.

    Args:
        x: Inputs.
        y: Noisy targets.
        noise_variance: σ² > 0.

    Returns:
        Predictions, float64.

    Raises:
        GermError: σ² is not positive, or shapes do not fit.
    """
    _check(x, y, noise_variance)
    length, dim = x.shape[1:]
    size = max(1, MAX_NUMBERS // (length * (length + dim) * dim))
    seen = torch.ones(length, length, dtype=torch.float64, device=x.device).tril(-1)
    prior = math.sqrt(noise_variance) * torch.eye(dim, dtype=torch.float64, device=x.device)
    found = []
    for xs, ys in zip(x.double().split(size), y.double().split(size), strict=True):
        rows = seen[None, :, :, None] * xs[:, None]  # (examples, k, pairs, dim)
        system = torch.cat([rows, prior.expand(*rows.shape[:2], dim, dim)], dim=2)
        known = torch.cat([seen * ys[:, None], ys.new_zeros(len(ys), length, dim)], dim=2)
        weights = torch.linalg.lstsq(system, known[..., None]).solution[..., 0]
        found.append((weights * xs).sum(-1))
    return torch.cat(found)


def dmmse(x: Inputs, y: Targets, tasks: Tasks, noise_variance: float) -> Targets:
    r"""What the posterior mean over a list of tasks predicts for the k-th pair, for every k.

    $$ \hat y_k = x_k \cdot \sum_m p_{km}\, t_m, \qquad
       p_{k \cdot} = \mathrm{softmax}_m\Big(-\frac{1}{2\sigma^2}
       \sum_{j<k} (y_j - t_m \cdot x_j)^2\Big) $$

    the discrete minimum mean squared error predictor, all tasks alike before any pair is seen.

    Args:
        x: Inputs.
        y: Noisy targets.
        tasks: t₁, ..., t_M.
        noise_variance: σ² > 0.

    Returns:
        Predictions, float64.

    Raises:
        GermError: σ² is not positive, or shapes do not fit.
    """
    _check(x, y, noise_variance)
    if not len(tasks) or tasks.shape[1] != x.shape[2]:
        raise GermError(f"expected tasks of {x.shape[2]} numbers each, got {tuple(tasks.shape)}")
    wide = tasks.to(x.device, torch.float64)
    size = max(1, MAX_NUMBERS // (x.shape[1] * len(wide)))
    found = []
    for xs, ys in zip(x.double().split(size), y.double().split(size), strict=True):
        answers = xs @ wide.T  # (examples, k, tasks)
        misfit = (ys[..., None] - answers).square_().cumsum(1)
        before = torch.cat([torch.zeros_like(misfit[:, :1]), misfit[:, :-1]], dim=1)
        weights = (before / (-2 * noise_variance)).softmax(-1)
        found.append((weights * answers).sum(-1))
    return torch.cat(found)


def distance(outputs: Targets, ideal: Targets, measure: str = "distance") -> Score:
    r"""$\langle \frac1K \sum_k (f_k - g_k)^2 \rangle$ of predictions f and g, error over sequences.

    Raises:
        GermError: They are not predictions of the same sequences.
    """
    if outputs.shape != ideal.shape:
        raise GermError(
            f"expected predictions of the same sequences, got shapes {tuple(outputs.shape)} and "
            f"{tuple(ideal.shape)}"
        )
    gaps = (outputs.detach().double().cpu() - ideal.double().cpu()).square()
    return mean(measure, gaps.mean(1).numpy(), MODEL)


def distances(
    outputs: Targets,
    x: Inputs,
    y: Targets,
    noise_variance: float,
    tasks: Tasks | None = None,
    where: str = "",
) -> list[Score]:
    """A model's error on sequences, and its distances to the ideal predictors.

    In distribution where the sequences are of the model's tasks, out of it where they are of new
    ones: draw them so (`sequences`).

    Args:
        outputs: The model's predictions of every target from the pairs before it.
        x: Inputs.
        y: Noisy targets.
        noise_variance: σ².
        tasks: Those the model was trained on; None for all of N(0, I), which has no dMMSE.
        where: Appended to each name, such as `in distribution`.

    Returns:
        `mean squared error`, `distance to ridge`, and with tasks `distance to dMMSE`.

    Raises:
        GermError: Shapes do not fit.
    """
    after = f", {where}" if where else ""
    found = [
        distance(outputs, y, f"mean squared error{after}"),
        distance(outputs, ridge(x, y, noise_variance), f"distance to ridge{after}"),
    ]
    if tasks is not None:
        ideal = dmmse(x, y, tasks, noise_variance)
        found.append(distance(outputs, ideal, f"distance to dMMSE{after}"))
    return found


def nested_tasks(num: int, dim: int, seed: int = 0) -> Tasks:
    """The first tasks of an endless list drawn from N(0, I): more of them begin with the same.

    Args:
        num: M.
        dim: D.
        seed: Which list.
    """
    blocks = [
        torch.randn(_BLOCK, dim, generator=rng.generator(seed, TASKS, number), dtype=torch.float64)
        for number in range(-(-num // _BLOCK))
    ]
    return torch.cat(blocks)[:num]


def sequences(
    num: int,
    length: int,
    noise_variance: float,
    dim: int | None = None,
    tasks: Tasks | None = None,
    seed: int = 0,
) -> tuple[Inputs, Targets]:
    r"""Sequences of tasks drawn from a list, or from all of N(0, I); $x_k \sim N(0, I)$.

    Args:
        num: Sequences.
        length: Pairs in each, K.
        noise_variance: σ² ≥ 0.
        dim: D; needed without a list.
        tasks: The list; None for new tasks.
        seed: Of the drawing.

    Returns:
        x and y, float64.

    Raises:
        GermError: Neither a list nor D is given.
    """
    if tasks is None and dim is None:
        raise GermError("expected a list of tasks, or the dimension of new ones; got neither")
    size = int(tasks.shape[1] if tasks is not None else dim or 0)
    source = rng.generator(seed, INPUTS)
    x = torch.randn(num, length, size, generator=source, dtype=torch.float64)
    noise = torch.randn(num, length, generator=source, dtype=torch.float64)
    if tasks is None:
        chosen = torch.randn(num, size, generator=source, dtype=torch.float64)
    else:
        chosen = tasks.double()[torch.randint(len(tasks), (num,), generator=source)]
    return x, torch.einsum("nkd,nd->nk", x, chosen) + math.sqrt(noise_variance) * noise


def _check(x: Tensor, y: Tensor, noise_variance: float) -> None:
    if x.dim() != 3 or x.shape[:2] != y.shape:
        raise GermError(
            "expected inputs (examples, length, dim) and targets (examples, length), got "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    if not noise_variance > 0:
        raise GermError(f"expected a noise variance σ² > 0, got {noise_variance:g}")
