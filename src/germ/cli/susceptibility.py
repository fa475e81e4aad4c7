"""`germ susceptibility`: how each component answers to each token of some probes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from germ.cli import boundary
from germ.cli.grouping import grouped
from germ.cli.named_data import named
from germ.cli.options import DATA_FORMS, GradientName, Keeping, Loading, Printing, Sampling
from germ.cli.screen import Screen

if TYPE_CHECKING:
    import xarray as xr

    from germ.cli.progress import Bars
    from germ.data import Data
    from germ.hub import Loaded
    from germ.responses import Susceptibility

MODEL_FORMS = (
    "A model, as for germ llc; several, or a pattern as for germ sweep, are checkpoints of one."
)

PROBE_TOKENS = 20_000
"""Tokens of each probe by default: as many as the published ones have (Baker et al. 2504.18274)."""


@dataclass(frozen=True)
class Apart(Sampling):
    """How it is sampled: few draws, far apart."""

    chains: Annotated[
        int,
        Option("--chains", help="Chains; their spread is the error.", rich_help_panel="Sampling"),
    ] = 4
    draws: Annotated[
        int | None,
        Option(
            "--draws",
            help="Draws of each chain, 50 by default; of the Gaussian, draws in all, by default as "
            "many as lift χ out of its errors.",
            rich_help_panel="Sampling",
            show_default=False,
        ),
    ] = None
    thin: Annotated[
        int, Option("--thin", help="Steps from one draw to the next.", rich_help_panel="Sampling")
    ] = 5
    warmup: Annotated[
        int, Option("--warmup", help="Steps before the first draw.", rich_help_panel="Sampling")
    ] = 50

    gradient: Annotated[
        GradientName | None,
        Option(
            "--gradient",
            help="minibatch, the default of language models, or anchored at w*, which noises less.",
            rich_help_panel="Sampling",
            show_default=False,
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        Option(
            "--batch-size",
            help="Examples a step; by default 16 of a language model. φ of a draw is of 128.",
            rich_help_panel="Sampling",
            show_default=False,
        ),
    ] = None

    def settings(self) -> dict[str, Any]:
        """Arguments of `germ.susceptibility`."""
        from germ.errors import GermError

        if self.precision is not None or self.max_draws is not None:
            raise GermError(
                "--precision and --max-draws are of λ̂, and germ susceptibility has a fixed number "
                "of draws: give --draws"
            )
        names = ("chains", "draws", "thin", "warmup", "batch_size", "seed")
        found = {name: getattr(self, name) for name in names}
        return found | ({} if self.gradient is None else {"gradient": self.gradient.value})


class Centring(StrEnum):
    """Which means a covariance is about."""

    RESTRICTED = "restricted"
    FULL = "full"


class Method(StrEnum):
    """Where the draws come from."""

    AUTO = "auto"
    GAUSSIAN = "gaussian"
    CHAINS = "chains"


@grouped
def susceptibility(
    *,
    models: Annotated[
        list[str], Argument(metavar="MODEL...", help=MODEL_FORMS, show_default=False)
    ],
    data: Annotated[
        str | None, Option("--data", help=f"{DATA_FORMS}.", rich_help_panel="Data")
    ] = None,
    probe: Annotated[
        list[str],
        Option(
            "--probe",
            help="NAME=DATA: data whose loss is observed, token by token. Several times.",
            rich_help_panel="Data",
            show_default=False,
        ),
    ],
    probe_examples: Annotated[
        int | None,
        Option(
            "--probe-examples",
            help=f"Examples of each probe; by default so many that they have {PROBE_TOKENS:,} "
            "tokens.",
            rich_help_panel="Data",
        ),
    ] = None,
    components: Annotated[
        list[str] | None,
        Option(
            "--components",
            help="heads (the default), mlp, attn, layers.1.head.*, embed, a+b for a union; several "
            "with commas. See germ components MODEL.",
            rich_help_panel="Posterior",
            show_default=False,
        ),
    ] = None,
    centring: Annotated[
        Centring,
        Option(
            "--centring",
            help="restricted: a covariance in the run of the component; full: means are those of a "
            "run of all weights, as devinterp 2 has it.",
            rich_help_panel="Posterior",
        ),
    ] = Centring.RESTRICTED,
    nbeta: Annotated[
        str,
        Option(
            "--nbeta",
            help="nβ; auto is 30 for language models and n/log n otherwise.",
            rich_help_panel="Posterior",
        ),
    ] = "auto",
    localization: Annotated[
        str,
        Option(
            "--localization",
            help="γ; auto is 300 for language models and 1 otherwise.",
            rich_help_panel="Posterior",
        ),
    ] = "auto",
    method: Annotated[
        Method,
        Option(
            "--method",
            help="gaussian: weighted draws of the localization's Gaussian; chains; auto: the first "
            "where those are worth enough and no sampler is named.",
            rich_help_panel="Sampling",
        ),
    ] = Method.AUTO,
    sampling: Apart,
    out: Annotated[
        Path,
        Option("--out", help="The folder of runs, tables and page.", rich_help_panel="Output"),
    ] = Path("runs/susceptibility"),
    keeping: Keeping,
    printing: Printing,
    loading: Loading,
) -> int:
    """Estimate the susceptibility χ of each component to each token of the probes.

    One run a component, in the folder --out: finished ones are used again and an interrupted one
    goes on, with the same command.

    [bold]germ susceptibility bundled --data bundled:all --probe code=bundled:code_python/heldout
    --probe text=bundled:literature/heldout --components layers.1.head.*[/bold]
    """
    from germ import hub, responses

    screen = Screen(json=printing.json)
    names = named("--probe", probe)
    targets = hub.expand(models)
    settings = {"nbeta": nbeta, "localization": localization}
    settings |= {"centring": centring.value, "method": method.value}
    settings |= sampling.settings() | keeping.settings() | {"sampler": sampling.make()}
    chosen = ",".join(components or ["heads"])
    found: dict[int | str, Susceptibility] = {}
    loaded = None
    with boundary.interruptible(out), screen.progress(None, len(targets)) as bars:
        for step, model in targets:
            loaded = loading.model(model)
            examples = loading.data(loaded, data)
            read = _read(loading, loaded, examples, names, probe_examples)
            folder = out / "runs" if len(targets) == 1 else out / "runs" / str(step)
            if len(targets) > 1:
                screen.say(f"{step}:", "bold")
            found[step] = _one(screen, bars, loaded, loading, examples, read, chosen, folder,
                               settings)  # fmt: skip
    whole = next(iter(found.values())) if len(found) == 1 else responses.across(found)
    store, table = whole.write(out)
    paths = {"zarr": str(store), "csv": str(table)}
    page = _page(whole, out, loaded)
    if page is not None:
        paths["page"] = str(page)
    screen.warn(whole.warnings)
    screen.say(", ".join(paths.values()), "dim")
    screen.emit({"command": "susceptibility", **whole.to_dict(), "files": paths})
    return 0


def _one(
    screen: Screen,
    bars: Bars,
    loaded: Loaded,
    loading: Loading,
    examples: Data,
    probes: dict[str, Data],
    components: str,
    folder: Path,
    settings: dict[str, Any],
) -> Susceptibility:
    """One model, with a line for each component as it comes."""
    import germ.responding
    from germ.sweeping import loss_of

    begun: list[str] = []
    rows: list[str] = []

    def progress(index: int, total: int, name: str, stage: str, done: int, of: int) -> None:
        if name and (not begun or begun[-1] != name):
            begun.append(name)
            bars.started(index, total, name)
        bars.stage(stage, done, of)

    def told(name: str, run: xr.Dataset) -> None:
        if not rows:
            screen.say(f"{'χ':24}" + "".join(f"{probe[-22:]:>24}" for probe in probes), "bold")
        pairs = zip(run["response_chi_probe"].values, run["response_error_probe"].values,
                    strict=True)  # fmt: skip
        rows.append(name)
        cells = (f"{chi:.3g} ± {error:.2g}" for chi, error in pairs)
        screen.say(f"{name:24}" + "".join(f"{cell:>24}" for cell in cells))
        if settings["method"] == "auto" and run.attrs.get("method") != "gaussian":
            screen.say(f"{name}: by chains", "dim")

    return germ.responding.susceptibility(
        loaded.model, examples, probes=probes, components=components,
        loss=loss_of(loaded, loading.loss), folder=folder, name=loaded.name,
        progress=progress, told=told, **settings,
    )  # fmt: skip


def _read(
    loading: Loading, loaded: Loaded, examples: Data, names: dict[str, str], num: int | None
) -> dict[str, Data]:
    """The data of each probe, read as the model's own are: with its tokenizer, cut to its context.

    Raises:
        GermError: There is no such data; the probe is named.
    """
    from germ.errors import GermError

    context = getattr(examples, "context", None)
    if num is None and context is not None:
        num = -(-PROBE_TOKENS // (context - 1))
    like = replace(loading, max_examples=num, context=context)
    found: dict[str, Data] = {}
    for name, spec in names.items():
        try:
            found[name] = like.data(loaded, spec)
        except GermError as error:
            raise GermError(f"probe {name!r}: {error}") from error
    return found


def _page(found: Susceptibility, out: Path, loaded: Loaded | None) -> Path | None:
    """The page to look at, for a language model whose tokens can be read."""
    from germ.report import susceptibility_page, token_text

    tokenizer = None if loaded is None else loaded.tokenizer
    if tokenizer is None or "tokens" not in found.data:
        return None
    return susceptibility_page.write(found.data, out, token_text.decoder(tokenizer))
