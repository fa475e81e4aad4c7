"""`germ experiment language-model`: the development of a two-layer attention-only language model.

Hoogland et al. (arXiv 2402.02364) follow λ̂ through the training of such a model and find stages in
which bigrams, n-grams, previous-token heads and induction heads form; Wang et al. (arXiv
2410.02984) refine λ̂ to heads and to kinds of data, and find heads clustering by what they do. Here
the same is measured at the checkpoints of the model that comes with germ, which was trained on the
text that comes with it, or (`paper`) of models of the published size trained here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from scipy.cluster import hierarchy

from germ import GermError, LocalPosterior, gaussian_llc
from germ.components import expand
from germ.data import as_data
from germ.development import behaving, staging
from germ.development.attention_scores import PREVIOUS
from germ.excess import Excess
from germ.experiments.catalogue import Progress
from germ.experiments.kept import kept
from germ.experiments.language_page import page
from germ.experiments.machine import device
from germ.experiments.side_by_side import Report, run_all
from germ.experiments.sweep_in_parts import sweep_in_parts
from germ.report.page import Page
from germ.zoo import attention_only, bundled
from germ.zoo import train as training
from germ.zoo.attention_only import AttentionOnly, AttentionOnlyConfig
from germ.zoo.train import TrainSettings

NAME = "language-model"
SUMMARY = "a two-layer language model through training: stages, n-grams, heads, λ̂ and refined λ̂"

CODE = "code_python"
"""The corpus that λ̂ is refined to."""

MEASURES = ("loss", "bigrams", "trigrams", "4-grams", "in-context", "repetition", "heads")


@dataclass(frozen=True)
class Training:
    """Models that are trained here; without it, the bundled one is looked at.

    Attributes:
        config: Sizes.
        settings: Of the optimizer; the seed is each model's own.
        num_seeds: Models.
    """

    config: AttentionOnlyConfig
    settings: TrainSettings
    num_seeds: int


@dataclass(frozen=True)
class Settings:
    """What to run.

    Attributes:
        steps: Checkpoints; None is all.
        contexts: Rows that λ̂ of the whole model is measured on.
        chains: Chains.
        draws: Draws a chain.
        rows: Rows that behaviour is measured on.
        head_contexts: Rows that λ̂ of heads is measured on, of all text and of code.
        head_draws: Weighted draws of a head.
        training: What is trained; None is the bundled model.
    """

    steps: tuple[int, ...] | None
    contexts: int
    chains: int
    draws: int
    rows: int
    head_contexts: int
    head_draws: int
    training: Training | None = field(default=None)


PRESETS = {
    "quick": Settings((0, 12, 43, 110, 383, 717, 3430, 12_000), 8, 2, 12, 8, 32, 8),
    "small": Settings(None, 256, 4, 60, 64, 48, 8),
    "paper": Settings(
        None, 4096, 4, 200, 512, 4096, 64,
        Training(
            AttentionOnlyConfig(1024, 1024, d_model=256, d_head=32, bias=True),
            TrainSettings(
                num_steps=50_000, batch_size=100, lr=1e-3, weight_decay=0.05, beta2=0.999,
                num_checkpoints=64,
            ),
            3,
        ),
    ),
}  # fmt: skip
"""`paper`: the published sizes and optimizer, on the text that comes with germ (the published text
does not, nor does its tokenizer)."""

COST = {
    "quick": "6 minutes of CPU time, 0.9 GiB (on a shared machine)",
    "small": "about 40 minutes, 2.5 GiB on 2 CPU cores (run in pieces)",
    "paper": "about 2 days, 40 GiB on one GPU (estimated, never run): 3 × 50,000 steps",
}


def run(settings: Settings, out: Path, *, seed: int, progress: Progress) -> Page:
    """Measure λ̂, behaviour and the heads of every checkpoint, and put them together.

    Args:
        settings: A preset.
        out: Runs and results are kept here, and gone on with.
        seed: Of chains, draws and first weights.
        progress: Told (stage, done, total).

    Raises:
        GermError: `out` holds results of other settings, or a model's chains fail.
    """
    out = Path(out)
    models = [_measured(settings, out, seed, number, progress) for number in _seeds(settings)]
    data = {
        "seed": seed,
        "settings": asdict(settings),
        "models": models,
        "stages": stages(models),
        "heads": [heads(model["checkpoints"]) for model in models],
    }
    return page(data)


def _seeds(settings: Settings) -> range:
    return range(1 if settings.training is None else settings.training.num_seeds)


def _measured(
    settings: Settings, out: Path, seed: int, number: int, progress: Progress
) -> dict[str, Any]:
    """All of one training."""
    loaders, folder = _checkpoints(settings, out, seed, number, progress)
    context = 128 if settings.training is None else settings.training.config.context
    text = bundled.tokens("all", "train", context)
    table = sweep_in_parts(
        list(loaders.items()), text[: settings.contexts], folder / "sweep", progress,
        loss="causal_lm", chains=settings.chains, draws=settings.draws,
        batch_size=min(32, settings.contexts), seed=seed,
    )  # fmt: skip
    measured = [
        functools.partial(_checkpoint, settings, seed, folder, context, step, load)
        for step, load in loaders.items()
    ]
    run_all(measured, "behaviour, and λ̂ of heads", progress)
    rows = []
    for step, row, part in zip(loaders, table.rows, measured, strict=True):
        if row.estimate is None:
            raise GermError(f"expected λ̂ of step {step}; {row.status}")
        rows.append(
            {
                "step": step,
                "llc": row.estimate.value,
                "error": row.estimate.standard_error,
                "total": row.estimate.budget.total,
                "nbeta": row.estimate.nbeta,
                "loss": row.estimate.anchor_loss,
                "expected_loss": row.estimate.expected_loss,
                "warnings": list(row.estimate.warnings),
                **part(),
            }
        )
    return {"number": number, "checkpoints": rows, "warnings": list(table.warnings)}


def _checkpoint(
    settings: Settings,
    seed: int,
    folder: Path,
    context: int,
    step: int,
    load: Callable[[], AttentionOnly],
    report: Report = lambda *_: None,
) -> dict[str, Any]:
    """What a checkpoint does, and λ̂ of its heads; kept."""
    behaviour = kept(
        folder / "behaviour" / f"step{step:06d}.json",
        {"step": step, "rows": settings.rows, "measures": MEASURES},
        functools.partial(_behaviour, step, load, context, settings.rows),
    )
    report(1, 3)
    parts = {}
    for number, (name, domain) in enumerate((("all", "all"), ("code", CODE)), start=2):
        tokens = bundled.tokens(domain, "train", context)[: settings.head_contexts]
        parts[name] = kept(
            folder / f"heads-{name}" / f"step{step:06d}.json",
            {"step": step, "contexts": len(tokens), "draws": settings.head_draws, "seed": seed},
            functools.partial(_refined, load, tokens, settings.head_draws, seed),
        )
        report(number, 3)
    return {"behaviour": behaviour["scores"], "heads": parts}


def _checkpoints(
    settings: Settings, out: Path, seed: int, number: int, progress: Progress
) -> tuple[dict[int, Callable[[], AttentionOnly]], Path]:
    """How each checkpoint of a training is loaded, by step; and its folder."""
    if settings.training is None:
        steps = settings.steps or tuple(bundled.steps())
        loaders = {step: functools.partial(_placed, bundled.model, step) for step in steps}
        return loaders, out / "bundled"
    plan = settings.training
    folder = out / f"training-{number}"
    torch.manual_seed(1000 * seed + number)
    text, held = (
        {name: bundled.stream(name, split) for name in bundled.domains()}
        for split in ("train", "heldout")
    )
    options = TrainSettings(**{**asdict(plan.settings), "seed": 1000 * seed + number})
    training.fit(
        AttentionOnly(plan.config).to(device()), text, held, options, folder / "checkpoints",
        report=functools.partial(progress, f"training {number + 1}"),
    )  # fmt: skip
    found = {
        int(path.stem.removeprefix("step")): functools.partial(
            _placed, attention_only.load_checkpoint, path
        )
        for path in sorted((folder / "checkpoints").glob("step*.safetensors"))
    }
    return found, folder


def _placed(load: Callable[[Any], AttentionOnly], which: int | Path) -> AttentionOnly:
    return load(which).to(device())


def _behaviour(
    step: int, load: Callable[[], AttentionOnly], context: int, num_rows: int
) -> dict[str, Any]:
    """Scores of a checkpoint on text that it was not trained on; n-grams counted in what it was."""
    held, text = (bundled.tokens("all", split, context) for split in ("heldout", "train"))
    table = behaving.behaviour(
        [(step, str(step), load)], as_data(held), MEASURES, counted=as_data(text),
        num_examples=num_rows,
    )  # fmt: skip
    if table.failures:
        raise GermError(f"expected the behaviour of step {step}; {table.failures[0]}")
    return {"scores": [row.score.to_dict() for row in table.rows]}


def _refined(
    load: Callable[[], AttentionOnly], tokens: torch.Tensor, draws: int, seed: int
) -> dict[str, Any]:
    """λ̂ of every head by weighted draws; None where the Gaussian is not near."""
    model = load()
    found: dict[str, Any] = {}
    excess = None
    for name, restriction in expand(model, "heads").items():
        posterior = LocalPosterior.from_model(model, {"input_ids": tokens}, restrict=restriction)
        excess = Excess(posterior, like=excess)
        try:
            one = gaussian_llc(posterior, draws=draws, seed=seed, excess=excess)
            found[name] = {"llc": one.value, "error": one.standard_error, "share": one.share}
        except GermError as error:
            found[name] = {"llc": None, "error": None, "reason": str(error)}
    return found


def stages(models: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The stages of the trainings, and how far λ̂ restates the loss; JSON-able.

    Args:
        models: From `run`.
    """
    steps = [row["step"] for row in models[0]["checkpoints"]]
    columns = {
        name: np.array([[row[name] for row in model["checkpoints"]] for model in models])
        for name in ("llc", "loss", "total")
    }
    several = len(models) > 1
    llc, loss, errors = (
        columns[name] if several else columns[name][0] for name in ("llc", "loss", "total")
    )
    found = staging.stages(
        steps, llc, loss, errors=errors, nbeta=models[0]["checkpoints"][0]["nbeta"],
        untrained_loss=float(columns["loss"][:, 0].mean()) if steps[0] == 0 else None,
    )  # fmt: skip
    return found.to_dict()


def heads(checkpoints: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the heads' λ̂ go with, and how they cluster; JSON-able.

    Args:
        checkpoints: Of one training, from `run`.

    Returns:
        `names`; `order` of a dendrogram (average linkage of trajectories of λ̂, each centred and
        scaled) with `linkage`; `layers_apart`: by how much heads of a layer are nearer to each
        other than to those of another, in mean distance, with the p-value over all relabellings
        tried; `previous`: by layer and step, the rank correlation of λ̂ and attention to the
        previous token at the end; `code`: by head, λ̂ on code less λ̂ on all text at the end, with
        its error.
    """
    last = checkpoints[-1]
    names = list(last["heads"]["all"])
    table = np.array(
        [[_number(row["heads"]["all"][name]["llc"]) for row in checkpoints] for name in names]
    )
    good: np.ndarray = np.isfinite(table).min(axis=0)
    known = table[:, good]
    scaled = (known - known.mean(0)) / np.maximum(known.std(0), 1e-12)
    linkage = hierarchy.linkage(scaled, "average")
    layers = np.array([name.split(".head")[0] for name in names])
    previous = {
        score["component"]: score["value"]
        for score in last["behaviour"]
        if score["measure"] == PREVIOUS
    }
    ranks: dict[str, dict[str, Any]] = {}
    for layer in sorted(set(layers)):
        mine = [name for name in names if name.startswith(f"{layer}.")]
        for place, row in enumerate(checkpoints):
            if good[place] and len(mine) > 2:
                rank: Any = stats.spearmanr(
                    [previous[name] for name in mine],
                    [row["heads"]["all"][name]["llc"] for name in mine],
                )
                one = [float(rank.statistic), float(rank.pvalue)]
                ranks.setdefault(layer, {})[str(row["step"])] = one
    code = {}
    for name in names:
        a, b = last["heads"]["code"][name], last["heads"]["all"][name]
        if a["llc"] is not None and b["llc"] is not None:
            code[name] = [a["llc"] - b["llc"], float(np.hypot(a["error"], b["error"]))]
    return {
        "names": names,
        "order": [names[i] for i in hierarchy.leaves_list(linkage)],
        "linkage": linkage.tolist(),
        "layers_apart": _apart(scaled, layers),
        "previous": ranks,
        "code": code,
    }


def _apart(points: np.ndarray, labels: np.ndarray, num: int = 2000) -> dict[str, float]:
    """Mean distance between groups less that within, and how often chance has as much."""
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    upper = np.triu_indices(len(points), 1)

    def gap(groups: np.ndarray) -> float:
        same = np.subtract.outer(groups, groups)[upper] == 0
        between = distances[upper]
        return float(between[~same].mean() - between[same].mean())

    source = np.random.default_rng(2410)
    groups = np.unique(labels, return_inverse=True)[1]
    value = gap(groups)
    chance = [gap(source.permutation(groups)) for _ in range(num)]
    return {"gap": value, "p": float((1 + sum(c >= value for c in chance)) / (1 + num))}


def _number(value: float | None) -> float:
    return np.nan if value is None else value
