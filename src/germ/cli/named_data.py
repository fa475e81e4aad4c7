"""Options of the form NAME=DATA, given several times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from germ.errors import GermError


def named(option: str, given: Sequence[str]) -> dict[str, str]:
    """Data by name; one without a name has that of its data.

    Args:
        option: The option, for messages.
        given: NAME=DATA, or DATA.

    Raises:
        GermError: One is empty, or two have one name.

    Example:
        >>> named("--probe", ["law=cases.txt", "bundled:literature", "texts/code.jsonl"])
        {'law': 'cases.txt', 'literature': 'bundled:literature', 'code.jsonl': 'texts/code.jsonl'}
    """
    found: dict[str, str] = {}
    for text in given:
        name, mark, spec = text.partition("=")
        name, spec = (name, spec) if mark else (Path(text).name.removeprefix("bundled:"), text)
        if not name or not spec:
            raise GermError(f"expected {option} NAME=DATA; got {text!r}")
        if name in found:
            raise GermError(f"expected {option} to have different names; {name!r} comes twice")
        found[name] = spec
    return found
