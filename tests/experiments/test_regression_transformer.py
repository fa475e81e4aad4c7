"""`germ experiment regression-transformer`: planted stages, the predictors, a run and its page."""

from __future__ import annotations

import numpy as np
import pytest

from germ.experiments import regression_transformer as experiment
from germ.experiments import side_by_side
from germ.experiments.in_context_llc import NBETA, Effort
from germ.experiments.in_context_training import Plan
from germ.experiments.regression_page import page
from germ.zoo.in_context import InContextConfig

TINY = experiment.Settings(
    Plan(InContextConfig(dim=2, length=3, num_heads=2, d_model=8), 120, 32, 1e-2, 9, 4, 40),
    1, 9, 32, Effort(128, 32, 2, 12, 6),
)  # fmt: skip


def test_checkpoints_to_measure():
    plan = experiment.PRESETS["small"].plan
    steps = experiment.chosen(plan, 22)
    assert steps[0] == 0 and steps[-1] == plan.num_steps and 15 <= len(steps) <= 22
    assert set(steps) <= set(plan.checkpoints)
    assert experiment.chosen(plan, 10_000) == plan.checkpoints


def planted(steps: np.ndarray, seed: int, turns: float) -> list[dict]:
    """λ̂ that rises to a turn and falls, of a loss that falls; E[L] moves with both."""
    source = np.random.default_rng(seed)
    x = np.log10(np.maximum(steps, 1))
    llc = 100 - 30 * np.abs(x - np.log10(turns)) + 0.3 * source.standard_normal(len(x))
    loss = 4 - 0.8 * x
    return [
        {"value": float(v), "total": 0.3, "error": 0.3, "loss": float(m), "warnings": [],
         "expected_loss": float(m + v / NBETA)}
        for v, m in zip(llc, loss, strict=True)
    ]  # fmt: skip


def test_a_planted_stage_is_found():
    steps = np.unique(np.geomspace(1, 10_000, 24).round().astype(int))
    rows = [planted(steps, seed, 1000) for seed in range(3)]
    found = experiment.summary([0, 1, 2], steps.tolist(), rows)["stages"]
    turns = [b for b in found["boundaries"] if b["of"] in ("llc", "both")]
    assert len(turns) == 1 and turns[0]["interval"][0] < 1000 < turns[0]["interval"][1]
    assert [s["kind"] for s in found["stages"]] == ["A", "B"]


def test_it_runs_goes_on_and_shows_everything(tmp_path, monkeypatch):
    first = experiment.run(TINY, tmp_path, seed=0, progress=lambda *_: None)
    first.write(tmp_path / "page")
    data = first.data
    assert len(data["rows"]) == 1 and len(data["rows"][0]) == len(data["steps"])
    for rows, model in zip(data["rows"], data["behaviour"]["models"], strict=True):
        for step, row in zip(data["steps"], rows, strict=True):
            # λ̂ = nβ(E[L] − L), and L is that of the checkpoint, on other sequences.
            gap = NBETA * (row["expected_loss"] - row["loss"])
            assert row["value"] == pytest.approx(gap, rel=1e-3, abs=1e-3)
            place = data["behaviour"]["steps"].index(step)
            assert row["loss"] == pytest.approx(model["loss"][place], rel=0.6)
    # The untrained models are near zero, and ridge is the best there is.
    behaviour = data["behaviour"]
    assert behaviour["ridge_loss"] < min(min(m["loss"]) for m in behaviour["models"])
    assert all(m["to_zero"][0] < 1.5 for m in behaviour["models"])
    monkeypatch.setattr(side_by_side, "cores", lambda: 1)  # In this process, where it is seen.
    monkeypatch.setattr(experiment, "estimate", lambda *_: pytest.fail("measured again"))
    again = experiment.run(TINY, tmp_path, seed=0, progress=lambda *_: None)
    assert again.data["rows"] == data["rows"] and again.text == first.text

    # Chains that fail are a gap in the curve, and not the end of the page.
    rows = [dict(row) for row in data["rows"][0]]
    extra = {"value": 0.0, "total": 1.0, "error": 1.0, "expected_loss": 2.0, "warnings": []}
    steps = [*data["steps"], 2 * data["steps"][-1]]
    rows = [*rows, {**extra, "loss": 1.0}]
    rows[2] = {"value": None, "loss": rows[2]["loss"], "warnings": ["chains failed"]}
    found = experiment.summary([0], steps, [rows])
    assert "failed" in page({**data, **found, "seeds": [0], "rows": [rows]}).text
