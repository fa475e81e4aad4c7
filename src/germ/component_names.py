"""The names of components and the patterns that select among them.

Names: `embed`, `position`, `unembed`, `layers.L`, `layers.L.attn`, `layers.L.mlp`,
`layers.L.head.H`, `layers.L.kv.G`. Groups: `layers`, `attn`, `mlp`, `heads`, `kv`, and
`layers.L.heads`. A glob matches between dots, so that `layers.*` is the layers and not their heads.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Mapping

from germ.errors import GermError

GROUPS = {
    "layers": "layers.*",
    "attn": "layers.*.attn",
    "mlp": "layers.*.mlp",
    "heads": "layers.*.head.*",
    "kv": "layers.*.kv.*",
}
"""What each group is short for."""

ROOTS = ("embed", "position", "unembed", *GROUPS)

KINDS = {"embed", "position", "unembed", "attn", "mlp", "head", "kv"}


def kind_of(name: str) -> str:
    """What a component is: embed, position, unembed, layer, attn, mlp, head, kv, or other.

    Example:
        >>> kind_of("layers.1.head.6"), kind_of("layers.1")
        ('head', 'layer')
    """
    parts = name.split(".")
    if len(parts) == 2 and parts[0] == "layers":
        return "layer"
    kind = parts[min(2, len(parts) - 1)]
    return kind if kind in KINDS else "other"


def looks_like_one(pattern: str) -> bool:
    """Whether a pattern could be meant as a component, so that a search for them is worth it."""
    first = [part.strip().split(".")[0] for part in pattern.split("+")]
    return all(any(fnmatch.fnmatchcase(root, part) for root in ROOTS) for part in first)


def split(patterns: str | Iterable[str]) -> list[str]:
    """Patterns one by one: commas separate them."""
    texts = [patterns] if isinstance(patterns, str) else patterns
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that a pattern without commas and `+` selects, in their order.

    Example:
        >>> matching("layers.1.heads", ["layers.0.head.0", "layers.1.head.0", "layers.1"])
        ['layers.1.head.0']
    """
    parts = GROUPS.get(pattern, pattern).split(".")
    if len(parts) == 3 and parts[2] in ("heads", "kv"):
        parts[2:] = [parts[2].removesuffix("s"), "*"]
    found = []
    for name in names:
        given = name.split(".")
        if len(given) == len(parts) and all(map(fnmatch.fnmatchcase, given, parts)):
            found.append(name)
    return found


def nothing_matches(
    pattern: str, names: Iterable[str], missing: Mapping[str, str], also: Iterable[str] = ()
) -> GermError:
    """What to say of a pattern that selects nothing.

    Args:
        pattern: The pattern.
        names: The model's components.
        missing: By kind, why the model has none of it.
        also: The names of parameters, where those could be meant too.
    """
    names = list(names)
    parts = GROUPS.get(pattern, pattern).split(".")
    words = [part.removesuffix("s") if part == "heads" else part for part in parts]
    for word in words:
        if word in missing:
            return GermError(f"no component matches {pattern!r}: {missing[word]}; {_has(names)}")
    also = list(also)
    near = difflib.get_close_matches(pattern, [*names, *GROUPS, *also], n=3, cutoff=0.5)
    shown = f"the nearest names are {', '.join(near)}" if near else _has(names)
    return GermError(f"no {'parameter or ' if also else ''}component matches {pattern!r}; {shown}")


def _has(names: list[str]) -> str:
    words = {"layer": "layers", "head": "heads"}
    kinds = dict.fromkeys(words.get(kind, kind) for kind in map(kind_of, names))
    return f"this model has {', '.join(kinds)}"
