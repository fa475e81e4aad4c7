"""WBIC against quadrature, and where it refuses."""

import json
import math

import pytest
from tests.estimate.exact_draws import draws_on_a_line, expectation, log_evidence

import germ
from germ.errors import GermError

N, GAMMA = 1000, 2.0
NBETA = N / math.log(N)


def quartic(w):
    return w**4


def test_it_is_n_times_the_expected_loss():
    found = germ.wbic(draws_on_a_line(quartic, nbeta=NBETA, localization=GAMMA, seed=1))
    truth = N * (0.7 + expectation(lambda b: log_evidence(quartic, b, GAMMA), NBETA))
    assert found.standard_error < 0.05
    assert abs(found.value - truth) < 4 * found.standard_error
    assert found.value == pytest.approx(N * 0.7 + found.llc * math.log(N), rel=1e-12)


def test_it_is_near_the_free_energy():
    """Without data noise WBIC − F_n is of order one; λ log n is 1.7."""
    found = germ.wbic(draws_on_a_line(quartic, nbeta=NBETA, localization=GAMMA, seed=1))
    free_energy = N * 0.7 - log_evidence(quartic, N, GAMMA)
    assert abs(found.value - free_energy) < 0.5


def test_another_temperature_is_refused():
    for nbeta in (N, NBETA * 1.01, 30.0):
        with pytest.raises(GermError, match=r"n/log n = 144\.765.*two_temperatures"):
            germ.wbic(draws_on_a_line(quartic, nbeta=nbeta, localization=GAMMA, seed=1))


def test_failed_chains_are_refused_or_left_out():
    data = draws_on_a_line(quartic, nbeta=NBETA, localization=GAMMA, seed=1)
    data.attrs["statuses"] = ["OK", "NAN", "OK", "OK"]
    data["loss_difference"][1] = float("nan")
    with pytest.raises(GermError, match="1: NAN"):
        germ.wbic(data)
    assert math.isfinite(germ.wbic(data, drop_failed=True).value)


def test_what_is_no_sample():
    data = draws_on_a_line(quartic, nbeta=NBETA, localization=GAMMA, seed=1)
    for broken, words in (
        (data.drop_attrs(), "attributes are gone"),
        (data.drop_vars("loss_difference"), "loss_difference"),
        (data.isel(draw=slice(3)), "at least 4 draws"),
    ):
        with pytest.raises(GermError, match=words):
            germ.wbic(broken)


def test_the_line_and_the_dictionary():
    found = germ.wbic(draws_on_a_line(quartic, nbeta=NBETA, localization=GAMMA, seed=1))
    assert str(found).startswith("WBIC 701.") and "n = 1000" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["value"] == found.value
