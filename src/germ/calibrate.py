"""Choosing a sampler from measurements at w*: metric from the curvature, step from its largest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from germ.curvature import Curvature
from germ.posterior import LocalPosterior
from germ.samplers import Diagonal, LeimkuhlerMatthews

NUM_PROBES = 16
NUM_ITERATIONS = 8
STEP_SIZE = 0.1
"""ε without unit: the chain relaxes in 2/ε = 20 steps where the preconditioner is right."""

STABILITY = 1.0
"""ε times the largest preconditioned curvature stays below this; 4 is where steps diverge."""


@dataclass(frozen=True)
class Calibration:
    """A sampler, and why this one.

    Attributes:
        sampler: The sampler.
        num_gradients: What choosing it cost, in gradients of a batch.
        reasons: For each setting, its value and the measurement behind it.
    """

    sampler: LeimkuhlerMatthews
    num_gradients: int
    reasons: dict[str, str] = field(default_factory=dict)


def calibrate(
    posterior: LocalPosterior,
    *,
    batch_size: int,
    seed: int,
    on_probe: Callable[[int, int], None] | None = None,
) -> Calibration:
    """A preconditioned Leimkuhler–Matthews sampler for `posterior`.

    d_i = 1/(nβ·|h_ii| + γ) with h_ii from Hutchinson's estimate at w*;
    ε = min(0.1, 1 / largest eigenvalue of D^(1/2)(nβH + γ)D^(1/2)).

    Args:
        posterior: The posterior.
        batch_size: Examples a Hessian–vector product.
        seed: The run's seed.
        on_probe: Told (products done, products in all).

    Returns:
        The sampler and the reasons.
    """
    curvature = Curvature(posterior, batch_size, seed)
    total, done = NUM_PROBES + NUM_ITERATIONS, 0

    def tick() -> None:
        nonlocal done
        done += 1
        if on_probe is not None:
            on_probe(done, total)

    diagonal = curvature.diagonal(NUM_PROBES, tick)
    # Where γ = 0 and a direction is flat, h is all there is: keep the metric finite.
    stiffness = posterior.nbeta * diagonal.abs() + posterior.localization
    floor = max(1e-6 * float(stiffness.max()), 1e-12)
    preconditioner = Diagonal(1.0 / stiffness.clamp(min=floor))
    largest = curvature.largest(preconditioner, NUM_ITERATIONS, tick)
    step_size = min(STEP_SIZE, STABILITY / largest) if largest > 0 else STEP_SIZE
    reasons = {
        "preconditioner": f"1/(nβ·|h_ii|+γ), h_ii from {NUM_PROBES} Hutchinson probes",
        "step_size": f"{step_size:.3g} = min({STEP_SIZE}, {STABILITY:g}/{largest:.3g}), "
        f"{largest:.3g} the largest preconditioned curvature",
    }
    return Calibration(
        LeimkuhlerMatthews(step_size, preconditioner), curvature.num_gradients, reasons
    )
