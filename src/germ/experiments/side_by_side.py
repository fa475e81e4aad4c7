"""Independent parts of an experiment, one process a core.

A model of an experiment is too small to use two cores well, and an experiment has several: each
part runs on one thread in a process of its own. Parts keep what they find on disk; whoever asked
for them reads it from there.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from queue import Empty
from typing import Any

import torch

from germ.errors import GermError
from germ.experiments.catalogue import Progress
from germ.experiments.machine import cores

Report = Callable[[int, int], None]
"""Told (done, total), now and then."""

Part = Callable[[Report], Any]
"""One part; picklable, as a function of a module or a `functools.partial` of one is."""

WAIT = 0.2
"""Seconds between looks at the processes."""


def run_all(parts: Sequence[Part], stage: str, progress: Progress) -> None:
    """Run parts, as many at a time as there are cores.

    Args:
        parts: What is to be done; none depends on another.
        stage: What they do, in a word, for `progress`.
        progress: Told (stage, done, total), summed over parts.

    Raises:
        GermError: A part raised one, or its process was killed. The others are stopped first.
    """
    at_a_time = min(cores(), len(parts))
    told: dict[int, tuple[int, int]] = {}

    def tell(number: int, done: int, total: int) -> None:
        told[number] = (done, total)
        # Parts that have not begun are taken to be as long as the longest that has.
        longest = max(total for _, total in told.values())
        whole = sum(total for _, total in told.values()) + longest * (len(parts) - len(told))
        progress(stage, sum(done for done, _ in told.values()), whole)

    if at_a_time < 2:
        for number, part in enumerate(parts):
            part(lambda done, total, number=number: tell(number, done, total))
        return
    context = multiprocessing.get_context("spawn")  # PyTorch's threads do not survive a fork.
    messages: Any = context.Queue()
    waiting = list(enumerate(parts))
    running: dict[int, BaseProcess] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_a_time:
                number, part = waiting.pop(0)
                process = context.Process(
                    target=_work, args=(number, pickle.dumps(part), messages), daemon=True
                )
                process.start()
                running[number] = process
            ended = [number for number, process in running.items() if not process.is_alive()]
            _listen(messages, tell)
            for number in ended:
                code = running.pop(number).exitcode
                if code:
                    raise GermError(
                        f"a process of {stage} was killed (exit code {code}), perhaps for want of "
                        "memory: run the same command again, and it goes on where it was"
                    )
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.join()


def _listen(messages: Any, tell: Callable[[int, int, int], None]) -> None:
    """Pass on what the parts say; raise what they raised."""
    with contextlib.suppress(Empty):
        found = messages.get(timeout=WAIT)
        while True:
            kind, *what = found
            if kind == "wrong":
                raise GermError(what[0])
            if kind == "broken":
                raise RuntimeError(what[0])
            tell(*what)
            found = messages.get_nowait()


def _work(number: int, part: bytes, messages: Any) -> None:
    """The whole life of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this one.
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()

    def report(done: int, total: int) -> None:
        if parent is not None and not parent.is_alive():
            # Nobody will read what is found, and the same command, given again, would write the
            # same files beside this process.
            os._exit(1)
        messages.put(("told", number, done, total))

    try:
        pickle.loads(part)(report)
    except GermError as error:
        messages.put(("wrong", str(error)))
    except Exception:
        messages.put(("broken", traceback.format_exc()))
