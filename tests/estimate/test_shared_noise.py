"""Series with a common part of known size."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from germ.estimate.shared_noise import shared_noise


def samples(common: float, *, chains=4, draws=1000, shared=True, seed=0) -> xr.Dataset:
    """White series of variance 1, of which the share `common` is the same in all chains."""
    source = np.random.default_rng(seed)
    own = source.standard_normal((chains, draws))
    together = source.standard_normal(draws)
    series = 5 + (1 - common) ** 0.5 * own + common**0.5 * together
    return xr.Dataset(
        {"loss_difference": (("chain", "draw"), series)},
        attrs={"statuses": ["OK"] * chains, "shared_batches": shared},
    )


@pytest.mark.parametrize("common", [0.0, 0.3, 0.9])
def test_the_common_share_is_found(common):
    found = shared_noise(samples(common))
    assert found.share == pytest.approx(common, abs=0.06)
    # Independent chains would have an error of 1/√(C·N); these have √((1 + (C−1)ρ)/(C·N)).
    assert found.widening == pytest.approx((1 + 3 * common) ** 0.5, rel=0.2)


def test_it_speaks_where_agreement_of_chains_shows_nothing_and_only_there():
    said = shared_noise(samples(0.9)).warning
    assert said is not None and "all of them share" in said
    assert shared_noise(samples(0.1)).warning is None
    assert shared_noise(samples(0.9, shared=False)).warning is None, "they are independent"
    assert shared_noise(samples(0.9, chains=1)).warning is None


def test_constant_series_have_nothing_in_common():
    still = samples(0.0)
    still["loss_difference"][:] = 1.0
    assert shared_noise(still).share == 0.0
