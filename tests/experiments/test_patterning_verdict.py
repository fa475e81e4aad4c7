"""Verdicts on planted agreement: predictions that hold, that fail, and that are noise."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from germ.experiments.patterning_verdict import Pairs, cosine, interval, signs, slope, verdict

HEADS = 3


def rows(factor: float, noise: float, even: float = 0.0, seed: int = 0) -> list[dict[str, Any]]:
    """Three heads of which the measured change is factor·predicted + even + noise."""
    source = np.random.default_rng(seed)
    found: list[dict[str, Any]] = []

    def row(predicted: np.ndarray, **about: Any) -> None:
        measured = factor * predicted + even + noise * source.standard_normal(HEADS)
        found.append({**about, "predicted": predicted.tolist(), "measured": measured.tolist(),
                      "measured_error": [noise] * HEADS})  # fmt: skip

    for i in range(HEADS):
        response = source.standard_normal(HEADS)
        for sign in (1.0, -1.0):
            predicted = sign * ((0.5 + np.abs(response)) * np.eye(HEADS)[i] + 0.1 * response)
            row(predicted, kind="pattern", target=i, sign=sign, above_noise=i > 0)
    for _ in range(2):
        row(source.standard_normal(HEADS), kind="random")
        change = noise * source.standard_normal(HEADS)
        found.append({"kind": "replica", "measured": change.tolist(),
                      "measured_error": [noise] * HEADS})  # fmt: skip
    return found


def test_planted_agreement():
    good = verdict([rows(0.5, 0.01, seed=seed) for seed in range(4)], HEADS)
    assert good["num_seeds"] == 4
    assert good["own_correlation"][0] > 0.99 and good["own_signs"][:2] == [24, 24]
    assert good["odd_own_signs"][:2] == [12, 12] and good["odd_own_above_signs"][:2] == [8, 8]
    for key in ("odd_own_slope", "odd_slope"):
        value, low, high = good[key]
        assert value == pytest.approx(0.5, rel=0.05) and low <= value <= high
    assert good["random_correlation"][0] > 0.99
    assert good["noise"] == pytest.approx(0.01, rel=0.5) and good["error"] == pytest.approx(0.01)
    assert good["even_part"] < 0.1


def test_what_was_not_done_is_none():
    bare = [row for row in rows(0.5, 0.01) if row["kind"] == "pattern"]
    found = verdict([bare], HEADS)
    assert found["noise"] is None and found["random_correlation"] == [None] * 3
    assert found["odd_own_slope"][0] == pytest.approx(0.5, rel=0.05)
    json.dumps(found, allow_nan=False)


def test_planted_disagreement():
    wrong = verdict([rows(-0.5, 0.01)], HEADS)
    assert wrong["own_signs"][0] == 0 and wrong["own_correlation"][0] < -0.99
    assert wrong["odd_own_slope"][2] < 0


def test_what_any_mixture_does_is_told_apart():
    shifted = verdict([rows(0.5, 0.01, even=2.0, seed=seed) for seed in range(3)], HEADS)
    assert shifted["even_part"] > 3
    assert shifted["odd_slope"][0] == pytest.approx(0.5, rel=0.1)
    # Every change has the sign of the shift.
    assert shifted["own_signs"][:2] == [9, 18]


def test_intervals_hold_the_truth_as_often_as_they_say():
    source = np.random.default_rng(0)
    held = 0
    for trial in range(60):
        # A slope that differs between seeds: seeds are replicates, their targets are not.
        x = source.standard_normal((8, 4, 1))
        slopes = 1 + 0.5 * source.standard_normal((8, 1, 1))
        pairs = Pairs(x, slopes * x + 0.1 * source.standard_normal(x.shape))
        _, low, high = interval(pairs, slope, seed=trial, num_bootstrap=300)
        held += low < 1 < high
    # 95% of 60 is 57; of eight seeds a bootstrap holds a little less, and over targets alone half.
    assert held >= 47


def test_signs_of_nothing_and_of_coins():
    none = signs(Pairs(np.zeros((1, 0)), np.zeros((1, 0))))
    assert none[:2] == [0, 0]
    right, of, low, high = signs(Pairs(np.ones(10), np.array([1.0, -1.0] * 5)))
    assert (right, of) == (5, 10) and low == pytest.approx(1 - high) and low < 0.25
    assert np.isnan(cosine(np.zeros(3), np.ones(3))) and np.isnan(slope(np.zeros(3), np.ones(3)))
