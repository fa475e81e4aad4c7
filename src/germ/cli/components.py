"""`germ components`: what a model is made of, by the names that restrictions go by."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from germ.cli.grouping import grouped
from germ.cli.llc import MODEL_FORMS
from germ.cli.options import Loading, Printing
from germ.cli.screen import Screen

PATTERN_HELP = (
    "Only these: heads, attn, mlp, layers, kv, embed, unembed, layers.1.head.6, globs between dots "
    "(layers.*.head.0), a+b for a union; commas separate, ! leaves out."
)


@grouped
def components(
    *,
    model: Annotated[str, Argument(metavar="MODEL", help=MODEL_FORMS, show_default=False)],
    select: Annotated[
        list[str] | None,
        Option("--select", help=PATTERN_HELP, rich_help_panel="Output", show_default=False),
    ] = None,
    printing: Printing,
    loading: Loading,
) -> None:
    """List the components of MODEL: name, number of weights, and which weights they are.

    They are found from structure and proven by behaviour: with a head's slice of the output
    projection zeroed, the gradient vanishes on its weights and on no other head's. Each name can be
    given to --restrict and --components.

    [bold]germ components bundled --select heads[/bold]
    """
    from germ import components as found_in

    screen = Screen(json=printing.json)
    module = loading.model(model).model
    known = found_in.find(module)
    shown = list(known.values())
    if select:
        chosen = found_in.expand(module, select)
        shown = list(chosen.values())
    width = max(len(part.name) for part in shown)
    numbers = {part.name: f"{part.num_parameters:,}" for part in shown}
    wide = max(len("weights"), *map(len, numbers.values()))
    screen.say(f"{'component':<{width}}  {'weights':>{wide}}  where", "bold")
    for part in shown:
        notes = f"  ({'; '.join(part.notes)})" if part.notes else ""
        where = ", ".join(part.places)
        screen.say(f"{part.name:<{width}}  {numbers[part.name]:>{wide}}  {where}{notes}")
    if not select:
        for kind, why in known.missing.items():
            screen.say(f"no {kind}: {why}", "dim")
    screen.emit(
        {
            "command": "components",
            "model": model,
            "components": [
                {
                    "name": part.name,
                    "kind": part.kind,
                    "num_parameters": part.num_parameters,
                    "places": list(part.places),
                    "notes": list(part.notes),
                }
                for part in shown
            ],
            "missing": dict(known.missing),
        }
    )
