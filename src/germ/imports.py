"""Functions and packages by name: `package.module:function`, `file.py:function`, extras."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import re
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from germ.errors import GermError

_PATTERN = re.compile(
    r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*|.+\.py):(?P<function>[A-Za-z_]\w*)"
)


def is_function(spec: str) -> bool:
    """Whether `spec` is written as `package.module:function` or `file.py:function`.

    Example:
        >>> is_function("germ.losses:causal_lm"), is_function("models/mine.py:make")
        (True, True)
        >>> is_function("bundled@100"), is_function("org/name")
        (False, False)
    """
    return _PATTERN.fullmatch(spec) is not None


def find_function(spec: str) -> Callable[..., Any]:
    """Import the function named by `package.module:function` or `file.py:function`.

    Modules are looked for in the working directory too, as `python -m` does.

    Raises:
        GermError: If the module or the function is not there, or the module fails to import.
    """
    match = _PATTERN.fullmatch(spec)
    if match is None:
        raise GermError(f"expected package.module:function or file.py:function, got {spec!r}")
    name, attribute = match["module"], match["function"]
    module = _from_file(Path(name)) if name.endswith(".py") else _from_path(name)
    found = getattr(module, attribute, None)
    if callable(found):
        return found
    if found is not None:
        raise GermError(f"{spec}: expected a function, got {type(found).__name__}")
    public = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
    raise GermError(f"{name} has no function {attribute!r}{did_you_mean(attribute, public)}")


def call(spec: str, *args: Any) -> Any:
    """What the function named by `spec` returns; what it raises, in one line.

    Raises:
        GermError: If it cannot be found, or raises anything.
    """
    function = find_function(spec)
    with _reporting(f"{spec} failed"):
        return function(*args)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, to be quoted in another."""
    return next(iter(str(error).strip().splitlines()), "")


def require(package: str, purpose: str, extra: str = "hf") -> ModuleType:
    """Import an optional package.

    Args:
        package: Its name.
        purpose: What needs it, for the message.
        extra: The extra of germ that brings it.

    Raises:
        GermError: If it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise GermError(
            f'{purpose} needs the package {package!r} ({error}): pip install "germ[{extra}]"'
        ) from error


def hub_reachable() -> bool:
    """Whether the Hugging Face hub can be asked at all.

    Its own client tries for half a minute before it gives up on a machine without a network.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True  # the proxy looks names up
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        return bool(socket.getaddrinfo(urlsplit(endpoint).hostname, 443))
    except OSError:
        return False


@contextmanager
def hub_or_cache() -> Iterator[None]:
    """Inside, Hugging Face libraries ask the hub, or only their cache if it is out of reach."""
    # Both libraries read the environment once, when imported; after that only this helps.
    names = ("huggingface_hub.constants", "datasets.config")
    settings = [vars(sys.modules[name]) for name in names if name in sys.modules]
    before = [setting["HF_HUB_OFFLINE"] for setting in settings]
    offline = not hub_reachable()
    try:
        for setting in settings:
            setting["HF_HUB_OFFLINE"] = setting["HF_HUB_OFFLINE"] or offline
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting["HF_HUB_OFFLINE"] = value


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`; did you mean X or Y?`, or nothing if no name is near."""
    near = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def is_path(name: str, suffixes: Iterable[str]) -> bool:
    """Whether a name that is no file here was meant for one, and not for a name on the hub."""
    path = Path(name)
    return path.suffix in suffixes or name.startswith((".", "/", "~")) or len(path.parts) > 2


def nearest_files(path: Path) -> str:
    """`; did you mean ...?` for a path that does not exist, from the names beside it.

    If its folder does not exist either, that is what it says.
    """
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent} either"
    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    return did_you_mean(path.name, beside)


def _from_path(name: str) -> ModuleType:
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        missing = importlib.util.find_spec(name) is None
    except (ImportError, ValueError):  # a parent package is missing, or is itself no package
        missing = True
    if missing:
        raise GermError(
            f"there is no Python module {name!r}; it is looked for in {os.getcwd()} and among "
            "installed packages (for a file, write path/to/file.py:function)"
        )
    with _reporting(f"importing {name} failed"):
        return importlib.import_module(name)


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise GermError(f"there is no file {path}{nearest_files(path)}")
    # Registered, so that classes defined there can be pickled and looked up; under a name of its
    # own, so that a file called json.py does not shadow the real one.
    name = f"_germ_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    with _reporting(f"running {path} failed"):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _reporting(what: str) -> Iterator[None]:
    """Turn whatever user code raises into one line that says where."""
    try:
        yield
    except GermError:
        raise
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        raise GermError(
            f"{what}: {type(error).__name__}: {first_line(error)} ({at.filename}, line {at.lineno})"
        ) from error
