"""The logits of rows of tokens, as many rows at a time as fit."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from germ.component_calls import at_rest, logits_of
from germ.data import Data
from germ.errors import GermError

MAX_LOGITS = 2**25
"""Numbers held at once: 128 MiB of float32, and as much again for their softmax."""

DEFAULT_EXAMPLES = 256


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's first parameter; the CPU where it has none."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def batches(
    model: nn.Module, tokens: Int[Tensor, "examples tokens"]
) -> Iterator[tuple[slice, Float[Tensor, "rows tokens vocabulary"]]]:
    """Log-probabilities of every next token, rows in turn: which rows, and log p in float32.

    Args:
        model: Takes tokens, returns logits. In eval mode within, and left as it was.
        tokens: Token ids.

    Raises:
        GermError: It takes no tokens, or returns no logits.
    """
    device, size, start = device_of(model), 1, 0
    while start < len(tokens):
        rows = slice(start, start + size)
        with torch.no_grad(), at_rest(model):
            log_p = logits_of(model, tokens[rows].to(device)).float().log_softmax(-1)
        yield rows, log_p
        start += size
        size = max(1, MAX_LOGITS // log_p[0].numel())  # The first row said how large one is.


def token_losses(
    model: nn.Module, tokens: Int[Tensor, "examples tokens"]
) -> Float[Tensor, "examples targets"]:
    """The loss of every token but the first, in nats, on the CPU: [:, t] is that of token t + 1.

    Raises:
        GermError: It takes no tokens, or returns no logits.
    """
    found = []
    for rows, log_p in batches(model, tokens):
        targets = tokens[rows, 1:].to(log_p.device).flatten()
        losses = F.nll_loss(log_p[:, :-1].flatten(0, 1), targets, reduction="none")
        found.append(losses.view(len(log_p), -1).double().cpu())
    return torch.cat(found)


def spaced_tokens(data: Data, num_examples: int | None = None) -> Int[Tensor, "examples tokens"]:
    """Rows of a data set of tokens, evenly spaced through it, on the CPU.

    Spaced, and not the first ones, since neighbours are often of one document, and what is alike
    tells less than an error over examples supposes.

    Args:
        data: Batches are `{"input_ids": ...}`.
        num_examples: How many; by default all.

    Raises:
        GermError: It holds no rows of tokens.
    """
    num = data.num_examples if num_examples is None else min(num_examples, data.num_examples)
    if num < 1:
        raise GermError(f"expected a number of examples of 1 and more, got {num}")
    chosen = torch.linspace(0, data.num_examples - 1, num, dtype=torch.float64).round().long()
    batch = data.batch(chosen)
    tokens = batch.get("input_ids") if isinstance(batch, dict) else None
    if not isinstance(tokens, Tensor) or tokens.dim() != 2:
        raise GermError(f"expected rows of tokens to measure behaviour on, got {data.describe()}")
    return tokens.cpu()
