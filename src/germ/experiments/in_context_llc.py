"""λ̂ of the transformers of in-context regression."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import germ
from germ import LocalPosterior, Status, calibrate, reuse
from germ.development import regression_predictors
from germ.experiments.in_context_training import NOISE_VARIANCE, Plan
from germ.zoo.in_context import InContextRegressor, tokens_of

NBETA, LOCALIZATION = 200 / 3, 40 / 3
"""As published: 66.7 and 13.3 (Hoogland et al., arXiv 2402.02364)."""


@dataclass(frozen=True)
class Effort:
    """What λ̂ is measured with.

    Attributes:
        examples: n, sequences.
        batch: Sequences a gradient.
        chains: Chains.
        draws: Draws a chain.
        warmup: Steps before them.
        nbeta: nβ.
        localization: γ.
    """

    examples: int
    batch: int
    chains: int
    draws: int
    warmup: int
    nbeta: float = NBETA
    localization: float = LOCALIZATION


def sequences(
    plan: Plan, num: int, seed: int, tasks: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Fixed sequences, as a model reads them, and what it is to say; float32.

    Args:
        plan: The sizes.
        num: Sequences.
        seed: Of the drawing.
        tasks: (M, D), the tasks they are of; None for new ones.
    """
    config = plan.config
    x, y = regression_predictors.sequences(
        num, config.length, NOISE_VARIANCE, dim=config.dim, tasks=tasks, seed=seed
    )
    return tokens_of(x.float(), y.float()), y.float()


def estimate(
    model: InContextRegressor, data: tuple[Tensor, Tensor], effort: Effort, calibration: Path
) -> dict[str, Any]:
    """λ̂ of a checkpoint, JSON-able.

    Args:
        model: The checkpoint.
        data: From `sequences`.
        effort: How much.
        calibration: A file: the calibration of one training, made at its first call and tested at
            each later w*, where it is made anew if it does not hold.
    """
    posterior = LocalPosterior.from_model(
        model, data, loss="mse", nbeta=effort.nbeta, localization=effort.localization
    )
    if not calibration.exists():
        found = calibrate.calibrate(posterior, batch_size=effort.batch, seed=0)
        reuse.Kept.of(posterior, found).save(calibration)
    samples = germ.sample(
        posterior, reuse.Reused(reuse.Kept.load(calibration)), chains=effort.chains,
        draws=effort.draws, warmup=effort.warmup, batch_size=effort.batch, seed=0,
        throw=False,
    )  # fmt: skip
    if not all(Status[name].ok for name in samples.attrs["statuses"]):
        loss = float((outputs_of(model, data[0]) - data[1]).square().mean())
        return {"value": None, "loss": loss, "warnings": ["chains failed"]}
    answer = germ.llc(samples)
    return {
        "value": answer.value,
        "error": answer.standard_error,
        "total": answer.budget.total,
        "loss": answer.anchor_loss,
        "expected_loss": answer.expected_loss,
        "warnings": list(answer.warnings),
    }


@torch.no_grad()
def outputs_of(model: InContextRegressor, inputs: Tensor) -> Tensor:
    """Predictions of many sequences, float64, on the CPU."""
    place = model.position.device
    return torch.cat([model(part.to(place)).cpu() for part in inputs.split(512)]).double()
