"""Free energies by thermodynamic integration, against quadrature and the normal integral."""

import json
import math

import numpy as np
import pytest
from tests.estimate.exact_draws import (
    draws_of_a_product,
    draws_on_a_line,
    log_evidence,
    log_evidence_of_a_product,
    samples,
)
from tests.support import quadratic_posterior

import germ
from germ.errors import GermError
from germ.samplers import HMC

GAMMA = 1.0
LADDER = [0.0, *np.geomspace(0.5, 1000, 12)]


def ladder(potential, nbetas=LADDER, **settings):
    return [
        draws_on_a_line(potential, nbeta=b, localization=GAMMA, seed=k, **settings)
        for k, b in enumerate(nbetas)
    ]


def within(found, truth, most=0.3):
    """Both errors together, and an answer that means something."""
    error = 4 * found.standard_error + found.discretization_error
    assert abs(found.value - truth) < error < most
    low, high = found.bracket
    assert low - 4 * found.standard_error < truth < high + 4 * found.standard_error


def test_a_quadratic_direction_is_the_normal_integral():
    """F(b) = b·L(w*) + ½ log(1 + bh/γ)."""
    found = germ.free_energy(ladder(lambda w: 3 * w**2 / 2))
    within(found, 1000 * 0.7 + 0.5 * math.log(1 + 3000 / GAMMA))


def test_a_singular_direction_is_what_quadrature_says():
    found = germ.free_energy(ladder(lambda w: w**4))
    within(found, 700 - log_evidence(lambda w: w**4, 1000, GAMMA))


def test_in_two_dimensions_with_multiplicity_two():
    runs = [draws_of_a_product(nbeta=b, localization=GAMMA, seed=k) for k, b in enumerate(LADDER)]
    found = germ.free_energy(runs)
    within(found, 700 - log_evidence_of_a_product(1000, GAMMA))


def test_a_ladder_that_does_not_begin_at_zero_gives_a_difference():
    nbetas = np.geomspace(10, 1000, 8)
    found = germ.free_energy(ladder(lambda w: w**4, nbetas))
    one, two = (log_evidence(lambda w: w**4, b, GAMMA) for b in (10, 1000))
    within(found, 0.7 * 990 + one - two)


def test_exact_means_leave_the_error_of_the_ladder_alone():
    """E[ΔL] = ½h/(xh + γ), constant over draws: the stated error covers the actual one."""
    for num in (4, 6, 9, 14):
        nbetas = [0.0, *np.geomspace(0.3, 3000, num)]
        runs = [
            samples(
                np.full((2, 8), 0.5 * 2 / (2 * b + GAMMA)),
                nbeta=b, localization=GAMMA, seed=k, anchor_loss=0.0,
            )
            for k, b in enumerate(nbetas)
        ]  # fmt: skip
        found = germ.free_energy(runs)
        truth = 0.5 * math.log(1 + 6000 / GAMMA)
        assert found.standard_error == 0
        assert abs(found.value - truth) < found.discretization_error
        assert found.bracket[0] < truth < found.bracket[1]
    assert found.discretization_error < 0.02


def test_runs_of_one_seed_have_errors_that_add_up():
    runs = ladder(lambda w: w**4)
    own = germ.free_energy(runs).standard_error
    for one in runs:
        one.attrs["seed"] = 0
    assert germ.free_energy(runs).standard_error > 1.5 * own


def test_the_order_of_the_runs_does_not_matter():
    runs = ladder(lambda w: w**4)
    assert germ.free_energy(runs[::-1]) == germ.free_energy(runs)


@pytest.mark.slow
def test_a_ladder_that_was_sampled():
    """Two quadratic directions, HMC on six rungs from the control at nβ = 0 on.

    A trajectory is about a quarter of a period, so that the energy is drawn anew by each.
    """
    curvatures = [6.0, 10.0]
    posterior = quadratic_posterior(curvatures, nbeta=1.0, localization=2.0)
    runs = [
        germ.sample(
            posterior.with_(nbeta=float(nbeta)), HMC(0.2 / (10 * nbeta + 2), 4),
            chains=3, draws=200, warmup=10, seed=k,
        )
        for k, nbeta in enumerate((0, 0.25, 1, 4, 16, 100))
    ]  # fmt: skip
    found = germ.free_energy(runs)
    within(found, sum(0.5 * math.log(1 + 100 * h / 2) for h in curvatures), most=0.6)
    assert json.loads(json.dumps(found.to_dict()))["value"] == found.value


def test_refusals():
    runs = ladder(lambda w: w**4)
    with pytest.raises(GermError, match="at least 3 runs"):
        germ.free_energy(runs[:2])
    with pytest.raises(GermError, match="each nbeta once"):
        germ.free_energy([*runs, runs[3]])
    flat = [samples(np.ones((2, 8)), nbeta=b, localization=0.0, seed=0) for b in (1, 2, 3)]
    with pytest.raises(GermError, match="localization > 0"):
        germ.free_energy(flat)
    runs[2].attrs["localization"] = 5.0
    with pytest.raises(GermError, match=r"one posterior.*localization"):
        germ.free_energy(runs)
