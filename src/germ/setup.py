"""What a run knows before its first step: the sampler chosen and the data seen once at w*.

It is saved with the run, so that one that was killed does not measure it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from torch import Tensor

from germ import calibrate, fingerprint
from germ.errors import GermError
from germ.gradients import AnchorPass, anchor_pass
from germ.plan import Plan, auto_batch_size, max_batch_size
from germ.posterior import LocalPosterior
from germ.samplers import BAOAB, Diagonal
from germ.types import MetropolisSampler, Sampler

AnySampler = Sampler | MetropolisSampler

Progress = Callable[[str, int, int], None]
"""Told (stage, done, total); the stages are "anchor", "calibrate", "warmup" and "draws"."""


@dataclass(frozen=True)
class SetUp:
    """The sampler and its batch, the pass over the data at w*, what they cost, and why these."""

    sampler: AnySampler
    batch_size: int
    anchor: AnchorPass
    num_gradients: int
    reasons: dict[str, str] = field(default_factory=dict)


def set_up(
    posterior: LocalPosterior, sampler: str | AnySampler, plan: Plan, progress: Progress
) -> SetUp:
    """See the data once at w*; choose a sampler, and its batch, where none was given."""
    anchored = plan.gradient == "anchored" and plan.batch_size < posterior.data.num_examples
    anchor = anchor_pass(
        posterior,
        plan.batch_size,
        with_grad=anchored,
        # A run with tiny batches need not see the data in as tiny pieces.
        chunk_size=max(plan.batch_size, auto_batch_size(posterior)),
        on_batch=lambda done, total: progress("anchor", done, total),
    )
    if not isinstance(sampler, str):
        return SetUp(sampler, plan.batch_size, anchor, anchor.num_gradients)
    chosen = calibrate.calibrate(
        posterior,
        batch_size=plan.batch_size,
        seed=plan.seed,
        max_batch_size=max_batch_size(posterior, plan.batch_size) if plan.auto_batch else None,
        anchored=plan.gradient == "anchored",
        num_steps=plan.num_steps,
        on_probe=lambda done, total: progress("calibrate", done, total),
    )
    spent = anchor.num_gradients + chosen.num_gradients
    if chosen.batch_size > plan.batch_size:  # Count in gradients of the batch that was chosen.
        spent = -(-spent * plan.batch_size // chosen.batch_size)
    return SetUp(chosen.sampler, chosen.batch_size, anchor, spent, chosen.reasons)


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
        assert isinstance(sampler, BAOAB)
        assert isinstance(sampler.preconditioner, Diagonal)
        kept["setup/step_size"] = sampler.step_size
        kept["setup/friction"] = sampler.friction
        kept["setup/scale"] = sampler.preconditioner.scale
        if sampler.cooling is not None:
            kept["setup/cooling"] = sampler.cooling
    return kept


def restore_setup(
    saved: Mapping[str, Any], sampler: str | AnySampler, posterior: LocalPosterior
) -> SetUp:
    """The inverse of `save_setup`."""
    device = posterior.anchor.device
    grad = saved.get("setup/anchor_grad")
    anchor = AnchorPass(saved["setup/example_losses"], None if grad is None else grad.to(device), 0)
    if isinstance(sampler, str):
        scale = Diagonal(saved["setup/scale"].to(device))
        cooling = saved.get("setup/cooling")
        sampler = BAOAB(
            float(saved["setup/step_size"]),
            scale,
            float(saved["setup/friction"]),
            None if cooling is None else cooling.to(device),
        )
    reasons = json.loads(saved["setup/reasons"])
    num = int(saved["setup/num_gradients"])
    return SetUp(sampler, int(saved["setup/batch_size"]), anchor, num, reasons)


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
