"""The files of a run: durable writes, and the document that says what a folder is."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from germ.errors import GermError
from germ.fingerprint import canonical_json

SCHEMA = 1
"""Version of the layout on disk. Another one is refused by name, never guessed at."""

META, STATE, LOCK = "zarr.json", ".state.safetensors", ".lock"
TEMPORARY = ".tmp"
INCOMPLETE, COMPLETE, FAILED = "incomplete", "complete", "failed"

_ATTRIBUTES = {
    "germ_store",
    "germ_version",
    "status",
    "reason",
    "created",
    "finished",
    "seconds",
    "identity",
    "result",
    "rows",
    "arrays",
    "sessions",
}

# What a folder of one array can hold. Nothing else inside a run is ever deleted.
_ARRAY_FILE = re.compile(r"(zarr\.json|c(\.\d+)*)(\.tmp)?")


def germ_version() -> str:
    """The installed version of germ."""
    try:
        return metadata.version("germ")
    except metadata.PackageNotFoundError:
        return "unknown"


def write_durable(path: Path, parts: Iterable[Any]) -> None:
    """Replace a file by these buffers, in one piece: afterwards it is all there, or untouched.

    Args:
        path: The file.
        parts: Its content: buffers, written one after the other.

    Raises:
        OSError: If it cannot be written. The old file is then still there, and nothing else.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with open(temporary, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        # A full disk gets its room back; Ctrl-C leaves no litter.
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an `OSError` into one line for the user."""
    try:
        yield
    except OSError as error:
        raise GermError(
            f"cannot write to {path}: {error.strerror or error}; what was committed is intact: "
            "make room there or give another --out, and run the same command again"
        ) from error


def read_meta(path: Path) -> dict[str, Any] | None:
    """The attributes of a run.

    Args:
        path: Where the run would be.

    Returns:
        Its attributes, of whatever schema version; None where nothing is yet: no such path, or an
        empty folder.

    Raises:
        GermError: If something else is there, or it cannot be read.
    """
    try:
        text = (path / META).read_text(encoding="utf-8")
    except FileNotFoundError:
        if not path.exists():
            return None
        ours = {LOCK, META + TEMPORARY}
        others = sorted(entry.name for entry in path.iterdir() if entry.name not in ours)
        if not others:
            return None
        raise _foreign(path, f"it holds {others[0]!r} and no {META}") from None
    except NotADirectoryError as error:
        raise _foreign(path, "it is a file, or below one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise GermError(f"cannot read {path}: {error}; give a run that can be read") from error
    try:
        attributes = json.loads(text)["attributes"]
        if isinstance(attributes["germ_store"], int):
            return attributes
    except (ValueError, LookupError, TypeError):
        pass
    raise _foreign(path, f"its {META} was not written by germ, or is damaged")


def write_meta(path: Path, attributes: dict[str, Any], arrays: Mapping[str, Any]) -> None:
    """Replace the root document of a run.

    Args:
        path: The run.
        attributes: What `read_meta` will return.
        arrays: Metadata document of every array by folder, for readers that like them in one
            place; empty while the run grows.
    """
    document: dict[str, Any] = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    if arrays:
        document["consolidated_metadata"] = {
            "kind": "inline",
            "must_understand": False,
            "metadata": dict(arrays),
        }
    write_durable(path / META, [json.dumps(document, indent=1).encode()])


def check_schema(path: Path, attributes: Mapping[str, Any]) -> None:
    """Refuse a run whose layout this germ does not read, or whose description is not whole."""
    stored = attributes["germ_store"]
    if stored != SCHEMA:
        raise GermError(
            f"{path} was written by germ {attributes.get('germ_version', 'unknown')} "
            f"(store version {stored}), and this is germ {germ_version()}, which reads store "
            f"version {SCHEMA}; read it with that germ, or sample again with another --out or "
            "with --fresh to replace it"
        )
    if missing := sorted(_ATTRIBUTES - attributes.keys()):
        raise GermError(
            f"{path} is damaged: its {META} has no {missing[0]!r}; "
            "sample again with --fresh, or with another --out"
        )


def check_identity(path: Path, stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse a run of something else, naming every field that differs."""
    old, new = _leaves(stored), _leaves(asked)
    fields = [field for field in dict.fromkeys([*new, *old]) if old.get(field) != new.get(field)]
    if not fields:
        return
    shown = [
        f"{field} is {_short(old.get(field))} there and {_short(new.get(field))} now"
        for field in fields[:6]
    ]
    if len(fields) > 6:
        shown.append(f"{len(fields) - 6} more fields differ")
    raise GermError(
        f"{path} holds another run: {'; '.join(shown)}. "
        "Give another --out, or --fresh to replace the stored run"
    )


def clean(path: Path, keep: set[str]) -> None:
    """Delete what an interrupted writer left: arrays that no commit knows, temporary files.

    Args:
        path: A folder known to be a run, locked by the caller.
        keep: Names of the arrays to keep.
    """
    for name in (META, STATE):
        (path / (name + TEMPORARY)).unlink(missing_ok=True)
    for entry in path.iterdir():
        if entry.is_symlink() or not entry.is_dir() or entry.name in keep:
            continue
        if all(_ARRAY_FILE.fullmatch(file.name) and file.is_file() for file in entry.iterdir()):
            shutil.rmtree(entry)


def plain(value: Any) -> Any:
    """A value of NumPy, a path or a tuple as JSON; NaN stays NaN.

    Raises:
        GermError: If there is no such JSON.
    """

    def default(item: Any) -> Any:
        if isinstance(item, (np.generic, np.ndarray)):
            return item.tolist()
        if isinstance(item, os.PathLike):
            return os.fspath(item)
        raise GermError(f"cannot store a {type(item).__name__} with a run; expected plain JSON")

    return json.loads(json.dumps(value, default=default))


def _foreign(path: Path, why: str) -> GermError:
    return GermError(f"{path} is not a germ run: {why}; it was left as it is. Choose another path")


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Every leaf as canonical JSON, by dotted path."""
    leaves: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves |= _leaves(value, f"{prefix}{key}.")
        else:
            leaves[prefix + key] = canonical_json(value)
    return leaves


def _short(text: str | None, width: int = 40) -> str:
    if text is None:
        return "absent"
    return text if len(text) <= width else f"{text[:16]}…{text[-8:]}"
