"""Profiles of a model whose expectations are known: a quadratic, sampled and read off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.support import Quadratic, quadratic_loss

from germ import LocalPosterior
from germ.errors import GermError
from germ.estimate.profile import Profile
from germ.laddering import CHAINS_APART, first_chain
from germ.profiling import Listener, auto_ladder, profile
from germ.samplers import BAOAB

CURVATURES = (1.0, 2.0, 4.0, 8.0)
NBETAS = (10.0, 40.0, 160.0)
FAST: dict[str, Any] = {"chains": 4, "draws": 150, "warmup": 40, "batch_size": 16}


def posterior(loss_at_anchor: float = 0.0) -> LocalPosterior:
    """L = ½Σ h w² (+ a constant) on sixteen examples that do not matter."""

    def loss(model, batch):
        return quadratic_loss(model, batch) + loss_at_anchor + 0 * batch[:, 0]

    data = torch.zeros(16, len(CURVATURES))
    return LocalPosterior.from_model(
        Quadratic(CURVATURES).eval(), data, loss=loss, nbeta=40.0, localization=1.0
    )


def exact(nbeta: float, gamma: float = 1.0) -> float:
    scaled = nbeta * np.array(CURVATURES)
    return float((scaled / (scaled + gamma)).sum() / 2)


def values(found: Profile) -> list[float]:
    return [rung.estimate.value for rung in found.rungs if rung.estimate is not None]


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> tuple[Profile, Profile, list[str]]:
    folder = tmp_path_factory.mktemp("runs")
    told: list[str] = []

    class Told(Listener):
        def started(self, index: int, total: int, name: str) -> None:
            told.append(f"{index + 1}/{total} {name}")

    first = profile(posterior(), NBETAS, folder=folder, listener=Told(), **FAST)
    more = profile(posterior(), (*NBETAS, 640.0), folder=folder, **FAST)
    return first, more, told


def test_each_rung_has_its_expectation(found):
    for rung in found[0].rungs:
        assert rung.estimate.standard_error < 0.2
        assert rung.estimate.value == pytest.approx(
            exact(rung.nbeta), abs=4 * rung.estimate.standard_error
        )


def test_lambda_is_read_off(found):
    reading = found[1].reading
    assert reading.plateau.found
    assert reading.extrapolation.interval[0] < 2 <= reading.extrapolation.interval[1] + 1e-9


def test_the_free_energy_is_the_closed_form(found):
    # Z(x) = Π (γ/(γ + xh))^½: F(x₂) − F(x₁) = ½Σ log((γ + x₂h)/(γ + x₁h)).
    truth = 0.5 * sum(np.log((1 + NBETAS[-1] * h) / (1 + NBETAS[0] * h)) for h in CURVATURES)
    free = found[0].reading.free_energy
    assert free.value == pytest.approx(
        truth, abs=4 * free.standard_error + free.discretization_error
    )


def test_rungs_are_found_again_whatever_the_ladder(found):
    first, more, told = found
    assert [rung.stored for rung in more.rungs] == [True] * 3 + [False]
    assert values(more)[:3] == values(first)
    assert told[0] == "1/3 nβ 10, γ 1" and len(told) == 3


def test_rungs_have_chains_of_their_own():
    firsts = {first_chain(x, g) for x in (1.0, 2.0, 4.0) for g in (1.0, 2.0)}
    assert len({first // CHAINS_APART for first in firsts}) == 6 and max(firsts) < 2**62


def test_as_many_rungs_at_once_as_memory_allows(monkeypatch):
    whole = profile(posterior(), (10.0, 40.0), **FAST)
    monkeypatch.setattr("germ.profiling.MAX_NUMBERS", 1)
    alone = profile(posterior(), (10.0, 40.0), **FAST)
    assert values(alone) == values(whole)


def test_the_ladder_goes_above_nbeta_only_where_the_loss_is_zero():
    zero, positive = auto_ladder(posterior()), auto_ladder(posterior(loss_at_anchor=1.0))
    assert max(zero) == pytest.approx(400) and max(positive) == pytest.approx(40)
    # A loss that is negative somewhere may fall below L(w*) = 0 elsewhere.
    assert max(auto_ladder(posterior(loss_at_anchor=-1.0))) == pytest.approx(40)
    assert np.diff(np.log10(positive)) == pytest.approx(0.5, abs=1e-3)


def test_several_localizations_at_one_nbeta():
    found = profile(posterior(), (100.0,), (1.0, 200.0), **{**FAST, "draws": 100})
    assert [rung.localization for rung in found.rungs] == [1.0, 200.0]
    assert values(found) == pytest.approx([exact(100, 1), exact(100, 200)], abs=0.4)
    assert all(reading.plateau.verdict == "undecided" for reading in found.readings)


def test_a_rung_that_fails_does_not_end_the_others():
    # A step that is stable at the lower nβ and far too large at the upper.
    found = profile(posterior(), (1.0, 1e6), sampler=BAOAB(0.1), **FAST)
    assert found.rungs[0].estimate is not None
    assert found.rungs[1].estimate is None and found.rungs[1].status.startswith("failed")


@pytest.mark.parametrize("nbetas", [(), (1.0, 1.0), (-1.0,), "all"])
def test_what_is_no_ladder_is_refused(nbetas):
    with pytest.raises(GermError, match="nbetas"):
        profile(posterior(), nbetas, **FAST)
