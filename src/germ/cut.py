"""A cut through a model: everything below it is skipped, and what it gave is put in its place.

A forward pass is a stack of blocks (`germ.blocks`) with something before and something after. Where
no moving weight lies below block k, what enters block k is the same at every position of a chain.
It is captured once; from then on the blocks below return their input uncomputed, and block k gets
what was captured. The rest of the model's own forward runs as ever: embeddings, masks and rotary
angles, which cost little, come out right for whatever model it is. Some models add a block's output
to the stream outside of the block; there the last skipped block returns what is missing.

Nothing is known here of architectures, and nothing is taken on trust: `germ.prefix.shorten`
compares losses before it uses a cut.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from germ.blocks import find_blocks

Place = int | str
"""Where an argument stands: its position, or its keyword."""

Run = Callable[[], Any]
"""A forward pass of the whole model."""


class _Reached(BaseException):
    """Ends a forward pass at the cut. No `Exception`: a model may catch those."""

    def __init__(self, hidden: Tensor) -> None:
        self.hidden = hidden


@dataclass(frozen=True)
class Skipped:
    """A block that is not computed.

    Attributes:
        module: The block.
        place: Where its input stands among its arguments.
        output: What it returned once, with `_TENSOR` in the place of tensors.
        adds: Whether the model adds its output to its input.
    """

    module: nn.Module
    place: Place
    output: Any
    adds: bool

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What leaves the stream as it is, in the form of the block's output."""
        stream = _get(args, kwargs, self.place)
        return self._form(stream.new_zeros(()).expand_as(stream) if self.adds else stream)

    def leading_to(self, hidden: Tensor) -> Callable[..., Any]:
        """A forward after which the stream is `hidden`."""

        def forward(*args: Any, **kwargs: Any) -> Any:
            stream = _get(args, kwargs, self.place)
            return self._form(hidden - stream if self.adds else hidden)

        return forward

    def _form(self, value: Tensor) -> Any:
        if self.output is _TENSOR:
            return value
        return pytree.tree_map(lambda leaf: value if leaf is _TENSOR else leaf, self.output)


@dataclass(frozen=True)
class Cut:
    """Where a forward pass is entered.

    Attributes:
        module: The first module that is computed: a block, or what follows the last one.
        place: Where the hidden states stand among its arguments.
        skipped: The blocks below.
    """

    module: nn.Module
    place: Place
    skipped: tuple[Skipped, ...]

    def capture(self, run: Run) -> Tensor:
        """What reaches the cut in a forward pass, which ends there: shape (examples, ...)."""

        def forward(*args: Any, **kwargs: Any) -> NoReturn:
            raise _Reached(_get(args, kwargs, self.place))

        try:
            with torch.no_grad(), _forwards([(self.module, forward)]):
                run()
        except _Reached as reached:
            return reached.hidden.detach()
        raise RuntimeError("the forward pass did not come by the cut")

    @contextmanager
    def entered_with(self, hidden: Tensor) -> Iterator[None]:
        """Forward passes of the model begin at the cut, with `hidden`; afterwards all is as before.

        The model itself is changed meanwhile: one thread at a time, as for
        `LocalPosterior.apply`.
        """
        whole = self.module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            return whole(*_put(args, self.place, hidden), **_put_named(kwargs, self.place, hidden))

        *below, last = self.skipped
        replaced = [(block.module, block.forward) for block in below]
        replaced += [(last.module, last.leading_to(hidden)), (self.module, forward)]
        with _forwards(replaced):
            yield


def find_cut(model: nn.Module, moving: Collection[str], run: Run, num_examples: int) -> Cut | str:
    """The highest cut of `model` below which nothing moves.

    Args:
        model: The model.
        moving: Names of the parameters that move, as in `model.named_parameters()`.
        run: A forward pass of `num_examples` examples.
        num_examples: How many.

    Returns:
        The cut, or why there is none.
    """
    blocks = find_blocks(model)
    if not blocks:
        return "it has no stack of blocks"
    calls = _trace(model, run)
    of_blocks = [call for call in calls if any(call.module is block for block in blocks)]
    if [call.module for call in of_blocks] != blocks:
        return f"its {len(blocks)} blocks are not called once each, one after another"
    lowest = _lowest(model, moving, blocks, calls, of_blocks[-1].end)
    if lowest < 1:
        return "what moves lies in the first layer or below it"
    later = [call for call in calls if call.begin > of_blocks[-1].end]
    if lowest == len(blocks) and not later:
        return "no module follows the last block"
    entry = of_blocks[lowest] if lowest < len(blocks) else later[0]
    skipped, adds = [], _adds(of_blocks, num_examples)
    for call in of_blocks[:lowest]:
        place, output = call.hidden(num_examples), _outline(call.output)
        if place is None or output is None:
            return f"the block {type(call.module).__name__} takes or returns no hidden states"
        skipped.append(Skipped(call.module, place, output, adds))
    place = entry.hidden(num_examples)
    if place is None:
        return f"{type(entry.module).__name__} takes no hidden states"
    return Cut(entry.module, place, tuple(skipped))


@dataclass
class _Call:
    """A call of a module in a forward pass; `begin` and `end` number the events of the pass."""

    module: nn.Module
    begin: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    end: int = -1
    output: Any = field(default=None)

    def arguments(self) -> dict[Place, Any]:
        """Arguments by position or keyword."""
        return {**dict(enumerate(self.args)), **self.kwargs}

    def hidden(self, num_examples: int) -> Place | None:
        """Where the hidden states stand: the first real tensor with a row an example."""
        for place, value in self.arguments().items():
            if isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 1:
                if len(value) == num_examples:
                    return place
        return None


def _trace(model: nn.Module, run: Run) -> list[_Call]:
    """Every call of every module in a forward pass, in the order in which they begin."""
    calls: list[_Call] = []
    opened: list[_Call] = []
    clock = iter(range(10**9))

    def begin(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append(_Call(module, next(clock), args, kwargs))
        opened.append(calls[-1])

    def end(module: nn.Module, _args: Any, _kwargs: Any, output: Any) -> None:
        call = opened.pop()
        call.end, call.output = next(clock), output

    hooks = []
    try:
        for module in model.modules():
            hooks.append(module.register_forward_pre_hook(begin, with_kwargs=True))
            hooks.append(module.register_forward_hook(end, with_kwargs=True))
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _lowest(
    model: nn.Module,
    moving: Collection[str],
    blocks: list[nn.Module],
    calls: list[_Call],
    end: int,
) -> int:
    """Index of the lowest block that moves; their number if only what follows does; −1 below."""
    in_block = {id(m): i for i, block in reversed([*enumerate(blocks)]) for m in block.modules()}
    first_call: dict[int, int] = {}
    for call in calls:
        first_call.setdefault(id(call.module), call.begin)
    names = {id(p): name for name, p in model.named_parameters()}
    lowest = len(blocks)
    for module in model.modules():
        if not any(p is not None and names[id(p)] in moving for p in module._parameters.values()):
            continue
        # A module that is never called as one has its weights used nobody knows where.
        after = first_call.get(id(module), -1) > end
        lowest = min(lowest, in_block.get(id(module), len(blocks) if after else -1))
    return lowest


def _adds(calls: list[_Call], num_examples: int) -> bool:
    """Whether the second block was given the first one's input plus its output."""
    if len(calls) < 2:
        return False
    streams = []
    for call in calls[:2]:
        place = call.hidden(num_examples)
        streams.append(None if place is None else call.arguments()[place])
    first, second = streams
    outputs = [x for x in pytree.tree_leaves(calls[0].output) if isinstance(x, Tensor)]
    if first is None or second is None or not outputs or outputs[0].shape != second.shape:
        return False
    return not torch.equal(outputs[0], second) and torch.allclose(first + outputs[0], second)


class _Tensor:
    """Stands for a tensor in the outline of an output."""


_TENSOR = _Tensor()


def _outline(output: Any) -> Any:
    """`output` with `_TENSOR` for its tensors; None if it holds none, or what cannot be kept."""
    leaves, form = pytree.tree_flatten(output)
    if not any(isinstance(leaf, Tensor) for leaf in leaves):
        return None
    if not all(leaf is None or isinstance(leaf, Tensor | int | float | str) for leaf in leaves):
        return None
    outlined = [_TENSOR if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    return pytree.tree_unflatten(outlined, form)


@contextmanager
def _forwards(replaced: list[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """Give modules another `forward`, and back what they had, whatever happens."""
    # By hand on `__dict__`: a module's own way of setting attributes is slow, and for two methods
    # of a block and a few hundred draws a second that is felt.
    places = [(module.__dict__, forward) for module, forward in replaced]
    held = [place.get("forward") for place, _ in places]
    try:
        for place, forward in places:
            place["forward"] = forward
        yield
    finally:
        for (place, _), original in zip(places, held, strict=True):
            if original is None:
                place.pop("forward", None)
            else:
                place["forward"] = original


def _get(args: tuple[Any, ...], kwargs: Mapping[str, Any], place: Place) -> Any:
    return args[place] if isinstance(place, int) else kwargs[place]


def _put(args: tuple[Any, ...], place: Place, value: Tensor) -> tuple[Any, ...]:
    return (*args[:place], value, *args[place + 1 :]) if isinstance(place, int) else args


def _put_named(kwargs: dict[str, Any], place: Place, value: Tensor) -> dict[str, Any]:
    return kwargs if isinstance(place, int) else {**kwargs, place: value}
