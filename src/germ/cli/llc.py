"""`germ llc`: one model, one number with its error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from germ.cli import boundary
from germ.cli.grouping import grouped
from germ.cli.options import (
    DATA_FORMS,
    Keeping,
    Loading,
    Posterior,
    Printing,
    Sampling,
)
from germ.cli.refined import refined
from germ.cli.screen import Screen

if TYPE_CHECKING:
    from germ.estimate.llc import LLC
    from germ.measuring import Measurement

MODEL_FORMS = (
    "A Hugging Face folder or name, a .safetensors or .gguf file, package.module:function or "
    "file.py:function, bundled, or bundled@STEP."
)

RUNS = Path("runs")
"""Where runs go by default; they find their own names there (`germ.measuring.run_path`)."""


@grouped
def llc(
    *,
    model: Annotated[str, Argument(metavar="MODEL", help=MODEL_FORMS, show_default=False)],
    data: Annotated[
        list[str] | None,
        Option("--data", help=f"{DATA_FORMS}. Several: one run each.", rich_help_panel="Data"),
    ] = None,
    on: Annotated[
        list[str] | None,
        Option(
            "--on",
            help="Also the LLC of the same weights on other data (data-refined), a run each.",
            rich_help_panel="Data",
        ),
    ] = None,
    components: Annotated[
        list[str] | None,
        Option(
            "--components",
            help="The LLC of each of these parts of the weights (weight-refined), a run each: "
            "heads, attn, mlp, layers, layers.1.head.6, a+b for a union, all; see germ components.",
            rich_help_panel="Posterior",
        ),
    ] = None,
    posterior: Posterior,
    sampling: Sampling,
    out: Annotated[
        Path | None,
        Option(
            "--out",
            help="The run (NAME.zarr), or a folder where it finds its own name; by default runs.",
            rich_help_panel="Output",
            show_default=False,
        ),
    ] = None,
    keeping: Keeping,
    control: Annotated[
        bool,
        Option(
            "--control",
            help="Set the nβ = 0 control beside λ̂: the same γ, no data in the drift.",
            rich_help_panel="Posterior",
        ),
    ] = False,
    figure: Annotated[
        bool,
        Option("--figure", help="Draw the traces, beside the run.", rich_help_panel="Output"),
    ] = False,
    printing: Printing,
    loading: Loading,
) -> int:
    """Estimate the LLC λ̂ of MODEL, with its error.

    The run is saved as it goes: stopped and started again with the same command, it goes on to the
    same bits; complete, it is used again.

    With --components: a table of components and data sets, one run each; one that fails is a line
    that says why, and the others go on.

    [bold]germ llc bundled --data bundled:code_python --draws 200[/bold]

    [bold]germ llc bundled --components heads --on bundled:literature[/bold]
    """
    from germ.errors import GermError
    from germ.sweeping import loss_of

    screen = Screen(json=printing.json)
    names: list[str | None] = [*(data or [None]), *(on or [])]
    if components:
        if control or figure:
            raise GermError("--control and --figure belong to single runs; got --components too")
        return refined(screen, model, components, names, out, loading, posterior, sampling, keeping)
    place = _place(out, len(names))
    rows: list[Measurement] = []
    controls: list[dict[str, Any] | None] = []
    loaded = loading.model(model)
    loss = loss_of(loaded, loading.loss)
    for name in names:
        if len(names) > 1:
            screen.say(f"on {name or 'its own data'}:")
        examples = loading.data(loaded, name)
        row = measure_one(
            screen,
            (model, name or examples.describe()),
            (loaded.model, examples, loss),
            place,
            posterior,
            sampling,
            keeping,
        )
        rows.append(row)
        if row.estimate is None:
            controls.append(None)
            boundary.say(f"{row.status}. What it did: germ show {row.run} --figure")
            continue
        screen.estimate(row.estimate, where(row))
        controls.append(
            beside_control(
                screen, row.estimate, (loaded.model, examples, loss), posterior, sampling
            )
            if control
            else None
        )
        if figure and row.run is not None:
            screen.say(f"  figure: {draw_trace(row.run)}", "dim")
    runs = [
        row.to_dict() | ({"control": without} if control else {})
        for row, without in zip(rows, controls, strict=True)
    ]
    screen.emit({"command": "llc", "model": model, "runs": runs})
    return boundary.FAILED if any(row.estimate is None for row in rows) else 0


def measure_one(
    screen: Screen,
    names: tuple[str, str],
    what: tuple[Any, Any, Any],
    place: Path,
    posterior: Posterior,
    sampling: Sampling,
    keeping: Keeping,
) -> Measurement:
    """Sample one posterior under a progress bar; if a chain fails, the status says so.

    Args:
        screen: Where the bar goes.
        names: Of the model and of the data.
        what: The model, its data and its loss.
        place: The run, or a folder for it.
        posterior: Options.
        sampling: Options.
        keeping: Options.
    """
    import germ
    from germ.measuring import Measurement, measure, run_path

    module, examples, loss = what
    local = germ.LocalPosterior.from_model(module, examples, loss=loss, **posterior.settings())
    sampler, settings = sampling.make(), sampling.settings()
    run = place
    if place.suffix != ".zarr":
        run = run_path(place, names[0], local, sampler, settings)
    model, data = names
    with boundary.interruptible(run), screen.progress(sampling.num_steps_after_warmup) as bars:
        try:
            return measure(
                local,
                model=model,
                data=data,
                sampler=sampler,
                store=run,
                drop_failed=keeping.drop_failed,
                progress=bars.stage,
                **settings,
                **keeping.settings(),
            )
        except germ.SamplingFailed as error:
            return Measurement(model, model, data, f"failed: {error}", run=run)


def beside_control(
    screen: Screen,
    estimate: LLC,
    what: tuple[Any, Any, Any],
    posterior: Posterior,
    sampling: Sampling,
) -> dict[str, Any]:
    """Measure the nβ = 0 control, print it with λ̂/λ̂₀, and say so where λ̂ survives it."""
    import germ
    from germ.estimate import control

    module, examples, loss = what
    local = germ.LocalPosterior.from_model(module, examples, loss=loss, **posterior.settings())
    without = control.control(local, seed=sampling.seed)
    share = estimate.value / without.value if without.value else float("nan")
    screen.say(f"  {without}, λ̂/λ̂₀ = {share:.3g}", "dim")
    sentence = control.survives(estimate, without)
    screen.warn([] if sentence is None else [sentence])
    return {**without.to_dict(), "warning": sentence}


def where(row: Measurement) -> str:
    """Where a run is, and whether it was there before."""
    return f"stored result: {row.run}" if row.stored else f"run: {row.run} ({row.seconds:.0f} s)"


def draw_trace(run: Path) -> Path:
    """Draw the traces of a run into a file beside it."""
    import germ
    from germ.report import figures

    samples = germ.load(run)
    estimate = None
    if samples.attrs["status"] == "complete":
        estimate = germ.llc(samples, drop_failed=True)
    title = run.name if estimate is None else f"{run.stem}: {estimate}"
    return figures.save(figures.trace(samples, estimate, title), run.with_suffix(".png"))


def _place(out: Path | None, num_runs: int) -> Path:
    from germ.errors import GermError

    if out is not None and out.suffix == ".zarr" and num_runs > 1:
        raise GermError(
            f"expected --out to be a folder, for {num_runs} data sets make as many runs; got {out}"
        )
    return RUNS if out is None else out
