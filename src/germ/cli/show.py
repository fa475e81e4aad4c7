"""`germ show`: what a stored run holds, or a folder of them."""

from __future__ import annotations

import json as json_format
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from germ.cli import boundary, show_gaussian
from germ.cli.grouping import grouped
from germ.cli.llc import draw_trace
from germ.cli.options import Printing
from germ.cli.screen import Screen

if TYPE_CHECKING:
    import xarray as xr

    from germ.estimate.llc import LLC


@grouped
def show(
    run: Annotated[
        Path, Argument(metavar="RUN", help="A run (NAME.zarr), or a folder of runs.",
                       show_default=False),
    ],
    printing: Printing,
    figure: Annotated[
        bool,
        Option("--figure", help="Draw the traces, beside the run.", rich_help_panel="Output"),
    ] = False,
) -> int:  # fmt: skip
    """Show a stored run: the estimate, its warnings, each chain, and where it came from."""
    screen = Screen(json=printing.json)
    gaussian = show_gaussian.summary(run)
    if gaussian is not None:
        screen.say(show_gaussian.line(gaussian), "bold")
        screen.say(f"  {gaussian['seconds']:.0f} s; its tables: germ susceptibility", "dim")
        screen.emit({"command": "show", "run": str(run), **gaussian})
    elif (run / "zarr.json").exists():
        _show_run(screen, run, figure)
    else:
        _show_folder(screen, run)
    return 0


def _show_run(screen: Screen, path: Path, figure: bool) -> None:
    import germ
    from germ.estimate.shared_noise import shared_noise

    samples = germ.load(path)
    attrs = samples.attrs
    identity, sessions = (json_format.loads(attrs[name]) for name in ("identity", "provenance"))
    found: dict[str, Any] = {
        "command": "show", "run": str(path), "status": attrs["status"], "estimate": None,
        "identity": identity, "provenance": sessions,
        "seconds": attrs["seconds"], "sizes": {str(k): v for k, v in samples.sizes.items()},
    }  # fmt: skip
    if attrs["status"] == "interrupted":
        num_draws = samples.sizes.get("draw", 0)
        found["step"] = attrs.get("step", 0)
        screen.say(
            f"interrupted at step {found['step']:,}, with {num_draws:,} draws a chain; "
            f"go on with: {_command(sessions[-1])}",
            "yellow",
        )
    else:
        found["statuses"] = attrs["statuses"]
        if any(name == "OK" for name in attrs["statuses"]):
            estimate = germ.llc(samples, drop_failed=True)
            found["estimate"] = estimate.to_dict()
            screen.estimate(estimate, f"run: {path}")
            shared = shared_noise(samples, drop_failed=True).warning
            screen.warn([] if shared is None else [shared])
            _chains(screen, samples, estimate)
        else:
            screen.say(f"failed: {attrs.get('reason', '')}", "red")
        _statuses(screen, attrs["statuses"])
    _provenance(screen, samples, identity, sessions)
    if figure:
        found["figure"] = str(draw_trace(path))
        screen.say(f"figure: {found['figure']}", "dim")
    screen.emit(found)


def _chains(screen: Screen, samples: xr.Dataset, estimate: LLC) -> None:
    screen.say("")
    screen.say("chain        λ̂  virial  distance", "bold")
    means = samples[["virial", "distance"]].mean("draw")
    for chain, value in zip(estimate.chains, estimate.chain_values, strict=True):
        at = means.isel(chain=chain)
        screen.say(
            f"{chain:>5}  {value:>8.4g}  {float(at.virial):>6.3f}  {float(at.distance):>8.4g}"
        )


def _statuses(screen: Screen, names: list[str]) -> None:
    from germ.errors import Status

    for chain, name in enumerate(names):
        if not Status[name].ok:
            screen.say(f"{chain:>5}  {name}: {Status[name].value}", "red")


def _provenance(
    screen: Screen, samples: xr.Dataset, identity: dict[str, Any], sessions: list[dict[str, Any]]
) -> None:
    attrs, plan, posterior = samples.attrs, identity["plan"], identity["posterior"]
    last = sessions[-1]
    lines = {
        "made": f"{attrs['created']}, {attrs['seconds']:.0f} s in {len(sessions)} session(s)",
        "by": f"germ {last['germ']}, torch {last['torch']}, python {last['python']}, "
        f"{last.get('device', '?')}",
        "command": _command(last),
        "posterior": f"nβ {posterior['nbeta']:g}, γ {posterior['localization']:g}, "
        f"{posterior['num_coordinates']:,} coordinates, {posterior['num_examples']:,} examples",
        "sampler": _sampler(attrs, identity),
        "plan": f"{plan['chains']} chains, {plan['draws']:,} draws, warmup {plan['warmup']:,}, "
        f"thin {plan['thin']}, batch {plan['batch_size']}, {plan['gradient']}, seed {plan['seed']}",
        "weights": posterior["weights"][:16],
        "data": posterior["data"][:16],
    }
    screen.say("")
    for name, text in lines.items():
        screen.say(f"{name:<10} {text}", "dim")
    for name, reason in attrs.get("reasons", {}).items():
        screen.say(f"{'chosen':<10} {name}: {reason}", "dim")


def _command(session: dict[str, Any]) -> str:
    """The command line of a session, as one would type it to go on."""
    program, *args = shlex.split(session["command"])
    if Path(program).name != "germ":
        return session["command"]
    return boundary.resume_command(args)


def _sampler(attrs: dict[str, Any], identity: dict[str, Any]) -> str:
    if "sampler" in attrs:
        return f"{attrs['sampler']}, step size {attrs['step_size']:.3g}"
    return str(identity["sampler"]["name"])


def _show_folder(screen: Screen, folder: Path) -> None:
    import germ
    from germ.errors import GermError
    from germ.estimate import comparable
    from germ.store import list_runs

    infos = list_runs(folder)
    gaussians = {path: show_gaussian.summary(path) for path in sorted(folder.glob("*.zarr"))}
    results = {path: found for path, found in gaussians.items() if found is not None}
    if not infos and not results:
        raise GermError(f"expected a run, or a folder of runs; {folder} holds none")
    width = max(len(path.name) for path in (*(info.path for info in infos), *results))
    screen.say(f"{'run':<{width}}  {'status':<11}  result", "bold")
    rows = []
    posteriors: dict[str, Any] = {}
    for info in infos:
        row: dict[str, Any] = {"run": str(info.path), "status": info.status, "estimate": None}
        text, style = info.problem, "red" if info.problem else None
        if info.status == "complete":
            samples = germ.load(info.path)
            posteriors[info.path.name] = json_format.loads(samples.attrs["identity"])["posterior"]
            estimate = germ.llc(samples, drop_failed=True)
            row["estimate"], text = estimate.to_dict(), str(estimate)
            style = "yellow" if estimate.warnings else None
        elif info.status == "interrupted":
            text, style = f"{info.num_draws:,} draws a chain so far", "yellow"
        row["problem"] = info.problem
        rows.append(row)
        screen.say(f"{info.path.name:<{width}}  {info.status:<11}  {text}", style)
    for path, found in results.items():
        rows.append({"run": str(path), "status": "complete", "problem": None, **found})
        screen.say(f"{path.name:<{width}}  {'complete':<11}  {show_gaussian.line(found)}")
    differing = comparable.warning(comparable.differences(posteriors))
    screen.warn([] if differing is None else [differing])
    screen.emit({"command": "show", "folder": str(folder), "runs": rows, "warning": differing})
