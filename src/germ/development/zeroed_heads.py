"""What a head does for the loss: the loss without it less the loss with it.

For models whose attention patterns cannot be had, and beside them for those whose can: a head may
look where an induction head looks and move nothing, or do its work by another road.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from germ import components
from germ.component_calls import holding, weight_places
from germ.development.forward import token_losses
from germ.development.in_context import copy_losses
from germ.development.scores import Score, of_components

ZEROED, ZEROED_COPY = "loss without", "repetition loss without"


def loss_without(
    model: nn.Module, tokens: Int[Tensor, "examples tokens"], select: str = "heads"
) -> list[Score]:
    r"""$\langle \ell(w \text{ with the component's weights zeroed}) - \ell(w) \rangle$, in nats.

    A head's weights hold its slice of the output projection, so that with them its output is zero
    (its share of a bias that all heads have is not). Paired row by row.

    Args:
        model: A transformer that `germ.components` finds the components of.
        tokens: Rows of text.
        select: Which components, as `germ.components.expand` reads it.

    Returns:
        `loss without` of every component: positive where it is of use.

    Raises:
        GermError: There are no such components, and why.
    """
    return _without(model, tokens, select, ZEROED, lambda losses: losses.mean(1))


def repetition_loss_without(
    model: nn.Module,
    rows: Int[Tensor, "examples tokens"],
    length: int,
    select: str = "heads",
) -> list[Score]:
    """The same on later copies of random tokens, where nothing but copying helps.

    Args:
        model: A transformer that `germ.components` finds the components of.
        rows: Random tokens and their copies (`germ.development.in_context.repeated`).
        length: Tokens before they repeat.
        select: Which components, as `germ.components.expand` reads it.

    Returns:
        `repetition loss without` of every component: large for induction heads and for those that
        they read from.

    Raises:
        GermError: There are no such components, and why.
    """

    def later(losses: Tensor) -> Tensor:
        return copy_losses(losses, length)[:, 1:].mean((1, 2))

    return _without(model, rows, select, ZEROED_COPY, later)


def _without(
    model: nn.Module,
    tokens: Tensor,
    select: str,
    measure: str,
    of_rows: Callable[[Tensor], Tensor],
) -> list[Score]:
    chosen = components.expand(model, select)
    places = weight_places(model)
    params = dict(model.named_parameters())
    whole = of_rows(token_losses(model, tokens))
    lost = np.zeros((len(tokens), len(chosen)))
    for number, component in enumerate(chosen.values()):
        zeroed = {
            name: params[name].detach() * ~mask.to(params[name].device)
            for name, mask in component.items()
        }
        with torch.no_grad(), holding(places, zeroed):
            lost[:, number] = (of_rows(token_losses(model, tokens)) - whole).numpy()
    return of_components(measure, lost, list(chosen), 0.0)
