"""`germ experiment`: the field's founding experiments, each one command."""

from __future__ import annotations

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
        str | None, Argument(metavar="[NAME]", help="Which one; without it, a list.")
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
    the same command goes on where it was stopped.
    """
    from germ.experiments import catalogue

    screen = Screen(json=printing.json)
    if name is None:
        _list(screen)
        return 0
    out = out or Path("runs") / f"{name}-{preset}"
    with boundary.interruptible(out), screen.progress(None) as bars:
        page, paths = catalogue.run(name, out, preset=preset, seed=seed, progress=bars.stage)
    screen.say(page.title, "bold")
    for what, path in paths.items():
        screen.say(f"  {what:<12} {path}", None if what == "page" else "dim")
    screen.emit(
        {
            "command": "experiment",
            "name": name,
            "preset": preset,
            "seed": seed,
            "title": page.title,
            "files": {what: str(path) for what, path in paths.items()},
            "data": page.data,
        }
    )
    return 0


def _list(screen: Screen) -> None:
    from germ.experiments import catalogue

    width = max(map(len, catalogue.MODULES))
    found = []
    for name in catalogue.MODULES:
        module = catalogue.get(name)
        screen.say(f"{name:<{width}}  {module.SUMMARY}  [{', '.join(module.PRESETS)}]")
        found.append({"name": name, "summary": module.SUMMARY, "presets": list(module.PRESETS)})
    screen.emit({"command": "experiment", "experiments": found})
