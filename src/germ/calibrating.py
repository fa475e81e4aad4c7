"""`germ calibrate`: what `sampler="auto"` would choose, why, and at what cost.

Nothing here chooses: `germ.calibrate` does, in every run. This module asks it, and adds the
settings of the run that no measurement decides.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from germ import calibrate
from germ.plan import max_batch_size
from germ.posterior import LocalPosterior
from germ.preparing import resolve
from germ.setup import Progress

SAMPLERS = {
    "BAOAB": "minibatches, or steps that a Metropolis test would refuse; momentum crosses flat "
    "directions, and the step-size bias is of second order",
    "GHMC": "all the data fit in a gradient, so a Metropolis test is free and leaves no step-size "
    "bias",
}
"""Why each."""


@dataclass(frozen=True)
class Choice:
    """One setting.

    Attributes:
        setting: Its name.
        value: What was chosen, as text.
        reason: The measurement behind it, or the rule.
    """

    setting: str
    value: str
    reason: str


@dataclass(frozen=True)
class Proposal:
    """What a default run would do.

    Attributes:
        calibration: The sampler and its batch.
        choices: Every setting with its value and its reason.
        num_gradients: What calibration cost, in gradients of the chosen batch.
        run_gradients: What the default run costs after it.
        nbeta: nβ of the posterior.
        localization: γ of the posterior.
    """

    calibration: calibrate.Calibration
    choices: tuple[Choice, ...]
    num_gradients: int
    run_gradients: int
    nbeta: float
    localization: float

    @property
    def share(self) -> float:
        """Calibration as a share of calibration and run together."""
        return self.num_gradients / (self.num_gradients + self.run_gradients)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "choices": [asdict(choice) for choice in self.choices],
            "sampler": type(self.calibration.sampler).__name__,
            "step_size": self.calibration.sampler.step_size,
            "friction": self.calibration.sampler.friction,
            "batch_size": self.calibration.batch_size,
            "num_gradients": self.num_gradients,
            "run_gradients": self.run_gradients,
            "share": self.share,
            "nbeta": self.nbeta,
            "localization": self.localization,
        }


def propose(
    posterior: LocalPosterior,
    *,
    chains: int | None = None,
    draws: int | None = None,
    warmup: int | None = None,
    thin: int = 1,
    batch_size: int | None = None,
    gradient: str = "anchored",
    seed: int = 0,
    progress: Progress | None = None,
) -> Proposal:
    """Calibrate as a run of these settings would, and say what it would do.

    Args:
        posterior: The posterior.
        chains: Chains of the run, as for `germ.sample`; so are the next ones.
        draws: Draws a chain.
        warmup: Steps before the first draw.
        thin: Steps from one draw to the next.
        batch_size: Examples a batch.
        gradient: `"anchored"` or `"minibatch"`.
        seed: The seed.
        progress: Told (stage, done, total).

    Returns:
        The proposal.

    Raises:
        GermError: A setting is out of range.
    """
    plan = resolve(
        posterior, chains=chains, draws=draws, warmup=warmup, thin=thin, batch_size=batch_size,
        gradient=gradient, seed=seed,
    )  # fmt: skip
    chains, batch_size = plan.chains, plan.batch_size
    tell = progress or (lambda stage, done, total: None)
    found = calibrate.calibrate(
        posterior,
        batch_size=batch_size,
        seed=seed,
        max_batch_size=max_batch_size(posterior, batch_size) if plan.auto_batch else None,
        anchored=gradient == "anchored",
        num_steps=plan.num_steps,
        on_probe=lambda done, total: tell("calibrate", done, total),
    )
    # In gradients of the chosen batch, which is what the run's are.
    spent = math.ceil(found.num_gradients * batch_size / found.batch_size)
    full = found.batch_size >= posterior.data.num_examples
    a_step = chains if full or gradient != "anchored" else chains + 1
    choices = (
        *_measured(found, batch_size),
        Choice("gradient", *_gradient(gradient, chains, full=full)),
        Choice(
            "warmup",
            f"{plan.warmup:,} steps",
            "as given" if warmup is not None else "half as many steps as the draws span",
        ),
        Choice(
            "draws",
            f"{chains} × {plan.draws:,}",
            "as given" if draws is not None else "where the run's precision asks for more, more",
        ),
        Choice("thin", str(thin), "every draw is kept: to skip draws loses what they know"),
    )
    run_gradients = a_step * plan.num_steps
    return Proposal(found, choices, spent, run_gradients, posterior.nbeta, posterior.localization)


def _measured(found: calibrate.Calibration, batch_size: int) -> list[Choice]:
    """The choices of `germ.calibrate`, whose reasons are texts `value: why`."""
    sampler = found.sampler
    name = type(sampler).__name__
    choices = [Choice("sampler", name, SAMPLERS.get(name, "as calibration found"))]
    names = {"preconditioner": "metric", "step_size": "step size ε", "friction": "friction Γ"}
    fallback = {
        "friction": f"{sampler.friction:.3g}",
        "batch_size": f"{found.batch_size:,}",
        "step_size": f"{sampler.step_size:.3g}",
    }
    for name in ("preconditioner", "step_size", "friction", "batch_size"):
        text = found.reasons.get(name, fallback.get(name, ""))
        value, _, why = text.partition(": ")
        choices.append(Choice(names.get(name, name.replace("_", " ")), value, why or "by default"))
    cooling = getattr(sampler, "cooling", None)
    if cooling is not None:
        mean = float(cooling.double().mean())
        choices.append(
            Choice("cooling", f"{mean:.2g}", "variance of the kicks by gradient noise, a step: its "
                   "heat is left out of the injected noise; measured anew in warmup")
        )  # fmt: skip
    return choices


def _gradient(gradient: str, chains: int, *, full: bool) -> tuple[str, str]:
    if full:
        return "exact", f"all the data: {chains} gradients a step, no noise"
    if gradient == "anchored":
        return gradient, f"{chains} + 1 gradients a step, one of them at w*, little noise near it"
    return gradient, "as given"
