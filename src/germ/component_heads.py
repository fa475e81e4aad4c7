r"""Which weights of an attention belong to which head, found by switching heads off, and proven.

An attention's output is a sum over heads, $\sum_h O_h\, A_h(q_h, k_h)\, v_h$, so there is a weight,
the output projection, of which every head has a slice $O_h$. With every slice but $O_h$ zeroed,
only what acts through head $h$ has a gradient. What acts through one head belongs to it; what acts
through several (keys and values under grouped-query attention) is theirs together; what acts even
with all slices zeroed (the output's bias) is nobody's.

Which weight it is, along which dimension, and in which order of heads, is tried, and kept if what
comes out are heads: alike in size, and each decides where it looks, so that the output is not
linear in what it owns (a part of a head owns values alone, in which it is). In the end each head
is proven: with its slice zeroed, the gradient is zero on its weights and on no other's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from germ.component_calls import Alone, along, norms_held
from germ.errors import GermError
from germ.types import Params

Index = tuple[int, Tensor]
"""A dimension of a parameter, and which indices along it: boolean."""

Owned = dict[str, Index]
"""By parameter, what belongs to a head or a group of heads."""


@dataclass(frozen=True)
class Slices:
    """A weight cut into as many slices as there are heads.

    Attributes:
        name: The parameter.
        dim: The dimension that is cut.
        head: Whose each index along it is.
    """

    name: str
    dim: int
    head: Tensor

    @property
    def num_heads(self) -> int:
        """The number of slices."""
        return int(self.head.max()) + 1

    def of(self, head: int) -> Index:
        """The slice of a head."""
        return self.dim, self.head == head


@dataclass(frozen=True)
class Heads:
    """The heads of one attention; parameters by their names in it.

    Attributes:
        output: The output projection, cut into the heads' slices.
        heads: What belongs to each head, its slice included.
        groups: What each group of heads shares, where values are shared.
        members: The heads of each group.
        coupled: Whether a norm over all heads lets each feel the others through its denominator,
            which the proof then holds fixed.
    """

    output: Slices
    heads: tuple[Owned, ...]
    groups: tuple[Owned, ...]
    members: tuple[tuple[int, ...], ...]
    coupled: bool = False


def find_heads(attention: Alone, stated: int | None = None) -> Heads:
    """Find the heads of an attention.

    Args:
        attention: With random weights.
        stated: The number of heads its model states, if it does; else the finest cut that works.

    Raises:
        GermError: No cut of any weight gives heads.
    """
    with norms_held(attention.module, attention):
        for output in _cuts(attention, stated):
            heads = _owned(attention, output) if _decides(attention, output) else None
            if heads is None:
                continue
            weight = attention.params[output.name]
            if stated is None and weight.dim() == 2 and output.num_heads == len(output.head):
                break  # A channel is no head.
            return heads
    number = "a number of" if stated is None else str(stated)
    raise GermError(
        f"expected {number} heads in {type(attention.module).__name__}, but no weight of it has "
        "slices that, zeroed one by one, switch off as many others each: give masks "
        "(parameter name → boolean tensor) in place of heads"
    )


def prove(attention: Alone, heads: Heads) -> bool:
    """Make sure that zeroing a head's slice stops the gradient on its weights and on no other's.

    Args:
        attention: With random weights.
        heads: What is claimed.

    Returns:
        Whether the norms' denominators had to be held fixed for it (see `Heads.coupled`).

    Raises:
        GermError: It does not, and what was seen.
    """
    if _failure(attention, heads) is None:
        return False
    with norms_held(attention.module, attention) as num_norms:
        failure = _failure(attention, heads)
    if failure is None and num_norms:
        return True
    raise GermError(
        f"expected heads in {type(attention.module).__name__} that can be switched off one by one; "
        f"{failure}: give masks (parameter name → boolean tensor) in place of heads"
    )


def _cuts(attention: Alone, stated: int | None) -> Iterator[Slices]:
    """Every way to cut the output projection, or what could be it, the most slices first."""
    tried: list[Slices] = []
    for name in (n for n, p in attention.params.items() if p.dim() > 1):
        if not _puts_out(attention, name):
            continue
        for dim, size in enumerate(attention.params[name].shape):
            # One head that nobody speaks of is no head: it could be several that cannot be told.
            numbers = range(2, size + 1) if stated is None else [stated]
            for number in (n for n in numbers if size % n == 0):
                tried.append(Slices(name, dim, torch.arange(size) // (size // number)))
                if 1 < number < size:
                    tried.append(Slices(name, dim, torch.arange(size) % number))
    yield from sorted(tried, key=lambda cut: -cut.num_heads)


def _puts_out(attention: Alone, name: str) -> bool:
    """Whether a weight maps one vector a position to the output, and others act through it.

    Then the output is linear in it, and its gradient from one position is an outer product. (In
    values the output is linear too, and from one position their gradient has a rank a head.)
    """
    own = attention.params[name].detach()
    before, after = _gradients(attention, {}), _gradients(attention, {name: own * 0})
    if not any(bool(g.any() and not after[n].any()) for n, g in before.items() if n != name):
        return False
    if not _is_linear(attention, {}, {name: torch.ones_like(own, dtype=torch.bool)}):
        return False
    last = _gradients(attention, {}, one_position=True)[name].float()
    unfolded = [last.movedim(dim, 0).flatten(1) for dim in range(last.dim())]
    return any(_is_outer_product(x, _rounding(own.dtype)) for x in unfolded)


def _is_outer_product(x: Tensor, tolerance: float) -> bool:
    longest = x[x.square().sum(1).argmax()]
    if not longest.any():
        return False
    direction = longest / longest.norm()
    return bool((x - (x @ direction)[:, None] * direction).norm() <= tolerance * x.norm())


def _rounding(dtype: torch.dtype) -> float:
    """What is taken for zero where values are not zero exactly; what is tested is of order 1."""
    return 5e-2 if dtype.itemsize < 4 else 1e-3


def _is_linear(attention: Alone, fixed: Params, masks: Mapping[str, Tensor]) -> bool:
    """Whether the output is linear (but for a constant) in the coordinates of the masks."""

    def output(first: float, second: float) -> Tensor:
        changed = dict(fixed)
        for name, mask in masks.items():
            own = attention.params[name].detach()
            # Two unrelated values of the same coordinates: the weight itself, and it backwards.
            mixed = first * own + second * own.flatten().flip(0).view_as(own)
            changed[name] = torch.where(mask, mixed, fixed.get(name, own).detach())
        with torch.no_grad():
            return attention(changed).double()

    both, one, other, none = (
        output(a, b) for a, b in ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
    )
    size = (both - none).abs().max()
    tolerance = _rounding(attention.inputs[0].dtype)
    return bool((both - one - other + none).abs().max() <= tolerance * size)


def _gradients(
    attention: Alone, changed: Mapping[str, Tensor], *, one_position: bool = False
) -> Params:
    """The gradient of a random sum of the output in every weight; zeros where it has none."""
    params = {n: p.detach().requires_grad_() for n, p in {**attention.params, **changed}.items()}
    out = attention(params)
    weighted = out * attention.weights_of(out)
    total = weighted[0, -1].sum() if one_position else weighted.sum()
    grads = torch.autograd.grad(total, list(params.values()), allow_unused=True)
    return {
        name: torch.zeros_like(p) if grad is None else grad.detach()
        for (name, p), grad in zip(params.items(), grads, strict=True)
    }


def _zeroed(attention: Alone, output: Slices, heads: Tensor) -> Params:
    """The output projection without the slices of `heads`, (num_heads,) boolean."""
    own = attention.params[output.name].detach()
    shape = [1] * own.dim()
    shape[output.dim] = -1
    kept = (~heads[output.head]).to(own.device).view(shape)
    return {output.name: own * kept}


def _only(number: int, *heads: int) -> Tensor:
    chosen = torch.zeros(number, dtype=torch.bool)
    chosen[list(heads)] = True
    return chosen


def _decides(attention: Alone, output: Slices) -> bool:
    """Whether the first slice owns weights in which the output is not linear: where it looks."""
    number = output.num_heads
    before = _gradients(attention, {})
    after = _gradients(attention, _zeroed(attention, output, _only(number, 0)))
    own = {n: (before[n] != 0) & (after[n] == 0) for n in before if n != output.name}
    own = {n: mask for n, mask in own.items() if mask.any()}
    alone = _zeroed(attention, output, ~_only(number, 0))
    return bool(own) and not _is_linear(attention, alone, own)


def _owned(attention: Alone, output: Slices) -> Heads | None:
    """What each head owns, and what groups share; None if heads come out unlike each other."""
    number = output.num_heads
    nothing = _touched(_gradients(attention, _zeroed(attention, output, _only(number) == 0)))
    through = [
        _touched(_gradients(attention, _zeroed(attention, output, ~_only(number, head))))
        for head in range(number)
    ]
    acts: dict[str, tuple[int, Tensor]] = {}  # (heads, indices): through which head each acts
    for name, p in attention.params.items():
        if name == output.name:
            continue
        # The dimension along which heads lie is the one along which they cover least.
        cover = [
            sum(int(seen[name][dim].sum()) for seen in through) / size
            for dim, size in enumerate(p.shape)
        ]
        dim = min(range(len(cover)), key=cover.__getitem__, default=None)
        if dim is None:
            continue
        table = torch.stack([seen[name][dim] for seen in through])
        acts[name] = dim, table & ~nothing[name][dim]
    _complete(acts, nothing)
    heads: list[Owned] = []
    for head in range(number):
        own = {
            name: (dim, table[head] & (table.sum(0) == 1)) for name, (dim, table) in acts.items()
        }
        own = {name: index for name, index in own.items() if index[1].any()}
        heads.append({**own, output.name: output.of(head)})
    sizes = {_count(attention.params, owned) for owned in heads}
    if len(sizes) != 1 or any(len(owned) < 2 for owned in heads):
        return None
    groups, members = _groups(attention, output, heads, acts)
    return Heads(output, tuple(heads), groups, members)


def _complete(acts: dict[str, tuple[int, Tensor]], nothing: Mapping[str, list[Tensor]]) -> None:
    """Decide what had no gradient at all by the same row of the same module's other weights.

    A key's bias is one: softmax does not see it, and its gradient is zero or rounding noise.
    """
    for name, (dim, table) in acts.items():
        undecided = ~table.any(0) & ~nothing[name][dim]
        if not undecided.any():
            continue
        for other, (_, beside) in acts.items():
            if other != name and _module(other) == _module(name) and beside.shape == table.shape:
                table[:, undecided] = beside[:, undecided]


def _groups(
    attention: Alone, output: Slices, heads: list[Owned], acts: Mapping[str, tuple[int, Tensor]]
) -> tuple[tuple[Owned, ...], tuple[tuple[int, ...], ...]]:
    """The weights that several heads share, where they share values; by group of heads."""
    number = output.num_heads
    exclusive: Params = {}
    for owned in heads:
        for name, index in owned.items():
            if name != output.name:
                p = exclusive.get(name, attention.params[name].detach())
                exclusive[name] = torch.where(mask_of(p.shape, index).to(p.device), 0.0, p)
    # Heads with values of their own put out nothing without them, and share nothing that a
    # component is: latent attention (DeepSeek) has one bottleneck for all.
    if number == 1 or not _gradients(attention, exclusive)[output.name].any():
        return (), ()
    flat = {
        module
        for module in map(_module, attention.params)
        if all(p.dim() < 2 for n, p in attention.params.items() if _module(n) == module)
    }
    shared: dict[tuple[int, ...], Owned] = {}
    for name, (dim, table) in acts.items():
        for i in (table.sum(0) > 1).nonzero().flatten().tolist():
            who = tuple(table[:, i].nonzero().flatten().tolist())
            if len(who) == number and _module(name) in flat:
                continue  # A norm that all heads share, and no key or value.
            owned = shared.setdefault(who, {})
            owned.setdefault(name, (dim, torch.zeros(table.shape[1], dtype=torch.bool)))[1][i] = (
                True
            )
    members = sorted(shared)
    together = sorted(head for who in members for head in who)
    if together != [*range(number)] or len({len(who) for who in members}) > 1:
        # Norms of keys under grouped queries act through all heads; groups do not.
        members = [who for who in members if len(who) < number]
        together = sorted(head for who in members for head in who)
        if together != [*range(number)] or len({len(who) for who in members}) > 1:
            return (), ()
    return tuple(shared[who] for who in members), tuple(members)


def _failure(attention: Alone, heads: Heads) -> str | None:
    """What is seen that should not be, when heads are switched off one by one."""
    number = heads.output.num_heads
    names = [f"head {i}" for i in range(number)]
    names += [f"key/value group {i}" for i in range(len(heads.groups))]
    through = torch.stack(  # (claims, heads): through which heads what is claimed acts
        [_only(number, i) for i in range(number)] + [_only(number, *who) for who in heads.members]
    )
    claimed: dict[str, tuple[int, Tensor]] = {}  # (claims, indices) of each weight
    for claim, owned in enumerate((*heads.heads, *heads.groups)):
        for name, (dim, index) in owned.items():
            if name != heads.output.name:
                table = claimed.setdefault(name, (dim, index.new_zeros(len(names), len(index))))
                table[1][claim] = index
    before = _touched(_gradients(attention, {}))
    for which, off in zip(names, through, strict=True):
        after = _touched(_gradients(attention, _zeroed(attention, heads.output, off)))
        stopped = ~(through & ~off).any(1)
        for name, (dim, table) in claimed.items():
            left = (table & after[name][dim]).sum(1)
            lost = (table & before[name][dim]).sum(1) - left
            for claim in (stopped & (left > 0)).nonzero().flatten().tolist():
                seen = f"{int(left[claim])} rows of {name} of {names[claim]} still have a gradient"
                return f"with {which} zeroed, {seen}"
            # A bias that softmax does not see has rounding noise for a gradient.
            wrong = ~stopped & (lost > 0) if attention.params[name].dim() > 1 else stopped & False
            for claim in wrong.nonzero().flatten().tolist():
                seen = f"{int(lost[claim])} rows of {name} of {names[claim]} lose their gradient"
                return f"with {which} zeroed, {seen}"
    return None


def _touched(grads: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
    """Along each dimension of each weight, the indices where its gradient is not zero."""
    return {
        name: [along(grad, dim).cpu() for dim in range(grad.dim())] for name, grad in grads.items()
    }


def mask_of(shape: torch.Size, index: Index) -> Tensor:
    """The boolean mask of a parameter of this shape that an index along a dimension is, a view."""
    dim, chosen = index
    view = [1] * len(shape)
    view[dim] = -1
    return chosen.view(view).expand(shape)


def _count(params: Params, owned: Owned) -> int:
    return sum(
        int(index.sum()) * params[name].numel() // params[name].shape[dim]
        for name, (dim, index) in owned.items()
    )


def _module(name: str) -> str:
    return name.rpartition(".")[0]
