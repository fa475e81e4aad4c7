"""∇L_n(w*) over all the data, for many components in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from germ import prefix
from germ.data import Data
from germ.plan import auto_batch_size
from germ.posterior import LocalPosterior
from germ.restriction import Coordinates, select
from germ.types import LossFn

Progress = Callable[[int, int], None]


def anchor_gradients(
    model: nn.Module,
    data: Data,
    loss: LossFn,
    components: Mapping[str, Coordinates],
    *,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """∇L_n(w*) on the coordinates of each component.

    A backward pass gives the gradient of every weight at once: one pass over the data serves all
    components, where each alone would make its own.

    Args:
        model: The model, at w*.
        data: The n examples of L_n.
        loss: Per-example losses.
        components: Coordinates by name.
        progress: Told (examples done, of how many).

    Returns:
        Gradients by name, (d,) each, in the dtype of the coordinates.
    """
    names = sorted({name for each in components.values() for name in each.names})
    union = select(model, names)
    params = dict(model.named_parameters())
    whole = LocalPosterior(
        model=model,
        data=data,
        loss=loss,
        coordinates=union,
        anchor=union.flatten(params),
        nbeta=1.0,  # It plays no part.
        localization=0.0,
    )
    gradient = mean_gradient(prefix.shorten(whole), progress=progress)
    spread: Any = union.unflatten(gradient, params)
    return {name: each.flatten(spread) for name, each in components.items()}


def mean_gradient(posterior: LocalPosterior, *, progress: Progress | None = None) -> Tensor:
    """∇L_n(w*) over all the data, (d,)."""
    num, size = posterior.data.num_examples, auto_batch_size(posterior)
    leaf = posterior.anchor.detach().clone().requires_grad_()
    total = torch.zeros_like(posterior.anchor, dtype=torch.float64)
    for start in range(0, num, size):
        indices = torch.arange(start, min(start + size, num))
        loss = posterior.example_losses(leaf, posterior.batch(indices)).sum()
        (gradient,) = torch.autograd.grad(loss, leaf)
        total += gradient
        if progress is not None:
            progress(int(indices[-1]) + 1, num)
    return (total / num).to(posterior.anchor.dtype)
