"""From model and data to λ̂, where every expectation is known (facts.md §1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from tests.support import Quadratic, assert_mean, quadratic_loss, quadratic_posterior
from torch import nn

import germ
from germ.samplers import BAOAB, HMC, MALA, SGLD, Diagonal, LeimkuhlerMatthews

CURVATURES = (0.1, 1.0, 5.0)
NBETA, LOCALIZATION = 30.0, 5.0
A = NBETA * np.array(CURVATURES) + LOCALIZATION  # 8, 35, 155
EXACT = 0.5 * float((NBETA * np.array(CURVATURES) / A).sum())  # 1.0999


def lambda_hat(samples: xr.Dataset) -> np.ndarray:
    return samples.attrs["nbeta"] * samples["loss_difference"].values


def draw(posterior: germ.LocalPosterior, sampler, chains: int, draws: int, **settings):
    settings = {"warmup": 100, "chains_per_call": chains, **settings}
    return germ.sample(posterior, sampler, chains=chains, draws=draws, **settings)


def test_sgld_with_step_localization_and_batch_noise():
    """The oracle of facts.md §1: 1.3630, where the exact posterior has 1.0999."""
    step, noise = 5e-3, 0.3
    posterior = quadratic_posterior(
        CURVATURES, nbeta=NBETA, localization=LOCALIZATION, noise=noise, num_examples=50
    )
    samples = draw(
        posterior, SGLD(step), 40, 1100, warmup=200, seed=1,
        batch_size=1, gradient="minibatch", share_batches=False,
    )  # fmt: skip
    variance = (step + step**2 * NBETA**2 * noise**2 / 4) / (step * A * (1 - step * A / 4))
    truth = 0.5 * float((NBETA * np.array(CURVATURES) * variance).sum())
    assert truth == pytest.approx(1.3630, abs=5e-5) and pytest.approx(1.0999, abs=5e-5) == EXACT
    assert_mean(lambda_hat(samples), truth, resolves=0.16)
    # Without the noise of the loss itself: ‖w − w*‖² and the virial know the variances better.
    assert_mean(samples["distance"].values ** 2, float(variance.sum()), resolves=0.04)
    assert_mean(samples["virial"], float((A * variance).mean()), resolves=0.1)
    found = germ.llc(samples)
    assert any("heated" in warning for warning in found.warnings)


def test_anchored_gradients_take_the_batch_noise_away():
    """The noise of this loss does not depend on w: anchored, only the step's own bias is left."""
    posterior = quadratic_posterior(
        CURVATURES, nbeta=NBETA, localization=LOCALIZATION, noise=1.0, num_examples=50
    )
    step = 5e-3  # without anchoring, 2.6 instead of 1.2
    samples = draw(posterior, SGLD(step), 24, 500, warmup=150, batch_size=1)
    truth = 0.5 * float((NBETA * np.array(CURVATURES) / (A * (1 - step * A / 4))).sum())
    assert_mean(lambda_hat(samples), truth, resolves=0.2)


SCALE = torch.tensor(1 / A, dtype=torch.float32)
EXACT_SAMPLERS = {
    "lm": LeimkuhlerMatthews(0.012),  # εa = 1.9 in the stiffest direction
    "lm diagonal": LeimkuhlerMatthews(1.0, Diagonal(SCALE)),
    "baoab diagonal": BAOAB(0.6, Diagonal(SCALE)),
    "mala diagonal": MALA(0.8, Diagonal(SCALE)),
    "hmc diagonal": HMC(0.3, num_leapfrog_steps=3, preconditioner=Diagonal(SCALE)),
    "auto": "auto",
}


@pytest.mark.parametrize("name", EXACT_SAMPLERS)
def test_exact_where_theory_says(name):
    posterior = quadratic_posterior(CURVATURES, nbeta=NBETA, localization=LOCALIZATION)
    sampler = EXACT_SAMPLERS[name]
    samples = draw(posterior, sampler, 96, 160, seed=2, thin=3 if name == "auto" else 1)
    assert_mean(lambda_hat(samples), EXACT, resolves=0.1)
    assert_mean(samples["virial"], 1.0, resolves=0.1)
    assert_mean(samples["distance"] ** 2, float((1 / A).sum()), resolves=0.03)


@pytest.mark.parametrize("eps_a", [0.3, 2.0])
def test_preconditioned_sgld_has_one_bias_for_all_directions(eps_a):
    """With d_i = 1/a_i the variance is 1/(a_i(1 − ε/4)): λ̂ is off by that factor."""
    posterior = quadratic_posterior(CURVATURES, nbeta=NBETA, localization=LOCALIZATION)
    samples = draw(posterior, SGLD(eps_a, Diagonal(SCALE)), 96, 130, seed=3)
    truth = EXACT / (1 - eps_a / 4)
    assert_mean(lambda_hat(samples), truth, resolves=0.1 * truth)
    assert_mean(samples["virial"], 1 / (1 - eps_a / 4), resolves=0.1 / (1 - eps_a / 4))


@pytest.mark.parametrize("localization", [0.5, 20.0, 300.0])
def test_the_localization_bias_is_half_the_sum_of_gamma_over_a(localization):
    """λ̂ = d/2 − ½Σγ/a_i; a flat direction counts for nothing."""
    curvatures = (0.0, 0.1, 1.0, 5.0)
    a = NBETA * np.array(curvatures) + localization
    posterior = quadratic_posterior(curvatures, nbeta=NBETA, localization=localization)
    sampler = LeimkuhlerMatthews(1.0, Diagonal(torch.tensor(1 / a, dtype=torch.float32)))
    samples = draw(posterior, sampler, 48, 160, warmup=30, seed=4)
    bias = 0.5 * float((localization / a).sum())
    assert_mean(len(a) / 2 - lambda_hat(samples), bias, resolves=0.13)


def test_an_anchor_that_is_no_minimum():
    """L is least at c and not at w*: the chain goes where the closed form says, and λ̂ < 0.

    E[w] = w* + nβh(c − w*)/(nβh + γ). A sign lost anywhere shows here.
    """
    curvatures, weight, center = np.array([0.5, 2.0]), np.array([1.0, -1.0]), np.array([0.4, 0.5])
    a = NBETA * curvatures + LOCALIZATION
    posterior = quadratic_posterior(
        curvatures.tolist(), nbeta=NBETA, localization=LOCALIZATION,
        weight=weight.tolist(), center=center.tolist(), noise=0.5, num_examples=40,
    )  # fmt: skip
    sampler = LeimkuhlerMatthews(1.0, Diagonal(torch.tensor(1 / a, dtype=torch.float32)))
    samples = draw(
        posterior,
        sampler,
        24,
        120,
        warmup=30,
        seed=5,
        batch_size=2,
        observables={"w": lambda m: m.weight},
    )
    shift = NBETA * curvatures * (center - weight) / a
    for i in range(2):
        assert_mean(samples["w"][..., i], float(weight[i] + shift[i]), resolves=0.08)
    after = (weight + shift - center) ** 2 - (weight - center) ** 2
    truth = 0.5 * NBETA * float((curvatures * (1 / a + after)).sum())
    assert truth < -30
    assert_mean(lambda_hat(samples), truth, resolves=1.0)
    assert any("not a minimum" in warning for warning in germ.llc(samples).warnings)


class TwoBlocks(nn.Module):
    """A quadratic loss whose weights are two parameters, correlated."""

    hessian: torch.Tensor

    def __init__(self, hessian: torch.Tensor) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.tensor([0.3, -0.2]))
        self.second = nn.Parameter(torch.tensor([[0.1], [0.4]]))
        self.register_buffer("at", torch.tensor([0.3, -0.2, 0.1, 0.4]))
        self.register_buffer("hessian", hessian)


def two_blocks_loss(model: Any, batch: torch.Tensor) -> torch.Tensor:
    w = torch.cat([model.first, model.second.reshape(-1)]) - model.at
    return (0.5 * w @ model.hessian @ w).expand(len(batch))


BLOCKED = torch.tensor(
    [[3.0, 0.5, 1.2, 0.0], [0.5, 2.0, -0.7, 0.4], [1.2, -0.7, 1.5, 0.6], [0.0, 0.4, 0.6, 1.0]]
)
MASK = {"first": torch.tensor([True, False]), "second": torch.tensor([[True], [True]])}


@pytest.mark.parametrize(
    ("restrict", "block"),
    [("first", [0, 1]), ("second", [2, 3]), (MASK, [0, 2, 3]), (None, [0, 1, 2, 3])],
)
def test_a_restricted_quadratic(restrict, block):
    """λ̂ = ½tr(nβH_CC(nβH_CC + γ)⁻¹): the block of H, not a block of its inverse."""
    posterior = germ.LocalPosterior.from_model(
        TwoBlocks(BLOCKED), torch.zeros(1, 1), loss=two_blocks_loss,
        nbeta=NBETA, localization=40.0, restrict=restrict,
    )  # fmt: skip
    h = NBETA * BLOCKED.numpy().astype(np.float64)[np.ix_(block, block)]
    truth = 0.5 * float(np.trace(h @ np.linalg.inv(h + 40.0 * np.eye(len(block)))))
    samples = draw(posterior, LeimkuhlerMatthews(0.02), 48, 160, warmup=30, seed=6)
    assert_mean(lambda_hat(samples), truth, resolves=0.16 * truth)


def test_the_llc_of_a_quadratic_does_not_depend_on_its_units():
    """Loss × c with nβ / c is the same posterior, and the same λ̂, to rounding."""
    one = quadratic_posterior(
        CURVATURES, nbeta=NBETA, localization=LOCALIZATION, dtype=torch.double
    )
    model = Quadratic([7 * h for h in CURVATURES], dtype=torch.double)
    seven = germ.LocalPosterior.from_model(
        model, torch.zeros(1, 3).double(), loss=quadratic_loss,
        nbeta=NBETA / 7, localization=LOCALIZATION,
    )  # fmt: skip
    settings: dict[str, Any] = {"chains": 2, "draws": 50, "warmup": 20}
    left, right = (
        germ.sample(one, SGLD(0.01), **settings),
        germ.sample(seven, SGLD(0.01), **settings),
    )
    np.testing.assert_allclose(lambda_hat(left), lambda_hat(right), rtol=1e-9, atol=1e-12)
