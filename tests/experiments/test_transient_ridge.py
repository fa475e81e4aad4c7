"""`germ experiment transient-ridge`: planted transience, verdicts, a run and its page."""

from __future__ import annotations

import pytest
import torch

from germ.experiments import side_by_side
from germ.experiments import transient_ridge as experiment
from germ.experiments.in_context_llc import Effort
from germ.experiments.in_context_training import Plan
from germ.experiments.transient_page import fallen, verdict
from germ.zoo.in_context import InContextConfig

STEPS = [0, 1, 10, 100, 1000]


def losses(means: list[float], seed: int = 0) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    noise = torch.rand(1, 400, generator=source) + 0.3 * torch.rand(5, 400, generator=source)
    return torch.tensor(means, dtype=torch.float64)[:, None] + noise


def test_a_planted_rise_is_found_and_chance_is_not():
    found = experiment.transience(losses([2.0, 1.5, 0.5, 0.7, 0.9]), STEPS)
    assert found["transient"] and found["step"] == 10
    assert found["rise"] == pytest.approx(0.4, abs=4 * found["error"])
    flat = [
        experiment.transience(losses([0.5] * 5, seed), STEPS)["transient"] for seed in range(50)
    ]
    assert sum(flat) <= 2
    assert not experiment.transience(losses([2.0, 1.5, 1.0, 0.7, 0.5]), STEPS)["transient"]


def row(ridge: list[float], dmmse: list[float], *, transient: bool) -> dict:
    new = {"ridge": ridge, "dmmse": dmmse, "zero_to_ridge": 2.0}
    return {"num_tasks": 4, "new": new, "transience": {"transient": transient}}


def test_verdicts():
    assert verdict(row([2, 0.5, 0.1], [2, 1, 0.9], transient=False)) == "ridge"
    assert verdict(row([2, 1.8, 1.9], [2.1, 1, 0.1], transient=False)) == "dMMSE"
    assert verdict(row([2, 0.3, 1.5], [2.1, 1, 0.1], transient=True)) == "dMMSE, after ridge"
    # An untrained model, which is near zero, is no visit to ridge.
    assert verdict(row([2, 2.5, 4], [3, 1, 0.1], transient=True)) == "dMMSE, loss risen"
    without = {"num_tasks": None, "new": {"ridge": [1.0]}, "transience": {"transient": False}}
    assert verdict(without) == "ridge"


def test_how_far_the_loss_on_new_tasks_falls():
    new = {"loss": [4.0, 4.1, 2.5, 3.5, 3.9], "ideal_loss": {"ridge": 1.0}}
    model = {"new": new, "transience": {"step": 10}}
    assert fallen(model, STEPS) == pytest.approx(0.5)
    assert fallen({**model, "transience": {"step": 1}}, STEPS) < 0


def test_it_runs_goes_on_and_shows_everything(tmp_path, monkeypatch):
    settings = experiment.Settings(
        Plan(InContextConfig(dim=2, length=3, num_heads=2, d_model=8, d_mlp=8), 60, 32, 1e-2, 4, 4,
             20),
        (3, None), 64, 16, Effort(128, 32, 2, 12, 6),
    )  # fmt: skip
    first = experiment.run(settings, tmp_path, seed=0, progress=lambda *_: None)
    first.write(tmp_path / "page")
    models = first.data["models"]
    assert [m["num_tasks"] for m in models] == [3, None]
    for model in models:
        assert len(model["new"]["loss"]) == len(first.data["steps"])
        # On new tasks no predictor beats ridge; on its own, none beats dMMSE.
        assert model["new"]["ideal_loss"]["ridge"] < min(model["new"]["loss"])
        if model["num_tasks"] is not None:
            ideal = model["own"]["ideal_loss"]
            assert ideal["dmmse"] < min(ideal["ridge"], *model["own"]["loss"])
    assert set(first.data["joint"]["ideal"]) == {"ridge", "dMMSE 3"}
    assert set(first.figures) == {"distances", "loss", "joint"}
    assert all(f"{model['llc']['value']:.1f} ± " in first.text for model in models)
    monkeypatch.setattr(side_by_side, "cores", lambda: 1)  # In this process, where it is seen.
    monkeypatch.setattr(experiment, "estimate", lambda *_: pytest.fail("measured again"))
    again = experiment.run(settings, tmp_path, seed=0, progress=lambda *_: None)
    assert again.data == first.data
