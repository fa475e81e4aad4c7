r"""The local expectation behind λ̂, by chains that have nothing in common with germ's.

$$ \hat\lambda = E[S(w)] - S(w^*), \qquad p(w) \propto e^{-S(w) - \frac\gamma2 \lVert w - w^*
   \rVert^2}, \qquad S = n\beta\,L $$

Hamiltonian Monte Carlo with a Metropolis test on all of the data: no batches, no bias of the step
size. S is that of `superposition_pieces`. Whether the chains got everywhere is another question,
and is seen from how far the second half of their draws is from the first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from germ.experiments.superposition_phases import classify
from germ.experiments.superposition_pieces import Energy
from germ.experiments.superposition_tempering import ACCEPTED, hamiltonian


@dataclass(frozen=True)
class Effort:
    """How much sampling.

    Attributes:
        num_chains: Chains of each w*.
        num_warmup: Proposals before draws are taken, in which the step size is found.
        num_draws: Proposals after it.
        num_leapfrogs: Most steps of a proposal.
    """

    num_chains: int = 64
    num_warmup: int = 150
    num_draws: int = 300
    num_leapfrogs: int = 16


@dataclass(frozen=True)
class Expectation:
    """λ̂ of one w*.

    Attributes:
        value: λ̂.
        error: Its standard error, from the spread of the chains' means.
        drift: λ̂ of the second half of the draws less that of the first.
        drift_z: The drift in units of its standard error.
        acceptance: Share of proposals accepted.
    """

    value: float
    error: float
    drift: float
    drift_z: float
    acceptance: float


def expectations(
    energy: Energy,
    anchors: Float[Tensor, "anchors d"],
    localization: float,
    effort: Effort,
    seed: int,
    *,
    held: bool = False,
) -> list[Expectation]:
    """λ̂ at each anchor, chains of all of them side by side.

    Args:
        energy: S = nβ·L.
        anchors: w*.
        localization: γ.
        effort: How much.
        seed: Of all random numbers.
        held: Keep every chain in the phase of its w*: the expectation is then that of the
            posterior cut off at the phase's border, and no chain can leave.
    """
    source = torch.Generator().manual_seed(seed)
    center = anchors.repeat_interleave(effort.num_chains, 0)
    start = energy(center)[0]
    points, step = center, 0.1
    home = torch.from_numpy(classify(anchors)).repeat_interleave(effort.num_chains)

    def at_home(where: Tensor) -> Tensor:
        return torch.from_numpy(classify(where)) == home

    def propose(points: Tensor) -> tuple[Tensor, float]:
        return hamiltonian(
            energy, points, step, effort.num_leapfrogs, source,
            prior=localization, center=center, allowed=at_home if held else None,
        )  # fmt: skip

    for _ in range(effort.num_warmup):
        points, accepted = propose(points)
        step *= math.exp(0.3 * (accepted - ACCEPTED))
    halves, taken = [], []
    for _ in range(2):
        total = torch.zeros_like(start)
        num = effort.num_draws // 2
        for _ in range(num):
            points, accepted = propose(points)
            total += energy(points)[0] - start
            taken.append(accepted)
        halves.append((total / num).view(len(anchors), effort.num_chains))
    acceptance = sum(taken) / len(taken)
    return [_summary(first, last, acceptance) for first, last in zip(*halves, strict=True)]


def langevin(
    energy: Energy,
    anchors: Float[Tensor, "anchors d"],
    localization: float,
    step_size: float,
    num_steps: int,
    num_chains: int,
    seed: int,
) -> list[list[float]]:
    """λ̂ of each chain of a short SGLD run on full gradients, the first fifth left out.

    w ← w − (ε/2)·∇U(w) + √ε·ξ, as published, so as to see what a run of that length sees.

    Args:
        energy: S = nβ·L.
        anchors: w*.
        localization: γ.
        step_size: ε.
        num_steps: Steps.
        num_chains: Chains of each anchor.
        seed: Of the noise.

    Returns:
        By anchor, one number a chain.
    """
    source = torch.Generator().manual_seed(seed)
    center = anchors.repeat_interleave(num_chains, 0)
    start = energy(center)[0]
    points, total, num = center, torch.zeros_like(start), 0
    for step in range(num_steps):
        value, gradient = energy(points)
        if step >= num_steps / 5:
            total += value - start
            num += 1
        noise = torch.randn(points.shape, generator=source, dtype=points.dtype)
        drift = gradient + localization * (points - center)
        points = points - step_size / 2 * drift + math.sqrt(step_size) * noise
    return (total / num).view(len(anchors), num_chains).tolist()


def _summary(first: Tensor, last: Tensor, acceptance: float) -> Expectation:
    """Means over chains, which are independent of each other."""
    root = math.sqrt(len(first))
    mean, change = (first + last) / 2, last - first
    spread = float(change.std()) / root
    return Expectation(
        value=float(mean.mean()),
        error=float(mean.std()) / root,
        drift=float(change.mean()),
        drift_z=float(change.mean()) / spread if spread > 0 else 0.0,
        acceptance=acceptance,
    )
