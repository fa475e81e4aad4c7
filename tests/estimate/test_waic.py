"""WAIC against the normal model in closed form, quadrature, and what it predicts."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import nn

import germ
from germ.errors import GermError
from germ.samplers import HMC

N, GAMMA = 20, 2.0


class Location(nn.Module):
    """z ~ N(w, 1), or with `cubed` N(w³, 1), whose Fisher information is 0 at w = 0."""

    def __init__(self, at: float, cubed: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([at], dtype=torch.float64))
        self.cubed = cubed


def minus_log_density(model, batch):
    mean = model.weight**3 if model.cubed else model.weight
    return 0.5 * (batch - mean) ** 2 + 0.5 * math.log(2 * math.pi)


def data(num=N):
    values = torch.randn(num, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    return (values - values.mean()) / values.std(correction=0)


def sampled(cubed=False, nbeta=float(N), draws=120, chains=6, **settings):
    posterior = germ.LocalPosterior.from_model(
        Location(0.0, cubed), data(), loss=minus_log_density, nbeta=nbeta, localization=GAMMA
    )
    # The width of the posterior, of which a leapfrog step is a third.
    step = (0.3 if cubed else 0.1) / (1 if cubed else nbeta + GAMMA) * (0.1 if cubed else 1)
    return germ.sample(
        posterior, HMC(step, num_leapfrog_steps=4), chains=chains, draws=draws, warmup=20,
        observables=germ.waic_observables(posterior), **settings,
    )  # fmt: skip


def by_quadrature(cubed, nbeta):
    """T_n, V_n and the Gibbs loss by integration over w."""
    z = data().numpy()

    def mean(w):
        return w**3 if cubed else w

    def log_density(w):
        return -0.5 * (z - mean(w)) ** 2 - 0.5 * math.log(2 * math.pi)

    def expectation(function):
        weight = lambda w: math.exp(  # noqa: E731
            nbeta / N * (log_density(w).sum() - log_density(0.0).sum()) - GAMMA * w**2 / 2
        )
        top = quad(lambda w: function(w) * weight(w), -6, 6, points=[0.0], limit=300)[0]
        return top / quad(weight, -6, 6, points=[0.0], limit=300)[0]

    training, variance, gibbs = 0.0, 0.0, 0.0
    for i in range(N):
        first = expectation(lambda w, i=i: log_density(w)[i])
        second = expectation(lambda w, i=i: log_density(w)[i] ** 2)
        training -= math.log(expectation(lambda w, i=i: math.exp(log_density(w)[i]))) / N
        variance += second - first**2
        gibbs -= first / N
    return training, variance, gibbs


def test_the_normal_model_is_the_closed_form():
    """The posterior is N(0, s²), s² = 1/(nβ + γ): predictive N(0, 1 + s²), and V_n exactly."""
    found = germ.waic(sampled())
    z, s2 = data().numpy(), 1 / (N + GAMMA)
    training = (0.5 * z**2 / (1 + s2) + 0.5 * math.log(2 * math.pi * (1 + s2))).mean()
    variance = (z**2 * s2 + s2**2 / 2).sum()
    assert found.training_loss == pytest.approx(training, abs=4 * found.standard_error + 1e-4)
    assert found.functional_variance == pytest.approx(variance, rel=0.05)
    assert found.singular_fluctuation == pytest.approx(found.functional_variance / 2)
    truth = training + variance / N
    assert found.standard_error < 4e-3
    assert abs(found.value - truth) < 4 * found.standard_error
    assert found.beta == 1 and found.num_examples == N and found.num_unreliable == 0


@pytest.mark.parametrize(("cubed", "nbeta"), [(False, 10.0), (True, float(N))])
def test_at_another_temperature_and_for_a_singular_model_it_is_what_quadrature_says(cubed, nbeta):
    found = germ.waic(sampled(cubed, nbeta))
    training, variance, gibbs = by_quadrature(cubed, nbeta)
    beta = nbeta / N
    assert found.beta == beta and 0 < found.standard_error < 0.02
    assert abs(found.value - (training + beta * variance / N)) < 4 * found.standard_error
    assert found.training_loss == pytest.approx(training, rel=0.01)
    assert found.gibbs_loss == pytest.approx(gibbs, rel=0.01)
    assert found.singular_fluctuation == pytest.approx(beta * variance / 2, rel=0.12)


def test_chains_and_their_pool_agree_with_all_draws_at_once():
    """From a trace of every draw, in NumPy: the folded numbers are the same."""
    posterior = germ.LocalPosterior.from_model(
        Location(0.0), data(), loss=minus_log_density, nbeta=float(N), localization=GAMMA
    )
    observables = germ.waic_observables(posterior, batch_size=7)
    function, _ = observables["log_likelihood"]
    samples = germ.sample(
        posterior, HMC(0.01), chains=3, draws=20, warmup=5,
        observables={**observables, "trace": function},
    )  # fmt: skip
    found = germ.waic(samples)
    trace = samples["trace"].values.reshape(60, N)
    training = -np.log(np.exp(trace).mean(axis=0)).mean()
    assert found.training_loss == pytest.approx(training, rel=1e-9)
    assert found.functional_variance == pytest.approx(trace.var(axis=0, ddof=1).sum(), rel=1e-9)
    assert found.gibbs_loss == pytest.approx(-trace.mean(), rel=1e-9)


def test_it_survives_a_store(tmp_path):
    path = tmp_path / "run.zarr"
    first = germ.waic(sampled(draws=8, chains=2, store=path))
    again = germ.waic(sampled(draws=8, chains=2, store=path))
    assert first == again == germ.waic(germ.load(path))


def test_examples_that_vary_too_much_are_counted():
    found = germ.waic(sampled(nbeta=0.5, draws=30, chains=2))
    assert found.num_unreliable > 0 and "unreliable" in str(found)


def test_one_chain_has_no_monte_carlo_error():
    found = germ.waic(sampled(draws=20, chains=1))
    assert math.isnan(found.standard_error)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["standard_error"] is None


def test_refusals():
    samples = sampled(draws=20, chains=2)
    with pytest.raises(GermError, match="waic_observables"):
        germ.waic(samples.drop_vars("log_likelihood_log_mean_exp"))
    samples.attrs["nbeta"] = 0.0
    with pytest.raises(GermError, match="nbeta > 0"):
        germ.waic(samples)
    samples.attrs["statuses"] = ["OK", "DIVERGED"]
    with pytest.raises(GermError, match="1: DIVERGED"):
        germ.waic(samples)
