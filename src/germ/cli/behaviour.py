"""`germ behaviour`: what models do, and where their heads look, across checkpoints."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from germ.cli import boundary
from germ.cli.grouping import grouped
from germ.cli.options import DATA_FORMS, Loading, Printing
from germ.cli.screen import Screen
from germ.cli.sweep import PATTERN_FORMS
from germ.errors import GermError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from germ.development.behaving import Behaviour, Failure, Row

MEASURES = (
    "Which, with commas: loss, bigrams, trigrams (4-grams, ...), in-context, repetition, heads, "
    "zeroing (the loss without each head), outputs (their path over checkpoints)."
)


@grouped
def behaviour(
    *,
    checkpoints: Annotated[
        list[str], Argument(metavar="MODEL...", help=PATTERN_FORMS, show_default=False)
    ],
    data: Annotated[
        str | None, Option("--data", help=f"{DATA_FORMS}.", rich_help_panel="Data")
    ] = None,
    counts: Annotated[
        str | None,
        Option(
            "--counts",
            help="Data that n-grams are counted in, such as what the model was trained on; by "
            "default --data.",
            rich_help_panel="Data",
        ),
    ] = None,
    rows: Annotated[
        int,
        Option(
            "--rows",
            help="Examples that are measured on, evenly spaced through the data.",
            rich_help_panel="Data",
        ),
    ] = 256,
    measures: Annotated[
        str, Option("--measures", help=MEASURES, rich_help_panel="Measures")
    ] = "loss,bigrams,trigrams,in-context,repetition,heads",
    early: Annotated[
        int | None,
        Option(
            "--early",
            help="Position of in-context, from 1; by default 50, or a tenth of --late.",
            rich_help_panel="Measures",
        ),
    ] = None,
    late: Annotated[
        int | None,
        Option(
            "--late",
            help="Position of in-context, from 1; by default 500, or the last.",
            rich_help_panel="Measures",
        ),
    ] = None,
    seed: Annotated[
        int, Option("--seed", help="Of random tokens.", rich_help_panel="Measures")
    ] = 0,
    out: Annotated[
        Path | None,
        Option(
            "--out",
            help="A folder for behaviour.csv and .json and, of several checkpoints, behaviour.png.",
            rich_help_panel="Output",
        ),
    ] = None,
    printing: Printing,
    loading: Loading,
) -> int:
    """Measure what language models do and where their heads look, at every checkpoint.

    Losses on n-grams, in context and on repeated tokens; of each head, prefix matching and the
    attention to the previous, the same and the first token; the path of the outputs. Errors are
    over examples: of what other training runs would give they say nothing.

    [bold]germ behaviour 'bundled@*' --data bundled:all[/bold]
    """
    from germ import checkpoints as patterns
    from germ.development import behaving
    from germ.development.measures import chosen
    from germ.report import behaviour_figure, figures

    screen = Screen(json=printing.json)
    chosen(measures)  # A name that is none is told before anything is loaded.
    specs = patterns.expand(checkpoints)
    first = loading.model(specs[0][1])
    rows_of = loading.data(first, data)
    counted = rows_of if counts is None else loading.data(first, counts)

    later = [(step, name, partial(_load, loading, name)) for step, name in specs[1:]]
    models = [(specs[0][0], specs[0][1], first.model), *later]
    single = len(specs) == 1
    found = behaving.behaviour(
        models, rows_of, measures, counted, num_examples=rows, early=early, late=late,
        seed=seed, listener=None if single else _reporter(screen, out),
    )  # fmt: skip
    if single:
        _table(screen, found)
    _end(screen, found)
    paths = [] if out is None else [str(path) for path in found.write(out)]
    if out is not None:
        drawn = None
        with suppress(GermError):  # One step was measured, or nothing changes: the table says it.
            drawn = behaviour_figure.behaviour_figure(found, ", ".join(checkpoints[:3]))
        if drawn is not None:
            paths.append(str(figures.save(drawn, out / "behaviour.png")))
    if paths:
        screen.say(", ".join(paths), "dim")
    screen.emit({"command": "behaviour", **found.to_dict(), "files": paths})
    return boundary.FAILED if found.failures else 0


def _load(loading: Loading, name: str) -> nn.Module:
    return loading.model(name).model


def _number(row: Row) -> str:
    from germ.report.tables import plus_minus

    return plus_minus(row.score.value, row.score.standard_error)


def _reporter(screen: Screen, out: Path | None) -> Callable[[list[Row], list[Failure]], None]:
    """Prints the numbers of each checkpoint as they come: of heads, the highest of a kind."""
    from germ.development.behaving import Behaviour
    from germ.development.scores import MODEL

    every: list[Row] = []

    def report(rows: list[Row], failures: list[Failure]) -> None:
        every.extend(rows)
        if out is not None and every:
            Behaviour(tuple(every)).write(out)
        screen.say(f"{[*rows, *failures][0].step if rows or failures else '–'}", "bold")
        kinds: dict[str, list[Row]] = {}
        for row in rows:
            kinds.setdefault(row.score.measure, []).append(row)
        for measure, own in kinds.items():
            best = max(own, key=lambda row: row.score.value)
            where = "" if best.score.component == MODEL else f"  {best.score.component}"
            several = f", the highest of {len(own)}" if len(own) > 1 else ""
            screen.say(f"  {measure:<28}{_number(best):>18}{where}{several}")
        for failure in failures:
            screen.say(f"  {failure.measure}: {failure.reason}", "red")

    return report


def _table(screen: Screen, found: Behaviour) -> None:
    """Of one model: its numbers, and a line a head."""
    from germ.development.scores import MODEL

    for row in found.rows:
        if row.score.component == MODEL:
            screen.say(f"{row.score.measure:<30}{_number(row):>18}")
    parts = [row for row in found.rows if row.score.component != MODEL]
    kinds = list(dict.fromkeys(row.score.measure for row in parts))
    names = list(dict.fromkeys(row.score.component for row in parts))
    if parts:
        cells = {(row.score.component, row.score.measure): _number(row) for row in parts}
        sizes = [max(len(kind), 19) for kind in kinds]
        width = max(map(len, names))

        def line(first: str, each: list[str]) -> str:
            padded = [f"{cell:>{size}}" for cell, size in zip(each, sizes, strict=True)]
            return "  ".join([f"{first:<{width}}", *padded])

        screen.say(line("component", kinds), "bold")
        for name in names:
            screen.say(line(name, [cells.get((name, kind), "–") for kind in kinds]))
        chance = {row.score.measure: row.score.chance for row in parts}
        known = ["–" if chance[k] is None else f"{chance[k]:.3g}" for k in kinds]
        screen.say(line("chance", known), "dim")
    for failure in found.failures:
        screen.say(f"{failure.measure}: {failure.reason}", "red")


def _end(screen: Screen, found: Behaviour) -> None:
    """Paths of outputs, which need every checkpoint, and what a reader should know."""
    paths = [row for row in found.rows if row.score.measure.startswith("outputs PC")]
    kinds = list(dict.fromkeys(row.score.measure for row in paths))
    if paths:
        screen.say(f"{'step':>10}  " + "  ".join(f"{kind:>18}" for kind in kinds), "bold")
    for start in range(0, len(paths), max(1, len(kinds))):
        own = paths[start : start + len(kinds)]
        cells = "  ".join(f"{_number(row):>18}" for row in own)
        screen.say(f"{own[0].step:>10}  {cells}")
    for note in found.notes:
        screen.say(note, "dim")
