"""Heat from gradient noise: measured where chains stand, and what a step makes of it.

A gradient estimate ∇Û = ∇U + noise kicks the velocity of a chain with a variance

    κ = ε·Var((√D ∇Û)_i)

a coordinate and a step, as if someone shook it. Two batches at one place tell the variance apart
from the gradient itself: Var = E[(∇Û_A − ∇Û_B)²]/2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from germ.gradients import AnchorPass, Gradients
from germ.posterior import LocalPosterior
from germ.samplers import Diagonal, Kronecker
from germ.types import Positions, Preconditioner

MEASURED = -1_000_000
"""Steps counted down from here draw batches that no chain ever sees."""


def noise(
    gradients: Gradients,
    positions: Positions,
    preconditioner: Preconditioner | None,
    num_pairs: int,
    *,
    key: int = 0,
) -> Tensor:
    """Var((√D ∇Û)_i), the gradient noise in the metric's unit, mean over chains, shape (d,).

    To be measured where chains will be: anchored gradients have no noise at w* itself, and more of
    it the further out.

    Args:
        gradients: The run's own gradients.
        positions: Where, (chains, d).
        preconditioner: D; None is the identity.
        num_pairs: Pairs of batches; each is 2·(chains + 1) gradients.
        key: Tells one measurement of a run from another.
    """
    total = torch.zeros_like(positions[0])
    if gradients.full_batch:
        return total
    everyone = range(len(positions))
    for pair in range(num_pairs):
        step = MEASURED - 2 * (key * num_pairs + pair)
        first = gradients.at(positions, gradients.draw(step, everyone)).grad
        half = first - gradients.at(positions, gradients.draw(step - 1, everyone)).grad
        if preconditioner is not None:
            half = preconditioner.sqrt(half)
        total += 0.5 * half.square().mean(0)
    return total / num_pairs


def noise_at(
    posterior: LocalPosterior,
    place: Tensor,
    preconditioner: Preconditioner,
    num_pairs: int,
    *,
    batch_size: int,
    seed: int,
    anchored: bool,
) -> tuple[Tensor, int]:
    """`noise` at a place (d,) for a run that has not begun, and the gradients it took.

    The difference of two batches does not depend on what is known of the data at w*, which
    therefore need not be known.
    """
    unknown = AnchorPass(torch.zeros(posterior.data.num_examples), torch.zeros_like(place), 0)
    estimate = "anchored" if anchored else "minibatch"
    gradients = Gradients(posterior, unknown, batch_size, seed, estimate)
    return noise(gradients, place[None], preconditioner, num_pairs), gradients.num_gradients


def response(
    step_size: float,
    friction: float,
    noise: Tensor,
    metric: Preconditioner | None,
    localization: float,
) -> float:
    """What the heat of gradient noise would add to λ̂: ½·Σᵢ (1 − γDᵢ)₊·excessᵢ.

    A direction of curvature nβh counts ½·nβh/(nβh + γ) in λ̂ and grows in proportion to its
    temperature; in a metric that fits, that share is 1 − γDᵢ. It is the right size where noise is
    alike everywhere. Taking the heat out of the injected noise mends its mean, not that there is
    more of it the further out a chain stands.

    Args:
        step_size: ε.
        friction: Γ.
        noise: Var((√D ∇Û)_i), (d,).
        metric: D; of a Kronecker one the mean of a block stands for Dᵢ.
        localization: γ.
    """
    if isinstance(metric, Diagonal):
        scale = metric.scale
    elif isinstance(metric, Kronecker):
        scale = metric.block_means(metric.scale)
    else:
        scale = torch.zeros_like(noise)
    felt = (1 - localization * scale.to(noise)).clamp(min=0)
    return 0.5 * excess(step_size, friction, float((felt * noise).double().sum()))


def excess(step_size: float, friction: float, noise: float) -> float:
    """The share that gradient noise adds to the temperature, (εN/4)·(1 + c)/(1 − c).

    See `germ.samplers.BAOAB`; for overdamped samplers c = 0.
    """
    c = math.exp(-friction * math.sqrt(step_size))
    return step_size * noise / 4 * (1 + c) / (1 - c)
