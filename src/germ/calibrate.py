"""Choosing a sampler from measurements: metric, step, batch and friction."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from germ import heat
from germ.curvature import Curvature
from germ.gradients import AnchorPass, Gradients
from germ.metric import MetricFit
from germ.posterior import LocalPosterior
from germ.samplers import BAOAB, Diagonal

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
"""ε without unit: √ε of the time in which a direction turns, where the metric is right. The
integrator is exact on quadratics up to ε = 4, but singular directions are not quadratic."""

MIN_STEP_SIZE = 0.01
"""Below, a run of usual length does not leave w*; what noise is left then shows in the virial."""

STABILITY = 1.0
"""ε times the largest curvature in the metric stays below this; steps diverge at 4."""

FRICTION, MAX_FRICTION = 1.0, 16.0
"""Γ, and the most it is raised to where gradient noise heats: beyond, chains no longer coast."""

HEAT = 0.05
"""The share that gradient noise may add to the temperature before it is taken out of the injected
noise; what is left of it then is a fraction of this."""


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
        "friction": FRICTION,
        "max_friction": MAX_FRICTION,
        "heat": HEAT,
    }


@dataclass(frozen=True)
class Calibration:
    """A sampler, and why this one.

    Attributes:
        sampler: The sampler.
        batch_size: Examples a batch.
        num_gradients: What choosing them cost, in gradients of a batch of the size it began with.
        reasons: For each setting, its value and the measurement behind it.
    """

    sampler: BAOAB
    batch_size: int
    num_gradients: int
    reasons: dict[str, str] = field(default_factory=dict)


def calibrate(
    posterior: LocalPosterior,
    *,
    batch_size: int,
    seed: int,
    max_batch_size: int | None = None,
    anchored: bool = True,
    num_steps: int = 8 * MAX_PILOT_STEPS,
    on_probe: Callable[[int, int], None] | None = None,
) -> Calibration:
    """A preconditioned underdamped sampler for `posterior`, and the batch it needs.

    The metric D equilibrates the curvature of U around w* (`germ.metric.MetricFit`). The step
    size is the largest that two limits allow:

        ε ≤ 0.5,   ε·λmax(D^½ ∇²U D^½) ≤ 1.

    Gradient noise N = mean_i Var((√D ∇Û)_i) would add (εN/2)·(1+c²)/(1−c²) to the temperature, c
    the velocity kept from step to step. To stay below 5% the batch is made larger, up to
    `max_batch_size`; then the friction is raised; then the step is made smaller. What is left is
    taken out of the injected noise, coordinate by coordinate (`BAOAB.cooling`).

    Curvature and noise are measured where a short pilot chain ends: they are least at w*, and a
    step chosen there would be too large. The pilot may be short of equilibrium: then the run's
    noise is above what was found.

    Args:
        posterior: The posterior.
        batch_size: Examples a gradient, to begin with.
        seed: The run's seed.
        max_batch_size: The most examples that may be chosen; None keeps `batch_size`.
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
        pilot = BAOAB(step_size / 4**number, preconditioner, FRICTION)
        end = metric.pilot(pilot, pilot_steps, tick if number == 0 else None)
        if end is not None:
            place = end
            break
    largest = max(largest, curvature.largest(preconditioner, NUM_ITERATIONS, tick, place))
    num_examples = posterior.data.num_examples
    unknown = AnchorPass(torch.zeros(num_examples), torch.zeros_like(place), 0)
    estimate = "anchored" if anchored else "minibatch"
    gradients = Gradients(posterior, unknown, batch_size, seed, estimate)
    noises = heat.noise(gradients, place[None], preconditioner, NUM_NOISE_PAIRS)
    noise = float(noises.double().mean())
    tick(total - done)

    stable = STABILITY / largest if largest > 0 else math.inf
    step_size, reason = min(
        (MAX_STEP_SIZE, "the most allowed"),
        (stable, f"{STABILITY:g}/{largest:.3g}, the largest curvature in the metric"),
    )
    chosen, why = _batch(step_size, noise, batch_size, max_batch_size or batch_size, num_examples)
    remaining = 0.0 if chosen >= num_examples else noise * batch_size / chosen
    friction, cooler = _cooled(step_size, remaining)
    if cooler < step_size:
        reason = f"gradient noise {remaining:.3g} in the metric, at friction {friction:.3g}"
    reasons = {
        "preconditioner": "equilibrates the curvature around w*, from "
        f"{NUM_ROUNDS}×{NUM_PAIRS} antithetic pairs of gradients",
        "step_size": f"{max(cooler, MIN_STEP_SIZE):.3g}: {reason}",
        "friction": f"{friction:.3g}"
        + ("" if friction == FRICTION else ": raised, so that gradient noise heats less"),
        "batch_size": f"{chosen:,}: {why}",
    }
    if cooler < MIN_STEP_SIZE:
        reasons["step_size"] += f"; the least allowed, {cooler:.2g} was asked for"
    step_size = max(cooler, MIN_STEP_SIZE)
    cooling = noises * (step_size * batch_size / chosen) if remaining else None
    sampler = BAOAB(step_size, preconditioner, friction, cooling)
    spent = metric.num_gradients + curvature.num_gradients + gradients.num_gradients
    return Calibration(sampler, chosen, spent, reasons)


def _batch(
    step_size: float, noise: float, size: int, most: int, num_examples: int
) -> tuple[int, str]:
    """The batch at which noise heats by at most `HEAT`, and why."""
    if size >= num_examples:
        return size, "all the data"
    found = heat.excess(step_size, FRICTION, noise)
    if found <= HEAT or most <= size:
        share = f"gradient noise adds {found:.1%} to the temperature"
        return size, share if most > size else "as given"
    wanted = math.ceil(size * found / HEAT)
    why = f"gradient noise of {size:,} examples would add {found:.1%} to the temperature"
    if wanted > num_examples / 2 and num_examples <= most:
        return num_examples, f"all the data: {why}"  # Free of noise at less than twice the cost.
    if wanted > most:
        return most, f"the most allowed, {wanted:,} were asked for: {why}"
    return wanted, why


def _cooled(step_size: float, noise: float) -> tuple[float, float]:
    """Friction and step size at which noise heats by at most `HEAT`."""
    friction = FRICTION
    while heat.excess(step_size, friction, noise) > HEAT and friction < MAX_FRICTION:
        friction *= 2
    while heat.excess(step_size, friction, noise) > HEAT and step_size > 1e-6:
        step_size /= 1.1
    return friction, step_size
