"""Which weights move: names, globs, components and masks, and the flat vector they form.

A chain's position is one flat vector of the coordinates that move. What does not move is not in
it, so no sampler can touch it. The vector is kept in at least float32: a step is often smaller
than the spacing of half-precision numbers near the weight, and would be lost.
"""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from germ import component_names
from germ.errors import GermError
from germ.types import Params

Restriction = None | str | Sequence[str] | Mapping[str, Tensor]
"""`None` (all that require a gradient), a pattern, several, or masks by parameter name."""


@dataclass(frozen=True)
class Coordinates:
    """The moving coordinates of a model: which they are and where each lies in the flat vector.

    Attributes:
        names: Parameters with at least one moving coordinate, in the model's order.
        shapes: Their shapes.
        dtypes: Their dtypes in the model.
        masks: For a parameter of which only a part moves, the flat indices that do, else None.
        dtype: The dtype of the flat vector.
        device: Its device.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    dtypes: tuple[torch.dtype, ...]
    masks: tuple[Tensor | None, ...]
    dtype: torch.dtype
    device: torch.device

    @property
    def sizes(self) -> list[int]:
        """Number of moving coordinates of each parameter."""
        return [
            shape.numel() if mask is None else mask.numel()
            for shape, mask in zip(self.shapes, self.masks, strict=True)
        ]

    @property
    def num_coordinates(self) -> int:
        """d, the number of moving coordinates."""
        return sum(self.sizes)

    def slices(self) -> dict[str, slice]:
        """Where each parameter's coordinates lie in the flat vector."""
        found, start = {}, 0
        for name, size in zip(self.names, self.sizes, strict=True):
            found[name] = slice(start, start + size)
            start += size
        return found

    def flatten(self, params: Mapping[str, Tensor]) -> Tensor:
        """The flat vector (d,) of `params`, a copy."""
        parts = []
        for name, mask in zip(self.names, self.masks, strict=True):
            flat = params[name].detach().reshape(-1)
            parts.append((flat if mask is None else flat[mask]).to(self.dtype))
        return torch.cat(parts)

    def unflatten(self, vector: Tensor, anchor: Mapping[str, Tensor]) -> Params:
        """Parameters whose moving coordinates come from `vector` (d,), the rest from `anchor`.

        Differentiable in `vector`, and safe under `torch.func.vmap`.
        """
        params: Params = {}
        parts = vector.split(self.sizes)
        for name, shape, dtype, mask, part in zip(
            self.names, self.shapes, self.dtypes, self.masks, parts, strict=True
        ):
            part = part.to(dtype)
            if mask is not None:
                part = anchor[name].detach().reshape(-1).index_put((mask,), part)
            params[name] = part.view(shape)
        return params

    def fingerprint(self) -> str:
        """A hash of what moves: names, shapes and masks."""
        digest = hashlib.sha256()
        for name, shape, mask in zip(self.names, self.shapes, self.masks, strict=True):
            digest.update(f"{name}{tuple(shape)}".encode())
            digest.update(b"all" if mask is None else mask.cpu().numpy().tobytes())
        return digest.hexdigest()

    def describe(self) -> str:
        """One line for a person."""
        some = ", ".join(self.names[:3]) + (", …" if len(self.names) > 3 else "")
        return f"{self.num_coordinates:,} coordinates in {len(self.names)} parameters ({some})"


def select(model: nn.Module, restriction: Restriction = None) -> Coordinates:
    """Find the coordinates that `restriction` names.

    A pattern is a parameter's name, the name of a module (all parameters below it), a glob
    over parameter names or, where it matches none of these, a component or a union of several
    (`layers.1.head.6`, `heads`, `attn+embed`: see `germ.components`); several are joined by commas;
    a leading `!` takes away. Frozen parameters (`requires_grad=False`) move only if named
    explicitly by a pattern or mask. A tied parameter can be named by any of its names and moves
    once.

    Args:
        model: The model.
        restriction: What may move.

    Returns:
        The coordinates.

    Raises:
        GermError: A pattern matches nothing, a mask does not fit, or nothing would move.
    """
    canonical: dict[str, Tensor] = dict(model.named_parameters())
    first_name = {id(p): name for name, p in canonical.items()}
    aliases = {
        name: first_name[id(p)] for name, p in model.named_parameters(remove_duplicate=False)
    }
    if not canonical:
        raise GermError(f"expected a model with parameters; {type(model).__name__} has none")
    masks: dict[str, Tensor | None]
    if restriction is None:
        masks = {name: None for name, p in canonical.items() if p.requires_grad}
        if not masks:
            raise GermError(
                "expected parameters that require a gradient; all "
                f"{len(canonical)} are frozen: name those that may move (restrict=...)"
            )
    elif isinstance(restriction, Mapping):
        masks = _from_masks(restriction, canonical, aliases)
    else:
        patterns = [restriction] if isinstance(restriction, str) else list(restriction)
        movable = [name for name, p in canonical.items() if p.requires_grad]
        masks = _match(model, patterns, aliases, movable)
    names = tuple(name for name in canonical if name in masks)
    params = [canonical[name] for name in names]
    for name, p in zip(names, params, strict=True):
        if not p.dtype.is_floating_point:
            raise GermError(f"expected real floating-point parameters; {name} is {p.dtype}")
    if len({p.device for p in params}) > 1:
        raise GermError("expected the moving parameters on one device; they lie on several")
    dtype = torch.float64 if any(p.dtype == torch.float64 for p in params) else torch.float32
    return Coordinates(
        names=names,
        shapes=tuple(p.shape for p in params),
        dtypes=tuple(p.dtype for p in params),
        masks=tuple(masks[name] for name in names),
        dtype=dtype,
        device=params[0].device,
    )


def _match(
    model: nn.Module,
    patterns: Iterable[str],
    aliases: Mapping[str, str],
    movable: Iterable[str],
) -> dict[str, Tensor | None]:
    """What the patterns select, as flat indices: all inclusions first, then all exclusions."""
    given = [part.strip() for text in patterns for part in text.split(",") if part.strip()]
    include = [part for part in given if not part.startswith("!")]
    exclude = [part.removeprefix("!") for part in given if part.startswith("!")]
    chosen: dict[str, Tensor | None] = {} if include else dict.fromkeys(movable)
    for part in include:
        for name, mask in _hits(model, part, aliases).items():
            before = chosen.get(name, mask)
            chosen[name] = None if before is None or mask is None else before | mask
    for part in exclude:
        for name, mask in _hits(model, part, aliases).items():
            before = chosen.pop(name, torch.zeros(()))
            if mask is not None and (before is None or before.dtype == torch.bool):
                chosen[name] = ~mask if before is None else before & ~mask
    params = dict(model.named_parameters())
    found: dict[str, Tensor | None] = {}
    for name in (name for name in dict.fromkeys(aliases.values()) if name in chosen):
        mask = chosen[name]
        if mask is None or mask.any():
            found[name] = None if mask is None else _flat(mask, params[name])
    if not given or not found:
        raise GermError(
            f"expected patterns that leave parameters to move; {', '.join(given) or 'none'!s} "
            "leaves none"
        )
    return found


def _hits(model: nn.Module, pattern: str, aliases: Mapping[str, str]) -> dict[str, Tensor | None]:
    """By parameter, the mask of what a pattern selects in it; None is all of it."""
    hits = {
        canonical
        for name, canonical in aliases.items()
        if fnmatch.fnmatchcase(name, pattern)
        or fnmatch.fnmatchcase(name, f"{pattern}.*")
        or fnmatch.fnmatchcase(name, f"*.{pattern}.*")
    }
    if hits:
        return dict.fromkeys(hits)
    if component_names.looks_like_one(pattern):
        # Above this module, and asked only where a pattern can be nothing else: finding the
        # components of a large model takes seconds.
        from germ import components

        try:
            known = components.find(model)
        except GermError:
            pass
        else:
            return {**components.union(pattern, known.select(pattern, also=aliases))}
    raise GermError(f"no parameter matches {pattern!r}; {_nearest(pattern, aliases)}")


def _nearest(pattern: str, names: Iterable[str]) -> str:
    names = list(names)
    modules = {name.rsplit(".", 1)[0] for name in names if "." in name}
    near = difflib.get_close_matches(pattern.strip("*"), names + sorted(modules), n=3, cutoff=0.3)
    shown = near or names[:3]
    return f"the nearest names are {', '.join(shown)}"


def _from_masks(
    masks: Mapping[str, Tensor], params: Mapping[str, Tensor], aliases: Mapping[str, str]
) -> dict[str, Tensor | None]:
    found: dict[str, Tensor | None] = {}
    for name, mask in masks.items():
        if name not in aliases:
            raise GermError(f"no parameter is called {name!r}; {_nearest(name, aliases)}")
        p = params[aliases[name]]
        if mask.dtype != torch.bool or mask.shape != p.shape:
            raise GermError(
                f"expected a boolean mask of shape {tuple(p.shape)} for {name}; "
                f"got {mask.dtype} of shape {tuple(mask.shape)}"
            )
        if mask.any():
            found[aliases[name]] = _flat(mask, p)
    if not found:
        raise GermError("expected a mask that lets at least one coordinate move; all are False")
    return found


def _flat(mask: Tensor, p: Tensor) -> Tensor | None:
    """The flat indices of a mask; None where it is all of the parameter."""
    index = mask.reshape(-1).nonzero().squeeze(-1).to(p.device)
    return None if index.numel() == p.numel() else index
