"""What is judged: ways of sampling a posterior, each with its settings fixed for every case.

Rows of germ are germ itself. All but `auto` take the same 4 chains of 200 draws after 100 steps of
warmup and the same batches, so that they differ in the sampler alone; `auto` is germ as it comes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

import germ
from benchmarks.reference import hessians
from benchmarks.truth.case import Case
from germ import LocalPosterior, Status
from germ.data import as_data
from germ.samplers import HMC, SGLD, Diagonal, LeimkuhlerMatthews

CHAINS, DRAWS, WARMUP = 4, 200, 100
BATCH_SIZE = 500
SEQUENCE_BATCH_SIZE = 32
"""Of the transformer's sequences."""

FRACTION = 0.1
"""ε of samplers without a metric, times the largest curvature of U at w*; they diverge at 4."""

DIMENSIONLESS = 0.06
"""ε in a diagonal metric (the middle one of `benchmarks.lessons`)."""

HESSIAN_EXAMPLES = 2_000
"""Examples that curvature at w* is measured on."""

SHORT_TRAJECTORIES = 30
HMC_STEP_SIZE = 0.05


@dataclass(frozen=True)
class Outcome:
    """One run of an estimator.

    Attributes:
        value: λ̂; NaN where the run failed.
        error: What the estimator says its standard error is.
        warnings: What it says against its own number; a failure is one.
        failed: Whether there is no number.
        num_gradients: Gradients spent, of a batch each, set-up included.
        batch_size: Examples each gradient was over: large batches are not free.
        seconds: Processor time.
        half_width: Half the stated 90% interval; None where nothing but the error is stated.
        notes: Settings that were chosen on the way.
    """

    value: float
    error: float
    warnings: tuple[str, ...]
    failed: bool
    num_gradients: int
    batch_size: int
    seconds: float
    half_width: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """A case made ready: what all estimators share, computed once.

    Attributes:
        case: The case.
        quick: Whether runs are cut short, for a smoke test.
    """

    case: Case
    quick: bool = False

    @cached_property
    def posterior(self) -> LocalPosterior:
        """What is sampled."""
        return self.case.posterior()

    @cached_property
    def exact_posterior(self) -> LocalPosterior:
        """The same loss on as few examples as it takes."""
        return self.case.exact_posterior()

    @property
    def batch_size(self) -> int:
        """Of every estimator but `auto`."""
        num = self.posterior.data.num_examples
        if self.case.batch_size is not None:
            return self.case.batch_size
        if self.case.full_batch:
            return num
        tokens = self.posterior.loss is germ.losses.causal_lm
        return min(num, SEQUENCE_BATCH_SIZE if tokens else BATCH_SIZE)

    @cached_property
    def hessian(self) -> Tensor:
        """∇²L at w*, on up to 2,000 examples of those with the same loss."""
        posterior = self.exact_posterior
        num = min(posterior.data.num_examples, HESSIAN_EXAMPLES)
        few = LocalPosterior(
            posterior.model, as_data(posterior.batch(torch.arange(num))), posterior.loss,
            posterior.coordinates, posterior.anchor, posterior.nbeta, posterior.localization,
        )  # fmt: skip
        return hessians(few, few.anchor[None])[0]

    @cached_property
    def stiffest(self) -> float:
        """The largest curvature of U at w*."""
        largest = float(torch.linalg.eigvalsh(self.hessian)[-1])
        return self.posterior.nbeta * max(largest, 0.0) + self.posterior.localization

    @cached_property
    def metric(self) -> Diagonal:
        """1/(nβ·‖row of ∇²L‖ + γ) at w*: row norms, as the diagonal may be 0 or negative."""
        rows = self.hessian.norm(dim=1)
        return Diagonal((1 / (self.posterior.nbeta * rows + self.posterior.localization)).float())


def measured(setting: Setting, sampler: Any, **changes: Any) -> Outcome:
    """Sample with germ and read off what germ says."""
    options = {
        "chains": CHAINS,
        "draws": 40 if setting.quick else DRAWS,
        "warmup": 20 if setting.quick else WARMUP,
        "batch_size": setting.batch_size,
        **changes,
    }
    posterior = options.pop("posterior", setting.posterior)
    began = time.process_time()
    samples = germ.sample(posterior, sampler, throw=False, **options)
    statuses = samples.attrs["statuses"]
    spent: dict[str, Any] = {
        "num_gradients": int(samples.attrs["num_gradients"]),
        "batch_size": int(samples.attrs["batch_size"]),
    }
    notes: dict[str, Any] = {
        "sampler": samples.attrs["sampler"],
        "step_size": float(samples.attrs["step_size"]),
        "reasons": dict(samples.attrs["reasons"]),
    }
    bad = sorted({name for name in statuses if not Status[name].ok})
    if bad:
        seconds = time.process_time() - began
        return Outcome(math.nan, math.nan, tuple(bad), True, seconds=seconds, notes=notes, **spent)
    found = germ.llc(samples)
    seconds = time.process_time() - began
    notes |= {"virial": found.virial, "ess": found.ess, "rhat": found.rhat}
    if "temperature" in samples:
        notes["temperature"] = float(samples["temperature"].mean())
    notes |= {"budget": found.budget.to_dict(), "chains": len(found.chains)}
    notes["stopped"] = samples.attrs.get("stopped")
    return Outcome(
        found.value, found.standard_error, found.warnings, False,
        seconds=seconds, half_width=found.budget.half_width, notes=notes, **spent,
    )  # fmt: skip


def auto(setting: Setting, seed: int) -> Outcome:
    """`germ.sample(posterior)` and nothing else."""
    options: dict[str, Any] = dict.fromkeys(("chains", "draws", "warmup", "batch_size"))
    if setting.quick:
        options |= {"chains": CHAINS, "draws": 40}
    if setting.case.full_batch or setting.case.batch_size is not None:
        options["batch_size"] = setting.batch_size
    return measured(setting, "auto", seed=seed, **options)


def auto_short(setting: Setting, seed: int) -> Outcome:
    """Germ's choice of sampler, at the chains, draws and batches of the others."""
    return measured(setting, "auto", seed=seed)


def diagonal(setting: Setting, seed: int) -> Outcome:
    """Anchored Leimkuhler–Matthews in the diagonal metric of w*, ε = 0.06."""
    return measured(setting, LeimkuhlerMatthews(DIMENSIONLESS, setting.metric), seed=seed)


def sgld(setting: Setting, seed: int) -> Outcome:
    """SGLD on minibatches as they come, at a tenth of the stiffest direction's step."""
    step = FRACTION / setting.stiffest
    return measured(setting, SGLD(step), seed=seed, gradient="minibatch")


def sgld_anchored(setting: Setting, seed: int) -> Outcome:
    """The same with the anchor's gradient as a control variate."""
    return measured(setting, SGLD(FRACTION / setting.stiffest), seed=seed)


def hmc(setting: Setting, seed: int) -> Outcome:
    """Thirty full-batch trajectories of eight steps in the diagonal metric of w*."""
    posterior = setting.exact_posterior
    return measured(
        setting,
        HMC(HMC_STEP_SIZE, 8, setting.metric),
        seed=seed,
        posterior=posterior,
        draws=10 if setting.quick else SHORT_TRAJECTORIES,
        warmup=5 if setting.quick else SHORT_TRAJECTORIES // 2,
        batch_size=posterior.data.num_examples,
    )


Estimator = Callable[[Setting, int], Outcome]

GERM: dict[str, Estimator] = {
    "germ auto": auto,
    "germ auto, 200 draws": auto_short,
    "germ LM, diagonal metric": diagonal,
    "germ SGLD": sgld,
    "germ SGLD, anchored": sgld_anchored,
    "germ HMC, short": hmc,
}
"""Estimators by what the table calls them."""
