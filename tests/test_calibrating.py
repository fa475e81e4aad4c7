"""What `germ calibrate` says is what a run does; its sweep shows what is off where it is off."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.support import net_posterior, quadratic_posterior

import germ
from germ.calibrating import propose
from germ.errors import GermError
from germ.step_sweep import sweep


def test_it_proposes_what_a_run_does():
    posterior = net_posterior()
    found = propose(posterior, chains=2, draws=20, seed=3)
    samples = germ.sample(posterior, chains=2, draws=20, seed=3)
    assert samples.attrs["step_size"] == found.calibration.sampler.step_size
    assert samples.attrs["sampler"] == type(found.calibration.sampler).__name__
    assert samples.attrs["batch_size"] == found.calibration.batch_size
    values = {choice.setting: choice.value for choice in found.choices}
    assert values["warmup"] == f"{samples.sizes['warmup_step']} steps"
    assert values["draws"] == "2 × 20" and values["batch size"] == "24"
    assert all(choice.reason for choice in found.choices)
    spent = found.num_gradients + found.run_gradients
    assert samples.attrs["num_gradients"] == pytest.approx(spent, abs=5)
    assert 0 < found.share < 1 and found.share == pytest.approx(found.num_gradients / spent)


def test_a_default_run_spends_at_most_a_quarter_on_it():
    assert propose(net_posterior()).share < 0.25


def test_minibatches_and_their_costs_are_said():
    posterior = net_posterior(num_examples=4000)
    anchored = propose(posterior, draws=100, batch_size=8)
    plain = propose(posterior, draws=100, batch_size=8, gradient="minibatch", warmup=7)
    assert anchored.run_gradients == 5 * (50 + 100) and plain.run_gradients == 4 * (7 + 100)
    said = {choice.setting: choice for choice in anchored.choices}
    assert said["sampler"].value == "BAOAB" and "cooling" in said
    assert {c.setting: c for c in plain.choices}["warmup"].reason == "as given"


def test_the_sweep_has_a_cell_for_each_step_nbeta_and_localization():
    posterior = quadratic_posterior((0.3, 1.0, 5.0), nbeta=30.0, localization=5.0)
    seen = []
    cells = sweep(
        posterior, nbetas=(3.0, 30.0), localizations=(5.0, 50.0), factors=(0.5, 1.0), draws=8,
        chains=2, on_cell=lambda cell, done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(i, 8) for i in range(1, 9)]
    assert [(c.nbeta, c.localization, c.factor) for c in cells] == [
        (b, g, f) for g in (5.0, 50.0) for b in (3.0, 30.0) for f in (0.5, 1.0)
    ]
    assert [c.chosen for c in cells].index(True) == 3 and sum(c.chosen for c in cells) == 1
    for low, high in zip(cells[::2], cells[1::2], strict=True):
        assert high.step_size == pytest.approx(2 * low.step_size)
        assert high.loss_difference == pytest.approx(high.value / high.nbeta)


def test_steps_that_diverge_are_cells_without_a_number():
    posterior = quadratic_posterior(
        (1.0, 1.0, 1.0), nbeta=30.0, localization=5.0, noise=0.1, num_examples=3000
    )
    cells = sweep(
        posterior, nbetas=(30.0,), factors=(1.0, 200.0), draws=150, chains=4, batch_size=100
    )
    good, bad = cells
    assert good.status == "ok" and abs(good.value - 1.2857) < 5 * good.standard_error
    assert abs(good.temperature - 1) < 0.1
    assert math.isnan(bad.value) and "4 of 4" in bad.status
    assert bad.to_dict()["value"] is None


def test_settings_that_are_none():
    posterior = net_posterior()
    for name, values in (("nbetas", (0.0,)), ("localizations", (-1.0,)), ("factors", (math.inf,))):
        wrong: Any = {name: values}
        with pytest.raises(GermError, match="to be > 0"):
            sweep(posterior, **wrong)
    with pytest.raises(GermError, match="chains"):
        propose(posterior, chains=0)
