"""HMC and MALA are exact where nothing is quadratic: the reference of all the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from tests.support import assert_mean
from torch import Tensor, nn

import germ
from germ.gradients import FullPotential, anchor_pass
from germ.samplers import HMC, MALA, Diagonal

CHAINS = 512


class Scalar(nn.Module):
    def __init__(self, at: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([at], dtype=torch.float64))


def fourth_power(model: Any, batch: Tensor) -> Tensor:
    return (model.weight**4).expand(len(batch))


def lopsided(model: Any, batch: Tensor) -> Tensor:
    """Steep on the right, gentle on the left; least at 0, where w* is not."""
    return (torch.exp(model.weight) - model.weight).expand(len(batch))


def trace(posterior: germ.LocalPosterior, sampler: HMC, warmup: int, draws: int):
    """Position, U − U(w*), (w − w*)·∇U and acceptance, each (chain, draw)."""
    potential = FullPotential(posterior, anchor_pass(posterior, 8, with_grad=False), 8)
    source = torch.Generator().manual_seed(5)
    state = sampler.init_at(posterior.anchor.expand(CHAINS, -1).clone(), potential)
    kept = []
    for step in range(warmup + draws):
        noise = torch.randn(CHAINS, 1, dtype=torch.float64, generator=source)
        uniform = torch.rand(2, CHAINS, dtype=torch.float64, generator=source)
        state = sampler.step_with(state, potential, noise, uniform)
        if step >= warmup:
            away = state.position - posterior.anchor
            virial = (away * state.grad).sum(1)
            kept.append((state.position[:, 0], state.potential, virial, state.accepted))
    return [torch.stack(parts, dim=1).numpy() for parts in zip(*kept, strict=True)]


SAMPLERS = {
    "mala": (MALA(0.08), 60, 240),
    "mala preconditioned": (MALA(0.4, Diagonal(torch.tensor([0.2]).double())), 60, 240),
    "hmc": (HMC(0.02, num_leapfrog_steps=5), 20, 130),
    "hmc preconditioned": (HMC(0.1, 5, Diagonal(torch.tensor([0.2]).double())), 20, 130),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_fourth_power_has_one_quarter_at_every_nbeta(name):
    """K = w⁴, γ = 0: E[nβK] = 1/(2k) = 1/4 exactly, and E[w·∇U] = 1."""
    sampler, warmup, draws = SAMPLERS[name]
    posterior = germ.LocalPosterior.from_model(
        Scalar(), torch.zeros(1, 1), loss=fourth_power, nbeta=10.0, localization=0.0
    )
    position, energy, virial, accepted = trace(posterior, sampler, warmup, draws)
    assert 0.5 < accepted.mean() < 0.995, "the test means nothing where nothing is rejected"
    assert_mean(energy, 0.25, resolves=0.03)
    assert_mean(virial, 1.0, resolves=0.08)
    assert_mean(position, 0.0, resolves=0.05)


@pytest.mark.parametrize("name", SAMPLERS)
def test_an_asymmetric_target(name):
    """E[w], E[w²] and E[nβΔL] against quadrature, with localization and an anchor off centre."""
    nbeta, localization, anchor = 4.0, 1.0, 0.3
    posterior = germ.LocalPosterior.from_model(
        Scalar(anchor), torch.zeros(1, 1), loss=lopsided, nbeta=nbeta, localization=localization
    )

    def rise(w: float) -> float:
        return nbeta * (np.exp(w) - w - np.exp(anchor) + anchor)

    def expect(f) -> float:
        def weight(w: float) -> float:
            return np.exp(-rise(w) - 0.5 * localization * (w - anchor) ** 2)

        return quad(lambda w: f(w) * weight(w), -4, 3)[0] / quad(weight, -4, 3)[0]

    sampler, warmup, draws = SAMPLERS[name]
    bolder = 6 if name.startswith("mala") else 4
    sampler = HMC(
        bolder * sampler.step_size, sampler.num_leapfrog_steps,
        sampler.preconditioner, sampler.jitter,
    )  # fmt: skip
    position, energy, virial, accepted = trace(posterior, sampler, warmup, draws)
    assert 0.5 < accepted.mean() < 0.995
    mean = expect(lambda w: w)
    assert mean < -0.015, "the target is not asymmetric"
    assert_mean(position, mean, resolves=0.02)
    assert_mean(position**2, expect(lambda w: w**2), resolves=0.02)
    squares = 0.5 * localization * (position - anchor) ** 2
    assert_mean(energy - squares, expect(rise), resolves=0.04)
    assert_mean(virial, 1.0, resolves=0.08)


def test_the_acceptance_of_a_known_proposal():
    """facts.md §1: from 0 to (1.5, 5.5), U = ½|w|², ε = 0.1: 0.6661436."""

    def potential(position: Tensor) -> tuple[Tensor, Tensor]:
        return 0.5 * position.square().sum(1), position

    proposal = torch.tensor([[1.5, 5.5]], dtype=torch.float64)
    sampler = MALA(0.1)
    state = sampler.init_at(torch.zeros_like(proposal), potential)
    noise = proposal / 0.1**0.5
    below, above = torch.tensor([[0.5], [0.6661]]), torch.tensor([[0.5], [0.6662]])
    taken = sampler.step_with(state, potential, noise, below.double())
    left = sampler.step_with(state, potential, noise, above.double())
    assert taken.accepted.item() == pytest.approx(0.6661436, abs=5e-8)
    torch.testing.assert_close(taken.position, proposal)
    assert taken.potential.item() == pytest.approx(16.25)
    torch.testing.assert_close(taken.grad, proposal)
    assert torch.equal(left.position, state.position) and left.potential.item() == 0.0
    assert torch.equal(left.grad, state.grad)


def test_a_trajectory_is_reversible():
    """Leapfrog run again from its end with the momentum turned round ends where it began."""

    def potential(position: Tensor) -> tuple[Tensor, Tensor]:
        return position.pow(4).sum(1), 4 * position**3

    seen: list[Tensor] = []

    def watched(position: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(position)
        return potential(position)

    sampler = HMC(0.01, num_leapfrog_steps=7, jitter=0.0)
    start = torch.tensor([[0.7, -0.4]], dtype=torch.float64)
    momentum = torch.tensor([[1.2, 0.3]], dtype=torch.float64)
    always = torch.zeros(2, 1, dtype=torch.float64)
    there = sampler.step_with(sampler.init_at(start, potential), watched, momentum, always)
    assert len(seen) == sampler.num_gradients_per_step
    # One leapfrog step more shows the momentum at the end: v' = (x₊ − x₋)/2h.
    length = 0.01**0.5
    half = (seen[-1] - seen[-2]) / length
    final = half - 0.5 * length * potential(there.position)[1]
    back = sampler.step_with(sampler.init_at(there.position, potential), potential, -final, always)
    torch.testing.assert_close(back.position, start)
    assert back.accepted.item() == pytest.approx(min(1.0, 1 / there.accepted.item()), rel=1e-3)
