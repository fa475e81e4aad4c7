"""`germ experiment saddle-to-saddle`: λ̂ on the plateaus of a deep linear network's training.

From small weights a deep linear network learns one mode after another; between, it stays near
networks of rank 0, 1, 2, …, which are saddles of the loss and no minima. Lau et al. (arXiv
2308.12108) measure λ̂ along such a path and find it rising in steps as the loss falls. Here each
plateau is measured in three ways, beside the exact λ of its rank:

- *as a function*: with the network's own outputs as targets. Then the plateau is a minimum, and λ
  is that of rank r (Aoyagi), up to localization and what is left of the small weights.
- *as a saddle*: with the teacher's outputs, as in the paper, at γ = 1 and at a large γ.
- *as published*: 100 steps of SGLD with ε = 10⁻⁶, on the teacher's outputs.
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

import germ
from germ import LocalPosterior, Status
from germ.exact import deep_linear
from germ.experiments import saddle_training as training
from germ.experiments.catalogue import Progress
from germ.experiments.kept import kept
from germ.experiments.saddle_page import page
from germ.report.page import Page
from germ.samplers import SGLD

NAME = "saddle-to-saddle"
SUMMARY = "a deep linear network learns mode by mode: λ̂ on each plateau beside the exact λ"

NUM_EXAMPLES = 10_000
"""n of the paper: nβ = n/log n."""

STAND_IN = 1200
"""Inputs of covariance 1 that the saddle is sampled with: L depends on their covariance alone. More
than nβ, fewer than n."""

PUBLISHED_STEP, PUBLISHED_STEPS, PUBLISHED_BATCH = 1e-6, 100, 128


@dataclass(frozen=True)
class Settings:
    """What to run.

    Attributes:
        plan: The training.
        num_seeds: Networks.
        draws: Draws of a chain on the function.
        saddle_draws: Draws of a chain on the saddle.
        held: The large γ.
        warmup: Steps before the draws on the function; None leaves it to germ.
    """

    plan: training.Plan
    num_seeds: int
    draws: int
    saddle_draws: int
    held: float = 1000.0
    warmup: int | None = None


PRESETS = {
    "quick": Settings(training.Plan((3, 3, 3, 3), (4.0, 2.0), 0.02, 0.01, 4000), 2, 100, 50),
    "small": Settings(
        training.Plan((5, 5, 5, 5), (6.0, 4.0, 2.5, 1.5), 0.015, 0.01, 10_000), 4, 600, 150
    ),
    "paper": Settings(
        training.Plan(
            (5, 10, 10, 10, 10, 5), (50.0, 40.0, 30.0, 20.0, 10.0), 10**-0.75, 1e-4, 200_000, 100
        ),
        8,
        2000,
        400,
    ),
}
"""`paper`: the published teacher 10·diag(1 … 5), depth, rate and spread w^(−3/4), for w = 10."""

COST = {
    "quick": "1 minute, 0.5 GiB on 2 CPU cores (estimated)",
    "small": "10 minutes, 1 GiB on 2 CPU cores (estimated)",
    "paper": "about 6 hours, 2 GiB on 2 CPU cores (estimated)",
}


def run(settings: Settings, out: Path, *, seed: int, progress: Progress) -> Page:
    """Train, find the plateaus, measure.

    Args:
        settings: A preset.
        out: Each network's result is kept in `out/runs`, and taken from there.
        seed: The first network's; the others count on from it.
        progress: Told (stage, done, total).

    Raises:
        GermError: `out/runs` holds results of other settings, or cannot be written.
    """
    seeds = list(range(seed, seed + settings.num_seeds))
    paths = {each: _path(Path(out), each) for each in seeds}
    missing = [each for each in seeds if not paths[each].exists()]
    progress("training", 0, 1)
    trained = {}
    if missing:
        trained = dict(zip(missing, training.train(settings.plan, missing), strict=True))
    rows = []
    for number, each in enumerate(seeds):
        progress("networks", number, len(seeds))
        wanted = {**asdict(settings), "num_seeds": None, "seed": each}
        rows.append(
            kept(
                paths[each], wanted,
                functools.partial(_measured, trained, settings, each, progress),
            )
        )  # fmt: skip
    progress("networks", len(seeds), len(seeds))
    return page(rows, asdict(settings), seed)


def _measured(
    trained: dict[int, training.Path], settings: Settings, seed: int, progress: Progress
) -> dict[str, Any]:
    return measure(trained[seed], settings, seed, progress)


def measure(
    path: training.Path, settings: Settings, seed: int, progress: Progress
) -> dict[str, Any]:
    """One network: its curve and its plateaus, each with its estimates; JSON-able.

    Args:
        path: Its training.
        settings: How much.
        seed: Of the chains.
        progress: Told (stage, done, total).
    """
    plan = settings.plan
    found = training.plateaus(path, plan.values)
    rows = []
    for number, plateau in enumerate(found):
        progress(f"plateaus of network {seed}", number, len(found))
        known = deep_linear(plan.widths, plateau.rank)
        rows.append(
            {
                **asdict(plateau),
                "known": known.to_dict(),
                "expected": known.expected(nbeta()),
                "function": _function(path, plateau, settings, seed),
                "saddle": _saddle(path, plateau, settings, 1.0, seed),
                "held": _saddle(path, plateau, settings, settings.held, seed),
                "published": _published(path, plateau, plan, seed),
            }
        )
    kept = slice(None, None, max(1, len(path.steps) // 400))
    curve = {"step": path.steps[kept].tolist(), "loss": path.loss[kept].tolist()}
    return {"seed": seed, "curve": curve, "plateaus": rows}


def nbeta() -> float:
    """n/log n."""
    return NUM_EXAMPLES / math.log(NUM_EXAMPLES)


def inputs(width: int, num: int) -> Tensor:
    """Inputs (num, width) whose second moment is exactly the identity."""
    source = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(num, width, generator=source, dtype=torch.float64))[0]
    return (num**0.5 * basis).float()


def _function(
    path: training.Path, plateau: training.Plateau, settings: Settings, seed: int
) -> dict[str, Any]:
    """λ̂ with the network's own outputs as targets: there w* is a minimum, of loss 0."""
    model = training.network(path, plateau.record)
    x = inputs(settings.plan.widths[0], settings.plan.widths[0])
    with torch.no_grad():
        data = (x, model(x))
    posterior = LocalPosterior.from_model(model, data, loss="mse", nbeta=nbeta(), localization=1.0)
    samples = germ.sample(
        posterior, draws=settings.draws, warmup=settings.warmup, seed=seed, throw=False
    )
    return _estimate(samples)


def _saddle(
    path: training.Path,
    plateau: training.Plateau,
    settings: Settings,
    localization: float,
    seed: int,
) -> dict[str, Any]:
    """λ̂ of the loss itself, and the share of chains that left the plateau."""
    posterior = _on_teacher(path, plateau, settings.plan, localization)
    samples = germ.sample(
        posterior, draws=settings.saddle_draws, chains=8, batch_size=STAND_IN, seed=seed,
        throw=False,
    )  # fmt: skip
    found = _estimate(samples)
    last = samples["loss_difference"].values[:, -max(1, settings.saddle_draws // 4) :].mean(1)
    values = settings.plan.values
    if plateau.rank < len(values):
        drop = values[plateau.rank] ** 2 / settings.plan.widths[-1]
        # A chain that diverged has left, too.
        found["escaped"] = float(np.mean(~(last > -drop / 2)))
    else:
        found["escaped"] = None  # Of a minimum there is nowhere to go.
    return found


def _published(
    path: training.Path, plateau: training.Plateau, plan: training.Plan, seed: int
) -> dict[str, Any]:
    posterior = _on_teacher(path, plateau, plan, 1.0)
    samples = germ.sample(
        posterior, SGLD(PUBLISHED_STEP), chains=8, warmup=0, draws=PUBLISHED_STEPS,
        batch_size=PUBLISHED_BATCH, gradient="minibatch", seed=seed, throw=False,
    )  # fmt: skip
    return _estimate(samples)


def _on_teacher(
    path: training.Path, plateau: training.Plateau, plan: training.Plan, localization: float
) -> LocalPosterior:
    x = inputs(plan.widths[0], STAND_IN)
    return LocalPosterior.from_model(
        training.network(path, plateau.record), (x, x @ training.teacher(plan).T), loss="mse",
        nbeta=nbeta(), localization=localization,
    )  # fmt: skip


def _estimate(samples: Any) -> dict[str, Any]:
    statuses = list(samples.attrs["statuses"])
    found: dict[str, Any] = {"statuses": sorted(set(statuses)), "value": None, "warnings": []}
    if all(Status[name].ok for name in statuses):
        estimate = germ.llc(samples)
        low, high = estimate.interval
        found |= {
            "value": estimate.value,
            "error": estimate.standard_error,
            "total": estimate.budget.total,
            "low": low,
            "high": high,
            "virial": estimate.virial,
            "warnings": list(estimate.warnings),
        }
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in found.items()
    }


def _path(out: Path, seed: int) -> Path:
    return out / "runs" / f"network-{seed:03d}.json"
