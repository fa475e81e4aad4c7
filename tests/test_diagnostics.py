"""Error bars, mixing and drift, on series whose autocorrelation is known."""

from __future__ import annotations

import numpy as np
import pytest

from germ.diagnostics import average, drift

REPEATS = 300


def autoregression(phi: float, chains: int, draws: int, seed: int, repeats: int = 1) -> np.ndarray:
    """x_t = φ·x_{t−1} + √(1 − φ²)·ξ_t, of variance 1, from its stationary law."""
    rng = np.random.default_rng(seed)
    x = np.empty((repeats, chains, draws))
    x[..., 0] = rng.normal(size=(repeats, chains))
    for t in range(1, draws):
        x[..., t] = phi * x[..., t - 1] + (1 - phi**2) ** 0.5 * rng.normal(size=(repeats, chains))
    return x


@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.6, 0.9])
def test_the_effective_sample_size_of_an_autoregression(phi):
    """ESS = N(1 − φ)/(1 + φ), and the error is √(1/ESS)."""
    found = average(3 + autoregression(phi, 4, 8000, seed=1)[0])
    truth = 4 * 8000 * (1 - phi) / (1 + phi)
    assert found.ess == pytest.approx(truth, rel=0.2)
    assert found.standard_error == pytest.approx(truth**-0.5, rel=0.1)
    assert abs(found.mean - 3) < 4 * truth**-0.5
    assert found.rhat == pytest.approx(1, abs=0.01)


def z_scores(series: np.ndarray, shared: bool) -> np.ndarray:
    found = [average(x, shared_batches=shared) for x in series]
    return np.array([a.mean / a.standard_error for a in found])


@pytest.mark.parametrize("phi", [0.0, 0.8])
def test_the_error_covers_the_truth_as_often_as_it_says(phi):
    z = z_scores(autoregression(phi, 4, 300, seed=2, repeats=REPEATS), shared=False)
    # The standard deviation of the z of R repeats is known to 1/√(2R); ESS is itself an estimate.
    assert 0.9 < z.std() < 1.2
    assert np.mean(np.abs(z) > 2) < 0.1


@pytest.mark.parametrize("phi", [0.0, 0.8])
def test_noise_that_chains_share_makes_the_error_larger(phi):
    own = autoregression(phi, 8, 300, seed=3, repeats=REPEATS)
    common = autoregression(phi, 1, 300, seed=4, repeats=REPEATS)
    series = own + common
    naive, aware = z_scores(series, shared=False), z_scores(series, shared=True)
    assert naive.std() > 1.7, "without shared noise there is nothing to test"
    assert 0.85 < aware.std() < 1.2
    one, both = average(series[0]), average(series[0], shared_batches=True)
    assert both.standard_error > 1.5 * one.standard_error
    assert both.ess == pytest.approx(one.ess * (one.standard_error / both.standard_error) ** 2)


def test_chains_that_merely_could_share_noise_are_not_punished_for_it():
    z = z_scores(autoregression(0.5, 4, 300, seed=5, repeats=REPEATS), shared=True)
    assert 0.75 < z.std() < 1.15


def test_chains_that_disagree_are_seen():
    series = autoregression(0.3, 4, 500, seed=6)[0]
    apart = series + np.array([0, 0, 0, 1.5])[:, None]
    assert average(series).rhat < 1.01 < 1.1 < average(apart).rhat
    assert average(apart).ess < average(series).ess / 20


def test_one_chain_has_no_rhat():
    found = average(autoregression(0.3, 1, 500, seed=7)[0])
    assert np.isnan(found.rhat) and found.standard_error > 0


def test_a_constant_series_has_no_error():
    found = average(np.full((3, 20), 2.5), shared_batches=True)
    assert found.mean == 2.5 and found.standard_error == 0.0
    assert np.isnan(found.ess) and np.isnan(found.rhat)


def test_a_series_that_does_not_move_has_no_drift():
    z = np.array([drift(x).z for x in autoregression(0.6, 4, 400, seed=8, repeats=REPEATS)])
    assert 0.85 < z.std() < 1.25
    assert abs(z.mean()) < 4 / REPEATS**0.5


def test_a_ramp_drifts_by_half_its_height():
    series = autoregression(0.3, 4, 1000, seed=9)[0] + np.linspace(0, 1, 1000)
    found = drift(series)
    assert found.change == pytest.approx(0.5, abs=0.15) and found.z > 4
    assert drift(-series).z < -4


def test_too_short_a_series_has_no_drift():
    assert np.isnan(drift(np.ones((2, 7))).z)
    assert drift(np.random.default_rng(0).normal(size=(2, 9))).z != 0  # the odd one is left out


def test_chains_that_stand_still_at_different_places_disagree_without_end():
    found = average(np.repeat([[4.0, 2.0], [3.0, 1.0]], 3, axis=1))
    assert found.rhat > 1e6 and found.standard_error > 0
