r"""A global posterior by sequential Monte Carlo: from the prior to more and more data.

$$ p_t(w) \propto e^{-S_t(w)}\, \mathcal N(w; 0, 1), \qquad S_t = S_0 + t\,(S_1 - S_0) $$

A leg leads from S_0 to S_1 through stages: t grows until the weights exp(−Δt·(S_1 − S_0)) have an
effective size of a given share of the particles; these are then resampled, and moved by Hamiltonian
Monte Carlo that leaves p_t as it is. The product of the mean weights estimates the evidence without
bias (Del Moral, Doucet & Jasra 2006, J. R. Stat. Soc. B 68:411; data added by and by: Chopin 2002).

Particles that no longer get from one mode to another keep the modes' shares through their weights
alone: how well that works is read off independent runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from germ.experiments.superposition_pieces import Energy, Examples, dataset, population

ACCEPTED = 0.75
"""Share of proposals that the step size aims at."""


@dataclass(frozen=True)
class Effort:
    """How much sampling.

    Attributes:
        num_particles: Particles.
        num_moves: Hamiltonian proposals for each at each stage.
        num_leapfrogs: Most steps of a proposal; a number from half of it on is drawn.
        keep: Effective size after reweighting, as a share of the particles.
    """

    num_particles: int = 2000
    num_moves: int = 4
    num_leapfrogs: int = 12
    keep: float = 0.5


@dataclass(frozen=True)
class Cloud:
    """Particles at the end of a leg.

    Attributes:
        points: (particles, d), of equal weight.
        log_evidence: Log of ∫ exp(−S) N(w; 0, 1) dw, estimated.
        acceptance: Share of proposals accepted at the last stage.
        step_size: Of the last stage.
        num_stages: Stages since the prior.
    """

    points: Tensor
    log_evidence: float
    acceptance: float
    step_size: float
    num_stages: int


@runtime_checkable
class Leg(Protocol):
    """From S_0 to S_1."""

    def at(self, t: float) -> Energy:
        """S_t."""
        ...

    def gain(self, points: Tensor) -> Tensor:
        """S_1 − S_0 at points (points, d)."""
        ...


@dataclass(frozen=True)
class PopulationLeg:
    """From n = `first` to n = `last` with S = n·L.

    Attributes:
        first: n at the start, 0 or more.
        last: n at the end.
        columns: c.
    """

    first: float
    last: float
    columns: int = 6

    def at(self, t: float) -> Energy:
        """(first + t·(last − first))·L."""
        return population(self.first + t * (self.last - self.first), self.columns)

    def gain(self, points: Tensor) -> Tensor:
        """(last − first)·L."""
        return population(self.last - self.first, self.columns)(points)[0]


@dataclass(frozen=True)
class DataLeg:
    """From the first `first` examples of a data set to its first `last`.

    Attributes:
        examples: The data set.
        first: Examples at the start.
        last: Examples at the end.
        scale: Of the squared error in −log p(x | w): 1, or ½ for a normal of variance 1.
    """

    examples: Examples
    first: int
    last: int
    scale: float = 1.0

    def at(self, t: float) -> Energy:
        """The old examples, and the new ones with weight t."""
        weights = self.scale * np.where(np.arange(self.last) < self.first, 1.0, t)
        return dataset(self.examples.part(0, self.last), weights)

    def gain(self, points: Tensor) -> Tensor:
        """Squared errors of the new examples, scaled."""
        return self.scale * dataset(self.examples.part(self.first, self.last))(points)[0]


def temper(legs: Sequence[Leg], dim: int, effort: Effort, seed: int) -> Iterator[Cloud]:
    """The particles at the end of each leg.

    Args:
        legs: Each starts where the last one ended; the first from S_0 = 0.
        dim: d.
        effort: How much.
        seed: Of all random numbers.
    """
    source = torch.Generator().manual_seed(seed)
    shape = (effort.num_particles, dim)
    points = torch.randn(shape, generator=source, dtype=torch.float64)
    log_evidence, step, num_stages, accepted = 0.0, 0.5, 0, 1.0
    for leg in legs:
        t = 0.0
        while t < 1:
            gain = leg.gain(points)
            further = _reach(gain, 1 - t, effort.keep)
            weights = -further * gain
            log_evidence += float(torch.logsumexp(weights, 0)) - math.log(len(points))
            points = points[_systematic(torch.softmax(weights, 0), source)]
            # To the last bit 1 at the end of the leg.
            t = 1.0 if further >= 1 - t else t + further
            energy = leg.at(t)
            for _ in range(effort.num_moves):
                points, accepted = hamiltonian(
                    energy, points, step, effort.num_leapfrogs, source, prior=1.0
                )
                step *= math.exp(accepted - ACCEPTED)
            num_stages += 1
        yield Cloud(points, log_evidence, accepted, step, num_stages)


def hamiltonian(
    energy: Energy,
    points: Tensor,
    step: float,
    num_leapfrogs: int,
    source: torch.Generator,
    *,
    prior: float,
    center: Tensor | None = None,
    allowed: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, float]:
    """One proposal of Hamiltonian Monte Carlo for every point, accepted or not.

    Leaves exp(−S(w) − prior/2·‖w − center‖²) as it is. Step sizes are drawn point by point, from
    0.3 to 1 times `step`, since one size fits the narrow modes and another the wide.

    Args:
        energy: S.
        points: (points, d).
        step: Largest step size.
        num_leapfrogs: Most steps; from half of it on, drawn.
        source: Of random numbers.
        prior: Precision of the Gaussian factor.
        center: Its centre; 0 if not given.
        allowed: Of points, whether they belong to the space; proposals outside are refused.

    Returns:
        The points after it, and the share that was accepted.
    """

    def potential(where: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = energy(where)
        away = where if center is None else where - center
        return value + prior / 2 * (away**2).sum(1), gradient + prior * away

    def uniform() -> Tensor:
        return torch.rand(len(points), generator=source, dtype=points.dtype)

    size = step * (0.3 + 0.7 * uniform())[:, None]
    count = int(torch.randint((num_leapfrogs + 1) // 2, num_leapfrogs + 1, (), generator=source))
    momentum = torch.randn(points.shape, generator=source, dtype=points.dtype)
    before, gradient = potential(points)
    before = before + (momentum**2).sum(1) / 2
    position, after = points, before
    for _ in range(count):
        momentum = momentum - size / 2 * gradient
        position = position + size * momentum
        after, gradient = potential(position)
        momentum = momentum - size / 2 * gradient
    log_ratio = before - after - (momentum**2).sum(1) / 2
    # A step that ran away to infinity or NaN compares as false, and is refused.
    taken = torch.log(uniform()) < log_ratio
    if allowed is not None:
        taken &= allowed(torch.where(taken[:, None], position, points))
    return torch.where(taken[:, None], position, points), float(taken.double().mean())


def _reach(gain: Tensor, left: float, keep: float) -> float:
    """The largest Δt ≤ left whose weights keep their effective size."""

    def share(by: float) -> float:
        weights = torch.softmax(-by * gain, 0)
        return 1 / float((weights**2).sum()) / len(gain)

    if share(left) >= keep:
        return left
    low, high = 0.0, left
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) >= keep else (low, middle)
    # Never stand still, whatever the gains are.
    return max(low, 1e-12 * left)


def _systematic(weights: Tensor, source: torch.Generator) -> Tensor:
    """Indices drawn with these probabilities, as evenly as can be."""
    num = len(weights)
    start = torch.rand((), generator=source, dtype=weights.dtype)
    places = (torch.arange(num, dtype=weights.dtype) + start) / num
    return torch.searchsorted(weights.cumsum(0), places).clamp_(max=num - 1)
