"""`germ sweep`: the LLC of every checkpoint of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from germ.cli import boundary
from germ.cli.grouping import grouped
from germ.cli.options import DATA_FORMS, Keeping, Loading, Posterior, Printing, Sampling
from germ.cli.screen import Screen
from germ.errors import GermError

if TYPE_CHECKING:
    from germ.cli.progress import Bars
    from germ.measuring import Measurement
    from germ.sweeping import Listener, Sweep

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
    control: Annotated[
        bool,
        Option(
            "--control",
            help="Set the nβ = 0 control beside each λ̂: the same γ, no data in the drift.",
            rich_help_panel="Posterior",
        ),
    ] = False,
    calibrate_once: Annotated[
        bool,
        Option(
            "--calibrate-once",
            help="Calibrate at the last checkpoint alone, and test it at each: made anew only "
            "where it does not hold.",
            rich_help_panel="Sampling",
        ),
    ] = False,
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
    found = run_sweep(
        screen,
        checkpoints,
        data,
        out,
        loading,
        posterior,
        sampling,
        keeping,
        control=control,
        calibrate_once=calibrate_once,
    )
    paths = finish(screen, found, out, f"{', '.join(checkpoints)} on {found.rows[0].data}")
    screen.emit({"command": "sweep", **found.to_dict(), "files": paths})
    return boundary.FAILED if found.failed else 0


def run_sweep(
    screen: Screen,
    checkpoints: list[str],
    data: str | None,
    out: Path,
    loading: Loading,
    posterior: Posterior,
    sampling: Sampling,
    keeping: Keeping,
    *,
    control: bool = False,
    calibrate_once: bool = False,
) -> Sweep:
    """Go through the checkpoints, printing a line for each as it comes."""
    from germ import sweeping

    sampler = sampling.make()
    if calibrate_once and sampler != "auto":
        raise GermError("--calibrate-once belongs to --sampler auto without a --calibration")
    with (
        boundary.interruptible(out),
        screen.progress(sampling.num_steps_after_warmup, len(checkpoints)) as bars,
    ):
        found = sweeping.sweep(
            checkpoints, data, loss=loading.loss, sampler=sampler, folder=out,
            drop_failed=keeping.drop_failed, without_data=control,
            calibrate_once=calibrate_once,
            load=loading.model, load_data=loading.data,
            listener=_reporter(screen, bars, out), **posterior.settings(), **sampling.settings(),
            **keeping.settings(),
        )  # fmt: skip
    found.write(out)
    return found


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


def finish(screen: Screen, found: Sweep, out: Path, title: str) -> dict[str, Any]:
    """Controls, warnings, the figure, a line that sums up, and where everything is."""
    from germ.report import figures

    rows = found.rows
    for row, without in zip(rows, found.controls, strict=False):
        if row.estimate is not None and without is not None:
            share = row.estimate.value / without.value if without.value else float("nan")
            screen.say(f"{row.step:>10}  {without}, λ̂/λ̂₀ = {share:.3g}", "dim")
    good = [(row.step, row.estimate) for row in rows if row.estimate is not None]
    said = [f"{step}: {warning}" for step, estimate in good for warning in estimate.warnings]
    screen.warn(said[:MAX_WARNINGS])
    if len(said) > MAX_WARNINGS:
        screen.say(f"  ⚠ {len(said) - MAX_WARNINGS} more in {out / 'sweep.csv'}", "yellow")
    screen.warn(found.warnings)
    paths: dict[str, Any] = {"csv": str(out / "sweep.csv"), "table": str(out / "sweep.json")}
    if good:
        figure = figures.save(figures.trajectory(rows, title), out / "trajectory.png")
        paths["figure"] = str(figure)
    screen.say(
        f"{len(good)} of {len(rows)} checkpoints measured; " + ", ".join(paths.values()), "dim"
    )
    return paths
