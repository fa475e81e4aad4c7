"""∇L_n(w*) over all the data, for many components in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from germ import prefix
from germ.data import Data
from germ.gradients import anchor_pass
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
        progress: Told (batches done, of how many).

    Returns:
        Gradients by name, (d,) each, in the dtype of the coordinates.

    Raises:
        GermError: The loss of some example is not finite.
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
    size = auto_batch_size(whole)
    found = anchor_pass(prefix.shorten(whole), size, with_grad=True, on_batch=progress)
    assert found.grad is not None
    spread: Any = union.unflatten(found.grad, params)
    return {name: each.flatten(spread) for name, each in components.items()}
