r"""λ̂ of modular-addition networks as Panickssery & Vaintrob (2023) estimated it, many at once.

$$ w \leftarrow w^* + P\bigl(w - \tfrac{\varepsilon}{2}[n\beta\,\nabla L_m(w) + \gamma(w - w^*)]
   + \sqrt{\varepsilon}\,\xi - w^*\bigr), \qquad P = 1 - \frac{g g^\top}{\lVert g\rVert^2} $$

on minibatches of m, with $g = \nabla L_n(w^*)$ where motion along the gradient is left out, and
$n\beta = \tilde n/\log\tilde n$ for $\tilde n$ = n times a multiplier, which is how they vary the
temperature. Their loss is $-\log(p_y + 10^{-7})$: a chain that has run away cannot make it larger
than 16.1 nats.

germ samples this with `SGLD(ε, preconditioner=P)`; the tests do, and compare. Here every network
and temperature is a row of one batch, since there are hundreds, and germ takes them one by one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from germ.errors import GermError
from germ.experiments import modular_network as networks
from germ.rng import generator

FLOOR = 1e-7
"""Added to the probability of the label before its logarithm is taken."""

BLOCKS = 10
"""Batch means that the Monte Carlo error is taken from."""


@dataclass(frozen=True)
class Published:
    """Settings of the sampler; the defaults are those of the published temperature sweep.

    Attributes:
        step_size: ε.
        localization: γ.
        num_steps: Steps, one chain.
        batch_size: Pairs a step.
        discarded: Share of the steps before those that are averaged.
        orthogonal: Whether motion along ∇L_n(w*) is left out.
    """

    step_size: float = 1e-3
    localization: float = 5.0
    num_steps: int = 3000
    batch_size: int = 64
    discarded: float = 0.25
    orthogonal: bool = True


def nbeta(num_examples: int, multiplier: float = 1.0) -> float:
    """ñ/log ñ for ñ = multiplier·n.

    Raises:
        GermError: ñ is 1 or less: log ñ would not be positive.
    """
    size = multiplier * num_examples
    if size <= 1:
        raise GermError(f"expected multiplier·n > 1; got {multiplier:g}·{num_examples}")
    return size / math.log(size)


def sgld(
    records: Sequence[networks.Record],
    which: Sequence[networks.Network],
    nbetas: Sequence[float],
    settings: Published,
    *,
    seed: int,
) -> list[list[dict[str, Any]]]:
    """Estimates at every w* and nβ, one chain each.

    Losses are paired, L_B(w) − L_B(w*), where the authors subtract L_n(w*) from the mean of
    L_B(w): the same expectation with less noise.

    Args:
        records: w* of each network.
        which: Whose data; all of one p and n.
        nbetas: nβ.
        settings: Of the sampler.
        seed: Of batches and noise, one stream for all.

    Returns:
        For each network and nβ: `value` (λ̂; None of a chain that is no longer finite), `whole` (of
        all steps, none discarded), `error` (Monte Carlo, of batch means), `sampled` (E[L]),
        `virial`, `along` (mean of (w − w*)·w*/‖w*‖: how far all weights have grown), `nbeta`.
    """
    num = len(nbetas)
    sets = [networks.data(network) for network in which]
    pairs, labels = (
        torch.stack(part).repeat_interleave(num, 0) for part in zip(*sets, strict=True)
    )
    shapes = {name: weight.shape for name, weight in records[0].weights.items()}
    flat = torch.stack([torch.cat([w.flatten() for w in r.weights.values()]) for r in records])
    anchor = flat.repeat_interleave(num, 0)
    scale = torch.tensor(list(nbetas)).repeat(len(records))[:, None]
    losses, slope = _with_gradient(anchor, shapes, pairs, labels)
    unit = slope / slope.norm(dim=1, keepdim=True).clamp_min(1e-30)
    source = generator(seed, which[0].modulus)
    rows = torch.arange(len(anchor))[:, None]
    position, epsilon = anchor, settings.step_size
    radial = anchor / anchor.norm(dim=1, keepdim=True)
    seen: dict[str, list[Tensor]] = {"difference": [], "virial": [], "along": []}
    for _ in range(settings.num_steps):
        shape = (len(anchor), settings.batch_size)
        batch = torch.randint(pairs.shape[1], shape, generator=source)
        found, gradient = _with_gradient(position, shapes, pairs[rows, batch], labels[rows, batch])
        away = position - anchor
        force = scale * gradient + settings.localization * away
        seen["difference"].append((found - losses.gather(1, batch)).mean(1))
        seen["virial"].append((away * force).mean(1))
        seen["along"].append((away * radial).sum(1))
        noise = torch.randn(anchor.shape, generator=source)
        moved = away.add(force, alpha=-epsilon / 2).add_(noise, alpha=epsilon**0.5)
        if settings.orthogonal:
            moved -= (moved * unit).sum(1, keepdim=True) * unit
        position = anchor + moved
    traces = {name: torch.stack(values, 1).double() for name, values in seen.items()}
    estimates = [
        _estimate(
            {name: trace[i] for name, trace in traces.items()},
            float(scale[i]), float(losses[i].mean()), settings,
        )
        for i in range(len(anchor))
    ]  # fmt: skip
    return [estimates[i * num : (i + 1) * num] for i in range(len(records))]


def _with_gradient(
    position: Tensor, shapes: Mapping[str, torch.Size], pairs: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Losses (row, example), and the gradient of each row's mean, (row, d)."""
    position = position.detach().requires_grad_()
    parts = position.split([shape.numel() for shape in shapes.values()], dim=1)
    weights = {
        name: part.unflatten(1, shape)
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }
    logits = networks.logits(weights, pairs)
    chosen = (logits.gather(-1, labels[..., None])[..., 0] - logits.logsumexp(-1)).exp()
    losses = -(chosen + FLOOR).log()
    gradient = torch.autograd.grad(losses.mean(1).sum(), position)[0]
    return losses.detach(), gradient


def _estimate(
    traces: Mapping[str, Tensor], nbeta: float, loss: float, settings: Published
) -> dict[str, Any]:
    """Averages over one chain's steps, (step,) each."""
    difference = traces["difference"]
    first = round(settings.discarded * len(difference))
    kept = difference[first:]
    if not all(trace.isfinite().all() for trace in traces.values()):
        names = ("value", "whole", "error", "sampled", "virial", "along")
        return {**dict.fromkeys(names), "nbeta": nbeta}
    means = torch.stack([part.mean() for part in kept.chunk(BLOCKS)])
    return {
        "value": nbeta * float(kept.mean()),
        "whole": nbeta * float(difference.mean()),
        "error": nbeta * float(means.std()) / len(means) ** 0.5,
        "sampled": loss + float(kept.mean()),
        "virial": float(traces["virial"][first:].mean()),
        "along": float(traces["along"][first:].mean()),
        "nbeta": nbeta,
    }
