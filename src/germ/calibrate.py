"""Choosing a sampler from measurements: metric, step, batch and friction."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from germ import heat, rng
from germ.curvature import Curvature
from germ.gradients import AnchorPass, FullPotential, anchor_pass
from germ.metric import MetricFit
from germ.plan import rotation_pays
from germ.posterior import LocalPosterior
from germ.rotated import RotatedFit
from germ.samplers import BAOAB, GHMC, Diagonal, Kronecker

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
"""Gradient noise makes steps no shorter: a run of usual length would not leave w*. What noise is
left shows in the temperature."""

STABILITY = 1.0
"""ε times the largest curvature in the metric stays below this; steps diverge at 4."""

ACCEPTANCE, NUM_TEST_STEPS, NUM_TEST_CHAINS = 0.8, 40, 2
"""The share of steps that are to pass the Metropolis test, and what it is measured on."""

FRICTION, MAX_FRICTION = 1.0, 16.0
"""Γ, and the most it is raised to where gradient noise heats: beyond, chains no longer coast."""

HEAT_SHARE, LEAST_COEFFICIENT = 0.05, 0.5
"""The share that the heat of gradient noise would add to λ̂ (`germ.heat.response`), λ̂ being what a
pilot chain shows, or at least so much."""

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
        "acceptance": ACCEPTANCE,
        "heat_share": HEAT_SHARE,
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

    sampler: BAOAB | GHMC
    batch_size: int
    num_gradients: int
    reasons: dict[str, str] = field(default_factory=dict)


def calibrate(
    posterior: LocalPosterior,
    *,
    batch_size: int,
    seed: int,
    max_batch_size: int | None = None,
    anchor: AnchorPass | None = None,
    anchored: bool = True,
    num_steps: int = 8 * MAX_PILOT_STEPS,
    on_probe: Callable[[int, int], None] | None = None,
) -> Calibration:
    """A preconditioned underdamped sampler for `posterior`, and the batch it needs.

    The metric D equilibrates the curvature of U around w* (`germ.metric.MetricFit`), in a basis of
    its own for each weight matrix where turning costs little (`germ.rotated.RotatedFit`). The step
    size is the largest that two limits allow:

        ε ≤ 0.5,   ε·λmax(D^½ ∇²U D^½) ≤ 1.

    Gradient noise N = mean_i Var((√D ∇Û)_i) would add (εN/4)·(1+c)/(1−c) to the temperature, c
    the velocity kept from step to step. To stay below 5% the batch is made larger, up to
    `max_batch_size`, and so that what is felt of it in λ̂ stays below 5%; then the friction is
    raised; then the step is made smaller. What is left is taken out of the injected noise,
    coordinate by coordinate (`BAOAB.cooling`).

    Where a batch is all the data, a Metropolis test costs nothing and takes the step-size bias
    away: then the sampler is `GHMC`, at the largest ε of 0.5, 0.25, … that accepts 80% of the steps
    of a second pilot, unless that is less than an eighth of ε above.

    Curvature and noise are measured where a short pilot chain ends: they are least at w*, and a
    step chosen there would be too large. The pilot may be short of equilibrium: then the run's
    noise is above what was found.

    Args:
        posterior: The posterior.
        batch_size: Examples a gradient, to begin with.
        seed: The run's seed.
        max_batch_size: The most examples that may be chosen; None keeps `batch_size`.
        anchor: What is known of the data at w*, where that is.
        anchored: Whether the run's gradients will be anchored.
        num_steps: Steps of the run, which the pilot's length follows.
        on_probe: Told (probes done, probes in all).

    Returns:
        The sampler and the reasons.
    """
    rotated = rotation_pays(posterior, batch_size)
    metric = (RotatedFit if rotated else MetricFit)(posterior, batch_size, seed)
    curvature = Curvature(posterior, batch_size, seed)
    pilot_steps = min(MAX_PILOT_STEPS, max(MIN_PILOT_STEPS, int(num_steps * PILOT_SHARE)))
    total = NUM_ROUNDS * NUM_PAIRS + 2 * NUM_ITERATIONS + pilot_steps + NUM_NOISE_PAIRS
    done = 0

    def tick(num: int = 1) -> None:
        nonlocal done
        done += num
        if on_probe is not None:
            on_probe(done, total)

    preconditioner: Diagonal | Kronecker
    if isinstance(metric, RotatedFit):
        preconditioner = metric.kronecker(NUM_ROUNDS, NUM_PAIRS, tick)
    else:
        preconditioner = Diagonal(1.0 / metric.fit(NUM_ROUNDS, NUM_PAIRS, tick))
    place = metric.typical(preconditioner)
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
    noises, noise_gradients = heat.noise_at(
        posterior, place, preconditioner, NUM_NOISE_PAIRS,
        batch_size=batch_size, seed=seed, anchored=anchored,
    )  # fmt: skip
    noise = float(noises.double().mean())
    tick(total - done)

    stable = STABILITY / largest if largest > 0 else math.inf
    step_size, reason = min(
        (MAX_STEP_SIZE, "the most allowed"),
        (stable, f"{STABILITY:g}/{largest:.3g}, the largest curvature in the metric"),
    )
    limit = HEAT_SHARE * max(metric.rise(place), LEAST_COEFFICIENT)
    felt = heat.response(step_size, FRICTION, noises, preconditioner, posterior.localization)
    chosen, why = _batch(
        heat.excess(step_size, FRICTION, noise) / HEAT,
        felt / limit,
        batch_size,
        max_batch_size or batch_size,
        num_examples,
    )
    remaining = 0.0 if chosen >= num_examples else noise * batch_size / chosen
    friction, cooler = _cooled(step_size, remaining)
    if cooler < step_size:
        reason = f"gradient noise {remaining:.3g} in the metric, at friction {friction:.3g}"
    least = min(step_size, MIN_STEP_SIZE)
    reasons = {
        "preconditioner": ("Kronecker: " if rotated else "diagonal: ")
        + "equilibrates the curvature around w*, from "
        f"{NUM_ROUNDS}×{NUM_PAIRS} antithetic pairs of gradients",
        "step_size": f"{max(cooler, least):.3g}: {reason}",
        "friction": f"{friction:.3g}"
        + ("" if friction == FRICTION else ": raised, so that gradient noise heats less"),
        "batch_size": f"{chosen:,}: {why}",
    }
    if cooler < least:
        reasons["step_size"] += f"; the least allowed, {cooler:.2g} was asked for"
    step_size = max(cooler, least)
    cooling = noises * (step_size * batch_size / chosen) if remaining else None
    sampler: BAOAB | GHMC = BAOAB(step_size, preconditioner, friction, cooling)
    spent = metric.num_gradients + curvature.num_gradients + noise_gradients
    if chosen >= num_examples:
        anchor = anchor or anchor_pass(posterior, num_examples, with_grad=False)
        potential = FullPotential(posterior, anchor, num_examples)
        found = _corrected(potential, place, preconditioner, step_size / 8, seed)
        if found is not None:
            sampler, accepted = found
            reasons["step_size"] = (
                f"{sampler.step_size:.3g}: {accepted:.0%} of the steps pass the Metropolis test"
            )
        spent += potential.num_gradients * -(-num_examples // batch_size)
    return Calibration(sampler, chosen, spent, reasons)


def _corrected(
    potential: FullPotential,
    place: Tensor,
    preconditioner: Diagonal | Kronecker,
    least: float,
    seed: int,
) -> tuple[GHMC, float] | None:
    """The sampler with a Metropolis test, and the share of steps that pass it; None if too few."""
    step_size = MAX_STEP_SIZE
    chains = range(NUM_TEST_CHAINS)
    while step_size >= least:
        sampler = GHMC(step_size, preconditioner, FRICTION)
        state = sampler.init_at(place.expand(len(chains), -1).clone(), potential)
        accepted = []
        for step in range(-NUM_TEST_STEPS, 0):
            noise = rng.normal(seed, chains, step, state.position)
            uniform = rng.uniform(seed, chains, step, noise)
            state = sampler.step_with(state, potential, noise, uniform)
            accepted.append(float(state.accepted.mean()))
        share = sum(accepted) / len(accepted)
        if share >= ACCEPTANCE:
            return sampler, share
        step_size /= 2
    return None


def _batch(heated: float, felt: float, size: int, most: int, num_examples: int) -> tuple[int, str]:
    """The batch at which noise heats by at most `HEAT` and λ̂ by `HEAT_SHARE`, and why.

    Args:
        heated: What a batch of `size` adds to the temperature, in units of what it may.
        felt: What it would add to λ̂, in units of what it may.
        size: Examples a batch.
        most: The most of them.
        num_examples: n.
    """
    if size >= num_examples:
        return size, "all the data"
    if num_examples <= min(2 * size, most):
        return num_examples, f"all the data, at less than twice the cost of {size:,}"
    worst = max(heated, felt)
    why = (
        f"gradient noise of {size:,} examples adds {heated * HEAT:.1%} to the temperature and at "
        f"most {felt * HEAT_SHARE:.1%} to λ̂, if nothing is done about it"
    )
    if worst <= 1 or most <= size:
        return size, why if most > size else "as given"
    wanted = math.ceil(size * worst)
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
