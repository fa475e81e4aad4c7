"""`germ experiment saddle-to-saddle`: plateaus and their ranks, estimates on them, resuming."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from germ.errors import GermError
from germ.exact import deep_linear
from germ.experiments import saddle_to_saddle as saddles
from germ.experiments import saddle_training as training
from germ.experiments.saddle_page import page

PLAN = training.Plan((2, 2, 2, 2), (4.0, 1.5), 0.02, 0.02, 4000)


@pytest.fixture(scope="module")
def path():
    return training.train(PLAN, [0])[0]


def test_training_stands_still_at_each_rank(path):
    found = training.plateaus(path, PLAN.values)
    assert [each.rank for each in found] == [0, 1, 2]
    # What is left of the teacher: sum of the squares of the modes not learned, over H_L.
    for each, loss in zip(found, (9.125, 1.125, 0.0), strict=True):
        assert each.loss == pytest.approx(loss, abs=0.05)
    assert np.all(np.diff(path.loss) < 1e-6)


def test_the_network_of_a_record_has_its_loss(path):
    record = training.plateaus(path, PLAN.values)[1].record
    x = saddles.inputs(2, 50)
    torch.testing.assert_close(x.T @ x / 50, torch.eye(2), atol=1e-5, rtol=0)
    with torch.no_grad():
        residual = training.network(path, record)(x) - x @ training.teacher(PLAN).T
    assert float((residual**2).mean()) == pytest.approx(path.loss[record], rel=1e-4)


def test_two_equal_modes_are_one_drop_or_two_and_ranks_are_read_off():
    """A path made by hand: the loss falls once, and two modes come with it."""
    slope = np.concatenate([np.geomspace(1e-6, 1, 50), np.geomspace(1, 1e-6, 50)])
    first = np.zeros((100, 2, 2))
    first[50:] = 3 * np.eye(2)
    made = training.Path(np.arange(100), 1 / (1 + np.arange(100.0)), slope, (first,))
    assert [each.rank for each in training.plateaus(made, (3.0, 3.0))] == [0, 2]


def test_seeds_are_their_own_whatever_is_trained_beside_them(path):
    beside = training.train(replace(PLAN, num_steps=400), [3, 0])[1]
    assert np.allclose(beside.loss, path.loss[: len(beside.loss)], rtol=1e-5)


@pytest.fixture(scope="module")
def measured(path):
    settings = saddles.Settings(PLAN, 1, draws=150, saddle_draws=50)
    return saddles.measure(path, settings, 0, lambda *_: None)


@pytest.mark.slow
def test_estimates_on_plateaus(measured):
    for each in measured["plateaus"]:
        exact = deep_linear(PLAN.widths, each["rank"])
        assert each["known"]["lambda"] == str(exact.value)
        # The stated interval of λ̂ as a function, twice as wide for being 90%, holds the truth.
        found = each["function"]
        half = max(found["high"] - found["value"], found["value"] - found["low"])
        assert abs(found["value"] - each["expected"]) < 2 * half
    start, last = measured["plateaus"][0], measured["plateaus"][-1]
    # The first is a saddle: chains at γ = 1 leave it, λ̂ is far below 0, and germ says so.
    assert start["saddle"]["escaped"] > 0.5
    assert start["saddle"]["value"] is None or start["saddle"]["value"] < -100
    assert start["saddle"]["warnings"] or start["saddle"]["value"] is None
    assert start["held"]["escaped"] == 0 and last["saddle"]["escaped"] is None


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_others_are_refused(measured, tmp_path, monkeypatch):
    settings = saddles.Settings(PLAN, 1, draws=150, saddle_draws=50)
    monkeypatch.setattr(saddles, "measure", lambda *_: measured)
    first = saddles.run(settings, tmp_path, seed=0, progress=lambda *_: None)
    monkeypatch.setattr(saddles, "measure", lambda *_: pytest.fail("measured again"))
    again = saddles.run(settings, tmp_path, seed=0, progress=lambda *_: None)
    assert again.data == json.loads(json.dumps(first.data))
    with pytest.raises(GermError, match="of others"):
        other = replace(settings, draws=151)
        saddles.run(other, tmp_path, seed=0, progress=lambda *_: None)
    first.write(tmp_path)


def made(rank: int, value: float | None, escaped: float | None) -> dict:
    known = deep_linear(PLAN.widths, rank)
    estimate = {"value": value, "low": -1.0, "high": 9.0, "warnings": [] if value else ["w"]}
    return {
        "record": 1, "step": 10 + 100 * rank, "loss": 2.0 - rank, "rank": rank,
        "known": known.to_dict(), "expected": known.expected(1000.0), "function": estimate,
        "published": estimate, "saddle": {**estimate, "escaped": escaped},
        "held": {**estimate, "escaped": escaped},
    }  # fmt: skip


def test_pages_of_odd_results_are_still_pages(tmp_path):
    settings = {"plan": vars(PLAN), "held": 1000.0}
    curve = {"step": [0, 10], "loss": [2.0, 1.0]}
    rows = [
        {"seed": 0, "curve": curve, "plateaus": [made(0, 1.0, 1.0), made(2, 3.0, None)]},
        {"seed": 1, "curve": curve, "plateaus": [made(0, None, 1.0)]},
    ]
    found = page(rows, settings, 0)
    found.write(tmp_path)
    summary = found.data["summary"]
    assert summary["0"]["networks"] == 2 and summary["0"]["function"]["num"] == 1
    assert summary["0"]["failed"]["function"] == 1 and summary["0"]["warned"]["function"] == 1
    assert summary["2"]["escaped"]["saddle"] is None
    assert "1 of 1 transitions" in found.text
