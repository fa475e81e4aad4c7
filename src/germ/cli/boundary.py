"""The boundary between the program and the person: errors in one line, exit codes, Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

BUG, USER, FAILED, INTERRUPTED, TERMINATED, BROKEN_PIPE = 1, 2, 3, 130, 143, 141


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM, and where what was sampled is saved."""

    def __init__(self, place: Path | None, code: int) -> None:
        """Remember the place, if something is saved there, and the exit code."""
        super().__init__()
        self.place = place
        self.code = code


class Terminated(KeyboardInterrupt):
    """SIGTERM: a run saves itself as at Ctrl-C."""


class NobodyReads(Exception):
    """Whoever read our output is gone, as `head` is after ten lines."""


def terminate(number: int, frame: FrameType | None) -> None:
    """The handler of SIGTERM."""
    raise Terminated


@contextlib.contextmanager
def interruptible(place: Path | None = None) -> Iterator[None]:
    """Inside, an interruption is told with the place where the sampled is saved."""
    try:
        yield
    except BrokenPipeError as error:
        raise NobodyReads from error  # Typer would make it its own, with exit code 1.
    except KeyboardInterrupt as stop:
        code = TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
        raise Interrupted(place, code) from stop


def guard(command: Callable[[], Any], args: list[str]) -> int:
    """Run a command and say what went wrong, if anything did.

    Args:
        command: Returns an exit code or None.
        args: The command line, for the advice on how to go on.

    Returns:
        The exit code.
    """
    try:
        code = command()
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else BUG
    except Interrupted as stop:
        say(_interrupted(stop, args))
        return stop.code
    except (NobodyReads, BrokenPipeError):
        return _broken_pipe()
    except BaseException as error:
        if os.environ.get("GERM_DEBUG") == "1":
            traceback.print_exc()
        code, message = explain(error, args)
        say(message)
        return code


def explain(error: BaseException, args: list[str]) -> tuple[int, str]:
    """The exit code of an error of the command line `args`, and a line for a person."""
    from germ.errors import GermError, SamplingFailed

    if isinstance(error, SamplingFailed):
        return FAILED, str(error)
    if isinstance(error, GermError):
        return USER, str(error)
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return INTERRUPTED, "interrupted before anything was sampled"
    if hasattr(error, "format_message"):  # What Click calls a usage error.
        return USER, _usage(error, args)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return USER, (
            "out of memory; give a smaller --batch-size, fewer --chains, or a smaller --restrict; "
            "what was committed is intact"
        )
    if isinstance(error, OSError) and error.filename is None:
        return USER, f"cannot write the output: {error.strerror or error}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return BUG, (
        f"a bug in germ, sorry: {type(error).__name__}: {error} "
        f"({Path(frame.filename).name}, line {frame.lineno}). Please report it with what the same "
        "command says under GERM_DEBUG=1"
    )


def say(message: str) -> None:
    """One line on stderr."""
    line = " ".join(str(message).split())
    mark = "germ:"
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        mark = "\x1b[1;31mgerm:\x1b[0m"
    with contextlib.suppress(OSError):  # Nobody may be listening any more.
        print(f"{mark} {line}", file=sys.stderr, flush=True)


def show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any
) -> None:
    """A library's warning, in one line."""
    say(f"warning: {message}")


def resume_command(args: list[str]) -> str:
    """The command line that goes on with an interrupted one."""
    # Started afresh a second time, it would throw away what it has just saved.
    kept = [arg for arg in args if arg not in ("--fresh", "--no-resume")]
    return shlex.join(["germ", *kept])


def _interrupted(stop: Interrupted, args: list[str]) -> str:
    command = resume_command(args)
    step = None if stop.place is None else _step(stop.place)
    if stop.place is None or step == 0:
        return f"interrupted before the first step; start again with: {command}"
    reached = "" if step is None else f" at step {step:,}"
    return f"interrupted{reached}; saved in {stop.place}; go on with: {command}"


def _step(place: Path) -> int | None:
    """The step that a run has saved; None for a folder of runs, or if it cannot be told."""
    if place.suffix != ".zarr":
        return None
    from germ.errors import GermError
    from germ.store import load

    try:
        return int(load(place).attrs.get("step", 0))
    except GermError:
        return 0 if not place.exists() else None


def _usage(error: Any, args: list[str]) -> str:
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", "germ")
    message = error.format_message().rstrip(".")
    # Of a value that cannot be read the message names the option only.
    names = getattr(getattr(error, "param", None), "opts", ())
    came = [f", got {value!r}" for name, value in pairwise(args) if name in names]
    return f"{message[:1].lower()}{message[1:]}{''.join(came[-1:])}; see {command} --help"


def _broken_pipe() -> int:
    """Keep the interpreter from complaining, at exit, that it cannot flush."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE
