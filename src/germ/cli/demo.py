"""`germ demo`: the main job on the model that germ ships, in minutes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from germ.cli import boundary
from germ.cli.grouping import grouped
from germ.cli.llc import draw_trace, measure_one
from germ.cli.options import Keeping, Loading, Posterior, Printing, SamplerName, Sampling
from germ.cli.screen import Screen
from germ.cli.sweep import finish, run_sweep, style_of

if TYPE_CHECKING:
    from germ.measuring import Measurement

# Twelve checkpoints and four domains: sixteen runs of some 750 gradients of 8 × 64 tokens, about
# 20 ms each on one core. The chains are in equilibrium after 15 steps.
LOADING = Loading(device="cpu", context=64, max_examples=512)
SAMPLING = Sampling(chains=4, draws=80, warmup=20, batch_size=8)

# For tests: what is shown is the same, and the numbers mean nothing.
FAST = Sampling(sampler=SamplerName.LM, step_size=1e-5, chains=2, draws=8, warmup=2, batch_size=2)
FAST_LOADING = replace(LOADING, context=8, max_examples=4)


@grouped
def demo(
    printing: Printing,
    out: Annotated[Path, Option("--out", help="The folder of runs, tables and figures.")] = Path(
        "runs/demo"
    ),
    seed: Annotated[int, Option("--seed", help="Of noise and batches.")] = 0,
    device: Annotated[str, Option("--device", help="cpu, cuda, or auto.")] = "cpu",
    fresh: Annotated[bool, Option("--fresh", help="Sample anew, in place of stored runs.")] = False,
    fast: Annotated[bool, Option("--fast", hidden=True)] = False,
) -> int:
    """Measure a small language model that germ ships: over its training, and on each domain.

    A two-layer attention-only transformer, trained on four kinds of text. About five minutes on
    two cores; stopped, it goes on where it was when started again.
    """
    from germ.zoo import bundled

    screen = Screen(json=printing.json)
    loading = replace(FAST_LOADING if fast else LOADING, device=device)
    sampling = replace(FAST if fast else SAMPLING, seed=seed)
    keeping = Keeping(fresh=fresh)
    steps = bundled.steps()[:: len(bundled.steps()) - 1] if fast else bundled.steps()
    checkpoints = [f"bundled@{step}" for step in steps]

    screen.say(f"1. The LLC over training: {len(steps)} checkpoints", "bold")
    found = run_sweep(
        screen, checkpoints, "bundled:all", out, loading, Posterior(), sampling, keeping
    )
    rows = found.rows
    paths = finish(screen, found, out, "germ's bundled model over its training")

    screen.say("")
    screen.say("2. The LLC of the final model on each domain", "bold")
    domains = _domains(screen, bundled.domains(), checkpoints[-1], out, loading, sampling, keeping)
    paths |= _figures(out, rows[-1], domains)

    screen.say("")
    screen.say("Everything is in:", "bold")
    for what, path in {**paths, "runs": f"{out}/*.zarr"}.items():
        screen.say(f"  {what:<10} {path}")
    if rows[-1].run is not None:
        screen.say(f"Look at one with: germ show {rows[-1].run} --figure", "dim")
    screen.emit(
        {
            "command": "demo",
            "rows": [row.to_dict() for row in rows],
            "domains": [row.to_dict() for row in domains],
            "files": paths,
        }
    )
    failed = any(row.estimate is None for row in [*rows, *domains])
    return boundary.FAILED if failed else 0


def _domains(
    screen: Screen,
    names: list[str],
    model: str,
    out: Path,
    loading: Loading,
    sampling: Sampling,
    keeping: Keeping,
) -> list[Measurement]:
    from germ.losses import causal_lm
    from germ.report import tables

    width = max(map(len, names))
    screen.say(tables.header("domain", width), "bold")
    loaded = loading.model(model)
    rows = []
    for name in names:
        spec = f"bundled:{name}"
        row = measure_one(
            screen,
            (model, spec),
            (loaded.model, loading.data(loaded, spec), causal_lm),
            out,
            Posterior(),
            sampling,
            keeping,
        )
        screen.say(tables.line(row, name, width), style_of(row))
        rows.append(row)
    return rows


def _figures(out: Path, final: Measurement, domains: list[Measurement]) -> dict[str, str]:
    from germ.report import figures

    labels = [row.data.removeprefix("bundled:") for row in domains]
    paths = {}
    if any(row.estimate is not None for row in domains):
        drawn = figures.dots(domains, labels, "germ's bundled model, by domain")
        paths["domains"] = str(figures.save(drawn, out / "domains.png"))
    if final.estimate is not None and final.run is not None:
        paths["trace"] = str(draw_trace(final.run))
    return paths
