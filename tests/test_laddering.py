"""A ladder is the runs it is made of, to the bit, for fewer gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.support import Quadratic, quadratic_loss

import germ
from germ import LocalPosterior
from germ.errors import GermError
from germ.laddering import ladder
from germ.samplers import BAOAB

RUNGS = [(5.0, 1.0), (20.0, 1.0), (20.0, 4.0)]
SETTINGS: dict[str, Any] = {"chains": 2, "draws": 40, "warmup": 10, "batch_size": 4, "seed": 3}
SAMPLER = BAOAB(0.02)


def posterior() -> LocalPosterior:
    data = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    model = Quadratic((1.0, 2.0, 4.0), noise=0.5).eval()
    return LocalPosterior.from_model(model, data, loss=quadratic_loss, nbeta=1.0, localization=1.0)


def differences(samples):
    return [data["loss_difference"].values for data in samples]


def test_a_rung_is_the_same_run_in_any_ladder():
    together = ladder(posterior(), RUNGS, SAMPLER, **SETTINGS)
    alone = ladder(posterior(), RUNGS[1:2], SAMPLER, **SETTINGS)
    assert np.array_equal(differences(together)[1], differences(alone)[0])


def test_a_rung_is_what_sample_draws_but_for_the_numbers_of_its_chains(monkeypatch):
    monkeypatch.setattr("germ.laddering.first_chain", lambda nbeta, localization: 0)
    found = ladder(posterior(), RUNGS[1:2], SAMPLER, **SETTINGS)[0]
    at = posterior().with_(nbeta=20.0, localization=1.0)
    alone = germ.sample(at, SAMPLER, **SETTINGS)
    assert np.allclose(found["loss_difference"], alone["loss_difference"], rtol=1e-3, atol=1e-5)


def test_every_rung_is_an_ordinary_data_set():
    rungs = ladder(posterior(), RUNGS, **SETTINGS)
    for number, (data, (nbeta, gamma)) in enumerate(zip(rungs, RUNGS, strict=True)):
        found = germ.llc(data)
        assert (found.nbeta, found.localization) == (nbeta, gamma)
        assert data["rung"].values.tolist() == [number] * 2
        assert data["nbeta"].values.tolist() == [nbeta] * 2


def test_sharing_costs_one_anchor_gradient_a_step():
    steps = SETTINGS["warmup"] + SETTINGS["draws"]
    together = ladder(posterior(), RUNGS, SAMPLER, **SETTINGS)
    passes = 3 * 64 // SETTINGS["batch_size"]
    spent = sum(data.attrs["num_gradients"] for data in together) - passes
    assert spent == steps * (3 * 2 + 1)
    alone = germ.sample(posterior(), SAMPLER, **SETTINGS)
    assert alone.attrs["num_gradients"] - passes // 3 == steps * (2 + 1)


def test_noise_is_independent_from_rung_to_rung():
    # The same (nβ, γ) to rounding: with noise in common the two would be alike.
    first, second = ladder(
        posterior(), [(20.0, 1.0), (20.000001, 1.0)], SAMPLER, **{**SETTINGS, "draws": 150}
    )
    a, b = (x["distance"].values.ravel() for x in (first, second))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.5


def test_an_interrupted_ladder_goes_on_to_the_bit(tmp_path):
    whole = ladder(posterior(), RUNGS, SAMPLER, **SETTINGS)
    stores = [tmp_path / f"{i}.zarr" for i in range(3)]
    told = 0

    def stop(rung: int, stage: str, done: int, total: int) -> None:
        nonlocal told
        told += stage == "draws" and rung == 1
        if told == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ladder(posterior(), RUNGS, SAMPLER, stores=stores, progress=stop, **SETTINGS)
    assert [germ.load(store).attrs["status"] for store in stores] == ["interrupted"] * 3
    again = ladder(posterior(), RUNGS, SAMPLER, stores=stores, **SETTINGS)
    for one, other in zip(differences(again), differences(whole), strict=True):
        assert np.array_equal(one, other)


def test_what_is_stored_is_used_again(tmp_path):
    stores = [tmp_path / f"{i}.zarr" for i in range(3)]
    first = ladder(posterior(), RUNGS, SAMPLER, stores=stores, **SETTINGS)
    told = []
    again = ladder(
        posterior(), RUNGS, SAMPLER, stores=stores, progress=lambda *x: told.append(x), **SETTINGS
    )
    assert not told
    for one, other in zip(differences(first), differences(again), strict=True):
        assert np.array_equal(one, other)


def test_a_rung_twice_is_refused():
    with pytest.raises(GermError, match="different rungs"):
        ladder(posterior(), [(1.0, 1.0), (1.0, 1.0)], **SETTINGS)
    with pytest.raises(GermError, match="store for each"):
        ladder(posterior(), RUNGS, stores=["a.zarr"], **SETTINGS)
