"""How the parts of a model are called, and a part called by itself with weights drawn at random.

What a part does follows from its structure and not from the values of its weights, so it is looked
at with random ones: a head that training left at zero, or whose softmax has saturated, is still a
head. The model's own weights are never written to, copied or moved.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from germ import losses, rng
from germ.errors import GermError
from germ.types import Params

NUM_EXAMPLES, NUM_TOKENS = 2, 4
"""As few as show everything: later positions, earlier ones, and more than one of each."""

SEED = 0x6E7


@dataclass(frozen=True)
class Call:
    """A call of a module: what it was given and what it returned."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any


Calls = Mapping[nn.Module, list[Call]]
"""The calls of every module in a forward pass, modules in the order in which they returned."""


@contextlib.contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """The model in eval mode, and PyTorch's global random numbers as they were afterwards."""
    training = [module for module in model.modules() if module.training]
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng([d.index for d in devices if d.index is not None]):
        try:
            for module in training:
                module.training = False
            yield
        finally:
            for module in training:
                module.training = True


def logits_of(model: nn.Module, tokens: Tensor) -> Tensor:
    """The logits (examples, tokens, vocabulary) of a model of tokens.

    Raises:
        GermError: It takes no tokens, or returns no logits.
    """
    try:
        logits = losses.logits_of(model, tokens)
    except GermError:
        raise
    except Exception as error:
        raise GermError(
            "expected a model that takes tokens and returns logits, to find its components in; "
            f"{type(model).__name__} failed on tokens {tuple(tokens.shape)} with "
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}; name "
            "parameters or modules instead, or give masks"
        ) from error
    if logits.dim() != 3 or logits.shape[:2] != tokens.shape:
        raise GermError(
            f"expected logits of shape {(*tokens.shape, 'vocabulary')}, to find components in; "
            f"{type(model).__name__} returned {tuple(logits.shape)}; name parameters or modules "
            "instead, or give masks"
        )
    return logits


def record(model: nn.Module, tokens: Tensor) -> tuple[Tensor, Calls]:
    """Logits of `tokens`, and how every module was called on the way to them."""
    calls: dict[nn.Module, list[Call]] = {}

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        calls.setdefault(module, []).append(Call(args, kwargs, out))

    handles = [m.register_forward_hook(note, with_kwargs=True) for m in model.modules()]
    try:
        return logits_of(model, tokens), calls
    finally:
        for handle in handles:
            handle.remove()


def tensors(tree: Any) -> list[Tensor]:
    """The floating-point tensors in a tree."""
    leaves = pytree.tree_leaves(tree)
    return [x for x in leaves if isinstance(x, Tensor) and x.is_floating_point()]


def by_position(x: Tensor) -> Tensor | None:
    """`x` as (examples, tokens, rest), where it has a value for every token; else None."""
    if x.shape[:2] == (NUM_EXAMPLES, NUM_TOKENS) and x.dim() > 2:
        return x.flatten(2)
    if x.dim() == 2 and x.shape[0] == NUM_EXAMPLES * NUM_TOKENS:
        return x.unflatten(0, (NUM_EXAMPLES, NUM_TOKENS))
    return None


def hidden(tree: Any) -> Tensor | None:
    """The first tensor in a tree that has a vector for every token, as (examples, tokens, d)."""
    for x in tensors(tree):
        found = by_position(x)
        if found is not None:
            return found
    return None


def along(x: Tensor, dim: int) -> Tensor:
    """Along one dimension of a tensor, where anything in it is not zero; boolean."""
    others = [d for d in range(x.dim()) if d != dim]
    # A sum of magnitudes is zero where all are; ten times as fast as `any`.
    return (x.abs().sum(others) if others else x) != 0


def weight_places(module: nn.Module) -> dict[str, list[tuple[dict[str, Any], str]]]:
    """By a parameter's first name, every place in which the module holds it."""
    names = {id(p): name for name, p in module.named_parameters()}
    places: dict[str, list[tuple[dict[str, Any], str]]] = {name: [] for name in names.values()}
    for part in module.modules():
        for key, p in part._parameters.items():
            if p is not None:
                places[names[id(p)]].append((part._parameters, key))
    return places


@contextlib.contextmanager
def holding(
    places: Mapping[str, list[tuple[dict[str, Any], str]]], params: Mapping[str, Tensor]
) -> Iterator[None]:
    """Let a module compute with `params` in place of its own, which are only set aside."""
    held = [(holder, key, holder[key]) for name in params for holder, key in places[name]]
    try:
        for name, value in params.items():
            for holder, key in places[name]:
                holder[key] = value
        yield
    finally:
        for holder, key, own in held:
            holder[key] = own


class Alone:
    """A module called by itself, as it was called within its model, on random hidden states.

    Attributes:
        module: The module.
        params: Weights of its parameters by their names in it: leaves that require a gradient.
        inputs: The random hidden states, leaves that require a gradient.
    """

    def __init__(self, module: nn.Module, call: Call, *, random_weights: bool) -> None:
        """Take the module's own weights or draw random ones, the same ones each time."""
        self.module = module
        self.inputs: list[Tensor] = []
        self._places = weight_places(module)
        source = rng.generator(SEED)
        self.params: Params = {
            name: (_random(p, source) if random_weights else p.detach()).requires_grad_()
            for name, p in module.named_parameters()
            if p.is_floating_point()
        }
        first = hidden((call.args, call.kwargs))
        width = None if first is None else first.shape[-1]

        def replace(x: Any) -> Any:
            if not (isinstance(x, Tensor) and x.is_floating_point()):
                return x
            found = by_position(x)
            if found is None or found.shape[-1] != width:
                return x.detach()
            drawn = torch.randn(x.shape, generator=source).to(x).requires_grad_()
            self.inputs.append(drawn)
            return drawn

        self._args, self._kwargs = pytree.tree_map(replace, (call.args, call.kwargs))

    def __call__(self, changed: Mapping[str, Tensor] | None = None) -> Tensor:
        """The output (examples, tokens, d), with some of the weights changed.

        Raises:
            GermError: It returns nothing that has a vector for every token.
        """
        with holding(self._places, {**self.params, **(changed or {})}), torch.enable_grad():
            out = hidden(self.module(*self._args, **self._kwargs))
        if out is None:
            raise GermError(
                f"expected {type(self.module).__name__} to return a vector for every token; "
                "it returned none: give a mask in place of a component's name"
            )
        return out

    def weights_of(self, out: Tensor) -> Tensor:
        """Random weights for a sum over the output, the same ones each time."""
        return torch.randn(out.shape, generator=rng.generator(SEED, 1)).to(out)

    def mixes_tokens(self) -> bool:
        """Whether the output at a position depends on the input at an earlier one."""
        if not self.inputs:
            return False
        out = self()
        if not out.requires_grad:
            return False
        total = (out * self.weights_of(out))[:, 1:].sum()
        grads = torch.autograd.grad(total, self.inputs, allow_unused=True)
        found = [by_position(g) for g in grads if g is not None]
        return any(bool(g[:, 0].any()) for g in found if g is not None)


@contextlib.contextmanager
def norms_held(module: nn.Module, call: Callable[[], Any]) -> Iterator[int]:
    """Within, the denominators of the norms inside a module count as constants in gradients.

    A norm over all heads at once lets every head feel every other through its denominator. With
    those held, what is left is what each weight does in its own place.

    Args:
        module: The module.
        call: Calls it once, so that its norms can be found: parts with one-dimensional weights
            alone whose output has the shape of their input.

    Yields:
        The number of its norms.
    """
    norms: list[nn.Module] = []

    def is_norm(part: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        own = list(part.parameters())
        same = args and isinstance(out, Tensor) and getattr(args[0], "shape", None) == out.shape
        if own and same and part is not module and all(p.dim() == 1 for p in own):
            norms.append(part)

    def hold(part: nn.Module, args: tuple[Any, ...], out: Any) -> Tensor:
        x = args[0]
        return part.forward(x.detach(), *args[1:]) + (x - x.detach())

    handles = [part.register_forward_hook(is_norm) for part in module.modules()]
    try:
        call()
        for handle in handles:
            handle.remove()
        handles = [part.register_forward_hook(hold) for part in dict.fromkeys(norms)]
        yield len(norms)
    finally:
        for handle in handles:
            handle.remove()


def _random(p: Tensor, source: torch.Generator) -> Tensor:
    # Of the order of trained weights, so that no softmax saturates and no gradient underflows.
    scale = 1.0 if p.dim() < 2 else 1 / math.sqrt(max(p.shape[-2:]))
    if p.dim() < 2:
        return (0.5 + torch.rand(p.shape, generator=source)).to(p) * scale
    return torch.randn(p.shape, generator=source).to(p) * scale
