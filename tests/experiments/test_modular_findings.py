"""What modular-addition runs amount to: planted slopes, ratios and restatements are found."""

from __future__ import annotations

import math

import numpy as np
import pytest

from germ.experiments import modular_findings as findings


def estimate(value: float | None, nbeta: float = 10.0) -> dict:
    return {"value": value, "whole": value, "error": 0.01, "sampled": 1.0, "virial": 1.0,
            "nbeta": nbeta, "warnings": []}  # fmt: skip


def network(value: float, *, test: float = 1.0, train: float = 1.0, loss: float = 0.01) -> dict:
    return {
        "train_accuracy": train, "test_accuracy": test, "train_loss": loss, "test_loss": 1.0,
        "published": {"1": estimate(value), "10": estimate(None)}, "own": None, "free": {},
        "germ": {},
    }  # fmt: skip


def test_slopes_and_exponents_are_those_planted():
    noise = np.random.default_rng(0).normal(0, 0.02, (2, 5, 4))
    rows = [
        {
            "operation": operation, "modulus": p,
            "networks": [
                network(scale * p**power * math.exp(noise[i, j, k]), test=float(i == 0))
                for k in range(4)
            ],
        }
        for i, (operation, scale, power) in enumerate((("addition", 7.0, 1), ("random", 0.3, 2)))
        for j, p in enumerate((11, 17, 23, 31, 41))
    ]  # fmt: skip
    # A network of addition that does not generalise takes no part, whatever its λ̂.
    rows[0]["networks"].append(network(1e6, test=0.2))
    found = findings.growth(rows)
    for operation, truth in (("addition", 1.0), ("random", 2.0)):
        fit = found[operation]["1"]["exponent"]
        assert fit["low"] < truth < fit["high"] and fit["high"] - fit["low"] < 0.2
        assert len(found[operation]["1"]["points"]) == 20
        assert found[operation]["10"]["slope"] is None
    slope = found["addition"]["1"]["slope"]
    assert slope["low"] < 7.0 < slope["high"] and slope["high"] - slope["low"] < 1.0


def test_the_ratio_at_equal_loss_is_taken_where_both_operations_have_been():
    """λ̂ = c·loss^(−1/4), c three times larger for random labels, at losses that only overlap."""
    rows = []
    for seed in range(3):
        every = []
        for operation, scale, losses in (
            ("addition", 50.0, (1e-3, 4e-3, 1.6e-2)),
            ("random", 150.0, (8e-3, 3.2e-2, 1.28e-1)),
        ):
            wobble = 1 + 0.01 * (seed - 1) * (operation == "random")
            for loss in losses:
                each = network(scale * wobble * loss**-0.25, loss=loss)
                every.append({**each, "operation": operation})
        rows.append({"networks": every})
    found = findings.at_equal_loss(rows)["1"]
    assert found["num"] == 3 and found["value"] == pytest.approx(3.0, rel=1e-3)
    assert found["losses"] == pytest.approx([math.sqrt(8e-3 * 1.6e-2)] * 3)
    assert found["low"] < 3.0 < found["high"] < 3.2
    # λ̂ falls with the loss here: the last of the random ones over the first of addition.
    margin = (150.0 * 0.99 * 0.128**-0.25) / (50.0 * 1e-3**-0.25)
    assert findings.margin(rows, "1") == pytest.approx(margin)
    assert math.isnan(findings.margin(rows, "own"))
    # Where the curves do not overlap, nothing is said.
    for row in rows:
        for each in row["networks"]:
            each["train_loss"] *= 100.0 if each["operation"] == "random" else 1.0
    assert findings.at_equal_loss(rows)["1"]["num"] == 0


def test_temperatures_and_ratios_pair_networks():
    networks = []
    for i in range(4):
        own = 1 + 0.1 * i
        kinds = {"1": 100.0 * own, "10": 120.0 * own, "0.1": 50.0 * own}
        networks.append({
            **network(1.0),
            "published": {name: estimate(value) for name, value in kinds.items()},
            "free": {name: estimate(value / 2) for name, value in kinds.items()},
            "germ": {} if i == 3 else {
                "10 restricted": estimate(100.0 * own), "10": estimate(57.0 * own),
            },
            "own": {**estimate(57.0), "cosine": -0.9, "not_a_minimum": 0.2} if i < 3 else None,
        })  # fmt: skip
    networks[2]["free"]["10"] = estimate(None)
    row = {"operation": "addition", "modulus": 17, "networks": networks}
    found = {each["multiplier"]: each for each in findings.temperatures([row])}
    assert found[1.0]["value"].value == pytest.approx(115.0) and found[1.0]["value"].num == 4
    assert found[10.0]["free"].num == 3 and found[10.0]["lost"] == 0
    assert found[10.0]["germ"].value == pytest.approx(110.0) and found[1.0]["germ"].num == 0
    made = findings.comparisons(row)
    # The networks differ by far more than their ratios do, which are all the same.
    truths = {
        "plateau": 1.2, "plateau_free": 1.2, "direction": 2.0, "sampler": 1.2,
        "sampler_free": 60 / 57, "cosine": 0.9, "nothing": 0.2,
    }  # fmt: skip
    for name, truth in truths.items():
        assert made[name].value == pytest.approx(truth)
        assert made[name].high - made[name].low < 1e-6
    assert made["direction"].num == 3 and made["sampler"].num == 3


def path(sampled: list[float], losses: list[float]) -> dict:
    """A run that fits from step 100 on, shows it from step 400 on and generalises at the end."""
    records = []
    for i, (level, loss) in enumerate(zip(sampled, losses, strict=True)):
        found = {**estimate(10.0 * (level - loss)), "sampled": level}
        records.append({
            "step": 100 * i, "train_loss": loss, "test_loss": 1.0, "train_accuracy": float(i > 0),
            "test_accuracy": (0.0, 0.5, 1.0)[(i > 3) + (i > 4)],
            "notebook": found, "own": found if i % 2 == 0 else None,
        })  # fmt: skip
    return {"seed": 0, "records": records}


LOSSES = [3.0, 1.0, 0.5, 0.2, 0.15, 0.1, 0.1]


def test_a_flat_sampled_loss_is_the_train_loss_turned_over():
    flat = findings.across([path([3.0] * 7, LOSSES)], 17)[0]
    assert flat["groks"] == {"fits": 100, "generalises": 500}
    change = flat["notebook"]["change"]
    assert change["steps"] == [100, 300, 600]
    assert change["value"] == pytest.approx(9.0) == change["by_loss"]
    assert change["early"] == pytest.approx(8.0)
    assert flat["notebook"]["said"]["restates"]
    assert flat["notebook"]["said"]["slope"] == pytest.approx(0, abs=0.02)
    # germ's own estimates are at every second record only.
    assert flat["own"]["change"]["steps"] == [200, 200, 600]
    assert flat["own"]["said"] is not None and flat["own"]["fitted"] is None


def test_a_falling_sampled_loss_is_not():
    moving = [3.4, 2.5, 1.5, 1.2, 0.8, 0.5, 0.4]
    found = findings.across([path(moving, LOSSES)], 17)[0]["notebook"]
    assert found["change"]["values"] == pytest.approx([15.0, 10.0, 3.0])
    assert found["change"]["by_loss"] == pytest.approx(9.0)
    assert found["change"]["sampled"] == [2.5, 1.2, 0.4]
    assert not found["said"]["restates"]
    made = findings.changes([{"notebook": found}, {"notebook": {"change": None}}], "notebook")
    assert made["value"].num == 1 and made["value"].value == pytest.approx(-12.0)
    assert made["early"].value == pytest.approx(-5.0)


def test_a_run_that_never_groks_has_no_change():
    made = path([3.0] * 7, LOSSES)
    for record in made["records"]:
        record["test_accuracy"] = 0.1
    found = findings.across([made], 17)[0]
    assert found["notebook"]["change"] is None and found["groks"]["generalises"] is None


def test_warnings_are_counted():
    some = [network(1.0) for _ in range(3)]
    some[0]["own"] = {**estimate(1.0), "warnings": ["w* is not a minimum: …"]}
    some[1]["own"] = estimate(None)
    assert findings.warned(some) == (2, 2, 1)
