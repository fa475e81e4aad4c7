"""λ̂ from weighted draws, and its differences, against posteriors that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests import test_responding as known

import germ
from germ.experiments.patterning_draws import mean_and_error, shares, trace
from germ.posterior import LocalPosterior

NBETA, LOCALIZATION = 3.0, 12.0
DOMAINS = 4
SCALE = torch.tensor([0.4, 0.8, 1.2, 1.6], dtype=torch.float64).repeat_interleave(10)
"""Domains whose losses differ, or they would have no response."""

DATA = (known.DATA[0][:40] * SCALE[:, None, None], known.DATA[1][:40] * SCALE[:, None])


def posterior(*, shift: float = 0.0) -> LocalPosterior:
    model = known.Weights()
    with torch.no_grad():
        model.weight.add_(shift)
    return LocalPosterior.from_model(
        model, DATA, loss=known.quadratics, nbeta=NBETA, localization=LOCALIZATION
    )


def llc(tilt: Any = None) -> float:
    """λ̂ in the Gaussian posterior of the tilted loss, by hand."""
    A, a = (part.reshape(DOMAINS, -1, *part.shape[1:]).mean(1).numpy() for part in DATA)
    H, slope = A.mean(0), a.mean(0)
    h = np.zeros(DOMAINS) if tilt is None else np.asarray(tilt)
    tilted_H = H + np.einsum("d,dij->ij", h, A - H)
    tilted_slope = slope + h @ (a - slope)
    S = np.linalg.inv(NBETA * tilted_H + LOCALIZATION * np.eye(len(H)))
    m = -NBETA * S @ tilted_slope
    return NBETA * float(0.5 * np.trace(H @ (S + np.outer(m, m))) + slope @ m)


def slopes() -> np.ndarray:
    """dλ̂/dh_d, by differences."""
    small = 1e-4 * np.eye(DOMAINS)
    return np.array([(llc(tilt) - llc(-tilt)) / 2e-4 for tilt in small])


TILT = 0.5 * slopes() / np.linalg.norm(slopes())


@pytest.fixture(scope="module")
def draws() -> np.ndarray:
    return trace(posterior(), DOMAINS, draws=1500, seed=0)


def test_equals_the_closed_form_tilted_or_not(draws: np.ndarray):
    plain, tilted = shares(draws, NBETA), shares(draws, NBETA, TILT)
    for values, truth in ((plain, llc()), (tilted, llc(TILT))):
        mean, error = mean_and_error(values)
        assert abs(mean - truth) < 4 * error and error < 0.05 * abs(truth)
    change, error = mean_and_error(tilted - plain)
    truth = llc(TILT) - llc()
    assert abs(change - truth) < 4 * error and error < 0.2 * abs(truth)
    # Draws in common: the change is known better than either of its ends.
    ends = np.hypot(mean_and_error(plain)[1], mean_and_error(tilted)[1])
    assert error < 0.25 * ends


def test_errors_are_the_spread_over_seeds(draws: np.ndarray):
    parts = [part for part in np.split(draws, 75)]
    found = [mean_and_error(shares(part, NBETA, TILT) - shares(part, NBETA)) for part in parts]
    means, errors = np.array(found).T
    # 75 parts know a standard deviation to 8%.
    assert np.sqrt(np.square(errors).mean()) == pytest.approx(means.std(ddof=1), rel=0.25)


def test_the_response_is_what_susceptibilities_say():
    probes = {
        str(d): tuple(part.reshape(DOMAINS, -1, *part.shape[1:])[d] for part in DATA)
        for d in range(DOMAINS)
    }
    found = germ.susceptibility(
        known.Weights(), DATA, probes=probes, components={"all": None}, loss=known.quadratics,
        nbeta=NBETA, localization=LOCALIZATION, method="gaussian", draws=128,
    ).data  # fmt: skip
    chi, error = (found[name].values[0] for name in ("chi_probe", "standard_error_probe"))
    gap = NBETA**2 * chi - slopes()
    assert (np.abs(gap) < 4 * NBETA**2 * error + 1e-6).all()
    assert np.linalg.norm(slopes()) > 5 * np.linalg.norm(NBETA**2 * error)


def test_every_model_has_the_same_draws(draws: np.ndarray):
    few = trace(posterior(), DOMAINS, draws=5, seed=0)
    np.testing.assert_allclose(few, draws[:5], rtol=1e-12)
    # The even part of a quadratic is the same around any w*, and the odd one is not.
    other = trace(posterior(shift=0.5), DOMAINS, draws=5, seed=0)
    np.testing.assert_allclose(other.mean(1), few.mean(1), rtol=1e-9)
    assert np.abs(other - few).max() > 0.01
    assert np.abs(trace(posterior(), DOMAINS, draws=5, seed=1) - few).max() > 0.01
