"""Gradient noise as it is measured, the heat it makes, and the thermometer that reads it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.support import assert_mean, quadratic_posterior

import germ
from germ import heat
from germ.gradients import AnchorPass, Gradients
from germ.samplers import BAOAB, Diagonal


def gradients_of(posterior, batch_size, estimate="minibatch"):
    num = posterior.data.num_examples
    unknown = AnchorPass(torch.zeros(num), torch.zeros_like(posterior.anchor), 0)
    return Gradients(posterior, unknown, batch_size, 0, estimate)


def test_measured_noise_is_the_variance_of_the_gradient():
    """Examples have gradients of variance s² around that of the loss, so a batch has nβ²s²/B."""
    posterior = quadratic_posterior(
        (1.0,) * 8, nbeta=50.0, localization=1.0, noise=0.3, num_examples=2000
    )
    metric = Diagonal(torch.linspace(0.5, 2.0, 8))
    found = heat.noise(gradients_of(posterior, 20), posterior.anchor[None], metric, 200)
    expected = metric.scale * (50 * 0.3) ** 2 / 20
    # A variance from 200 pairs is known to √(2/200) = 10%.
    np.testing.assert_allclose(found, expected, rtol=0.4)
    assert float((found / expected).mean()) == pytest.approx(1, abs=0.1)


def test_all_the_data_have_no_noise_and_anchoring_takes_away_what_does_not_change():
    posterior = quadratic_posterior(
        (1.0,) * 4, nbeta=50.0, localization=1.0, noise=0.3, num_examples=200
    )
    place = posterior.anchor[None] + 0.1
    assert not heat.noise(gradients_of(posterior, 200), place, None, 2).any()
    anchored = heat.noise(gradients_of(posterior, 20, "anchored"), place, None, 4)
    plain = heat.noise(gradients_of(posterior, 20), place, None, 4)
    assert float(anchored.max()) < 1e-6 * float(plain.min())


@pytest.mark.parametrize("friction", [0.7, 2.0])
def test_the_thermometer_reads_the_heat_and_cooling_takes_it_away(friction):
    """Without cooling E[nβΔL] is hot by the share that the kinetic temperature says."""
    curvature, nbeta = (1.0,) * 40, 100.0
    posterior = quadratic_posterior(
        curvature, nbeta=nbeta, localization=1.0, noise=0.3, num_examples=5000
    )
    metric = Diagonal(torch.full((40,), 1 / 101.0))
    kappa = 0.3 * (nbeta * 0.3) ** 2 / 50 / 101
    exact = 40 / 2 * 100 / 101
    settings: dict[str, Any] = {"chains": 16, "draws": 600, "warmup": 50, "seed": 3}
    settings["batch_size"] = 50
    settings |= {"gradient": "minibatch", "share_batches": False}
    hot = germ.sample(posterior, BAOAB(0.3, metric, friction), **settings)
    temperature = float(hot["temperature"].mean())
    expected = 1 + heat.excess(0.3, friction, kappa / 0.3)
    assert temperature > 1.03 and temperature == pytest.approx(expected, abs=0.01)
    assert_mean(nbeta * hot["loss_difference"], exact * temperature, resolves=0.04 * exact)
    cold = germ.sample(
        posterior, BAOAB(0.3, metric, friction, torch.full((40,), kappa)), **settings
    )
    assert float(cold["temperature"].mean()) == pytest.approx(1, abs=0.01)
    assert_mean(nbeta * cold["loss_difference"], exact, resolves=0.04 * exact)


def test_the_thermometer_does_not_wait_for_flat_directions():
    """From the first steps it reads 1, where the virial still says that nothing has spread."""
    posterior = quadratic_posterior((1.0,) * 20 + (0.0,) * 180, nbeta=1e4, localization=1.0)
    metric = Diagonal(torch.full((200,), 1e-4))  # that of the stiff directions
    seen = germ.sample(posterior, BAOAB(0.3, metric), chains=16, draws=60, warmup=20)
    assert float(seen["virial"].mean()) < 0.2
    assert float(seen["temperature"].mean()) == pytest.approx(1, abs=0.02)


def test_a_cooling_that_is_none_is_refused():
    for bad in (-0.1, math.nan, math.inf):
        with pytest.raises(germ.GermError, match="cooling"):
            BAOAB(0.1, cooling=torch.tensor([0.1, bad]))
