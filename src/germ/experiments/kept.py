"""Results kept on disk one by one, so that the same command goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from germ.errors import GermError


def kept(
    path: Path, settings: dict[str, Any], compute: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """What `path` holds, or else what `compute` finds, which is then written there.

    Args:
        path: A JSON file; its folder is made.
        settings: What the result depends on, JSON-able; kept beside it.
        compute: Finds the result, JSON-able.

    Returns:
        The result as JSON has it: tuples are lists.

    Raises:
        GermError: The file is of other settings, damaged, or cannot be written.
    """
    wanted = json.loads(json.dumps(settings))
    if not path.exists():
        row = {"settings": wanted, "result": compute()}
        text = json.dumps(row, indent=1, ensure_ascii=False)
        write_whole(path, lambda part: part.write_text(text + "\n", encoding="utf-8"))
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        held, result = row["settings"], row["result"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GermError(f"{path} is damaged ({error}): delete it, and run again") from error
    if held != wanted:
        raise GermError(
            f"expected {path} to hold a run of these settings; it holds one of others: choose "
            "another folder, or delete it"
        )
    return result


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file whole or not at all.

    Args:
        path: Its place; the folder is made.
        write: Writes to the path it is given.

    Raises:
        GermError: It cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        part.replace(path)
    except OSError as error:
        raise GermError(f"cannot write {path}: {error.strerror or error}") from error
