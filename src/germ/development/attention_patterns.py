r"""Where every head looks, of any transformer that `germ.components` finds heads in.

A pattern is what a softmax over keys returns, whoever calls it: PyTorch's fused attention is made
to take the road that has one, and what passes through a softmax inside a layer's attention is
looked at there. No architecture is known, none is switched to another implementation for good.

That the pattern numbered h is head h of `germ.components` is not assumed but found: the attention
is called by itself with random weights, those of head h are changed, and the pattern that changes
most is head h's.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from germ import components
from germ.component_calls import NUM_EXAMPLES, NUM_TOKENS, Alone, at_rest, logits_of
from germ.component_search import Block, structure
from germ.development.forward import device_of
from germ.errors import GermError

Result = TypeVar("Result")

_SOFTMAX = ("aten::_softmax", "aten::_safe_softmax", "aten::softmax.int")

_NONE_SEEN = (
    "no softmax over keys was seen in its attention, as with a kernel of its own (flash-attn, flex "
    "attention) or linear attention; load the model with PyTorch's attention, or ask what its "
    "heads do by zeroing them"
)


@dataclass(frozen=True)
class AttentionHeads:
    """The heads of a model whose patterns can be had.

    Attributes:
        modules: The attention of each layer that has heads.
        names: The heads of each, named as components are, in the order of its patterns.
        missing: By layer, why its patterns cannot be had.
    """

    modules: tuple[nn.Module, ...]
    names: tuple[tuple[str, ...], ...]
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_names(self) -> tuple[str, ...]:
        """The heads of all layers."""
        return tuple(name for layer in self.names for name in layer)


class _Softmaxes(TorchDispatchMode):
    """Notes the output of every softmax over as many keys as there are queries."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.open = True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if self.open and func.name() in _SOFTMAX and out.dim() > 2:
            if out.shape[-1] == out.shape[-2]:
                self.seen.append(out.detach())
        return out


@contextlib.contextmanager
def _softmaxes() -> Iterator[_Softmaxes]:
    """Within, every softmax of attention can be seen."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # nn.MultiheadAttention's own kernel.
    try:
        with sdpa_kernel(SDPBackend.MATH), _Softmaxes() as watching:
            yield watching
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def find_heads(model: nn.Module) -> AttentionHeads:
    """Find the heads whose patterns can be had; found once for a model as long as it lives.

    Args:
        model: Takes tokens, returns logits. It is left as it is, to the bit.

    Raises:
        GermError: There is none, and why.

    Example:
        >>> from germ.zoo import bundled
        >>> find_heads(bundled.model()).all_names[:2]
        ('layers.0.head.0', 'layers.0.head.1')
    """
    known = _known.get(model)
    if known is None:
        with torch.enable_grad():  # Components are found by gradients.
            known = _known[model] = _find(model)
    return known


_known: weakref.WeakKeyDictionary[nn.Module, AttentionHeads] = weakref.WeakKeyDictionary()


def _find(model: nn.Module) -> AttentionHeads:
    found = components.find(model)
    with at_rest(model):
        blocks = structure(model).blocks
    modules, names, missing = [], [], {}
    for number, block in enumerate(blocks):
        layer = f"layers.{number}"
        mine = [part for part in found.values() if part.name.startswith(f"{layer}.head.")]
        if not mine:
            missing[layer] = found.missing.get("head", "it has no heads")
            continue
        try:
            with at_rest(model):
                order = _order(model, block, mine)
        except GermError as error:
            missing[layer] = str(error)
            continue
        modules.append(block.attn[0][0])
        names.append(tuple(mine[head].name for head in order))
    if not modules:
        layer, why = next(iter(missing.items()))
        raise GermError(f"{type(model).__name__} shows no attention patterns; {layer}: {why}")
    return AttentionHeads(tuple(modules), tuple(names), missing)


def _order(model: nn.Module, block: Block, heads: list[components.Component]) -> list[int]:
    """Which head each pattern of a block is."""
    module, call = block.attn[0]
    attention = Alone(module, call, random_weights=True)
    in_model = {id(p): name for name, p in model.named_parameters()}
    outside = {name: in_model[id(p)] for name, p in module.named_parameters()}
    own = _patterns_alone(attention, {})
    if own.shape[1] != len(heads):
        raise GermError(
            f"expected as many attention patterns as heads, {len(heads)}; got {own.shape[1]}"
        )
    pattern_of = []
    for head in heads:
        changed = {
            name: torch.where(head[outside[name]].to(p.device), p.flatten().flip(0).view_as(p), p)
            for name, p in attention.params.items()
            if outside[name] in head
        }
        moved = (_patterns_alone(attention, changed) - own).abs().amax((0, 2, 3))
        pattern_of.append(int(moved.argmax()))
    if sorted(pattern_of) != list(range(len(heads))):
        raise GermError(
            "expected each head's weights to move one attention pattern more than all others; "
            f"those of heads {list(range(len(heads)))} moved patterns {pattern_of} most"
        )
    return [pattern_of.index(pattern) for pattern in range(len(heads))]


def _patterns_alone(attention: Alone, changed: Mapping[str, Tensor]) -> Tensor:
    with torch.no_grad(), _softmaxes() as watching:
        attention(changed)
    return _one(watching.seen, NUM_EXAMPLES, NUM_TOKENS)


def _one(seen: list[Tensor], num_examples: int, num_tokens: int) -> Tensor:
    """The only pattern among what softmaxes gave, as (examples, heads, queries, keys)."""
    size = num_examples * num_tokens**2
    fit = [x for x in seen if x.shape[-1] == num_tokens and x.numel() % size == 0]
    if not fit:
        raise GermError(_NONE_SEEN)
    if len(fit) > 1:
        raise GermError(f"expected one softmax over keys in its attention, saw {len(fit)}")
    # (examples · heads, queries, keys) in some implementations: examples are the slower index.
    pattern = fit[0].reshape(num_examples, -1, num_tokens, num_tokens).float()
    if num_tokens > 1 and pattern.triu(1).any():
        raise GermError("expected causal attention; some query looks at a key after it")
    return pattern


def each_layer(
    model: nn.Module,
    tokens: Int[Tensor, "examples tokens"],
    heads: AttentionHeads,
    reduce: Callable[[Tensor], Result],
) -> list[Result]:
    """What `reduce` makes of each layer's patterns, one layer's in memory at a time.

    Args:
        model: The model.
        tokens: Token ids, as many rows as fit at once.
        heads: From `find_heads`.
        reduce: Of patterns (examples, heads, queries, keys), float32.

    Raises:
        GermError: A layer showed another number of patterns than it has heads.
    """
    results: dict[int, Result] = {}
    handles = []

    def enter(module: nn.Module, args: Any) -> None:
        watching.seen.clear()

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        number = heads.modules.index(module)
        pattern = _one(watching.seen, *tokens.shape)
        watching.seen.clear()
        if pattern.shape[1] != len(heads.names[number]):
            raise GermError(
                f"expected {len(heads.names[number])} attention patterns, got {pattern.shape[1]}"
            )
        watching.open = False  # What `reduce` does is no attention.
        results[number] = reduce(pattern)
        watching.open = True

    with torch.no_grad(), at_rest(model), _softmaxes() as watching:
        try:
            for module in heads.modules:
                handles += [module.register_forward_pre_hook(enter)]
                handles += [module.register_forward_hook(leave)]
            logits_of(model, tokens.to(device_of(model)))
        finally:
            for handle in handles:
                handle.remove()
    return [results[number] for number in range(len(heads.modules))]


def patterns(model: nn.Module, tokens: Int[Tensor, "examples tokens"]) -> dict[str, Tensor]:
    """The pattern of every head, by its component's name: (examples, queries, keys), float32.

    For many heads and long rows this is large: `each_layer` keeps what is wanted of it alone.

    Raises:
        GermError: The model shows none, and why.
    """
    heads = find_heads(model)
    layers = each_layer(model, tokens, heads, lambda pattern: pattern.cpu())
    return {
        name: layer[:, number]
        for names, layer in zip(heads.names, layers, strict=True)
        for number, name in enumerate(names)
    }
