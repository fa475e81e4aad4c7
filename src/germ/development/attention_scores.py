r"""Scores of attention heads: the token before, the token itself, the first one, and induction.

Each is the mean attention that a head pays to one kind of place, with its error over rows, and
beside it what a head pays there that looks at everything alike.

Prefix matching: Olsson et al. 2022, arXiv 2209.11895. Previous token: Hoogland et al. 2024,
arXiv 2402.02364.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from germ.development.attention_patterns import AttentionHeads, each_layer, find_heads
from germ.development.scores import Score, of_components
from germ.errors import GermError

MAX_ENTRIES = 2**24
"""Entries of one layer's patterns that are held at once."""

PREVIOUS, CURRENT, FIRST = "previous token", "current token", "first token"
PREFIX = "prefix matching"


def text_scores(model: nn.Module, tokens: Int[Tensor, "examples tokens"]) -> list[Score]:
    r"""How much each head looks at the token before, at the token itself, and at the first.

    $$ \frac{1}{T - 1} \sum_{t=2}^{T} A_h(t, t-1), \quad A_h(t, t), \quad A_h(t, 1) $$

    the first position left out, where there is but one place to look at.

    Args:
        model: A transformer that `germ.components` finds heads in.
        tokens: Rows of text.

    Returns:
        `previous token`, `current token` and `first token` of every head.

    Raises:
        GermError: Patterns cannot be had, and why; rows are of one token.
    """
    _at_least(tokens, 2)

    def places(pattern: Tensor) -> Tensor:
        previous = pattern.diagonal(-1, -2, -1).mean(-1)
        current = pattern.diagonal(0, -2, -1)[..., 1:].mean(-1)
        return torch.stack([previous, current, pattern[..., 1:, 0].mean(-1)])

    found = _over_rows(model, tokens, find_heads(model), places)
    uniform = float((1 / torch.arange(2, tokens.shape[1] + 1)).mean())
    return [
        score
        for measure, values in zip((PREVIOUS, CURRENT, FIRST), found, strict=True)
        for score in of_components(measure, values.numpy(), find_heads(model).all_names, uniform)
    ]


def prefix_matching(
    model: nn.Module,
    rows: Int[Tensor, "examples tokens"],
    length: int,
    start: int | None = None,
) -> list[Score]:
    r"""How much each head looks at what followed the token before: what induction heads do.

    In random tokens that repeat every L, `[A][B] ... [A]`, the attention from the second `[A]` to
    `[B]`, to every earlier copy of it:

    $$ \Big\langle \sum_{j \ge 1,\; t - jL \ge 1} A_h(t,\; t - jL + 1) \Big\rangle_{t > L} $$

    Args:
        model: A transformer that `germ.components` finds heads in.
        rows: Random tokens and their copies (`germ.development.in_context.repeated`).
        length: L.
        start: A token to set before each row, as models have it that were trained with one.

    Returns:
        `prefix matching` of every head.

    Raises:
        GermError: Patterns cannot be had, and why; the rows do not repeat.
    """
    _at_least(rows, 2 * length)
    if not torch.equal(rows[:, length:], rows[:, :-length]):
        raise GermError(f"expected rows that repeat every {length} tokens; make them by `repeated`")
    before = 0 if start is None else 1
    if start is not None:
        rows = torch.cat([torch.full_like(rows[:, :1], start), rows], dim=1)
    num = rows.shape[1]
    wanted = torch.zeros(num, num)
    for back in range(length, num - before, length):
        queries = torch.arange(before + back, num)
        wanted[queries, queries - back + 1] = 1.0
    queries = torch.arange(before + length, num)
    visible = torch.arange(1, num + 1)[:, None]
    uniform = float((wanted / visible)[queries].sum(-1).mean())

    def matched(pattern: Tensor) -> Tensor:
        chosen = pattern * wanted.to(pattern.device)
        return chosen[:, :, before + length :].sum(-1).mean(-1)[None]

    heads = find_heads(model)
    found = _over_rows(model, rows, heads, matched)[0]
    return of_components(PREFIX, found.numpy(), heads.all_names, uniform)


def _over_rows(
    model: nn.Module, tokens: Tensor, heads: AttentionHeads, reduce: Callable[[Tensor], Tensor]
) -> Float[Tensor, "measures examples heads"]:
    """A number a row and head, as many rows at a time as fit."""
    widest = max(len(names) for names in heads.names)
    size = max(1, MAX_ENTRIES // (widest * tokens.shape[1] ** 2))
    parts = []
    for rows in tokens.split(size):
        layers = each_layer(model, rows, heads, reduce)
        parts.append(torch.cat([layer.double().cpu() for layer in layers], dim=-1))
    return torch.cat(parts, dim=1)


def _at_least(tokens: Tensor, num: int) -> None:
    if tokens.shape[1] < num:
        raise GermError(f"expected rows of {num} tokens or more, got {tokens.shape[1]}")
