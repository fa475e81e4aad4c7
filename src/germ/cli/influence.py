"""`germ influence`: which training examples move a model's loss on which queries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from germ.cli import boundary
from germ.cli.grouping import grouped
from germ.cli.llc import MODEL_FORMS
from germ.cli.named_data import named
from germ.cli.options import DATA_FORMS, Keeping, Loading, Posterior, Printing, Sampling
from germ.cli.screen import Screen

if TYPE_CHECKING:
    from germ.hub import Loaded
    from germ.influence_result import Decode, Influence

SHOWN = 5
"""Examples of each sign that are printed for a query; the table on disk has more."""


@grouped
def influence(
    *,
    model: Annotated[str, Argument(metavar="MODEL", help=MODEL_FORMS, show_default=False)],
    data: Annotated[
        str | None,
        Option("--data", help=f"Training data. {DATA_FORMS}.", rich_help_panel="Data"),
    ] = None,
    query: Annotated[
        list[str] | None,
        Option(
            "--query",
            help="NAME=DATA whose loss is observed; several may be given. By default the training "
            "examples themselves.",
            rich_help_panel="Data",
        ),
    ] = None,
    train_examples: Annotated[
        int | None,
        Option(
            "--train-examples",
            help="Watch so many training examples, spread evenly; by default all.",
            rich_help_panel="Data",
        ),
    ] = None,
    query_examples: Annotated[
        int,
        Option("--query-examples", help="The first so many of each query.", rich_help_panel="Data"),
    ] = 32,
    components: Annotated[
        list[str] | None,
        Option(
            "--components",
            help="One matrix for each: heads, layers.1.head.6, mlp, ... (see germ components).",
            rich_help_panel="Posterior",
        ),
    ] = None,
    per_token: Annotated[
        bool,
        Option("--per-token", help="Between tokens in place of examples.", rich_help_panel="Data"),
    ] = False,
    posterior: Posterior,
    sampling: Sampling,
    out: Annotated[
        Path,
        Option("--out", help="The folder of runs and tables.", rich_help_panel="Output"),
    ] = Path("runs/influence"),
    keeping: Keeping,
    printing: Printing,
    loading: Loading,
) -> int:
    """Bayesian influence of training examples on queries: covariances of losses over draws.

    A positive correlation: more weight on the example lowers the query's loss. The table on disk
    has the most influential examples of every query; influence.zarr has all pairs.

    [bold]germ influence bundled --data bundled:all --query code=bundled:code_python[/bold]
    """
    from germ.influencing import influence as measure
    from germ.sweeping import loss_of

    screen = Screen(json=printing.json)
    loaded = loading.model(model)
    loss = loss_of(loaded, loading.loss)
    examples = loading.data(loaded, data)
    queries = _queries(query, replace(loading, max_examples=query_examples), loaded)
    settings = {**sampling.settings(), **keeping.settings(), **_defaults(sampling)}
    for name in ("precision", "max_draws"):
        settings.pop(name)
    given = posterior.settings()
    if components:
        given.pop("restrict")
        if posterior.restrict:
            from germ.errors import GermError

            raise GermError("expected --components or --restrict; got both: leave one out")
    with boundary.interruptible(out), screen.progress(None) as bars:
        found = measure(
            loaded.model, examples, query=queries, loss=loss, components=components,
            train=_spread(train_examples, examples.num_examples), per_token=per_token,
            sampler=sampling.make(), folder=out, name=model, drop_failed=keeping.drop_failed,
            progress=bars.stage, **given, **settings,
        )  # fmt: skip
    decode = decoder(loaded)
    paths = found.write(out, decode=decode)
    shown = _show(screen, found, decode)
    screen.warn(found.warnings)
    screen.say(", ".join(map(str, paths.values())), "dim")
    screen.emit(
        {
            "command": "influence", "model": model, "settings": dict(found.data.attrs),
            "ess": dict(zip(found.data.component.values.tolist(), found.data.ess.values.tolist(),
                            strict=True)),
            "warnings": list(found.warnings), "most": shown,
            "files": {name: str(path) for name, path in paths.items()},
        }
    )  # fmt: skip
    return 0


def decoder(loaded: Loaded) -> Decode | None:
    """Token ids to text, where the model came with a tokenizer."""
    from germ.report import token_text

    return None if loaded.tokenizer is None else token_text.decoder(loaded.tokenizer)


def _defaults(sampling: Sampling) -> dict[str, Any]:
    """Chains, draws and thin as the library has them where nothing was asked for."""
    from germ.influencing import CHAINS, DRAWS

    return {
        "chains": sampling.chains or CHAINS,
        "draws": sampling.draws or DRAWS,
        # A thin of 1 is what the option is without being given.
        "thin": None if sampling.thin == 1 else sampling.thin,
    }


def _queries(given: list[str] | None, loading: Loading, loaded: Loaded) -> dict[str, Any] | None:
    if not given:
        return None
    return {name: loading.data(loaded, spec) for name, spec in named("--query", given).items()}


def _spread(num: int | None, num_examples: int) -> list[int] | None:
    from germ.errors import GermError

    if num is None or num >= num_examples:
        return None
    if num < 1:
        raise GermError(f"expected --train-examples of at least 1; got {num}")
    return [i * num_examples // num for i in range(num)]


def _show(screen: Screen, found: Influence, decode: Decode | None) -> list[dict[str, Any]]:
    """The most influential examples of each query set, for each component."""
    rows = []
    for component in found.data["component"].values.tolist():
        for name in found.data["query_set"].values.tolist():
            screen.say(f"{component} on {name}:", "bold")
            screen.say("  example      corr ± error        cov   loss  text")
            for negative in (False, True):
                most = found.most(name, component=component, num=SHOWN, negative=negative)
                for row in most:
                    text = "" if decode is None else found.text(row["row"], decode)
                    at = f"{row['example']}"
                    if found.data.attrs["per_token"]:
                        at += f":{row['position']}"
                    screen.say(
                        f"  {at:>7}  {row['correlation']:>+8.3f} ± {row['correlation_error']:.3f}  "
                        f"{row['covariance']:>+9.2e}  {row['loss']:>5.2f}  {text[:70]}"
                    )
                    rows.append({"component": component, "query": name, **row, "text": text})
    return rows
