"""Progress bars with the time that is left: one for the run, one for all models of a sweep."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

STAGES = {
    "anchor": "loss at w*",
    "gradient": "gradient at w*",
    "calibrate": "curvature at w*",
    "warmup": "warmup",
    "draws": "draws",
}


def bars(console: Console) -> Progress:
    """The display: it vanishes when it is done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


class Bars:
    """Turns what `germ.sample` and `germ.sweeping.sweep` tell into bars, or into nothing."""

    def __init__(
        self, display: Progress | None, num_steps_after_warmup: int | None, num_models: int
    ):
        """Show `num_models` runs, each of so many steps after its warmup (None: not known yet)."""
        self.display = display
        self.num_steps_after_warmup = num_steps_after_warmup
        self.num_models = num_models
        self._stage = ""
        self._num_warmup = 0
        self._before = 0.0
        if display is not None:
            self._all = display.add_task("all", total=num_models, count="", visible=num_models > 1)
            self._run = display.add_task("loading", total=None, count="")

    def started(self, index: int, total: int, name: str) -> None:
        """The model `name` is next, after `index` others of `total`."""
        if self.display is None:
            return
        self.num_models = total
        self._before = float(index)
        self._stage, self._num_warmup = "", 0
        self.display.update(
            self._all, completed=index, total=total, visible=total > 1, description=name,
            count=f"{index + 1} of {total}",
        )  # fmt: skip
        self.display.reset(self._run, description="loading", total=None, count="")

    def stage(self, stage: str, done: int, total: int) -> None:
        """As `germ.sample` tells its `progress`. Warmup and draws share a bar."""
        if self.display is None:
            return
        if stage == "warmup":
            self._num_warmup = total
        sampling = stage in ("warmup", "draws")
        if sampling:
            done += self._num_warmup if stage == "draws" else 0
            # Until the draws begin: twice the warmup follow it, unless it is said otherwise.
            after = total if stage == "draws" else self.num_steps_after_warmup or 2 * total
            total = self._num_warmup + after
        if stage != self._stage:
            if not (stage == "draws" and self._stage == "warmup"):
                self.display.reset(self._run, total=total)
            self.display.update(self._run, description=STAGES.get(stage, stage))
            self._stage = stage
        self.display.update(self._run, completed=done, total=total, count=f"{done:,} of {total:,}")
        if sampling:
            self.display.update(self._all, completed=self._before + min(done / total, 1.0))
