"""`germ calibrate`: what a run would choose by itself, why, and the sweep around it."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from germ.cli import boundary
from germ.cli.grouping import grouped
from germ.cli.llc import MODEL_FORMS
from germ.cli.options import DATA_FORMS, GradientName, Loading, Posterior, Printing
from germ.cli.screen import Screen

if TYPE_CHECKING:
    from germ.calibrating import Proposal
    from germ.posterior import LocalPosterior
    from germ.step_sweep import Cell

RUN, SWEEP = "The run it is for", "Sweep"


@dataclass(frozen=True)
class Run:
    """The run that is planned; as for `germ llc`."""

    gradient: Annotated[
        GradientName, Option("--gradient", help="anchored or minibatch.", rich_help_panel=RUN)
    ] = GradientName.ANCHORED
    chains: Annotated[
        int | None, Option("--chains", help="Chains; by default as a run has.", rich_help_panel=RUN)
    ] = None
    draws: Annotated[
        int | None, Option("--draws", help="Draws of each chain.", rich_help_panel=RUN)
    ] = None
    warmup: Annotated[
        int | None, Option("--warmup", help="Steps before the first draw.", rich_help_panel=RUN)
    ] = None
    thin: Annotated[
        int, Option("--thin", help="Steps from one draw to the next.", rich_help_panel=RUN)
    ] = 1
    batch_size: Annotated[
        int | None, Option("--batch-size", help="Examples a batch.", rich_help_panel=RUN)
    ] = None
    seed: Annotated[int, Option("--seed", help="Of noise and batches.", rich_help_panel=RUN)] = 0


@dataclass(frozen=True)
class Around:
    """The sweep around the choice."""

    sweep: Annotated[
        bool,
        Option("--sweep", help="Short runs over ε × nβ, as a table and a figure.",
               rich_help_panel=SWEEP),
    ] = False  # fmt: skip
    sweep_nbeta: Annotated[
        str | None,
        Option("--sweep-nbeta", help="nβ with commas; a tenth to three times --nbeta by default.",
               rich_help_panel=SWEEP),
    ] = None  # fmt: skip
    sweep_localization: Annotated[
        str | None,
        Option("--sweep-localization", help="γ with commas; --localization alone by default.",
               rich_help_panel=SWEEP),
    ] = None  # fmt: skip
    sweep_draws: Annotated[
        int,
        Option("--sweep-draws", min=4, help="Draws of each of a cell's four chains.",
               rich_help_panel=SWEEP),
    ] = 100  # fmt: skip


@grouped
def calibrate(
    *,
    model: Annotated[str, Argument(metavar="MODEL", help=MODEL_FORMS, show_default=False)],
    data: Annotated[
        str | None, Option("--data", help=f"{DATA_FORMS}.", rich_help_panel="Data")
    ] = None,
    posterior: Posterior,
    run: Run,
    around: Around,
    out: Annotated[
        Path,
        Option(
            "--out", help="The folder of the sweep's table and figure.", rich_help_panel="Output"
        ),
    ] = Path("runs/calibrate"),
    save: Annotated[
        Path | None,
        Option(
            "--save",
            help="Keep the choice in this file (.safetensors), for --calibration.",
            rich_help_panel="Output",
        ),
    ] = None,
    printing: Printing,
    loading: Loading,
) -> int:
    """Show what a run of MODEL would choose by itself, and the measurement behind each choice.

    Every run calibrates itself: nothing has to be copied from here. --sweep lays short runs over
    step size and nβ around the choice; both of its panels should be pale about the framed cell.

    [bold]germ calibrate bundled --data bundled:code_python --sweep[/bold]
    """
    import germ
    from germ.calibrating import propose
    from germ.sweeping import loss_of

    screen = Screen(json=printing.json)
    nbetas = _numbers("--sweep-nbeta", around.sweep_nbeta)
    localizations = _numbers("--sweep-localization", around.sweep_localization)
    loaded = loading.model(model)
    examples = loading.data(loaded, data)
    local = germ.LocalPosterior.from_model(
        loaded.model, examples, loss=loss_of(loaded, loading.loss), **posterior.settings()
    )
    name = data or examples.describe()
    with boundary.interruptible(), screen.progress(None) as bars:
        found = propose(
            local, chains=run.chains, draws=run.draws, warmup=run.warmup, thin=run.thin,
            batch_size=run.batch_size, gradient=run.gradient.value, seed=run.seed,
            progress=bars.stage,
        )  # fmt: skip
    screen.say(f"{model} on {name}, nβ {local.nbeta:g}, γ {local.localization:g}", "bold")
    _choices(screen, found)
    emitted: dict[str, Any] = {"command": "calibrate", "model": model, "data": name}
    emitted["proposal"] = found.to_dict()
    if save is not None:
        from germ.reuse import Kept

        emitted["saved"] = str(Kept.of(local, found.calibration).save(save))
        screen.say(f"  kept in {save}", "dim")
    if around.sweep:
        cells = _sweep(screen, local, around, nbetas, localizations, run)
        files = _write(cells, out, f"{model} on {name}")
        screen.say(f"  {', '.join(map(str, files.values()))}", "dim")
        emitted |= {"cells": [cell.to_dict() for cell in cells], "files": files}
    screen.emit(emitted)
    return 0


def _numbers(flag: str, text: str | None) -> list[float] | None:
    """Positive numbers with commas.

    Raises:
        GermError: It is something else.
    """
    from germ.errors import GermError

    if text is None:
        return None
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < number < math.inf for number in found):
        raise GermError(f"expected {flag} to be positive numbers with commas; got {text!r}")
    return found


def _choices(screen: Screen, found: Proposal) -> None:
    """The table of settings, their values and reasons; and what they cost."""
    rows = [(choice.setting, choice.value, choice.reason) for choice in found.choices]
    _table(screen, ("setting", "value", "why"), rows)
    screen.say(
        f"calibration takes {found.num_gradients:,} gradients, {found.share:.1%} of a run's "
        f"{found.num_gradients + found.run_gradients:,}",
        "dim",
    )


def _sweep(
    screen: Screen,
    local: LocalPosterior,
    around: Around,
    nbetas: list[float] | None,
    localizations: list[float] | None,
    run: Run,
) -> tuple[Cell, ...]:
    """The cells, as they come and then as a table."""
    from germ.step_sweep import sweep

    with boundary.interruptible(), screen.progress(None) as bars:
        cells = sweep(
            local, nbetas=nbetas, localizations=localizations, draws=around.sweep_draws,
            batch_size=run.batch_size, seed=run.seed,
            on_cell=lambda cell, done, total: bars.stage("sweep", done, total),
        )  # fmt: skip
    corrected = any(math.isfinite(cell.acceptance) for cell in cells)
    names = ("nβ", "γ", "ε", "λ̂", "ΔL", "virial", "accepted" if corrected else "T", "")
    _table(screen, names, [_line(cell, corrected) for cell in cells], right=7)
    return cells


def _line(cell: Cell, corrected: bool) -> tuple[str, ...]:
    from germ.report.tables import plus_minus

    ok = math.isfinite(cell.value)
    failed = "" if cell.status == "ok" else cell.status.split()[-1].lower()
    judged = (cell.virial, cell.acceptance if corrected else cell.temperature)
    return (
        f"{cell.nbeta:.4g}", f"{cell.localization:.4g}", f"{cell.step_size:.3g}",
        plus_minus(cell.value, cell.standard_error) if ok else "–",
        f"{cell.loss_difference:.3g}" if ok else "–",
        *("–" if math.isnan(number) else f"{number:.3f}" for number in judged),
        "← chosen" if cell.chosen else failed,
    )  # fmt: skip


def _table(
    screen: Screen, names: tuple[str, ...], rows: list[tuple[str, ...]], right: int = 0
) -> None:
    """A table as wide as the terminal; the first `right` columns are numbers."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(names):
        table.add_column(
            name, justify="right" if i < right else "left", no_wrap=i < max(right, 2) or right > 0
        )
    for row in rows:
        table.add_row(*row)
    text = io.StringIO()
    Console(file=text, width=Console(stderr=True).width, markup=False, emoji=False).print(table)
    screen.say(text.getvalue().strip("\n"))


def _write(cells: tuple[Cell, ...], out: Path, title: str) -> dict[str, str]:
    """The table as CSV and the figure, in the folder `out`."""
    from germ.report import figures
    from germ.report.calibration_figure import calibration
    from germ.store import files

    text = io.StringIO()
    writer = csv.DictWriter(text, list(cells[0].to_dict()), lineterminator="\n")
    writer.writeheader()
    writer.writerows(cell.to_dict() for cell in cells)
    path = out / "sweep.csv"
    with files.writing(out):
        out.mkdir(parents=True, exist_ok=True)
        files.write_durable(path, [text.getvalue().encode()])
    figure = figures.save(calibration(cells, title), out / "sweep.png")
    return {"table": str(path), "figure": str(figure)}
