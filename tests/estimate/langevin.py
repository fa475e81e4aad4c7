"""Chains of a real sampler on a potential written down by hand: samples whose causes are chosen.

All coordinates have a potential of their own, U = nβ·Σ L_i(w_i) + γ/2·w²: no model, no data, no
batches, and so a hundred times faster than `germ.sample`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import xarray as xr
from torch import Tensor

Function = Callable[[Tensor], Tensor]


def simulate(
    sampler: Any,
    loss: Function,
    slope: Function,
    dim: int,
    *,
    nbeta: float,
    localization: float,
    noise: float = 0.0,
    noisy: bool | None = None,
    start: float = 0.0,
    chains: int = 8,
    draws: int = 400,
    warmup: int = 200,
    thin: int = 1,
    seed: int = 0,
) -> xr.Dataset:
    """Samples as `germ.sample` would return them, w* = 0.

    Args:
        sampler: Any with `init` and `step`.
        loss: L_i of each coordinate.
        slope: Its derivative.
        dim: d.
        nbeta: nβ.
        localization: γ.
        noise: Standard deviation of the gradient noise on ∇U.
        noisy: Whether to say that there were minibatches; by default, where there is noise.
        start: Where chains begin, in each coordinate; they come to w* = 0 from there.
        chains: Chains, each with noise of its own.
        draws: Kept draws.
        warmup: Steps before.
        thin: Steps from draw to draw.
        seed: Of all the noise.
    """
    source = torch.Generator().manual_seed(seed)
    state = sampler.init(torch.full((chains, dim), start))
    rows: dict[str, list[Tensor]] = {}
    for step in range(warmup + (draws - 1) * thin + 1):
        w = state.position
        grad = nbeta * slope(w) + localization * w
        if noise:
            grad = grad + noise * torch.randn(chains, dim, generator=source)
        kept = {
            "loss_difference": loss(w).double().sum(1),
            "virial": (w * grad).double().sum(1) / dim,
            "distance": w.double().norm(dim=1),
        }
        if hasattr(state, "temperature"):
            kept["temperature"] = state.temperature.double()
        if step < warmup or (step - warmup) % thin == 0:
            for name, value in kept.items():
                rows.setdefault(f"warmup_{name}" if step < warmup else name, []).append(value)
        state = sampler.step(state, grad, torch.randn(chains, dim, generator=source))
    series = {
        name: (
            ("chain", "warmup_step" if name.startswith("warmup_") else "draw"),
            torch.stack(values, dim=1).numpy(),
        )
        for name, values in rows.items()
    }
    minibatches = noise > 0 if noisy is None else noisy
    attrs = {
        "nbeta": nbeta, "localization": localization, "num_coordinates": dim, "thin": thin,
        "sampler": type(sampler).__name__, "shared_batches": False, "num_examples": 100,
        "batch_size": 10 if minibatches else 100, "anchor_loss": 0.0, "num_gradients": 1,
        "statuses": ["OK"] * chains,
    }  # fmt: skip
    found = xr.Dataset(series, attrs=attrs).assign_coords(chain=range(chains))
    return found.assign(loss=found["loss_difference"])
