"""What is printed where: results on stdout, progress on stderr, JSON alone on stdout."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from germ.cli.progress import Bars, bars

if TYPE_CHECKING:
    from germ.estimate.llc import LLC


class _Console(Console):
    """A console that leaves a broken pipe to `boundary.guard`."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        raise BrokenPipeError


class Screen:
    """Prints for a person or, with `json`, for a program.

    For a person results go to stdout. For a program stdout is one JSON document, and what a person
    would read goes to stderr.
    """

    def __init__(self, *, json: bool) -> None:
        """Print JSON, or not."""
        self.json = json
        self._results = _Console(stderr=json, highlight=False, markup=False, emoji=False)
        self._live: Progress | None = None

    def say(self, text: str, style: str | None = None) -> None:
        """A line of the result."""
        console = self._results
        if self._live is not None and console.is_terminal:
            console = self._live.console  # Above the bars, in place of through them.
        console.print(text, style=style, soft_wrap=True)

    def warn(self, warnings: Iterable[str]) -> None:
        """What a reader must know, in yellow."""
        for warning in warnings:
            self.say(f"  ⚠ {warning}", "yellow")

    def estimate(self, estimate: LLC, where: str) -> None:
        """The result in one line, its error budget, what it is a result of, and its warnings."""
        self.say(str(estimate), "bold")
        self.say(f"  {estimate.budget}", "dim")
        self.say(
            f"  L(w*) {estimate.anchor_loss:.4f} → E[L] {estimate.expected_loss:.4f}, "
            f"{estimate.locality}, "
            f"{estimate.num_coordinates:,} coordinates, {estimate.num_gradients:,} gradients",
            "dim",
        )
        self.say(f"  {where}", "dim")
        self.warn(estimate.warnings)

    def emit(self, value: Any) -> None:
        """The JSON document, if JSON is wanted. NaN, which JSON has not, becomes null."""
        if self.json:
            json.dump(_finite(value), sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
            sys.stdout.write("\n")
            sys.stdout.flush()

    @contextlib.contextmanager
    def progress(self, num_steps_after_warmup: int | None, num_models: int = 1) -> Iterator[Bars]:
        """Bars with the time that is left, on a terminal; elsewhere nothing."""
        console = Console(stderr=True)
        if self.json or not console.is_terminal:
            yield Bars(None, num_steps_after_warmup, num_models)
            return
        with bars(console) as live:
            self._live = live
            try:
                yield Bars(live, num_steps_after_warmup, num_models)
            finally:
                self._live = None


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
