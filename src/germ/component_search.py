"""Where the parts of a transformer are: its blocks, what mixes tokens in them, its embeddings.

Nothing here looks at a name. A block maps hidden states to hidden states, one after another;
attention is what lets a later token see an earlier one; an embedding is what the token's number
picks a row of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from germ import rng
from germ.component_calls import (
    NUM_EXAMPLES,
    NUM_TOKENS,
    SEED,
    Alone,
    Call,
    Calls,
    along,
    hidden,
    holding,
    logits_of,
    record,
    tensors,
    weight_places,
)
from germ.errors import GermError


@dataclass(frozen=True)
class Block:
    """A layer: the module, and those of its parts that mix tokens or do not.

    Attributes:
        module: The block.
        attn: Its parts that mix tokens, each with how it was called.
        mlp: Its other parts with weights of two dimensions or more.
    """

    module: nn.Module
    attn: tuple[tuple[nn.Module, Call], ...]
    mlp: tuple[nn.Module, ...]


@dataclass(frozen=True)
class Structure:
    """Where the parts of a model are; parameters by their names in the model.

    Attributes:
        blocks: Its layers, in order.
        embed: Parameters of which a token picks a row.
        position: Parameters of which a position picks a row.
        unembed: Parameters of which each logit has a row.
    """

    blocks: tuple[Block, ...]
    embed: tuple[str, ...]
    position: tuple[str, ...]
    unembed: tuple[str, ...]


def structure(model: nn.Module) -> Structure:
    """Find the parts of a model, in eval mode (see `component_calls.at_rest`).

    Raises:
        GermError: It takes no tokens, or has no blocks that are called one after another.
    """
    with torch.no_grad():
        tokens = torch.zeros(NUM_EXAMPLES, NUM_TOKENS, dtype=torch.long, device=_device(model))
        logits, calls = record(model, tokens)
    modules = _blocks(model, calls)
    blocks = tuple(_block(module, calls) for module in modules)
    inside = {id(p) for module in modules for p in module.parameters()}
    outside = {
        name: p
        for name, p in model.named_parameters()
        if id(p) not in inside and p.is_floating_point()
    }
    first, second = _two_tokens(model, logits.shape[-1])
    return Structure(blocks, *_embeddings(model, modules[0], outside, first, second))


def _device(model: nn.Module) -> torch.device:
    parameter = next(model.parameters(), None)
    if parameter is None:
        raise GermError(f"expected a model with parameters; {type(model).__name__} has none")
    return parameter.device


def _blocks(model: nn.Module, calls: Calls) -> list[nn.Module]:
    """The children of the list of most weight that map hidden states to hidden states in turn."""
    order = {module: place for place, module in enumerate(calls)}
    best: list[nn.Module] = []
    most = 0
    for module in model.modules():  # From the outside in: an inner list must hold more to win.
        if not isinstance(module, nn.ModuleList | nn.Sequential):
            continue
        found = [child for child in module if _is_block(child, calls)]
        size = sum(p.numel() for child in found for p in child.parameters())
        in_turn = sorted(found, key=order.__getitem__) == found
        if in_turn and size > most:
            best, most = found, size
    if not best:
        raise GermError(
            f"expected a transformer whose layers are in a ModuleList or Sequential, each called "
            f"once; found none in {type(model).__name__}: name parameters or modules, or give masks"
        )
    return best


def _is_block(module: nn.Module, calls: Calls) -> bool:
    made = calls.get(module, [])
    if len(made) != 1 or not any(p.dim() > 1 for p in module.parameters()):
        return False
    came, left = hidden((made[0].args, made[0].kwargs)), hidden(made[0].output)
    return came is not None and left is not None and came.shape == left.shape


def _block(module: nn.Module, calls: Calls) -> Block:
    parts = _parts(module, calls)
    for random_weights in (False, True):  # Their own first: no weights have to be drawn.
        mixing = []
        for part in parts:
            call = calls[part][0]
            if Alone(part, call, random_weights=random_weights).mixes_tokens():
                mixing.append((part, call))
        if mixing:
            break
    attending = [part for part, _ in mixing]
    return Block(module, tuple(mixing), tuple(p for p in parts if p not in attending))


def _parts(module: nn.Module, calls: Calls) -> list[nn.Module]:
    """The children with weights of two dimensions or more; of an only child, its children."""
    heavy = [
        child
        for child in module.children()
        if any(p.dim() > 1 for p in child.parameters()) and len(calls.get(child, [])) == 1
    ]
    if len(heavy) == 1:
        below = _parts(heavy[0], calls)
        everything = sum(p.numel() for p in heavy[0].parameters() if p.dim() > 1)
        # A wrapper around attention and MLP, told from an attention with its projections: one of
        # its parts mixes tokens by itself.
        wraps = sum(p.numel() for part in below for p in part.parameters() if p.dim() > 1)
        if wraps == everything and len(below) > 1:
            mixing = [Alone(part, calls[part][0], random_weights=True) for part in below]
            if any(part.mixes_tokens() for part in mixing):
                return below
    return heavy


def _two_tokens(model: nn.Module, vocabulary: int) -> tuple[int, int]:
    """Two tokens that are no padding, whose row would have no gradient."""
    padding = {m.padding_idx for m in model.modules() if isinstance(m, nn.Embedding)}
    free = [t for t in range(vocabulary // 2, vocabulary) if t not in padding]
    free += [t for t in range(vocabulary // 2) if t not in padding]
    if len(free) < 3:
        raise GermError(f"expected a vocabulary of three tokens or more; got {vocabulary}")
    return free[0], free[1]


def _embeddings(
    model: nn.Module,
    first_block: nn.Module,
    outside: dict[str, nn.Parameter],
    first: int,
    second: int,
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    leaves = {name: p.detach().requires_grad_() for name, p in outside.items()}
    places = weight_places(model)
    entering: list[Tensor] = []

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        entering.extend(x for x in tensors((args, kwargs)) if x.requires_grad)

    def picked(total: Tensor, name: str) -> list[list[int]]:
        """Along each dimension of a parameter, the indices with a gradient."""
        (grad,) = torch.autograd.grad(total, leaves[name], retain_graph=True, allow_unused=True)
        if grad is None:
            return []
        return [along(grad, dim).nonzero().flatten().tolist() for dim in range(grad.dim())]

    def run(token: int) -> tuple[Tensor, Tensor | None]:
        entering.clear()
        tokens = torch.full((NUM_EXAMPLES, NUM_TOKENS), token, device=_device(model))
        handle = first_block.register_forward_pre_hook(enter, with_kwargs=True)
        try:
            with holding(places, leaves), torch.enable_grad():
                logits = logits_of(model, tokens)
        finally:
            handle.remove()
        parts = [(x * _weights(x)).sum() for x in entering]
        return logits, torch.stack(parts).sum() if parts else None

    logits, into = run(first)
    unembed, looked_up, position = [], [], []
    named = (logits[..., second] * _weights(logits[..., second])).sum()
    for name in leaves:
        if any(second in hits and set(hits) <= {first, second} for hits in picked(named, name)):
            unembed.append(name)
        hits = picked(into, name) if into is not None and leaves[name].dim() > 1 else []
        looked_up += [name] if [first] in hits else []
        start = hits[0][0] if hits and hits[0] else 0
        position += [name] if [*range(start, start + NUM_TOKENS)] in hits[:1] else []
    # With another token in every place another row must be picked; else it is no token's.
    _, into = run(second)
    embed = [n for n in looked_up if into is not None and [second] in picked(into, n)]
    return tuple(embed), tuple(position), tuple(unembed)


def _weights(x: Tensor) -> Tensor:
    return torch.randn(x.shape, generator=rng.generator(SEED, 2)).to(x)
