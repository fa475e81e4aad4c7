"""When sampling ends: draws, precision, budget; and a second attempt after a failure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.support import quadratic_posterior
from torch import Tensor, nn

import germ
from germ.samplers import BAOAB, Diagonal
from germ.stopping import Stopping


@pytest.fixture
def posterior() -> germ.LocalPosterior:
    return quadratic_posterior((1.0,) * 4, nbeta=10.0, localization=1.0)


SAMPLER = BAOAB(0.3, Diagonal(torch.full((4,), 1 / 11.0)))


def test_it_goes_on_until_the_precision_is_reached_and_says_so(posterior):
    seen = germ.sample(posterior, SAMPLER, draws=50, warmup=20, precision=0.03, max_draws=5000)
    found = germ.llc(seen)
    assert seen.attrs["stopped"] == "precision"
    assert 50 < seen.sizes["draw"] < 5000
    assert found.standard_error <= 0.03 * found.value
    # One look earlier it was not reached.
    earlier = max(m for m in Stopping(50, 5000, 0.03).marks() if m < seen.sizes["draw"])
    before = germ.llc(seen.isel(draw=slice(0, earlier)))
    assert before.standard_error > 0.03 * before.value


def test_it_ends_where_the_budget_does_and_says_so(posterior):
    seen = germ.sample(posterior, SAMPLER, draws=50, warmup=20, precision=1e-4, max_draws=120)
    assert seen.attrs["stopped"] == "budget" and seen.sizes["draw"] == 120


def test_a_number_of_draws_is_that_number(posterior):
    seen = germ.sample(posterior, SAMPLER, draws=57, warmup=20, thin=3)
    assert seen.attrs["stopped"] == "draws" and seen.sizes["draw"] == 57
    assert seen.attrs["warmup"] == 20


@pytest.mark.parametrize("thin", [1, 3])
def test_more_draws_are_the_same_run_gone_on_with(posterior, thin):
    settings: dict[str, Any] = {"draws": 20, "warmup": 7, "thin": thin, "seed": 5}
    short = germ.sample(posterior, SAMPLER, **settings)
    long = germ.sample(posterior, SAMPLER, precision=1e-4, max_draws=60, **settings)
    assert long.sizes["draw"] == 60
    np.testing.assert_array_equal(
        short["loss_difference"], long["loss_difference"].isel(draw=slice(0, 20))
    )


def test_a_stored_run_stops_at_the_same_draw(posterior, tmp_path):
    settings: dict[str, Any] = {"draws": 50, "warmup": 20, "precision": 0.03, "max_draws": 5000}
    kept = germ.sample(posterior, SAMPLER, store=tmp_path / "run.zarr", **settings)
    seen = germ.sample(posterior, SAMPLER, **settings)
    np.testing.assert_array_equal(kept["loss_difference"], seen["loss_difference"])


@pytest.mark.parametrize("precision", [0.0, 1.0, -0.1, "fine"])
def test_a_precision_that_is_none_is_refused(posterior, precision):
    with pytest.raises(germ.GermError, match="precision"):
        germ.sample(posterior, SAMPLER, draws=50, precision=precision)


class Wall(nn.Module):
    """Flat near w* = 0, and a wall that no curvature at w* tells of."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))


def wall_loss(model: Any, batch: Tensor) -> Tensor:
    return model.weight.square().sum() + 0.0 * batch[:, 0]


def test_a_chain_that_runs_away_starts_again_with_a_shorter_step(tmp_path, monkeypatch):
    """Calibration is made to choose a step beyond what is stable (ε·a/4 > 1)."""
    from germ import setup as setups

    data = torch.zeros(40_000, 1)  # too many for a Metropolis test of every step
    posterior = germ.LocalPosterior.from_model(
        Wall(), data, loss=wall_loss, nbeta=50.0, localization=1.0
    )
    honest = setups.calibrate.calibrate

    def rash(*args: Any, **settings: Any) -> Any:
        chosen = honest(*args, **settings)
        sampler = BAOAB(8.0, Diagonal(torch.full((3,), 1 / 101.0)))
        object.__setattr__(chosen, "sampler", sampler)
        return chosen

    monkeypatch.setattr(setups.calibrate, "calibrate", rash)
    run = tmp_path / "run.zarr"
    seen = germ.sample(posterior, chains=2, draws=40, batch_size=64, store=run)
    assert set(seen.attrs["statuses"]) == {"OK"}
    assert seen.attrs["step_size"] == 2.0
    assert "ran away" in seen.attrs["reasons"]["step_size"]
    assert seen.sizes["draw"] == 40 and np.isfinite(seen["loss_difference"]).all()
    again = germ.sample(posterior, chains=2, draws=40, batch_size=64)
    np.testing.assert_array_equal(seen["loss_difference"], again["loss_difference"])
