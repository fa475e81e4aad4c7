"""Each term of the error budget grows when its cause is switched on alone, by what theory says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import t as student
from tests.estimate.langevin import simulate
from tests.support import quadratic_posterior

import germ
from germ.estimate.budget import ErrorBudget, error_budget, resolved
from germ.samplers import BAOAB, SGLD, LeimkuhlerMatthews

D, NBETA, LOCALIZATION = 50, 100.0, 5.0
STIFFNESS = NBETA + LOCALIZATION
EXACT = 0.5 * D * NBETA / STIFFNESS


def half_square(w):
    return 0.5 * w * w


def quadratic(sampler, **settings):
    """Chains on D directions of curvature 1: λ̂ is `EXACT`."""
    settings = {"dim": D, "nbeta": NBETA, "localization": LOCALIZATION, **settings}
    return simulate(sampler, half_square, lambda w: w, **settings)


def alone(found: ErrorBudget, cause: str, share: float = 0.05) -> None:
    """All biases but one are small beside λ̂, and the interval holds the truth."""
    for name, term in found.biases.items():
        if name != cause:
            assert abs(term) < share * abs(found.value), f"{name} {term} beside {cause}"


def holds(found: ErrorBudget, exact: float) -> bool:
    return found.interval90[0] < exact < found.interval90[1]


def test_monte_carlo_falls_with_the_root_of_the_draws():
    sampler = BAOAB(0.5 / STIFFNESS, None, STIFFNESS**0.5)
    few, many = (error_budget(quadratic(sampler, draws=draws)) for draws in (100, 1600))
    assert few.monte_carlo / many.monte_carlo == pytest.approx(4, rel=0.2)
    alone(few, "monte_carlo")
    alone(many, "monte_carlo", 0.02)
    # Independent draws of a quadratic have variance ½ Σ p², p the share of the loss in a direction.
    each = math.sqrt(0.5 * D) * NBETA / STIFFNESS
    assert many.monte_carlo == pytest.approx(each / many.ess**0.5, rel=0.1)
    assert holds(few, EXACT) and holds(many, EXACT)


def test_the_step_size_of_sgld_on_a_quadratic():
    """Variance 1/(a(1 − εa/4)): facts.md §1."""
    terms = []
    for stable in (0.05, 0.2, 1.0):
        sampler = SGLD(stable / STIFFNESS)
        found = error_budget(quadratic(sampler, warmup=int(40 / stable), thin=int(1 / stable)))
        excess = EXACT / (1 - stable / 4) - EXACT
        assert found.heating == 0
        assert found.step_size == pytest.approx(excess, rel=0.1, abs=4 * found.monte_carlo)
        alone(found, "step_size")
        assert holds(found, EXACT)
        terms.append(found.step_size)
    assert terms[2] > 4 * terms[1] > 8 * terms[0]


def rise(w):
    """√(1 + w²) − 1: a quadratic with straight walls, of curvature 1 at most."""
    return (1 + w * w) ** 0.5 - 1


def test_the_step_size_of_baoab_where_the_walls_are_not_quadratic():
    nbeta, localization = 2.0, 0.1

    def law(x: float) -> float:
        return math.exp(-nbeta * rise(x) - 0.5 * localization * x * x)

    exact = D * quad(lambda x: nbeta * rise(x) * law(x), 0, 30)[0] / quad(law, 0, 30)[0]
    small, large = (
        error_budget(
            simulate(
                BAOAB(step), rise, lambda w: w / (1 + w * w).sqrt(), D,
                nbeta=nbeta, localization=localization, draws=1500,
            )
        )
        for step in (0.1, 2.0)
    )  # fmt: skip
    for found in (small, large):
        alone(found, "step_size", 0.03)
        assert holds(found, exact)
    measured = large.value - exact
    assert 0.1 * exact < measured > 20 * large.monte_carlo, "blind: there is no bias to see"
    assert large.step_size == pytest.approx(measured, rel=0.3)
    assert abs(small.step_size) < 0.1 * large.step_size


def test_heat_of_gradient_noise():
    """BAOAB: (κ/2)(1 + c²)/(1 − c²) is added to the temperature, and λ̂ is in proportion."""
    step = 0.04 / STIFFNESS
    sampler = BAOAB(step, None, STIFFNESS**0.5)
    c, terms = sampler.memory, []
    for excess in (0.0, 0.05, 0.2, 0.5):
        kick = excess * 2 * (1 - c * c) / (1 + c * c)
        samples = quadratic(sampler, noise=(kick / step) ** 0.5, noisy=True, draws=1000)
        found = error_budget(samples)
        alone(found, "heating")
        assert found.heating == pytest.approx(excess * EXACT, rel=0.2, abs=0.01 * EXACT)
        assert holds(found, EXACT)
        terms.append(found.heating)
    assert terms == sorted(terms)


def test_without_momentum_the_heat_is_told_by_the_virial():
    """Variance (ε + (ε·s)²/4)/(εa(1 − εa/4)): facts.md §1; both causes in one term."""
    step, terms = 0.2 / STIFFNESS, []
    for kick in (0.2, 1.0):
        found = error_budget(quadratic(SGLD(step), noise=(kick / step) ** 0.5, thin=5))
        excess = EXACT * ((1 + kick / 4) / (1 - step * STIFFNESS / 4) - 1)
        assert found.heating == pytest.approx(excess, rel=0.1, abs=4 * found.monte_carlo)
        assert found.step_size == 0
        alone(found, "heating")
        assert holds(found, EXACT)
        terms.append(found.heating)
    assert terms[1] > 2 * terms[0]


def test_chains_that_have_just_left():
    """After t steps of rate εa/2 from w*, variances are 1 − ρ²ᵗ of what they will be."""
    stable, draws, terms = 0.02, 200, []
    for warmup in (0, 40, 400):
        found = error_budget(
            quadratic(LeimkuhlerMatthews(stable / STIFFNESS), draws=draws, warmup=warmup, chains=32)
        )
        steps = np.arange(warmup, warmup + draws)
        missing = EXACT * np.mean((1 - stable / 2) ** (2 * steps))
        assert found.drift == pytest.approx(-missing, rel=0.3, abs=3 * found.monte_carlo)
        alone(found, "drift")
        assert holds(found, EXACT)
        terms.append(found.drift)
    assert terms[0] < 1.5 * terms[1] < 2 * terms[2] <= 0


def test_a_drift_that_the_virial_does_not_see_is_seen_between_the_halves():
    samples = quadratic(BAOAB(0.5 / STIFFNESS, None, STIFFNESS**0.5))
    ramp = np.linspace(0, 10, samples.sizes["draw"]) / NBETA
    falling = samples.assign(loss_difference=samples["loss_difference"] - ramp)
    assert error_budget(falling).drift == pytest.approx(2.5, rel=0.3)
    assert error_budget(samples).drift == pytest.approx(0, abs=0.5)


def test_the_loss_does_not_miss_what_is_missing_from_directions_it_does_not_feel():
    """160 flat directions relax in 1000 steps, 40 felt ones in 10: V ≈ ½, and λ̂ is right."""
    felt = torch.tensor([1.0] * 40 + [0.0] * 160)
    exact = 0.5 * 40 * NBETA / (NBETA + 1)
    samples = simulate(
        LeimkuhlerMatthews(0.2 / (NBETA + 1)),
        lambda w: 0.5 * felt * w * w, lambda w: felt * w, 200,
        nbeta=NBETA, localization=1.0, warmup=100,
    )  # fmt: skip
    found = error_budget(samples)
    virial = float(samples["virial"].mean())
    assert virial < 0.7
    assert abs(found.value - exact) < 4 * found.monte_carlo
    assert -0.1 * exact < found.drift <= 0
    assert abs(found.drift) < 0.3 * (1 - virial) * exact


def test_metropolis_samplers_have_neither_step_size_nor_heat():
    """Their law is exact: a virial above 1 too is a law not reached yet."""
    samples = quadratic(SGLD(1.0 / STIFFNESS), noisy=True)
    plain, corrected = (
        error_budget(found)
        for found in (samples, samples.assign(acceptance=samples["virial"] * 0 + 0.8))
    )
    assert corrected.step_size == corrected.heating == 0 < plain.heating
    assert corrected.drift > 0.2 * EXACT


def test_descent_stands_beside_the_total():
    """w* half a deviation off the minimum: the local expectation is lower, and no error."""
    shift = 0.5 / STIFFNESS**0.5
    samples = simulate(
        BAOAB(0.5 / STIFFNESS, None, STIFFNESS**0.5),
        lambda w: 0.5 * (w - shift) ** 2 - 0.5 * shift**2, lambda w: w - shift, D,
        nbeta=NBETA, localization=LOCALIZATION,
    )  # fmt: skip
    # U is least at nβ·shift/a, where L has fallen by ½·nβ²gᵀDg, D = 1/a, to second order in γ/a.
    mean = NBETA * shift / STIFFNESS
    exact = EXACT + 0.5 * NBETA * D * ((mean - shift) ** 2 - shift**2)
    gain = 0.5 * D * (NBETA * shift) ** 2 / STIFFNESS
    assert EXACT - exact == pytest.approx(gain, rel=0.1), "λ̂ is lower by what descending gains"
    found = error_budget(samples.assign_attrs(descent=gain))
    without = error_budget(samples)
    assert found.not_a_minimum == gain and math.isnan(without.not_a_minimum)
    assert found.total == without.total and found.interval90 == without.interval90
    assert holds(found, exact)
    alone(found, "not_a_minimum", 0.08)


def test_the_total_is_the_root_of_the_squares():
    found = ErrorBudget(10.0, monte_carlo=3.0, ess=1e9, step_size=4.0, heating=-12.0, drift=-84.0)
    assert found.total == pytest.approx(math.sqrt(9 + 16 + 144 + 84**2))
    assert found.half_width == pytest.approx(1.6449 * found.total, rel=1e-4)
    assert found.interval90 == pytest.approx((10 - found.half_width, 10 + found.half_width))


@pytest.mark.parametrize("ess", [4.0, 20.0, 40.0])
def test_few_draws_widen_the_interval(ess):
    found = ErrorBudget(10.0, monte_carlo=1.0, ess=ess)
    assert found.half_width == pytest.approx(student.ppf(0.95, ess / 4))


def test_what_noise_explains_is_no_bias():
    rng = np.random.default_rng(0)
    for bias in (0.0, 3.0):
        squares = [resolved(bias + x, 1.0) ** 2 for x in rng.normal(size=20_000)]
        assert np.mean(squares) == pytest.approx(bias**2, abs=0.5)
    assert resolved(-5.0, 3.0) == pytest.approx(-4)
    assert resolved(math.nan, 1.0) == 0 and resolved(1.0, math.inf) == 0


def test_a_dictionary_for_json():
    found = ErrorBudget(10.0, monte_carlo=math.nan, ess=math.nan).to_dict()
    assert found["monte_carlo"] is None and found["interval90"] == [None, None]
    assert found["not_a_minimum"] is None and found["heating"] == 0


def test_of_a_run():
    """End to end: what `germ.sample` writes down is what the budget reads."""
    posterior = quadratic_posterior(
        [1.0] * 20, nbeta=NBETA, localization=LOCALIZATION, noise=0.5, num_examples=200
    )
    step = 0.04 / STIFFNESS
    sampler = BAOAB(step, None, STIFFNESS**0.5)
    samples = germ.sample(
        posterior, sampler, chains=4, draws=150, batch_size=10, gradient="minibatch", seed=1
    )
    found = error_budget(samples)
    kick, c = step * NBETA**2 * 0.5**2 / 10, sampler.memory
    excess = EXACT * 20 / D * kick / 2 * (1 + c * c) / (1 - c * c)
    assert found.heating == pytest.approx(excess, rel=0.3)
    assert holds(found, EXACT * 20 / D)


def test_stated_intervals_cover_as_often_as_they_say():
    """Quadratics of many kinds, with a little of everything that can go wrong."""
    rng = np.random.default_rng(7)
    held = []
    for seed in range(36):
        dim = int(rng.choice([5, 20, 60]))
        curvature = 10 ** -rng.uniform(0, 2.5, size=dim)
        curvature[rng.uniform(size=dim) < 0.3] = 0
        curvature[0] = 1
        gamma = float(rng.choice([1.0, 10.0]))
        exact = float((0.5 * NBETA * curvature / (NBETA * curvature + gamma)).sum())
        step = float(rng.choice([0.05, 0.3, 1.0])) / (NBETA + gamma)
        sampler = [
            BAOAB(step, None, 0.3 * (NBETA + gamma) ** 0.5), LeimkuhlerMatthews(step), SGLD(step),
        ][seed % 3]  # fmt: skip
        h = torch.from_numpy(curvature).float()
        samples = simulate(
            sampler, lambda w, h=h: 0.5 * h * w * w, lambda w, h=h: h * w, dim, chains=4,
            nbeta=NBETA, localization=gamma, noise=float(rng.choice([0.0, 3.0, 10.0])), seed=seed,
            draws=200, warmup=int(rng.choice([20, 100, 400])),
        )  # fmt: skip
        held.append(holds(error_budget(samples), exact))
    assert np.mean(held) >= 0.85
