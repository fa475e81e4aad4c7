"""Stages of planted runs: found, typed, and refused where there are none."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from tests.report.support import estimate, measurement

from germ.development.curves import curves, of_sweeps
from germ.development.planted import Planted
from germ.development.staging import stages, stages_of
from germ.errors import GermError
from germ.sweeping import Sweep

STEPS = np.concatenate([[0], np.unique(np.round(np.geomspace(1, 1e5, 50)))])
X = curves(STEPS, STEPS).x
PLACES, WIDTHS = (1.2, 2.6, 3.6, 4.4), (0.2, 0.2, 0.15, 0.15)
LLC = Planted(PLACES, WIDTHS, (10.0, 30.0, -8.0, 4.0))
LOSS = Planted(PLACES, WIDTHS, (-0.3, -2.0, -0.1, -0.05))
TRUTH = [10**at for _, at in LLC.boundaries()]


def run(num_seeds=1, noise=0.3, seed=0):
    """λ̂ and the loss of a run with stages A, A, B, A."""
    generator = np.random.default_rng(seed)
    away = 0.05 * generator.standard_normal((num_seeds, 1)) * (num_seeds > 1)
    scatter = generator.standard_normal((2, num_seeds, len(X)))
    llc = 5 + np.stack([LLC(X - a) for a in away[:, 0]]) + noise * scatter[0]
    loss = 5 + np.stack([LOSS(X - a) for a in away[:, 0]]) + 0.003 * scatter[1]
    return llc, loss


@pytest.mark.parametrize("num_seeds", [1, 4])
def test_the_planted_stages_are_found_with_their_types_and_changes(num_seeds):
    llc, loss = run(num_seeds)
    found = stages(STEPS, llc, loss, nbeta=30.0)
    assert [stage.kind for stage in found.stages] == ["A", "A", "B", "A"]
    assert [at.kind for at in found.boundaries] == ["pause", "maximum", "minimum"]
    for at, truth in zip(found.boundaries, TRUTH, strict=True):
        # Nine in ten intervals hold the truth: three hold it, or nearly.
        assert at.interval[0] / 1.5 < truth < at.interval[1] * 1.5
        assert at.support >= 0.9 and len(at.seed_steps) == (num_seeds if num_seeds > 1 else 0)
    for k, stage in enumerate(found.stages):
        ends = np.array([0.3, *TRUTH, 1e5])[k : k + 2]
        for name, curve in (("llc", LLC), ("loss", LOSS)):
            change, error = getattr(stage, f"{name}_change"), getattr(stage, f"{name}_error")
            truth = float(np.diff(curve(np.log10(ends)))[0])
            # And some: the boundary itself is known to its interval only.
            assert abs(change - truth) < 4 * error + 0.02 * abs(np.ptp(curve(X)))
    assert found.num_seeds == num_seeds
    assert any("one training run" in said for said in found.warnings) == (num_seeds == 1)


@pytest.mark.slow
def test_noise_and_a_single_rise_have_one_stage_nine_times_in_ten():
    """Sixteen runs at one in ten: more than four false have a chance of 2%; seeds are fixed."""
    rise = Planted((2.5,), (0.2,), (20.0,))(X)
    false, moved = 0, 0
    for seed in range(8):
        noise = np.random.default_rng(seed).standard_normal(len(X))
        flat = stages(STEPS, noise)
        moved += flat.stages[0].kind != "λ̂ undecided"
        one = stages(STEPS, rise + 0.2 * noise)
        assert one.stages[-1].llc_change > 0 or len(one.stages) > 1
        false += (flat.boundaries != ()) + (one.boundaries != ())
    assert false <= 4 and moved <= 3


def test_without_a_loss_there_are_no_types():
    llc, _ = run()
    found = stages(STEPS, llc)
    assert [stage.kind for stage in found.stages] == [
        "λ̂ rises", "λ̂ rises", "λ̂ falls", "λ̂ rises",
    ]  # fmt: skip
    assert any("no loss" in said for said in found.warnings)
    assert np.isnan(found.stages[0].loss_change)


def test_what_needs_more_support_is_dropped_and_told():
    """Boundaries that a low level keeps and a high one does not are told of all the same."""
    llc, _ = run(noise=1.5)
    sure, unsure = stages(STEPS, llc, level=0.9999), stages(STEPS, llc, level=0.6)
    assert len(sure.boundaries) < len(unsure.boundaries)
    told = {round(at.step) for at in (*sure.boundaries, *sure.dropped)}
    assert len(told) > len(sure.boundaries)


def test_a_llc_that_restates_the_loss_is_said_and_its_stages_are_marked():
    _, loss = run(4)
    found = stages(STEPS, 30.0 * (5.0 - loss), loss, nbeta=30.0)
    assert any("restates the loss" in said for said in found.warnings)
    assert all(stage.restated for stage in found.stages)
    assert "restates the loss" in str(found)
    honest = stages(STEPS, *run(4), nbeta=30.0)
    assert not any(stage.restated for stage in honest.stages[2:])


def test_the_order_of_checkpoints_does_not_matter():
    llc, loss = run()
    order = np.random.default_rng(0).permutation(len(STEPS))
    one = stages(STEPS, llc, loss, nbeta=30.0)
    other = stages(STEPS[order], llc[:, order], loss[:, order], nbeta=30.0)
    assert one.to_dict() == other.to_dict()


def rows(llc, loss, steps=STEPS, **changes):
    return Sweep(
        tuple(
            measurement(
                int(step),
                estimate(float(v), 0.3, anchor_loss=float(at), expected_loss=float(at + v / 30),
                         **changes),
            )
            for step, v, at in zip(steps, llc, loss, strict=True)
        )
    )  # fmt: skip


def test_sweeps_are_seeds_and_failed_checkpoints_are_left_out():
    llc, loss = run(3)
    sweeps = [rows(v, at) for v, at in zip(llc, loss, strict=True)]
    first = Sweep((*sweeps[0].rows[:4], measurement(7, None), *sweeps[0].rows[5:]))
    given = of_sweeps(first, *sweeps[1:])
    assert given.llc.shape == (3, len(STEPS)) and given.nbeta == 30.0
    assert np.isnan(given.llc[0, 4]) and np.isfinite(given.llc[1:]).all()
    assert given.errors is not None and (given.errors[1] == 0.3).all()
    assert stages_of(given).num_seeds == 3


def test_unequal_settings_are_refused():
    llc, loss = run(2)
    with pytest.raises(GermError, match="one nbeta; got"):
        of_sweeps(rows(llc[0], loss[0]), rows(llc[1], loss[1], nbeta=300.0))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (([1, 2, 3], [1.0, 2.0, 3.0]), "at least 8 checkpoints"),
        ((np.arange(9), np.ones(8)), "9 steps"),
        ((np.array([1, 1, 2, 3, 4, 5, 6, 7]), np.ones(8)), "each once"),
        ((np.arange(-1, 8), np.ones(9)), "from 0 up"),
    ],
)
def test_what_is_no_curve_is_refused(arguments, told):
    with pytest.raises(GermError, match=told):
        stages(*arguments)
    with pytest.raises(GermError, match="level from"):
        stages(np.arange(9), np.ones(9), level=1.0)


def test_the_table_is_written_in_one_line_a_stage(tmp_path: Path):
    found = stages(STEPS, *run(), nbeta=30.0)
    table, document = found.write(tmp_path)
    written = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["type"] for row in written] == ["A", "A", "B", "A"]
    assert [row["end_kind"] for row in written] == ["pause", "maximum", "minimum", ""]
    assert [float(row["end"]) for row in written[:-1]] == pytest.approx(
        [at.step for at in found.boundaries], rel=1e-5
    )
    assert json.loads(document.read_text())["num_seeds"] == 1
