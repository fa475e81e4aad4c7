"""Choosing a sampler from measurements: metric, then the step that noise and curvature allow."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from germ.curvature import Curvature
from germ.metric import MetricFit
from germ.posterior import LocalPosterior
from germ.samplers import Diagonal, LeimkuhlerMatthews

NUM_ROUNDS = 6
NUM_PAIRS = 4
NUM_ITERATIONS = 8
NUM_NOISE_PAIRS = 2

MAX_STEP_SIZE = 0.5
"""ε without unit: a chain relaxes in 2/ε steps where the metric is right. The integrator is exact
on quadratics up to ε = 4, but singular directions are not quadratic."""

MIN_STEP_SIZE = 0.01
"""Below, a run of usual length does not leave w*; what noise is left then shows in the virial."""

STABILITY = 1.0
"""ε times the largest curvature in the metric stays below this; steps diverge at 4."""

HEAT = 0.01
"""The share of the temperature that gradient noise may add."""


def identity() -> dict[str, float]:
    """The constants that decide what `calibrate` chooses."""
    return {
        "rounds": NUM_ROUNDS,
        "pairs": NUM_PAIRS,
        "iterations": NUM_ITERATIONS,
        "noise_pairs": NUM_NOISE_PAIRS,
        "max_step_size": MAX_STEP_SIZE,
        "min_step_size": MIN_STEP_SIZE,
        "stability": STABILITY,
        "heat": HEAT,
    }


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
    anchored: bool = True,
    on_probe: Callable[[int, int], None] | None = None,
) -> Calibration:
    """A preconditioned Leimkuhler–Matthews sampler for `posterior`.

    The metric D is that of the best diagonal Gaussian around w* (`germ.metric.MetricFit`). The
    step size is the largest that three limits allow:

        ε ≤ 0.5,   ε·λmax(D^½ ∇²U D^½) ≤ 1,   (ε/4)·mean_i D_i Var(∂_i Û) ≤ 1%

    the last two measured at a draw from that Gaussian, not at w*.

    Args:
        posterior: The posterior.
        batch_size: Examples a gradient.
        seed: The run's seed.
        anchored: Whether the run's gradients will be anchored.
        on_probe: Told (probes done, probes in all).

    Returns:
        The sampler and the reasons.
    """
    metric = MetricFit(posterior, batch_size, seed)
    curvature = Curvature(posterior, batch_size, seed)
    total, done = NUM_ROUNDS * NUM_PAIRS + NUM_ITERATIONS + NUM_NOISE_PAIRS, 0

    def tick(num: int = 1) -> None:
        nonlocal done
        done += num
        if on_probe is not None:
            on_probe(done, total)

    stiffness = metric.fit(NUM_ROUNDS, NUM_PAIRS, tick)
    preconditioner = Diagonal(1.0 / stiffness)
    largest = curvature.largest(preconditioner, NUM_ITERATIONS, tick, metric.typical(stiffness))
    full_batch = batch_size >= posterior.data.num_examples
    noise = 0.0 if full_batch else metric.noise(stiffness, NUM_NOISE_PAIRS, anchored=anchored)
    tick(NUM_NOISE_PAIRS)

    limits = {
        "the most allowed": MAX_STEP_SIZE,
        f"{STABILITY:g}/{largest:.3g}, the largest curvature in the metric": STABILITY / largest
        if largest > 0
        else math.inf,
        f"{HEAT:g}·4/{noise:.3g}, the gradient noise in the metric": 4 * HEAT / noise
        if noise > 0
        else math.inf,
    }
    reason = min(limits, key=lambda name: limits[name])
    step_size = max(limits[reason], MIN_STEP_SIZE)
    if step_size > limits[reason]:
        reason = f"the least allowed; {limits[reason]:.2g} = {reason}, was asked for"
    reasons = {
        "preconditioner": "the best diagonal Gaussian around w*, from "
        f"{NUM_ROUNDS}×{NUM_PAIRS} antithetic pairs of gradients",
        "step_size": f"{step_size:.3g}: {reason}",
    }
    spent = metric.num_gradients + curvature.num_gradients
    return Calibration(LeimkuhlerMatthews(step_size, preconditioner), spent, reasons)
