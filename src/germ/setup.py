"""What a run knows before its first step: the sampler chosen and the data seen once at w*.

It is saved with the run, so that one that was killed does not measure it again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from germ import calibrate, fingerprint, heat
from germ.errors import GermError
from germ.gradients import AnchorPass, anchor_pass
from germ.plan import Plan, auto_batch_size, max_batch_size
from germ.posterior import LocalPosterior
from germ.recipes import Recipe
from germ.samplers import BAOAB, GHMC, Diagonal, Kronecker, Rotation
from germ.types import MetropolisSampler, Sampler

Concrete = Sampler | MetropolisSampler
AnySampler = Concrete | Recipe

Progress = Callable[[str, int, int], None]
"""Told (stage, done, total); the stages are "anchor", "calibrate", "warmup" and "draws"."""


@dataclass(frozen=True)
class SetUp:
    """The sampler and its batch, the pass over the data at w*, what they cost, and why these."""

    sampler: Concrete
    batch_size: int
    anchor: AnchorPass
    num_gradients: int
    reasons: dict[str, str] = field(default_factory=dict)
    attempt: int = 1


MAX_ATTEMPTS = 3
"""Where a chain of a sampler that germ chose runs away, it starts again with a quarter of ε."""


def set_up(
    posterior: LocalPosterior, sampler: str | AnySampler, plan: Plan, progress: Progress
) -> SetUp:
    """See the data once at w*; choose a sampler, and its batch, where none was given."""
    full = plan.batch_size >= posterior.data.num_examples
    anchor = anchor_pass(
        posterior,
        plan.batch_size,
        # Where every gradient is of all the data, one more says whether w* is a minimum.
        with_grad=plan.gradient == "anchored" or full,
        # A run with tiny batches need not see the data in as tiny pieces.
        chunk_size=max(plan.batch_size, auto_batch_size(posterior)),
        on_batch=lambda done, total: progress("anchor", done, total),
    )
    if isinstance(sampler, Recipe):
        found = _resolved(sampler, posterior, plan)
        spent = anchor.num_gradients + found.num_gradients
        return SetUp(found.sampler, found.batch_size, anchor, spent, found.reasons)
    if not isinstance(sampler, str):
        return SetUp(sampler, plan.batch_size, anchor, anchor.num_gradients)
    chosen = calibrate.calibrate(
        posterior,
        batch_size=plan.batch_size,
        seed=plan.seed,
        max_batch_size=max_batch_size(posterior, plan.batch_size) if plan.auto_batch else None,
        anchor=anchor,
        anchored=plan.gradient == "anchored",
        num_steps=plan.num_steps,
        on_probe=lambda done, total: progress("calibrate", done, total),
    )
    spent = anchor.num_gradients + chosen.num_gradients
    if chosen.batch_size > plan.batch_size:  # Count in gradients of the batch that was chosen.
        spent = -(-spent * plan.batch_size // chosen.batch_size)
    return SetUp(chosen.sampler, chosen.batch_size, anchor, spent, chosen.reasons)


def _resolved(recipe: Recipe, posterior: LocalPosterior, plan: Plan) -> Any:
    anchored = plan.gradient == "anchored"
    return recipe.resolve(posterior, batch_size=plan.batch_size, seed=plan.seed, anchored=anchored)


def save_setup(setup: SetUp, *, auto: bool) -> dict[str, Any]:
    """Tensors and scalars that `restore_setup` takes back."""
    kept: dict[str, Any] = {
        "setup/example_losses": setup.anchor.example_losses,
        "setup/batch_size": setup.batch_size,
        "setup/num_gradients": setup.num_gradients,
        "setup/reasons": json.dumps(setup.reasons),
    }
    if setup.anchor.grad is not None:
        kept["setup/anchor_grad"] = setup.anchor.grad
    if auto:
        sampler = setup.sampler
        assert isinstance(sampler, BAOAB | GHMC)
        metric = sampler.preconditioner
        assert isinstance(metric, Diagonal | Kronecker)
        kept["setup/attempt"] = setup.attempt
        kept["setup/corrected"] = int(isinstance(sampler, GHMC))
        kept["setup/step_size"] = sampler.step_size
        kept["setup/friction"] = sampler.friction
        kept["setup/scale"] = metric.scale
        if isinstance(metric, Kronecker):
            kept["setup/shapes"] = json.dumps([rotation.shape for rotation in metric.rotations])
            for i, (_, left, right) in enumerate(metric.rotations):
                kept |= {f"setup/left{i}": left} if left is not None else {}
                kept |= {f"setup/right{i}": right} if right is not None else {}
        if isinstance(sampler, BAOAB) and sampler.cooling is not None:
            kept["setup/cooling"] = sampler.cooling
    return kept


def restore_setup(
    saved: Mapping[str, Any], sampler: str | AnySampler, posterior: LocalPosterior, plan: Plan
) -> SetUp:
    """The inverse of `save_setup`."""
    device = posterior.anchor.device
    grad = saved.get("setup/anchor_grad")
    anchor = AnchorPass(saved["setup/example_losses"], None if grad is None else grad.to(device), 0)
    concrete: Concrete
    if isinstance(sampler, str):
        metric = _restore_metric(saved, device)
        cooling = saved.get("setup/cooling")
        step_size, friction = float(saved["setup/step_size"]), float(saved["setup/friction"])
        if int(saved["setup/corrected"]):
            concrete = GHMC(step_size, metric, friction)
        else:
            cooling = None if cooling is None else cooling.to(device)
            concrete = BAOAB(step_size, metric, friction, cooling)
    elif isinstance(sampler, Recipe):
        concrete = _resolved(sampler, posterior, plan).sampler  # to the same bits
    else:
        concrete = sampler
    reasons = json.loads(saved["setup/reasons"])
    num = int(saved["setup/num_gradients"])
    attempt = int(saved.get("setup/attempt", 1))
    return SetUp(concrete, int(saved["setup/batch_size"]), anchor, num, reasons, attempt)


def _restore_metric(saved: Mapping[str, Any], device: torch.device) -> Diagonal | Kronecker:
    scale = saved["setup/scale"].to(device)
    if "setup/shapes" not in saved:
        return Diagonal(scale)
    rotations = []
    for i, shape in enumerate(json.loads(saved["setup/shapes"])):
        left, right = (saved.get(f"setup/{side}{i}") for side in ("left", "right"))
        sides = [None if side is None else side.to(device) for side in (left, right)]
        rotations.append(Rotation((shape[0], shape[1]), *sides))
    return Kronecker(rotations, scale)


def more_careful(setup: SetUp) -> SetUp:
    """The same set-up after a chain ran away: a quarter of the step."""
    sampler = setup.sampler
    assert isinstance(sampler, BAOAB | GHMC)
    changes: dict[str, Any] = {"step_size": sampler.step_size / 4}
    if isinstance(sampler, BAOAB) and sampler.cooling is not None:
        changes["cooling"] = sampler.cooling / 4
    reason = f"{sampler.step_size / 4:.3g}: a quarter, for a chain ran away from w* at the last"
    return replace(
        setup,
        sampler=replace(sampler, **changes),
        reasons={**setup.reasons, "step_size": reason},
        attempt=setup.attempt + 1,
    )


def gradient_heat(setup: SetUp, posterior: LocalPosterior) -> float:
    """What gradient noise would add to λ̂ if `BAOAB.cooling` did not take it out; 0 without any."""
    sampler = setup.sampler
    if not isinstance(sampler, BAOAB) or sampler.cooling is None:
        return 0.0
    noise = sampler.cooling / sampler.step_size
    return heat.response(
        sampler.step_size, sampler.friction, noise, sampler.preconditioner, posterior.localization
    )


def descent(setup: SetUp, posterior: LocalPosterior) -> float:
    """½·nβ²·gᵀDg, g = ∇L_n(w*): what is to be gained by descending from w*, in units of λ̂.

    Exact where U is quadratic with the curvature 1/D. NaN where g or D is unknown.
    """
    metric, grad = setup.sampler.preconditioner, setup.anchor.grad
    if metric is None or grad is None:
        return math.nan
    root = metric.sqrt(posterior.nbeta * grad[None])
    return 0.5 * float(root.double().square().sum())


def sampler_identity(sampler: str | AnySampler) -> dict[str, Any]:
    """What tells one sampler from another, JSON-able: its name and its settings.

    Raises:
        GermError: The sampler is neither `"auto"` nor a dataclass of plain settings.
    """
    if isinstance(sampler, str):
        if sampler != "auto":
            raise GermError(f"expected a sampler or 'auto'; got {sampler!r}")
        return {"name": "auto", **calibrate.identity()}
    if isinstance(sampler, type) or not is_dataclass(sampler):
        raise GermError(
            f"expected a sampler, a dataclass whose settings can be stored; got {sampler!r}"
        )
    identity: dict[str, Any] = {"name": type(sampler).__name__}
    for setting in fields(sampler):
        value = getattr(sampler, setting.name)
        if hasattr(value, "identity"):
            value = dict(value.identity())
        elif isinstance(value, Tensor):
            value = fingerprint.of_tensors({setting.name: value})
        identity[setting.name] = value
    return identity
