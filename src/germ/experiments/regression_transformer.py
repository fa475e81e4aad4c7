"""`germ experiment regression-transformer`: stages of a transformer that learns linear regression.

Hoogland et al. (arXiv 2402.02364) follow λ̂ and the loss of a small transformer as it learns to do
linear regression in context, and read five stages off them: it predicts zero (LR1), learns to use
its context (LR2), and then λ̂ falls twice while the loss hardly moves (LR3, LR4). Here several such
transformers are trained, λ̂ is measured at their checkpoints at the published nβ and γ, the stages
are looked for as `germ stages` looks for them, and it is checked whether λ̂ tells more than the
loss. What the models do is measured beside it: how far they are from predicting zero and from ridge
regression, the ideal predictor.
"""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from germ.development import essential_dynamics, regression_predictors, staging
from germ.experiments import in_context_training as training
from germ.experiments.catalogue import Progress
from germ.experiments.in_context_llc import NBETA, Effort, estimate, outputs_of, sequences
from germ.experiments.in_context_training import NOISE_VARIANCE, Plan
from germ.experiments.kept import kept
from germ.experiments.regression_page import page
from germ.experiments.side_by_side import Report, run_all
from germ.report.page import Page
from germ.zoo import in_context
from germ.zoo.in_context import InContextConfig, tokens_of

NAME = "regression-transformer"
SUMMARY = "stages of a transformer that learns linear regression in context: λ̂, loss, predictors"

DATA_SEED, PROBE_SEED = 101, 102
"""Of the sequences that λ̂ is measured on, and of those that outputs are compared on."""


@dataclass(frozen=True)
class Settings:
    """What to run.

    Attributes:
        plan: The training.
        num_seeds: Transformers.
        measured: Checkpoints that λ̂ is measured at, evenly spaced in log step and in step.
        probes: Sequences that outputs are compared on.
        effort: What λ̂ is measured with.
    """

    plan: Plan
    num_seeds: int
    measured: int
    probes: int
    effort: Effort


PRESETS = {
    "quick": Settings(
        Plan(InContextConfig(dim=2, length=4, d_model=16, d_mlp=16), 400, 64, 3e-3, 12, 8),
        2, 9, 64, Effort(128, 128, 2, 20, 10),
    ),
    "small": Settings(
        Plan(InContextConfig(), 40_000, 128, 3e-3, 40, 20), 3, 15, 512, Effort(2048, 512, 2, 60, 60)
    ),
    "paper": Settings(
        Plan(in_context.PRESETS["stages"], 500_000, 1024, 3e-3, 100, 200), 5, 300, 4096,
        Effort(2**20, 1024, 10, 500, 500),
    ),
}  # fmt: skip
"""`paper`: the published sizes; `small`: fewer steps of fewer sequences."""

COST = {
    "quick": "half a minute, 0.5 GiB on 2 CPU cores",
    "small": "80 minutes of CPU time, 2.2 GiB (on a shared machine; 2 idle cores: 45, estimated)",
    "paper": "about 2 days, 8 GiB on one GPU (estimated, never run): 5 × 500,000 steps",
}


def run(settings: Settings, out: Path, *, seed: int, progress: Progress) -> Page:
    """Train, measure, look for stages.

    Args:
        settings: A preset.
        out: Trainings are kept in `out/seed-NNN`, and each checkpoint's λ̂ there too.
        seed: The first training's; the others count on from it.
        progress: Told (stage, done, total).

    Raises:
        GermError: `out` holds results of other settings, or cannot be written.
    """
    out, plan = Path(out), settings.plan
    seeds = list(range(seed, seed + settings.num_seeds))
    folders = {each: out / f"seed-{each:03d}" for each in seeds}
    run_all(
        [functools.partial(training.train, plan, each, folders[each], None) for each in seeds],
        "training", progress,
    )  # fmt: skip
    parts = [functools.partial(measured, settings, each, folders[each]) for each in seeds]
    run_all(parts, "λ̂ of the checkpoints", progress)
    found, steps = [part() for part in parts], chosen(plan, settings.measured)
    progress("outputs", 0, 1)
    report = summary(seeds, steps, found)
    report["settings"] = asdict(settings)
    report["seed"] = seed
    report["behaviour"] = behaviour(settings, folders)
    return page(report)


def measured(
    settings: Settings, seed: int, folder: Path, report: Report = lambda *_: None
) -> list[dict[str, Any]]:
    """λ̂ of a training's checkpoints, in order of step; each is kept.

    Args:
        settings: The plan, which checkpoints, and the effort.
        seed: The training's.
        folder: Of the training.
        report: Told (done, total).
    """
    plan, rows = settings.plan, {}
    data = sequences(plan, settings.effort.examples, DATA_SEED)
    steps = chosen(plan, settings.measured)
    # From the last checkpoint on: where the curvature is largest the calibration is made.
    for done, step in enumerate(reversed(steps)):
        report(done, len(steps))
        about = {**asdict(plan), **asdict(settings.effort), "seed": seed, "step": step}
        rows[step] = kept(
            folder / "llc" / f"step{step:07d}.json",
            about,
            functools.partial(
                estimate, training.model(plan, folder, step), data, settings.effort,
                folder / "calibration.safetensors",
            ),
        )  # fmt: skip
    report(len(steps), len(steps))
    return [rows[step] for step in steps]


def chosen(plan: Plan, num: int) -> list[int]:
    """Checkpoints of a training that λ̂ is measured at: the first, the last, and spread between.

    Half of them evenly in log step from 10 on, where the curves turn, half evenly in step.
    """
    have = np.array(plan.checkpoints)
    if num >= len(have):
        return have.tolist()
    wanted = [0, *np.geomspace(10, plan.num_steps, num - num // 3), *np.linspace(
        plan.num_steps / (num // 3), plan.num_steps, num // 3)]  # fmt: skip
    return sorted({int(have[np.abs(have - step).argmin()]) for step in wanted})


def summary(seeds: list[int], steps: list[int], rows: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Stages, by the mean over seeds and of each seed, and the check for restatement; JSON-able.

    Args:
        seeds: Of the trainings.
        steps: Of the checkpoints.
        rows: By seed and checkpoint, from `estimate`.
    """
    nan = float("nan")
    llc = np.array([[nan if r["value"] is None else r["value"] for r in row] for row in rows])
    loss = np.array([[r["loss"] for r in row] for row in rows])
    errors = np.array([[r.get("total", nan) for r in row] for row in rows])
    untrained = float(loss[:, 0].mean())
    several = len(seeds) > 1
    found = staging.stages(
        steps, llc if several else llc[0], loss if several else loss[0],
        errors=errors if several else errors[0], nbeta=NBETA, untrained_loss=untrained,
    )  # fmt: skip
    return {
        "seeds": seeds,
        "steps": steps,
        "rows": rows,
        "untrained_loss": untrained,
        "stages": found.to_dict(),
        "stages_text": str(found),
    }


def behaviour(settings: Settings, folders: dict[int, Path]) -> dict[str, Any]:
    """What the models predict at every checkpoint: distances, losses by position, and their path.

    Distances are root mean squares over sequences and positions, on new tasks.

    Args:
        settings: For the plan and the probes.
        folders: Of the trainings, by seed.
    """
    plan = settings.plan
    config = plan.config
    x, y = regression_predictors.sequences(
        settings.probes, config.length, NOISE_VARIANCE, dim=config.dim, seed=PROBE_SEED
    )
    inputs = tokens_of(x.float(), y.float())
    ridge = regression_predictors.ridge(x, y, NOISE_VARIANCE)
    ideal = (ridge - y).square().mean(0)
    outputs, found = {}, []
    for seed, folder in folders.items():
        said = torch.stack(
            [outputs_of(model, inputs) for _, model in training.models(plan, folder)]
        )
        outputs[str(seed)] = said.flatten(1).numpy()
        losses = (said - y).square().mean(1)
        found.append(
            {
                "loss": losses.mean(1).tolist(),
                "to_zero": said.square().mean((1, 2)).sqrt().tolist(),
                "to_ridge": (said - ridge).square().mean((1, 2)).sqrt().tolist(),
                "by_position": losses.tolist(),
            }
        )
    paths = essential_dynamics.essential_dynamics(outputs, 2)
    marks = torch.stack([torch.zeros_like(ridge), ridge]).flatten(1).numpy()
    return {
        "steps": plan.checkpoints,
        "models": found,
        "ridge_loss": float(ideal.mean()),
        "ridge_by_position": ideal.tolist(),
        "zero_loss": float(y.square().mean()),
        "explained": paths.explained.tolist(),
        "random_walk": paths.random_walk.tolist(),
        "paths": [path.tolist() for path in paths.paths.values()],
        "ideal": paths.project(marks).tolist(),
    }
