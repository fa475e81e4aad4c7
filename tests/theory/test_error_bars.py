"""The stated standard error of λ̂ covers the truth as often as it should, from data to result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from tests.support import quadratic_posterior

import germ
from germ.samplers import SGLD, Diagonal, LeimkuhlerMatthews

CURVATURES, NBETA, LOCALIZATION = np.array([0.1, 1.0, 5.0]), 30.0, 5.0
A = NBETA * CURVATURES + LOCALIZATION
EXACT = 0.5 * float((NBETA * CURVATURES / A).sum())
METRIC = Diagonal(torch.tensor(1 / A, dtype=torch.float32))
GROUP = 4  # chains behind one estimate


def z_scores(samples: xr.Dataset, truth: float) -> np.ndarray:
    """Groups of four chains of one run, each an estimate of its own."""
    found = []
    for first in range(0, samples.sizes["chain"], GROUP):
        estimate = germ.llc(samples.isel(chain=slice(first, first + GROUP)))
        found.append((estimate.value - truth) / estimate.standard_error)
    return np.array(found)


def calibrated(z: np.ndarray) -> None:
    """The z of R estimates has standard deviation 1 ± 1/√(2R); ESS is itself estimated, roughly."""
    error = (2 * len(z)) ** -0.5
    assert 1 - 3 * error - 0.05 < z.std() < 1 + 3 * error + 0.15, z.std()
    assert abs(z.mean()) < 4 / len(z) ** 0.5 + 0.1
    assert np.mean(np.abs(z) > 2) < 0.045 + 4 * (0.045 / len(z)) ** 0.5 + 0.03


def draw(sampler: Any, num_examples: int = 1, noise: float = 0.0, **settings: Any) -> xr.Dataset:
    posterior = quadratic_posterior(
        CURVATURES.tolist(), nbeta=NBETA, localization=LOCALIZATION,
        noise=noise, num_examples=num_examples,
    )  # fmt: skip
    return germ.sample(posterior, sampler, warmup=50, draws=150, **settings)


def test_full_batches():
    samples = draw(LeimkuhlerMatthews(0.15, METRIC), chains=60 * GROUP, chains_per_call=240)
    calibrated(z_scores(samples, EXACT))


def noisy_truth(step: float, noise: float) -> float:
    """E[nβΔL] of preconditioned SGLD with batches of one: d_i = 1/a_i, noise s² on ∇L."""
    heat = step**2 / A**2 * NBETA**2 * noise**2 / 4 / (step * (1 - step / 4))
    return 0.5 * float((NBETA * CURVATURES * (1 / (A * (1 - step / 4)) + heat)).sum())


def test_batches_of_ones_own():
    step, noise = 0.15, 0.3
    samples = draw(
        SGLD(step, METRIC), 50, noise, chains=50 * GROUP, chains_per_call=200,
        batch_size=1, gradient="minibatch", share_batches=False,
    )  # fmt: skip
    calibrated(z_scores(samples, noisy_truth(step, noise)))


@pytest.mark.slow
def test_batches_that_chains_share():
    """Noise that all chains see does not average out over them; the error must know."""
    step, noise = 0.15, 1.0
    naive, aware = [], []
    for seed in range(40):
        samples = draw(
            SGLD(step, METRIC), 50, noise, chains=GROUP, seed=seed,
            batch_size=1, gradient="minibatch",
        )  # fmt: skip
        aware.append(z_scores(samples, noisy_truth(step, noise)))
        naive.append(z_scores(samples.assign_attrs(shared_batches=False), noisy_truth(step, noise)))
    calibrated(np.concatenate(aware))
    ratio = np.concatenate(naive).std() / np.concatenate(aware).std()
    assert ratio > 1.4, "or there is nothing to know"
