"""SGNHT brakes gradient noise that nobody told it of; what it cannot do is shown as well."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.support import assert_mean

from germ.samplers import BAOAB, SGNHT

CURVATURES = torch.linspace(0.05, 1.0, 30, dtype=torch.float64)


def temperatures(sampler: Any, noise: Any, steps: int = 1500, chains: int = 48) -> torch.Tensor:
    """a·w² of every chain, mean over steps (chains, d); `noise` is the gradient's variance."""
    source = torch.Generator().manual_seed(0)
    state = sampler.init(torch.zeros(chains, 30, dtype=torch.float64))
    total = torch.zeros_like(state.position)
    spread = torch.as_tensor(noise, dtype=torch.float64).sqrt()
    for step in range(steps):
        error, kick = torch.randn(2, chains, 30, generator=source, dtype=torch.float64)
        state = sampler.step(state, state.position * CURVATURES + spread * error, kick)
        if step >= steps // 4:
            total += state.position.square() * CURVATURES
    return total / (steps - steps // 4)


@pytest.mark.parametrize(("eps", "kick"), [(0.05, 0.1), (0.2, 0.2)])
def test_it_finds_gradient_noise_that_heats_baoab_by_a_fifth(eps, kick):
    hot = temperatures(BAOAB(eps), kick / eps)
    assert 1.15 < hot.mean() < 1.3
    braked = temperatures(SGNHT(eps), kick / eps)
    assert_mean(braked, 1 - kick / 16, resolves=0.035)  # between no bias and κ/8


def test_uneven_noise_is_braked_on_average_only():
    noise = torch.cat([torch.zeros(15), torch.full((15,), 2.0)])
    found = temperatures(SGNHT(0.2), noise).mean(0)
    assert found[:15].mean() < 0.93 and found[15:].mean() > 1.04


@pytest.mark.parametrize("eps", [0.1, 0.8])
def test_the_step_size_leaves_no_bias_on_quadratics(eps):
    assert_mean(temperatures(SGNHT(eps), 0.0), 1.0, resolves=0.03)


def test_friction_sets_the_unit_of_time():
    """The same dynamics in other units: ε/s with friction √s·Γ and curvature s·a, for any s."""
    scale, found = 36.0, []
    for step, friction, unit in ((0.2, 1.0, 1.0), (0.2 / scale, 6.0, scale)):
        sampler = SGNHT(step, friction=friction)
        source = torch.Generator().manual_seed(1)
        state = sampler.init(torch.zeros(2, 3, dtype=torch.float64))
        for _ in range(50):
            error, kick = torch.randn(2, 2, 3, generator=source, dtype=torch.float64)
            state = sampler.step(state, unit * state.position + unit**0.5 * error, kick)
        found.append((state.position * unit**0.5, state.thermostat / unit**0.5))
    torch.testing.assert_close(found[0], found[1])
