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
NUM_NOISE_PAIRS = 4

MAX_PILOT_STEPS, MIN_PILOT_STEPS, PILOT_SHARE = 200, 8, 1 / 8
"""A pilot takes an eighth of the run's steps, within limits, at two gradients a step."""

PILOT_STEP_SIZE = 0.1
MAX_PILOTS = 6
"""A pilot that runs away is sent again with a quarter of the step."""

MAX_STEP_SIZE = 0.5
"""ε without unit: a chain relaxes in 2/ε steps where the metric is right. The integrator is exact
on quadratics up to ε = 4, but singular directions are not quadratic."""

MIN_STEP_SIZE = 0.01
"""Below, a run of usual length does not leave w*; what noise is left then shows in the virial."""

STABILITY = 1.0
"""ε times the largest curvature in the metric stays below this; steps diverge at 4."""

HEAT = 0.01
"""The share of the temperature that gradient noise may add."""


def identity() -> dict[str, int | float]:
    """The constants that decide what `calibrate` chooses."""
    return {
        "rounds": NUM_ROUNDS,
        "pairs": NUM_PAIRS,
        "iterations": NUM_ITERATIONS,
        "max_pilot_steps": MAX_PILOT_STEPS,
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
    num_steps: int = 8 * MAX_PILOT_STEPS,
    on_probe: Callable[[int, int], None] | None = None,
) -> Calibration:
    """A preconditioned Leimkuhler–Matthews sampler for `posterior`.

    The metric D equilibrates the curvature of U around w* (`germ.metric.MetricFit`). The step
    size is the largest that three limits allow:

        ε ≤ 0.5,   ε·λmax(D^½ ∇²U D^½) ≤ 1,   (ε/4)·mean_i D_i Var(∂_i Û) ≤ 1%

    the last two measured where a short pilot chain ends: noise and curvature are least at w*, and
    a step chosen there would be too large. The pilot is still short of equilibrium, so the heat
    found is some three times less than the run's.

    Args:
        posterior: The posterior.
        batch_size: Examples a gradient.
        seed: The run's seed.
        anchored: Whether the run's gradients will be anchored.
        num_steps: Steps of the run, which the pilot's length follows.
        on_probe: Told (probes done, probes in all).

    Returns:
        The sampler and the reasons.
    """
    metric = MetricFit(posterior, batch_size, seed)
    curvature = Curvature(posterior, batch_size, seed)
    pilot_steps = min(MAX_PILOT_STEPS, max(MIN_PILOT_STEPS, int(num_steps * PILOT_SHARE)))
    total = NUM_ROUNDS * NUM_PAIRS + 2 * NUM_ITERATIONS + pilot_steps + NUM_NOISE_PAIRS
    done = 0

    def tick(num: int = 1) -> None:
        nonlocal done
        done += num
        if on_probe is not None:
            on_probe(done, total)

    stiffness = metric.fit(NUM_ROUNDS, NUM_PAIRS, tick)
    preconditioner = Diagonal(1.0 / stiffness)
    place = metric.typical(stiffness)
    largest = curvature.largest(preconditioner, NUM_ITERATIONS, tick, place)
    step_size = min(PILOT_STEP_SIZE, 0.5 / largest) if largest > 0 else PILOT_STEP_SIZE
    for number in range(MAX_PILOTS):
        pilot = LeimkuhlerMatthews(step_size / 4**number, preconditioner)
        end = metric.pilot(pilot, pilot_steps, tick if number == 0 else None)
        if end is not None:
            place = end
            break
    largest = max(largest, curvature.largest(preconditioner, NUM_ITERATIONS, tick, place))
    full_batch = batch_size >= posterior.data.num_examples
    noise = 0.0
    if not full_batch:
        noise = metric.noise(stiffness, place, NUM_NOISE_PAIRS, anchored=anchored)
    tick(total - done)

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
        "preconditioner": "equilibrates the curvature around w*, from "
        f"{NUM_ROUNDS}×{NUM_PAIRS} antithetic pairs of gradients",
        "step_size": f"{step_size:.3g}: {reason}",
    }
    spent = metric.num_gradients + curvature.num_gradients
    return Calibration(LeimkuhlerMatthews(step_size, preconditioner), spent, reasons)
