"""λ̂ from two temperatures: closed form, quadrature, and what L(w*) has to do with it."""

import pytest
from tests.estimate.exact_draws import (
    draws_of_a_product,
    draws_on_a_line,
    expectation,
    log_evidence,
    log_evidence_of_a_product,
)

import germ
from germ.errors import GermError

LOW, HIGH = 2e3, 1e4


def run(potential, nbeta, seed, **attrs):
    return draws_on_a_line(potential, nbeta=nbeta, localization=1.0, seed=seed, **attrs)


def test_a_quadratic_direction_counts_one_half():
    """E[ΔL] = ½h/(nβh + γ) at each temperature."""
    found = germ.two_temperatures(run(lambda w: w**2 / 2, LOW, 1), run(lambda w: w**2 / 2, HIGH, 2))
    truth = (0.5 / (LOW + 1) - 0.5 / (HIGH + 1)) / (1 / LOW - 1 / HIGH)
    assert abs(found.value - truth) < 4 * found.standard_error < 0.1
    assert found.nbetas == (LOW, HIGH)


def test_a_singular_direction_is_what_quadrature_says():
    found = germ.two_temperatures(run(lambda w: w**4, HIGH, 1), run(lambda w: w**4, LOW, 2))
    means = [expectation(lambda b: log_evidence(lambda w: w**4, b, 1.0), b) for b in (LOW, HIGH)]
    truth = (means[0] - means[1]) / (1 / LOW - 1 / HIGH)
    assert truth == pytest.approx(0.25, abs=0.01)
    assert abs(found.value - truth) < 4 * found.standard_error < 0.05
    assert found.expected_losses[0] > found.expected_losses[1] > 0.7


def test_in_two_dimensions_with_multiplicity_two():
    runs = [draws_of_a_product(nbeta=b, localization=1.0, seed=int(b)) for b in (LOW, HIGH)]
    means = [expectation(lambda b: log_evidence_of_a_product(b, 1.0), b) for b in (LOW, HIGH)]
    truth = (means[0] - means[1]) / (1 / LOW - 1 / HIGH)
    found = germ.two_temperatures(*runs)
    assert abs(found.value - truth) < 4 * found.standard_error < 0.1
    assert truth < 0.45, "below λ = 1/2, as m = 2 has it"


def test_an_anchor_off_the_minimum_does_not_matter():
    """L(w*) is not the minimum: nβ(E[L] − L(w*)) is wrong by nβ·0.1, this is not."""

    def tilted(w):
        return (w - 0.1) ** 2 / 2 - 0.005

    found = germ.two_temperatures(run(tilted, LOW, 1), run(tilted, HIGH, 2))
    assert abs(found.value - 0.5) < 0.1
    assert run(tilted, HIGH, 2)["loss_difference"].mean() * HIGH < -10


def test_runs_of_one_seed_have_errors_that_add_up():
    own = germ.two_temperatures(run(abs, LOW, 1), run(abs, HIGH, 2))
    shared = germ.two_temperatures(run(abs, LOW, 1), run(abs, HIGH, 1))
    assert shared.standard_error > 1.05 * own.standard_error


def test_the_error_is_the_spread_over_repetitions():
    def estimate(seed):
        return germ.two_temperatures(
            run(lambda w: w**4, LOW, seed, num=200), run(lambda w: w**4, HIGH, seed + 1, num=200)
        )

    found = [estimate(2 * k) for k in range(30)]
    values = [f.value for f in found]
    spread = (sum((v - sum(values) / 30) ** 2 for v in values) / 29) ** 0.5
    stated = sum(f.standard_error for f in found) / 30
    # A standard deviation of 30 values is known to 13%: four of its errors.
    assert stated == pytest.approx(spread, rel=0.52)


def test_refusals():
    one = run(abs, LOW, 1)
    with pytest.raises(GermError, match="two different nbeta"):
        germ.two_temperatures(one, run(abs, LOW, 2))
    with pytest.raises(GermError, match="above 0"):
        germ.two_temperatures(one, run(abs, 0.0, 2))
    for name, value in (("anchor_loss", 0.8), ("num_examples", 999), ("localization", 3.0)):
        other = run(abs, HIGH, 2)
        other.attrs[name] = value
        with pytest.raises(GermError, match=f"one posterior.*{name}"):
            germ.two_temperatures(one, other)
