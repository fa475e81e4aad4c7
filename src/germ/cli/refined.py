"""`germ llc --components`: the LLC of many components on many data sets, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from germ.cli import boundary
from germ.cli.options import Keeping, Loading, Posterior, Sampling
from germ.cli.screen import Screen
from germ.cli.sweep import MAX_WARNINGS, style_of

if TYPE_CHECKING:
    from germ.hub import Loaded
    from germ.measuring import Measurement
    from germ.refining import Refined

RUNS = Path("runs/refined")
"""Where the runs and the table go by default."""


def refined(
    screen: Screen,
    model: str,
    components: list[str],
    names: Sequence[str | None],
    out: Path | None,
    loading: Loading,
    posterior: Posterior,
    sampling: Sampling,
    keeping: Keeping,
) -> int:
    """Measure every component on every data set, printing a line for each as it comes.

    Args:
        screen: Where it is printed.
        model: The model's name.
        components: Patterns of components.
        names: Of the data sets; None is the model's own.
        out: The folder of the runs and of the table; None is `RUNS`.
        loading: Options.
        posterior: Options; `--restrict` is refused.
        sampling: Options.
        keeping: Options.

    Returns:
        The exit code.

    Raises:
        GermError: An option does not go with `--components`, or a pattern selects nothing.
    """
    from germ.errors import GermError

    place = RUNS if out is None else out
    if posterior.restrict:
        raise GermError("expected --components or --restrict, which say the same; got both")
    if place.suffix == ".zarr":
        raise GermError(
            f"expected --out to be a folder, for --components make many runs; got {out}"
        )
    found = _measure(screen, model, components, names, place, loading, posterior, sampling, keeping)
    paths = dict(zip(("csv", "table"), map(str, found.write(place)), strict=True))
    good = [row for row in found.rows if row.estimate is not None]
    said = [
        f"{row.step} on {row.data}: {warning}"
        for row in good
        for warning in (row.estimate.warnings if row.estimate else ())
    ]
    screen.warn(said[:MAX_WARNINGS])
    if len(said) > MAX_WARNINGS:
        screen.say(f"  ⚠ {len(said) - MAX_WARNINGS} more in {paths['csv']}", "yellow")
    screen.say(f"{len(good)} of {len(found.rows)} measured; {', '.join(paths.values())}", "dim")
    screen.emit({"command": "llc", "model": model, **found.to_dict(), "files": paths})
    return boundary.FAILED if found.failed else 0


def _measure(
    screen: Screen,
    model: str,
    components: list[str],
    names: Sequence[str | None],
    place: Path,
    loading: Loading,
    posterior: Posterior,
    sampling: Sampling,
    keeping: Keeping,
) -> Refined:
    from germ import refining
    from germ.components import expand
    from germ.sweeping import Listener, loss_of

    loaded = loading.model(model)
    chosen = expand(loaded.model, components)
    sets = _sets(loading, loaded, names)
    widths = refining.widths_of([(c, of) for c in chosen for of in sets])
    sizes = {name: refining.size_of(loaded.model, part) for name, part in chosen.items()}
    settings = {key: value for key, value in posterior.settings().items() if key != "restrict"}
    rows: list[Measurement] = []
    num_runs = len(chosen) * len(sets)
    with (
        boundary.interruptible(place),
        screen.progress(sampling.num_steps_after_warmup, num_runs) as bars,
    ):

        class Reporter(Listener):
            def started(self, index: int, total: int, name: str) -> None:
                bars.started(index, total, name)

            def stage(self, stage: str, done: int, total: int) -> None:
                bars.stage(stage, done, total)

            def finished(self, row: Measurement) -> None:
                if not rows:
                    screen.say(refining.header(widths), "bold")
                screen.say(refining.line(row, sizes[str(row.step)], widths), style_of(row))
                rows.append(row)
                refining.Refined(tuple(rows), sizes).write(place)

        return refining.refine(
            loaded.model, sets, components=chosen, name=model, loss=loss_of(loaded, loading.loss),
            sampler=sampling.make(), folder=place, drop_failed=keeping.drop_failed,
            listener=Reporter(), **settings, **sampling.settings(), **keeping.settings(),
        )  # fmt: skip


def _sets(loading: Loading, loaded: Loaded, names: Sequence[str | None]) -> dict[str, Any]:
    return {name or "its own data": loading.data(loaded, name) for name in names}
