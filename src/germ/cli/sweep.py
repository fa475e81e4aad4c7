"""`germ sweep`: the LLC of every checkpoint of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from germ.cli import boundary
from germ.cli.grouping import grouped
from germ.cli.options import DATA_FORMS, Keeping, Loading, Posterior, Printing, Sampling
from germ.cli.screen import Screen

if TYPE_CHECKING:
    from germ.cli.progress import Bars
    from germ.measuring import Measurement
    from germ.sweeping import Listener

PATTERN_FORMS = (
    "Checkpoints: a folder of them, a glob, NAME@step{0,512,1000}, or 'bundled@*'. Several may be "
    "given."
)

MAX_WARNINGS = 12
"""Lines of warnings under a table; all of them are in its file."""


@grouped
def sweep(
    *,
    checkpoints: Annotated[
        list[str], Argument(metavar="PATTERN...", help=PATTERN_FORMS, show_default=False)
    ],
    data: Annotated[
        str | None, Option("--data", help=f"{DATA_FORMS}.", rich_help_panel="Data")
    ] = None,
    posterior: Posterior,
    sampling: Sampling,
    out: Annotated[
        Path,
        Option(
            "--out",
            help="The folder of the runs, the table and the figure.",
            rich_help_panel="Output",
        ),
    ] = Path("runs/sweep"),
    keeping: Keeping,
    printing: Printing,
    loading: Loading,
) -> int:
    """Estimate the LLC λ̂ of every checkpoint, at the same settings.

    One run a checkpoint, in the folder --out: finished ones are used again, so that the same
    command goes on after a stop and more checkpoints extend the table. A checkpoint that fails is
    a line that says why; the others go on.

    [bold]germ sweep 'bundled@*' --data bundled:all --draws 200[/bold]
    """
    screen = Screen(json=printing.json)
    rows = run_sweep(screen, checkpoints, data, out, loading, posterior, sampling, keeping)
    paths = finish(screen, rows, out, f"{', '.join(checkpoints)} on {rows[0].data}")
    screen.emit({"command": "sweep", "rows": [row.to_dict() for row in rows], "files": paths})
    return boundary.FAILED if any(row.estimate is None for row in rows) else 0


def run_sweep(
    screen: Screen,
    checkpoints: list[str],
    data: str | None,
    out: Path,
    loading: Loading,
    posterior: Posterior,
    sampling: Sampling,
    keeping: Keeping,
) -> tuple[Measurement, ...]:
    """Go through the checkpoints, printing a line for each as it comes."""
    from germ import sweeping

    sampler = sampling.make()
    with (
        boundary.interruptible(out),
        screen.progress(sampling.num_steps_after_warmup, len(checkpoints)) as bars,
    ):
        found = sweeping.sweep(
            checkpoints, data, loss=loading.loss, sampler=sampler, folder=out,
            drop_failed=keeping.drop_failed, load=loading.model, load_data=loading.data,
            listener=_reporter(screen, bars, out), **posterior.settings(), **sampling.settings(),
            **keeping.settings(),
        )  # fmt: skip
    return found.rows


def _reporter(screen: Screen, bars: Bars, out: Path) -> Listener:
    """Prints a line for each checkpoint, and keeps the table on disk up to date."""
    from germ.report import tables
    from germ.sweeping import Listener, Sweep

    rows: list[Measurement] = []

    class Reporter(Listener):
        def started(self, index: int, total: int, name: str) -> None:
            bars.started(index, total, name)

        def stage(self, stage: str, done: int, total: int) -> None:
            bars.stage(stage, done, total)

        def finished(self, row: Measurement) -> None:
            if not rows:
                screen.say(tables.header("step"), "bold")
            screen.say(tables.line(row, row.step), style_of(row))
            rows.append(row)
            Sweep(tuple(rows)).write(out)

    return Reporter()


def style_of(row: Measurement) -> str | None:
    """Red without an estimate, yellow with warnings."""
    if row.estimate is None:
        return "red"
    return "yellow" if row.estimate.warnings else None


def finish(screen: Screen, rows: tuple[Measurement, ...], out: Path, title: str) -> dict[str, Any]:
    """Warnings, the figure, a line that sums up, and where everything is."""
    from germ.report import figures

    good = [(row.step, row.estimate) for row in rows if row.estimate is not None]
    said = [f"{step}: {warning}" for step, estimate in good for warning in estimate.warnings]
    screen.warn(said[:MAX_WARNINGS])
    if len(said) > MAX_WARNINGS:
        screen.say(f"  ⚠ {len(said) - MAX_WARNINGS} more in {out / 'sweep.csv'}", "yellow")
    paths: dict[str, Any] = {"csv": str(out / "sweep.csv"), "table": str(out / "sweep.json")}
    if good:
        figure = figures.save(figures.trajectory(rows, title), out / "trajectory.png")
        paths["figure"] = str(figure)
    screen.say(
        f"{len(good)} of {len(rows)} checkpoints measured; " + ", ".join(paths.values()), "dim"
    )
    return paths
