"""What becomes of a chain that fails, and what is written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from tests.support import (
    Quadratic,
    flat_weights,
    net_posterior,
    quadratic_loss,
    quadratic_posterior,
)
from torch import Tensor

import germ
from germ.accumulate import Covariance, Moments
from germ.errors import GermError, SamplingFailed, Status
from germ.samplers import MALA, SGLD

CHAINS = 4
SETTINGS: dict[str, Any] = {"chains": CHAINS, "draws": 60, "warmup": 20, "seed": 3}


def run(posterior: germ.LocalPosterior, sampler: Any, **settings: Any) -> xr.Dataset:
    return germ.sample(posterior, sampler, **{**SETTINGS, **settings})


def plain() -> germ.LocalPosterior:
    return quadratic_posterior((1.0, 2.0, 3.0), nbeta=10.0, localization=5.0)


def breaking(threshold: float) -> germ.LocalPosterior:
    """The same posterior, but for a loss that is NaN where the first weight exceeds a threshold."""

    def loss(model: Any, batch: Tensor) -> Tensor:
        good = quadratic_loss(model, batch)
        return good * torch.where(model.weight[0] > threshold, torch.nan, 1.0)

    return germ.LocalPosterior.from_model(
        Quadratic((1.0, 2.0, 3.0)), torch.zeros(1, 3), loss=loss, nbeta=10.0, localization=5.0
    )


@pytest.fixture(scope="module")
def one_breaks() -> tuple[int, xr.Dataset, float]:
    """A threshold that one chain crosses, among the draws, and no other; and that chain."""
    every = run(plain(), SGLD(0.05), warmup=0, draws=80, observables={"w": flat_weights})
    highest = every["w"].values[:, :, 0].max(axis=1)
    chain = int(highest.argmax())
    others = np.delete(highest, chain)
    threshold = float((others.max() + highest[chain]) / 2)
    return chain, run(plain(), SGLD(0.05)), threshold


@pytest.mark.parametrize("together", [1, CHAINS])
def test_a_chain_that_becomes_nan(one_breaks, together):
    """It has a status; it raises; the others are what they would have been."""
    chain, healthy, threshold = one_breaks
    posterior = breaking(threshold)
    with pytest.raises(SamplingFailed, match=rf"chain {chain}\).*NAN") as raised:
        run(posterior, SGLD(0.05), chains_per_call=together)
    expected = [Status.NAN if i == chain else Status.OK for i in range(CHAINS)]
    assert list(raised.value.statuses) == expected
    samples = raised.value.samples
    others = [i for i in range(CHAINS) if i != chain]
    np.testing.assert_allclose(
        samples["distance"].values[others], healthy["distance"].values[others], rtol=1e-5
    )
    assert np.isnan(samples["loss"].values[chain, -1])
    with pytest.raises(GermError, match=f"{chain}: NAN"):
        germ.llc(samples)
    found = germ.llc(samples, drop_failed=True)
    assert found.chains == tuple(others) and str(chain) in found.warnings[0]
    assert np.isfinite(found.value)


def test_failure_may_be_looked_at_instead(one_breaks, tmp_path):
    chain, _, threshold = one_breaks
    posterior, folder = breaking(threshold), tmp_path / "run.zarr"
    samples = run(posterior, SGLD(0.05), throw=False, store=folder)
    assert samples.attrs["statuses"][chain] == "NAN"
    # A stored run remembers: it is not sampled again, and raises again.
    with pytest.raises(SamplingFailed, match="NAN"):
        run(posterior, SGLD(0.05), store=folder, progress=no_work)


def no_work(stage: str, done: int, total: int) -> None:
    raise AssertionError(f"a run that is over was sampled again: {stage}")


def test_a_chain_that_runs_away():
    """ε·a of 4.2: the amplitude grows by a tenth a step, and stays finite."""
    posterior = quadratic_posterior((1.0,), nbeta=5.0, localization=5.0)
    with pytest.raises(SamplingFailed, match="DIVERGED"):
        run(posterior, SGLD(0.42), draws=100)
    samples = run(posterior, SGLD(0.42), draws=100, throw=False)
    assert np.isfinite(samples["loss"]).all() and samples.attrs["statuses"] == ["DIVERGED"] * CHAINS
    assert all(name == "OK" for name in run(posterior, SGLD(0.2)).attrs["statuses"])


@pytest.mark.parametrize("warmup", [20, 500])
def test_when_all_chains_fail_the_run_ends(warmup, tmp_path):
    """Nobody waits for the rest of a run in which nothing is left; it is stored as failed."""
    steps: list[int] = []
    folder = tmp_path / "run.zarr"
    with pytest.raises(SamplingFailed) as raised:
        run(
            plain(), SGLD(3.0), warmup=warmup, draws=5000, store=folder,
            progress=lambda stage, done, total: steps.append(done),
        )  # fmt: skip
    assert len(steps) < 400
    assert germ.load(folder).attrs["status"] == "failed"
    with pytest.raises(GermError, match=r"0: (NAN|DIVERGED)"):
        germ.llc(raised.value.samples, drop_failed=True)


def test_a_chain_that_is_stuck_in_rounding():
    posterior = quadratic_posterior(
        (1.0, 2.0), nbeta=1.0, localization=1.0, center=(1e6, -1e6), weight=(1e6, -1e6)
    )
    with pytest.raises(SamplingFailed, match="STUCK"):
        run(posterior, SGLD(1e-6))
    assert all(name == "OK" for name in run(posterior, SGLD(0.5)).attrs["statuses"])


def test_a_chain_whose_proposals_are_all_rejected():
    with pytest.raises(SamplingFailed, match="STUCK"):
        run(plain(), MALA(50.0))
    samples = run(plain(), MALA(50.0), throw=False)
    assert samples["acceptance"][:, 1:].max() < 1e-3 and (samples["distance"] == 0).all()


def test_a_chain_that_barely_moves_is_not_stuck():
    samples = run(plain(), SGLD(1e-12))
    assert samples.attrs["statuses"] == ["OK"] * CHAINS


def test_stillness_is_judged_over_sessions(tmp_path):
    """A chain that moved before an interruption only is still not stuck, nor the reverse."""

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "draws" and done == 30:
            raise KeyboardInterrupt

    for step, status in ((50.0, "STUCK"), (0.05, "OK")):
        folder = tmp_path / status
        with pytest.raises(KeyboardInterrupt):
            run(plain(), MALA(step), store=folder, progress=stop)
        samples = run(plain(), MALA(step), store=folder, throw=False)
        assert samples.attrs["statuses"] == [status] * CHAINS


@pytest.mark.parametrize(
    "name", ["loss", "virial", "distance", "acceptance", "status", "two words"]
)
def test_an_observable_must_not_take_a_name(name):
    with pytest.raises(GermError, match=name):
        run(plain(), SGLD(0.05), observables={name: flat_weights})


@pytest.mark.parametrize(
    ("observable", "dtype", "shape"),
    [
        (lambda m: m.head.weight, np.float32, (2, 3)),
        (lambda m: m.head.weight.bfloat16(), np.float32, (2, 3)),
        (lambda m: m.head.weight.sum(), np.float32, ()),
        (lambda m: m.head.weight.argmax(), np.int64, ()),
        (lambda m: m.head.weight > 0, np.bool_, (2, 3)),
        (lambda m: m.head.weight.double(), np.float64, (2, 3)),
    ],
    ids=["matrix", "bfloat16", "scalar", "integer", "boolean", "double"],
)
@pytest.mark.parametrize("stored", [False, True])
def test_observables_of_any_shape_and_dtype(observable, dtype, shape, stored, tmp_path):
    store = tmp_path / "run.zarr" if stored else None
    samples = germ.sample(
        net_posterior(),
        SGLD(1e-3),
        chains=2,
        draws=5,
        observables={"seen": observable},
        store=store,
    )
    assert samples["seen"].shape == (2, 5, *shape) and samples["seen"].dtype == dtype
    assert samples["seen"].dims[:2] == ("chain", "draw")


@pytest.mark.parametrize("stored", [False, True])
def test_folded_observables_have_one_value_a_chain(stored, tmp_path):
    store = tmp_path / "run.zarr" if stored else None
    samples = run(plain(), SGLD(0.05), observables={"w": (flat_weights, Moments())}, store=store)
    assert samples["w_mean"].dims[0] == "chain" and samples["w_mean"].shape == (CHAINS, 3)
    assert "w" not in samples


def test_failed_chains_have_their_folded_observables_too(one_breaks):
    chain, _, threshold = one_breaks
    samples = run(
        breaking(threshold), SGLD(0.05), throw=False, observables={"w": (flat_weights, Moments())}
    )
    ok = [i for i in range(CHAINS) if i != chain]
    assert np.isfinite(samples["w_mean"].values[ok]).all()
    assert np.isnan(samples["w_mean"].values[chain]).all()


def test_an_error_in_an_observable_is_the_users_to_see():
    def broken(model: Any) -> Tensor:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        run(plain(), SGLD(0.05), observables={"broken": broken})


class Said:
    """What the batch said at a draw, and where the chain stood."""

    def at(self, posterior: Any, position: Tensor, draw: Any) -> Tensor:
        told = [draw["loss"], draw["loss_difference"], *draw["halves"]]
        return torch.cat([torch.stack(told), position.double()])


class Both(Said):
    """As a pair, to be folded."""

    def at(self, posterior: Any, position: Tensor, draw: Any) -> Any:
        value = super().at(posterior, position, draw)
        return value[1:2], value[4:]


@pytest.mark.parametrize(
    ("sampler", "together"), [(SGLD(1e-3), 1), (SGLD(1e-3), 2), (MALA(1e-3), 4)]
)
def test_an_observable_sees_what_the_batch_says_at_the_same_weights(sampler, together):
    posterior = net_posterior()
    watching = {"said": Said(), "w": flat_weights, "fold": (Both(), Covariance())}
    settings = {"batch_size": 10, "thin": 2, "chains_per_call": together, "draws": 15, "warmup": 5}
    samples = run(posterior, sampler, **settings, observables=watching)
    plain = run(posterior, sampler, **settings)
    said = samples["said"].values
    # Watching changes nothing that is not asked for.
    for name in ("loss", "loss_difference", "virial", "distance"):
        np.testing.assert_array_equal(samples[name].values, plain[name].values)
    np.testing.assert_array_equal(said[..., 0], samples["loss"].values)
    np.testing.assert_array_equal(said[..., 1], samples["loss_difference"].values)
    np.testing.assert_allclose(said[..., 2:4].mean(-1), said[..., 1], rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(said[..., 4:], samples["w"].values, rtol=1e-6)
    halves_differ = (said[..., 2] != said[..., 3]).any()
    assert halves_differ == isinstance(sampler, SGLD)  # MALA sees all the data
    for chain in range(CHAINS):
        x, w = said[chain, :, 1], said[chain, :, 4:]
        expected = [np.cov(x, w[:, i])[0, 1] for i in range(w.shape[1])]
        found = samples["fold_covariance"].values[chain, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-15)


def test_a_chain_sees_the_same_whatever_the_number_of_chains():
    posterior = net_posterior()
    settings = {
        "batch_size": 10,
        "observables": {"said": Said()},
        "chains_per_call": 1,
        "draws": 10,
    }
    few = run(posterior, SGLD(1e-3), **{**settings, "chains": 2})
    many = run(posterior, SGLD(1e-3), **settings)
    np.testing.assert_array_equal(few["said"].values, many["said"].values[:2])
