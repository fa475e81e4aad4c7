"""RMSprop-SGLD is kept as it was published; its bias is measured, not hidden."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.support import assert_mean, quadratic_posterior

from germ.errors import GermError
from germ.samplers import RMSpropSGLD

CURVATURE, NUM = 4.0, 2000


def variances(sampler: RMSpropSGLD, steps: int) -> np.ndarray:
    """a·w² of 2000 chains on U = a·w²/2, (chains, steps): 1 in equilibrium.

    It is also the chain's virial: what these tests find, every run's virial shows.
    """
    source = torch.Generator().manual_seed(0)
    state = sampler.init(torch.zeros(NUM, 1, dtype=torch.float64))
    seen = []
    for _ in range(steps):
        noise = torch.randn(NUM, 1, generator=source, dtype=torch.float64)
        state = sampler.step(state, CURVATURE * state.position, noise)
        seen.append(CURVATURE * state.position[:, 0].square())
    return torch.stack(seen[steps // 2 :], 1).numpy()


def sampler(relaxation: float, floor: float, decay: float = 0.99) -> RMSpropSGLD:
    """Relaxing in so many steps: ε·G·a/2 per step, with √V of about a·sd."""
    metric = 1 / (CURVATURE**0.5 + floor)
    return RMSpropSGLD(2 / (relaxation * CURVATURE * metric), 1.0, 0.0, decay, floor)


def test_where_the_metric_follows_the_chain_the_variance_is_half_too_large():
    seen = variances(sampler(400.0, floor=1e-3), steps=4500)
    found = seen.mean(axis=1)
    error = found.std(ddof=1) / len(found) ** 0.5
    assert 4 * error < 0.1
    assert 1.5 < found.mean() < 1.75


def test_where_it_remembers_longer_than_a_relaxation_there_is_little():
    seen = variances(sampler(100.0, floor=1e-3, decay=0.999), steps=3000)
    assert_mean(seen, 1.04, resolves=0.05)


def test_where_the_floor_rules_it_is_sgld():
    """√V ≪ a: the metric is 1/a, and the variance SGLD's of the step ε/a."""
    seen = variances(sampler(20.0, floor=1e4), steps=1200)
    assert_mean(seen, 1 / (1 - 0.1 / 4), resolves=0.03)


def test_its_steps_are_the_published_ones():
    """By hand, two steps: V = 1 before the first, of the loss gradient alone, bias-corrected."""
    nbeta, localization, decay, floor, eps = 30.0, 5.0, 0.9, 0.1, 0.01
    posterior = quadratic_posterior(
        (2.0,), nbeta=nbeta, localization=localization, weight=(1.0,), center=(0.0,),
        dtype=torch.float64,
    )  # fmt: skip
    kind = RMSpropSGLD(eps, nbeta, localization, decay, floor)
    state = kind.init(posterior.anchor[None].clone())
    w, v, start = 1.0, 1.0, 1.0
    for t, noise in enumerate((0.3, -1.2), start=1):
        loss_gradient = 2.0 * w
        total = nbeta * loss_gradient + localization * (w - start)
        step = torch.tensor([[noise]], dtype=torch.float64)
        state = kind.step(state, torch.tensor([[total]], dtype=torch.float64), step)
        v = decay * v + (1 - decay) * loss_gradient**2
        g = 1 / (math.sqrt(v / (1 - decay**t)) + floor)
        w = w - eps / 2 * g * total + math.sqrt(eps * g) * noise
        assert float(state.position) == pytest.approx(w, rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"nbeta": 0.0}, "nbeta"), ({"nbeta": math.nan}, "nbeta"), ({"floor": 0.0}, "floor"),
        ({"localization": -1.0}, "localization"), ({"decay": 1.0}, "decay"),
        ({"step_size": 0.0}, "step_size"),
    ],
)  # fmt: skip
def test_settings_that_are_none(changes, name):
    settings = {"step_size": 0.1, "nbeta": 1.0, "localization": 1.0, **changes}
    with pytest.raises(GermError, match=name):
        RMSpropSGLD(**settings)
