"""Components by name: which weights a head, an attention, an MLP, a layer or an embedding is.

`find` gives all of a model's components, `expand` those that patterns select (`component_names`).
What is where is found from structure and proven by behaviour (`component_search`,
`component_heads`); there is no table of architectures.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from germ import component_names as names
from germ.component_calls import Alone, at_rest
from germ.component_heads import Heads, Owned, find_heads, mask_of, prove
from germ.component_search import Block, structure
from germ.errors import GermError
from germ.restriction import Restriction, select


@dataclass(frozen=True, eq=False)
class Component(Mapping[str, Tensor]):
    """A named part of a model's weights: a boolean mask by parameter, as a restriction is.

    Masks are views that take no memory of their own where they follow one dimension.

    Attributes:
        name: Its canonical name, or the pattern it was made from.
        masks: By the parameters' names in the model.
        notes: What a reader should know of it: tied, shared, coupled.
    """

    name: str
    masks: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()

    def __getitem__(self, parameter: str) -> Tensor:
        """The mask of a parameter."""
        return self.masks[parameter]

    def __iter__(self) -> Iterator[str]:
        """The parameters' names."""
        return iter(self.masks)

    def __len__(self) -> int:
        """The number of parameters of which it has a part."""
        return len(self.masks)

    @property
    def kind(self) -> str:
        """`layer`, `attn`, `mlp`, `head`, `kv`, `embed`, `position` or `unembed`."""
        return names.kind_of(self.name)

    @property
    def num_parameters(self) -> int:
        """The number of weights."""
        return sum(_count(mask) for mask in self.masks.values())

    @property
    def places(self) -> tuple[str, ...]:
        """Which part of which parameters: `q.weight[64:128]`, `o.weight[:, 64:128]`."""
        return tuple(f"{name}{_slices(mask)}" for name, mask in self.masks.items())

    def __repr__(self) -> str:
        """Name, size and places."""
        return f"{self.name}: {self.num_parameters:,} weights in {', '.join(self.places)}"


@dataclass(frozen=True, eq=False)
class Components(Mapping[str, Component]):
    """The components of a model by name, in order.

    Attributes:
        found: The components.
        missing: By kind (`mlp`, `head`, ...), why the model has none of it.
    """

    found: Mapping[str, Component]
    missing: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Component:
        """The component of that name."""
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self.found)

    def __len__(self) -> int:
        """The number of components."""
        return len(self.found)

    def select(self, pattern: str, also: Iterable[str] = ()) -> list[Component]:
        """The components that a pattern selects; `a+b` is one, the union of what both select.

        Args:
            pattern: Without commas.
            also: Other names that could have been meant, to name if nothing matches.

        Raises:
            GermError: A pattern selects nothing; the nearest names, or why there is none.
        """
        parts = [part.strip() for part in pattern.split("+")]
        every = []
        for part in parts:
            hits = names.matching(part, self.found)
            if not hits:
                raise names.nothing_matches(part, self.found, self.missing, also)
            every += [self.found[hit] for hit in hits]
        return every if len(parts) == 1 else [union("+".join(parts), every)]


def find(model: nn.Module) -> Components:
    """Find the components of a transformer; found once for a model as long as its shapes stay.

    Args:
        model: Takes tokens and returns logits. It is left as it is, to the bit.

    Returns:
        The components, in the order embed, position, each layer with its parts, unembed.

    Raises:
        GermError: It is no such model. (Heads that cannot be proven are missing, with the reason.)

    Example:
        >>> from germ.zoo import bundled
        >>> find(bundled.model())["layers.1.head.6"]
        layers.1.head.6: 8,192 weights in layers.1.attn.q.weight[96:112], ...
    """
    key = _key(model)
    known = _known.get(model)
    if known is not None and known[0] == key:
        return known[1]
    with at_rest(model), torch.enable_grad():
        found = _find(model)
    _known[model] = key, found
    return found


def expand(model: nn.Module, patterns: str | Sequence[str]) -> dict[str, Component]:
    """The components that patterns select, each ready for `LocalPosterior.from_model(restrict=)`.

    Args:
        model: The model. It needs to be no transformer where patterns name parameters or modules.
        patterns: Names, groups and globs of components (`germ.component_names`), separated by
            commas; `a+b` is a union as one component; `!a` leaves out; `all` is every weight that
            requires a gradient. A pattern that names parameters or modules and no component, as
            `germ.restriction.select` reads it, is one component.

    Returns:
        By name, in the order of the patterns.

    Raises:
        GermError: A pattern selects nothing, or nothing is left.
    """
    given = names.split(patterns)
    chosen: dict[str, Component] = {}
    for pattern in given:
        if not pattern.startswith("!"):
            chosen |= {component.name: component for component in _selected(model, pattern)}
    for pattern in given:
        if pattern.startswith("!"):
            for component in _selected(model, pattern.removeprefix("!")):
                chosen.pop(component.name, None)
    if not chosen:
        raise GermError(
            f"expected patterns that select components; {', '.join(given) or 'none'} selects none"
        )
    return chosen


def union(name: str, components: Iterable[Component]) -> Component:
    """Several components as one."""
    masks: dict[str, Tensor] = {}
    for component in components:
        for parameter, mask in component.items():
            masks[parameter] = _either(masks[parameter], mask) if parameter in masks else mask
    return Component(name, masks)


def _selected(model: nn.Module, pattern: str) -> list[Component]:
    if pattern == "all":
        return [_from_coordinates(model, "all", None)]
    refused: GermError | None = None
    if names.looks_like_one(pattern):
        try:
            return find(model).select(pattern)
        except GermError as error:
            refused = error
    try:
        return [_from_coordinates(model, pattern.replace(" ", ""), pattern.replace("+", ","))]
    except GermError as error:
        raise refused or error from None


def _from_coordinates(model: nn.Module, name: str, restriction: Restriction) -> Component:
    chosen = select(model, restriction)
    masks = {}
    for parameter, shape, index in zip(chosen.names, chosen.shapes, chosen.masks, strict=True):
        if index is None:
            masks[parameter] = _whole(shape)
        else:
            flat = torch.zeros(shape.numel(), dtype=torch.bool)
            flat[index.cpu()] = True
            masks[parameter] = flat.view(shape)
    return Component(name, masks)


_known: weakref.WeakKeyDictionary[nn.Module, tuple[Any, Components]] = weakref.WeakKeyDictionary()


def _key(model: nn.Module) -> Any:
    """What components follow from: the modules, and the names and shapes of their parameters."""
    modules = tuple(type(module) for module in model.modules())
    first = {id(p): name for name, p in reversed([*model.named_parameters()])}
    shapes = tuple(
        (name, first[id(p)], p.shape) for name, p in model.named_parameters(remove_duplicate=False)
    )
    return modules, shapes


def _find(model: nn.Module) -> Components:
    where = structure(model)
    of = _Namer(model)
    found: dict[str, Component] = {}
    missing: dict[str, str] = {}
    tied = set(where.embed) & set(where.unembed)
    note = (f"tied: embed and unembed share {', '.join(sorted(tied))}",) if tied else ()
    for name in ("embed", "position"):
        if getattr(where, name):
            of.add(found, name, getattr(where, name), note if name == "embed" else ())
    heads: dict[Any, Heads] = {}
    for number, block in enumerate(where.blocks):
        layer = f"layers.{number}"
        of.add(found, layer, of.below(block.module))
        if block.attn:
            of.add(found, f"{layer}.attn", of.below(*(part for part, _ in block.attn)))
        if block.mlp:
            of.add(found, f"{layer}.mlp", of.below(*block.mlp))
        try:
            of.add_heads(found, layer, block, _heads(model, block, heads))
        except GermError as error:
            missing.setdefault("head", f"layer {number}: {error}")
    if where.unembed:
        of.add(found, "unembed", where.unembed, note)
    kinds = {component.kind for component in found.values()}
    for kind, why in _WHY.items():
        if kind not in kinds:
            missing.setdefault(kind, why)
    return Components(found, missing)


_WHY = {
    "embed": "no parameter has a row for every token",
    "position": "no parameter has a row for every position",
    "unembed": "no parameter has a row for every logit",
    "attn": "no part of a layer mixes tokens",
    "mlp": "no part of a layer with weights leaves tokens apart",
    "head": "no heads were found",
    "kv": "no keys and values are shared by several heads",
}


def _heads(model: nn.Module, block: Block, known: dict[Any, Heads]) -> Heads:
    """The heads of a block, found anew only where no earlier block's prove right in it too."""
    if len(block.attn) != 1:
        raise GermError(f"expected one part of a layer that mixes tokens; it has {len(block.attn)}")
    module, call = block.attn[0]
    attention = Alone(module, call, random_weights=True)
    key = type(module), tuple((name, p.shape) for name, p in attention.params.items())
    if key in known:
        with contextlib.suppress(GermError):
            prove(attention, known[key])
            return known[key]
    heads = find_heads(attention, stated_heads(model, module))
    coupled = prove(attention, heads)
    known[key] = Heads(heads.output, heads.heads, heads.groups, heads.members, coupled)
    return known[key]


def stated_heads(model: nn.Module, attention: nn.Module) -> int | None:
    """The number of heads that an attention, or else its model's configuration, states."""
    config = getattr(model, "config", None)
    text = getattr(config, "get_text_config", None)
    holders = [attention, getattr(attention, "cfg", None), getattr(model, "cfg", None)]
    for holder in [*holders, text() if callable(text) else config]:
        for name in ("num_attention_heads", "num_heads", "n_heads", "n_head"):
            value = getattr(holder, name, None)
            if isinstance(value, int) and value > 0:
                return value
    return None


class _Namer:
    """Makes components of parameters, which it knows by their names in the model."""

    def __init__(self, model: nn.Module) -> None:
        self.params = dict(model.named_parameters())
        self.names = {id(p): name for name, p in self.params.items()}

    def below(self, *modules: nn.Module) -> list[str]:
        mine = {id(p) for module in modules for p in module.parameters() if p.is_floating_point()}
        return [name for name, p in self.params.items() if id(p) in mine]

    def add(
        self,
        found: dict[str, Component],
        name: str,
        parameters: Iterable[str],
        notes: tuple[str, ...] = (),
    ) -> None:
        masks = {p: _whole(self.params[p].shape) for p in parameters}
        found[name] = Component(name, masks, notes)

    def add_heads(
        self, found: dict[str, Component], layer: str, block: Block, heads: Heads
    ) -> None:
        inside = dict(block.attn[0][0].named_parameters())

        def part(name: str, owned: Owned, *notes: str) -> None:
            order = [p for p in inside if p in owned]
            masks = {self.names[id(inside[p])]: mask_of(inside[p].shape, owned[p]) for p in order}
            found[name] = Component(name, masks, notes)

        coupled = ("a norm over all heads couples it with the others",) if heads.coupled else ()
        for number, owned in enumerate(heads.heads):
            part(f"{layer}.head.{number}", owned, *coupled)
        for number, (owned, who) in enumerate(zip(heads.groups, heads.members, strict=True)):
            part(f"{layer}.kv.{number}", owned, f"shared by heads {_ranges([*who])}", *coupled)


def _whole(shape: torch.Size) -> Tensor:
    return torch.ones((), dtype=torch.bool).expand(shape)


def _along(mask: Tensor) -> list[int]:
    """The dimensions along which a mask is more than a repeated view."""
    return [d for d, stride in enumerate(mask.stride()) if stride and mask.shape[d] > 1]


def _line(mask: Tensor, dim: int) -> Tensor:
    """A mask that follows one dimension, along it."""
    return mask[tuple(slice(None) if d == dim else 0 for d in range(mask.dim()))]


def _count(mask: Tensor) -> int:
    along = _along(mask)
    if len(along) > 1:
        return int(mask.sum())
    one = mask.flatten()[0] if not along else _line(mask, along[0])
    return int(one.sum()) * (mask.numel() // one.numel())


def _either(left: Tensor, right: Tensor) -> Tensor:
    dims = {*_along(left), *_along(right)}
    if len(dims) > 1:
        return left | right
    dim = next(iter(dims), 0)
    return mask_of(left.shape, (dim, _line(left, dim) | _line(right, dim)))


def _slices(mask: Tensor) -> str:
    along = _along(mask)
    if len(along) > 1:
        return f"[{int(mask.sum()):,} entries]"
    if not along or bool(_line(mask, along[0]).all()):
        return ""
    chosen = _line(mask, along[0]).nonzero().flatten().tolist()
    ranges = _ranges(chosen, ":", 1)
    if ranges.count(",") > 7:
        ranges = f"{len(chosen)} of {mask.shape[along[0]]}"
    return f"[{':, ' * along[0]}{ranges}]"


def _ranges(numbers: list[int], dash: str = "–", past: int = 0) -> str:
    """Whole numbers as ranges: `0–2, 5`; with `past` 1, as slices are written: `0:3, 5`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}{dash}{b + past}" for a, b in runs)
