"""`germ experiment transient-ridge`: which predictor a transformer ends at, by task diversity.

Transformers trained on in-context regression with M tasks may come to the predictor that knows
those tasks (dMMSE) or to the one that knows their distribution (ridge). Carroll et al.
(arXiv 2501.17745) find that between, models approach ridge first and then leave it: the simpler
solution is preferred until the data speak for the better one. Here transformers are trained at
several M on tasks that are the first M of one list, and their distance to both predictors, their
loss on new tasks, their joint path through the space of outputs and λ̂ of the final models are
measured.
"""

from __future__ import annotations

import functools
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from germ.development import essential_dynamics, regression_predictors
from germ.experiments import in_context_training as training
from germ.experiments.catalogue import Progress
from germ.experiments.in_context_llc import Effort, estimate, outputs_of, sequences
from germ.experiments.in_context_training import NOISE_VARIANCE, Plan
from germ.experiments.kept import kept
from germ.experiments.side_by_side import Report, run_all
from germ.experiments.transient_page import page
from germ.report.page import Page
from germ.zoo import in_context
from germ.zoo.in_context import InContextConfig, tokens_of

NAME = "transient-ridge"
SUMMARY = "task diversity from 1 to ∞: models that end at dMMSE, at ridge, or pass ridge and leave"

DATA_SEED, PROBE_SEED, JOINT_SEED = 201, 202, 203
"""Of the sequences of λ̂, of those of new tasks, and of those that the joint path is over."""

NBETA = LOCALIZATION = 1000.0
"""Of λ̂. At the values that are published for the other transformers of in-context regression, 66.7
and 13.3, chains leave all that was learned. 1,000 is the first power of ten at which weights moved
by N(0, 1/γ) cost less than a tenth of it."""

SUPPORT = 3.0
"""Standard errors by which the loss on new tasks must rise again for ridge to be transient."""


@dataclass(frozen=True)
class Settings:
    """What to run.

    Attributes:
        plan: The training.
        diversities: M of the models; None is ∞.
        probes: Sequences that models and predictors are compared on.
        joint: Sequences that the joint path is over.
        effort: What λ̂ is measured with.
    """

    plan: Plan
    diversities: tuple[int | None, ...]
    probes: int
    joint: int
    effort: Effort


PRESETS = {
    "quick": Settings(
        Plan(InContextConfig(dim=2, length=4, d_model=16, d_mlp=16), 300, 64, 3e-3, 8, 8),
        (1, 8, None), 128, 32, Effort(128, 128, 2, 20, 10, NBETA, LOCALIZATION),
    ),
    "small": Settings(
        Plan(InContextConfig(), 25_000, 64, 3e-3, 24, 25), (1, 4, 8, 16, 64, None), 2048, 256,
        Effort(2**14, 512, 4, 80, 80, NBETA, LOCALIZATION),
    ),
    "paper": Settings(
        Plan(in_context.PRESETS["transient"], 150_000, 1024, 1e-3, 50, 100),
        (*sorted({round(2 ** (k / 2)) for k in range(31)}), None), 8192, 512,
        Effort(2**17, 1024, 10, 500, 500, NBETA, LOCALIZATION),
    ),
}  # fmt: skip
"""`paper`: the published sizes; its learning rate could not be read."""

COST = {
    "quick": "half a minute, 0.5 GiB on 2 CPU cores",
    "small": "41 minutes, 2 GiB on 2 CPU cores",
    "paper": "about 5 days, 16 GiB on one GPU (estimated, never run): 32 × 150,000 steps",
}


def run(settings: Settings, out: Path, *, seed: int, progress: Progress) -> Page:
    """Train at every M, compare with the predictors, measure λ̂ at the end.

    Args:
        settings: A preset.
        out: Trainings are kept in `out/tasks-M`, and gone on with.
        seed: Of the first weights and the batches, the same at every M.
        progress: Told (stage, done, total).

    Raises:
        GermError: `out` holds results of other settings, or cannot be written.
    """
    out, plan = Path(out), settings.plan
    folders = {m: out / f"tasks-{named(m, 'inf')}" for m in settings.diversities}
    run_all(
        [functools.partial(training.train, plan, seed, folder, m) for m, folder in folders.items()],
        "training", progress,
    )  # fmt: skip
    parts = [
        functools.partial(measured, settings, seed, folder, m) for m, folder in folders.items()
    ]
    run_all(parts, "λ̂ of the final models, distances", progress)
    progress("the joint path", 0, 1)
    data = {
        "seed": seed,
        "settings": asdict(settings),
        "steps": plan.checkpoints,
        "models": [part() for part in parts],
        "joint": joint(settings, folders),
    }
    return page(data)


def named(num_tasks: int | None, infinity: str = "∞") -> str:
    """M in words."""
    return infinity if num_tasks is None else str(num_tasks)


def measured(
    settings: Settings,
    seed: int,
    folder: Path,
    num_tasks: int | None,
    report: Report = lambda *_: None,
) -> dict[str, Any]:
    """λ̂ of the last checkpoint on the tasks it was trained on, and `distances` of all; kept.

    Args:
        settings: The plan, the effort and the probes.
        seed: The training's.
        folder: Of the training.
        num_tasks: M.
        report: Told (done, total).
    """
    about = {**asdict(settings.plan), "seed": seed, "num_tasks": num_tasks}
    llc = kept(
        folder / "llc.json",
        {**about, **asdict(settings.effort)},
        functools.partial(_estimated, settings, folder, num_tasks),
    )
    report(1, 2)
    found = kept(
        folder / "distances.json",
        {**about, "probes": settings.probes},
        functools.partial(distances, settings, folder, num_tasks),
    )
    report(2, 2)
    return {"num_tasks": num_tasks, "llc": llc, **found}


def _estimated(settings: Settings, folder: Path, num_tasks: int | None) -> dict[str, Any]:
    plan = settings.plan
    tasks = training.tasks_of(plan, num_tasks)
    data = sequences(plan, settings.effort.examples, DATA_SEED, tasks)
    model = training.model(plan, folder, plan.num_steps)
    return estimate(model, data, settings.effort, folder / "calibration.safetensors")


def distances(settings: Settings, folder: Path, num_tasks: int | None) -> dict[str, Any]:
    """How far the checkpoints are from both predictors, on new tasks and on their own; JSON-able.

    Mean squared distances over sequences and positions, as Carroll et al. have them.

    Args:
        settings: The plan and the probes.
        folder: Of the training.
        num_tasks: M.
    """
    plan = settings.plan
    config = plan.config
    tasks = training.tasks_of(plan, num_tasks)
    found: dict[str, Any] = {}
    for where, drawn_from in (("new", None), ("own", tasks)):
        x, y = regression_predictors.sequences(
            settings.probes, config.length, NOISE_VARIANCE, dim=config.dim, tasks=drawn_from,
            seed=PROBE_SEED,
        )  # fmt: skip
        inputs = tokens_of(x.float(), y.float())
        ideal = {"ridge": regression_predictors.ridge(x, y, NOISE_VARIANCE)}
        if tasks is not None:
            ideal["dmmse"] = regression_predictors.dmmse(x, y, tasks.double(), NOISE_VARIANCE)
        said = torch.stack(
            [outputs_of(model, inputs) for _, model in training.models(plan, folder)]
        )
        losses = (said - y).square().mean(2)  # (checkpoint, sequence)
        found[where] = {
            "loss": losses.mean(1).tolist(),
            **{name: (said - g).square().mean((1, 2)).tolist() for name, g in ideal.items()},
            "ideal_loss": {name: float((g - y).square().mean()) for name, g in ideal.items()},
        }
        if where == "new":
            found["new"]["zero_to_ridge"] = float(ideal["ridge"].square().mean())
            found["transience"] = transience(losses, plan.checkpoints)
    return found


def transience(losses: Tensor, steps: list[int]) -> dict[str, Any]:
    """By how much the loss on new tasks rises again after its least value.

    The step of the least is chosen on one half of the sequences, and the rise is measured on the
    other, so that choosing the least of many does not make a rise.

    Args:
        losses: (checkpoint, sequence).
        steps: Of the checkpoints.

    Returns:
        The step, the rise with its paired standard error over sequences, and whether it is above
        `SUPPORT` of them.
    """
    half = losses.shape[1] // 2
    place = int(losses[:, :half].mean(1).argmin())
    rise = losses[-1, half:] - losses[place, half:]
    value, error = float(rise.mean()), float(rise.std() / math.sqrt(len(rise)))
    risen = bool(place < len(steps) - 1 and value > SUPPORT * error)
    return {"step": steps[place], "rise": value, "error": error, "transient": risen}


def joint(settings: Settings, folders: dict[int | None, Path]) -> dict[str, Any]:
    """The path of all trainings together, on sequences of the task that all share; JSON-able.

    Args:
        settings: The plan, and how many sequences.
        folders: By M.
    """
    plan = settings.plan
    config = plan.config
    shared = training.tasks_of(plan, 1)
    x, y = regression_predictors.sequences(
        settings.joint, config.length, NOISE_VARIANCE, tasks=shared, seed=JOINT_SEED
    )
    inputs = tokens_of(x.float(), y.float())
    outputs = {
        named(m): np.stack(
            [
                outputs_of(model, inputs).flatten().numpy()
                for _, model in training.models(plan, folder)
            ]
        )
        for m, folder in folders.items()
    }
    found = essential_dynamics.essential_dynamics(outputs, 2)
    ideal = {"ridge": regression_predictors.ridge(x, y, NOISE_VARIANCE)}
    for m in folders:
        tasks = training.tasks_of(plan, m)
        if tasks is not None:
            ideal[f"dMMSE {m}"] = regression_predictors.dmmse(x, y, tasks.double(), NOISE_VARIANCE)
    return {
        "paths": {name: path.tolist() for name, path in found.paths.items()},
        "explained": found.explained.tolist(),
        "random_walk": found.random_walk.tolist(),
        "ideal": {
            name: found.project(g.flatten()[None].numpy())[0].tolist() for name, g in ideal.items()
        },
    }
