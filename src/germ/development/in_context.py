r"""How much a model gains from what it has read: the in-context-learning score, and repetition.

Olsson et al. 2022, arXiv 2209.11895: the loss of the 500th token less that of the 50th.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from germ import rng
from germ.development.forward import token_losses
from germ.development.scores import Score, mean
from germ.errors import GermError

EARLY, LATE = 50, 500
"""The published positions, counted from 1."""

RARE_AND_COMMON = 0.04
"""The published share of tokens that random ones are not drawn from, at either end."""

REPEATED = 0xC0


def positions(
    num_tokens: int, early: int | None = None, late: int | None = None
) -> tuple[int, int]:
    """The two positions of the score, from 1: 50 and 500, or in shorter rows a tenth and the last.

    Raises:
        GermError: They are not in the rows, or not in this order.

    Example:
        >>> positions(1024), positions(128), positions(512, 32)
        ((50, 500), (13, 128), (32, 500))
    """
    late = min(LATE, num_tokens) if late is None else late
    early = max(2, min(EARLY, round(late / 10))) if early is None else early
    if not 2 <= early < late <= num_tokens:
        raise GermError(
            f"expected positions 2 ≤ early < late ≤ {num_tokens}, the tokens in a row (the first "
            f"has no loss), got {early} and {late}"
        )
    return early, late


def in_context_score(
    losses: Float[Tensor, "examples targets"],
    early: int | None = None,
    late: int | None = None,
    width: int | None = None,
) -> Score:
    r"""$\langle \ell_{k_2} - \ell_{k_1} \rangle$: negative in a model that uses its context.

    The difference is taken within each row, and its error is that of the paired difference.

    Args:
        losses: Of every token but the first (`germ.development.forward.token_losses`), in nats.
        early: Position k₁ from 1; by default 50, or a tenth of `late`.
        late: Position k₂ from 1; by default 500, or the last.
        width: Average each loss over so many positions that end there; by default 1, as published,
            and where `late` is below 500 half of `early`, since one position alone says little.

    Raises:
        GermError: The positions are not in the rows.
    """
    early, late = positions(losses.shape[1] + 1, early, late)
    if width is None:
        width = 1 if late >= LATE else max(1, early // 2)
    if not 1 <= width < early:
        raise GermError(f"expected a width of 1 to {early - 1} positions, got {width}")
    # losses[:, 0] is that of token 2.
    first = losses[:, early - 1 - width : early - 1].mean(1)
    second = losses[:, late - 1 - width : late - 1].mean(1)
    name = f"in-context {late}-{early}" + (f", mean of {width}" if width > 1 else "")
    return mean(name, (second - first).double().cpu().numpy())


def usual_tokens(tokens: Int[Tensor, "examples tokens"]) -> Int[Tensor, " kinds"]:
    """The kinds of token in a text but for the 4% most common and the 4% rarest.

    Special tokens that no text has, and that a model was never trained on, stay out too.
    """
    kinds, counts = tokens.flatten().unique(return_counts=True)
    order = kinds[counts.argsort(descending=True, stable=True)]
    cut = round(RARE_AND_COMMON * len(order))
    return order[cut : len(order) - cut].sort().values


def repeated(
    kinds: Int[Tensor, " kinds"],
    num_examples: int,
    length: int,
    num_copies: int = 2,
    seed: int = 0,
) -> Int[Tensor, "examples tokens"]:
    """Random tokens, each kind at most once, and the same again.

    Args:
        kinds: Tokens to draw from.
        num_examples: Rows.
        length: Tokens before they repeat.
        num_copies: How often they come in all.
        seed: Of the drawing.

    Raises:
        GermError: There are too few kinds, or too few copies.
    """
    if num_copies < 2 or length < 2 or num_examples < 1:
        raise GermError(
            f"expected 2 copies or more of 2 tokens or more, got {num_copies} of {length}, "
            f"in {num_examples} rows"
        )
    if len(kinds) < length:
        raise GermError(f"expected {length} kinds of token or more to draw from, got {len(kinds)}")
    source = rng.generator(seed, REPEATED)
    weights = torch.ones(num_examples, len(kinds))
    chosen = torch.multinomial(weights, length, generator=source)
    return kinds.cpu()[chosen].repeat(1, num_copies)


def repetition_score(model: nn.Module, rows: Int[Tensor, "examples tokens"], length: int) -> Score:
    r"""$\langle \ell_{\text{later copies}} - \ell_{\text{first copy}} \rangle$ of random tokens.

    What induction heads are for: negative in a model that can copy what came after a token before.
    The first token of a copy is left out: what comes before it is another in each.

    Args:
        model: Takes tokens, returns logits.
        rows: From `repeated`.
        length: Tokens before they repeat.
    """
    by_copy = copy_losses(token_losses(model, rows), length)
    gain = by_copy[:, 1:].mean((1, 2)) - by_copy[:, 0].mean(1)
    return mean("repetition", gain.numpy())


def copy_losses(
    losses: Float[Tensor, "examples targets"], length: int
) -> Float[Tensor, "examples copies targets_in_one"]:
    """Losses of `repeated` tokens by copy, without each copy's first token."""
    first = losses.new_full((len(losses), 1), torch.nan)
    return torch.cat([first, losses], dim=1).unflatten(1, (-1, length))[:, :, 1:]
