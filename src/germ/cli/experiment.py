"""`germ experiment`: the field's founding experiments, each one command."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from germ.cli import boundary
from germ.cli.grouping import grouped
from germ.cli.options import Printing
from germ.cli.screen import Screen


@grouped
def experiment(
    printing: Printing,
    name: Annotated[
        str | None,
        Argument(
            metavar="[NAME]", help="Which one; list, or nothing, for all with what they cost."
        ),
    ] = None,
    preset: Annotated[
        str, Option("--preset", help="The size: small runs on two CPU cores.")
    ] = "small",
    out: Annotated[
        Path | None, Option("--out", help="The folder; by default runs/NAME-PRESET.")
    ] = None,
    seed: Annotated[int, Option("--seed", help="Of everything random.")] = 0,
) -> int:
    """Run an experiment of the field and write a page about it.

    The page has the figures, what was published, and what came out here. What takes long is kept:
    the same command goes on where it was stopped. What a run costs is said before it starts, and
    what it did cost at its end.
    """
    from germ.experiments import catalogue, machine

    screen = Screen(json=printing.json)
    if name is None or name == "list":
        _list(screen)
        return 0

    def announce(cost: str) -> None:
        screen.say(f"{name}, {preset}: {cost}", "dim")

    out = out or Path("runs") / f"{name}-{preset}"
    started = time.monotonic()
    with boundary.interruptible(out), screen.progress(None) as bars:
        page, paths = catalogue.run(
            name, out, preset=preset, seed=seed, progress=bars.stage, announce=announce
        )
    screen.say(page.title, "bold")
    minutes, gib = (time.monotonic() - started) / 60, machine.peak_gib()
    screen.say(f"  {minutes:.1f} minutes, at most {gib:.1f} GiB", "dim")
    for what, path in paths.items():
        screen.say(f"  {what:<12} {path}", None if what == "page" else "dim")
    screen.emit(
        {
            "command": "experiment",
            "name": name,
            "preset": preset,
            "seed": seed,
            "title": page.title,
            "cost": catalogue.cost(name, preset),
            "minutes": minutes,
            "peak_gib": gib,
            "files": {what: str(path) for what, path in paths.items()},
            "data": page.data,
        }
    )
    return 0


def _list(screen: Screen) -> None:
    from germ.experiments import catalogue

    found = []
    for name in catalogue.MODULES:
        module = catalogue.get(name)
        costs = {preset: catalogue.cost(name, preset) for preset in module.PRESETS}
        screen.say(name, "bold")
        screen.say(f"  {module.SUMMARY}")
        for preset, cost in costs.items():
            screen.say(f"  {preset:<6} {cost}", "dim")
        found.append({"name": name, "summary": module.SUMMARY, "presets": costs})
    screen.emit({"command": "experiment", "experiments": found})
