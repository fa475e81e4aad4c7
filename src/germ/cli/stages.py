"""`germ stages`: where a training run turns, from the table of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from germ.cli.grouping import grouped
from germ.cli.options import Printing
from germ.cli.screen import Screen

TABLE_FORMS = (
    "The folder of germ sweep, its sweep.csv or sweep.json, or a CSV with the columns step and "
    "llc, and perhaps loss or sampled_loss, standard_error, nbeta, seed. Several are several "
    "training seeds."
)


@grouped
def stages(
    tables: Annotated[
        list[Path], Argument(metavar="TABLE...", help=TABLE_FORMS, show_default=False)
    ],
    printing: Printing,
    nbeta: Annotated[
        float | None, Option("--nbeta", help="nβ of the λ̂, where the table does not say.")
    ] = None,
    level: Annotated[
        float, Option("--level", help="The support without which nothing is a boundary.")
    ] = 0.9,
    out: Annotated[
        Path | None,
        Option(
            "--out",
            help="The folder of table and figure; by default that of the sweep, else runs/stages.",
            rich_help_panel="Output",
        ),
    ] = None,
    seed: Annotated[int, Option("--seed", help="Of the draws of the posterior.")] = 0,
) -> int:
    """Find the stages of a training run: where λ̂ and the loss turn or pause on log step.

    Each boundary comes with an interval and its support; each stage with Δλ̂, ΔL, their errors
    and its type: A (the loss falls, λ̂ rises), B (both fall). Give the sweeps of several training
    seeds: without them nothing is known of what another run would do.

    [bold]germ stages runs/sweep[/bold]
    """
    from germ.development import stage_files, staging
    from germ.report import figures, stages_figure

    screen = Screen(json=printing.json)
    given = stage_files.read_curves(tables, nbeta=nbeta)
    found = staging.stages_of(given, level=level, seed=seed)
    if out is None:
        out = tables[0] if len(tables) == 1 and tables[0].is_dir() else Path("runs/stages")
    screen.say(str(found))
    for at in found.dropped:
        screen.say(f"dropped: {at}", "dim")
    screen.warn(found.warnings)
    csv, json = found.write(out)
    title = ", ".join(map(str, tables[:3])) + (", …" if len(tables) > 3 else "")
    figure = figures.save(stages_figure.stages_figure(found, title), out / "stages.png")
    paths = {"csv": str(csv), "table": str(json), "figure": str(figure)}
    screen.say(", ".join(paths.values()), "dim")
    screen.emit({"command": "stages", **found.to_dict(), "files": paths})
    return 0
