"""ΔL beside what it could be, and the degree of losses whose degree is known."""

from __future__ import annotations

import math

import pytest
import torch
from tests.estimate.langevin import simulate

from germ.estimate.llc import llc
from germ.estimate.locality import locality
from germ.samplers import BAOAB

D = 20


def power(k: int, nbeta: float, *, localization: float = 1.0):
    """Chains on Σ w^2k."""
    return simulate(
        BAOAB(0.02, None, 1.0), lambda w: w ** (2 * k), lambda w: 2 * k * w ** (2 * k - 1), D,
        nbeta=nbeta, localization=localization, draws=600, thin=4,
    )  # fmt: skip


@pytest.mark.parametrize("k", [1, 2])
def test_the_degree_of_a_power(k):
    found = locality(power(k, 10.0))
    assert found.degree == pytest.approx(2 * k, rel=1e-4), "Euler: w·∇L = 2k·L at every w"
    assert found.warning is None and math.isnan(found.share)


def well(localization: float):
    """Chains on 1 − exp(−w²/2): a basin of width 1 in a plain without end."""
    return simulate(
        BAOAB(0.3 / (0.5 + localization), None, 1.0), lambda w: 1 - (-0.5 * w * w).exp(),
        lambda w: w * (-0.5 * w * w).exp(), D, nbeta=0.5, localization=localization,
    )  # fmt: skip


def test_chains_outside_the_basin_are_named():
    inside, outside = well(30.0), well(0.1)
    assert locality(inside).warning is None
    assert locality(inside).degree == pytest.approx(2, abs=0.2)
    assert locality(outside).degree < 0.8
    assert "outside the basin" in str(locality(outside).warning)
    assert any("outside the basin" in warning for warning in llc(outside).warnings)


def test_the_share_of_what_separates_from_knowing_nothing():
    samples = power(1, 10.0)
    rise = float(samples["loss_difference"].mean())
    for room, wide in ((1.5 * rise, True), (3 * rise, False)):
        found = locality(samples.assign_attrs(uniform_loss=2.0 + room, anchor_loss=2.0))
        assert found.share == pytest.approx(rise / room)
        assert (found.warning is not None) == wide
    # Before training there is nothing that separates.
    assert math.isnan(locality(samples.assign_attrs(uniform_loss=-1.0)).share)


def test_no_degree_where_there_is_no_rise():
    samples = power(1, 10.0)
    noise = torch.randn(
        samples["loss_difference"].shape, generator=torch.Generator().manual_seed(0)
    )
    around = samples.assign(loss_difference=samples["loss_difference"] * 0 + noise.numpy())
    found = locality(around)
    assert math.isnan(found.degree) and found.warning is None
    assert math.isnan(locality(samples.assign_attrs(nbeta=0.0)).degree)
    assert math.isnan(locality(samples.drop_vars("distance")).degree)
