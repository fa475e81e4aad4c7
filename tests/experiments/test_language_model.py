"""`germ experiment language-model`: planted heads and stages, and a run over real checkpoints."""

from __future__ import annotations

import numpy as np
import pytest

from germ.development.attention_scores import PREVIOUS
from germ.experiments import language_model as experiment
from germ.experiments import side_by_side
from germ.zoo.attention_only import AttentionOnlyConfig
from germ.zoo.train import TrainSettings

STEPS = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)


def planted(source: np.random.Generator) -> list[dict]:
    """Two layers of four heads; λ̂ ends in the order of attention in the first, by chance else."""
    names = [f"layers.{layer}.head.{head}" for layer in (0, 1) for head in range(4)]
    attention = dict(zip(names, [0.1, 0.2, 0.3, 0.4, 0.3, 0.1, 0.4, 0.2], strict=True))
    rows = []
    for place, step in enumerate(STEPS):
        heads = {}
        for name in names:
            layer, head = int(name[7]), int(name[-1])
            rise = place * (4 + 0.3 * head) if layer == 0 else 5 - place + (head == 3)
            heads[name] = {"llc": rise + 0.1 * source.normal(), "error": 0.1}
        code = {n: {**h, "llc": h["llc"] + (2.0 if n.endswith("0.head.1") else 0.0)}
                for n, h in heads.items()}  # fmt: skip
        scores = [
            {"measure": PREVIOUS, "component": n, "value": a, "chance": 0.1, "standard_error": 0.01}
            for n, a in attention.items()
        ]
        x = np.log10(max(step, 1))
        rows.append({
            "step": step, "llc": 20 * x, "total": 0.5, "nbeta": 30.0, "loss": 7 - x,
            "expected_loss": 7 - x + 20 * x / 30, "behaviour": scores,
            "heads": {"all": heads, "code": code}, "warnings": [],
        })  # fmt: skip
    return rows


def test_planted_heads_are_told():
    rows = planted(np.random.default_rng(0))
    found = experiment.heads(rows)
    assert found["previous"]["layers.0"]["10000"][0] == pytest.approx(1)
    assert abs(found["previous"]["layers.1"]["10000"][0]) < 1
    # Two clusters, a layer each; the dendrogram keeps them apart.
    assert found["layers_apart"]["gap"] > 0 and found["layers_apart"]["p"] < 0.05
    layers = [name[7] for name in found["order"]]
    assert layers in (["0"] * 4 + ["1"] * 4, ["1"] * 4 + ["0"] * 4)
    clear = [n for n, (v, e) in found["code"].items() if abs(v) > 3 * e]
    assert clear == ["layers.0.head.1"]


def test_heads_that_are_all_alike_do_not_cluster():
    rows = planted(np.random.default_rng(1))
    source = np.random.default_rng(2)
    for row in rows:
        for head in row["heads"]["all"].values():
            head["llc"] = source.normal()
    assert experiment.heads(rows)["layers_apart"]["p"] > 0.01
    # A checkpoint at which the Gaussian was not near is left out of the trajectories.
    rows[0]["heads"]["all"]["layers.0.head.0"]["llc"] = None
    assert np.isfinite(experiment.heads(rows)["layers_apart"]["gap"])


def test_stages_know_when_the_loss_is_restated():
    rows = planted(np.random.default_rng(0))
    for row in rows:
        row["llc"] = 30 * (7 - row["loss"])
        row["expected_loss"] = 7.0
    found = experiment.stages([{"checkpoints": rows}])
    assert found["stages"][0]["restated"]


@pytest.mark.slow
def test_it_runs_goes_on_and_shows_everything(tmp_path, monkeypatch):
    settings = experiment.Settings((0, 12, 43, 110, 383, 717, 3430, 12_000), 4, 2, 8, 4, 16, 8)
    first = experiment.run(settings, tmp_path, seed=0, progress=lambda *_: None)
    first.write(tmp_path / "page")
    rows = first.data["models"][0]["checkpoints"]
    assert [row["step"] for row in rows] == list(settings.steps or ())
    assert rows[0]["loss"] > rows[-1]["loss"] and len(rows[0]["heads"]["code"]) == 16
    monkeypatch.setattr(side_by_side, "cores", lambda: 1)  # In this process, where it is seen.
    monkeypatch.setattr(experiment, "_refined", lambda *_: pytest.fail("measured again"))
    again = experiment.run(settings, tmp_path, seed=0, progress=lambda *_: None)
    assert again.data["models"] == first.data["models"]


@pytest.mark.slow
def test_models_trained_here_are_replicates(tmp_path, capsys, monkeypatch):
    # At this size starting a process takes longer than what it is to do.
    monkeypatch.setattr(side_by_side, "cores", lambda: 1)
    plan = experiment.Training(
        AttentionOnlyConfig(1024, 16, num_heads=2, d_model=16, d_head=8),
        TrainSettings(num_steps=60, batch_size=8, lr=1e-2, warmup=5, num_checkpoints=9), 2,
    )  # fmt: skip
    settings = experiment.Settings(None, 8, 2, 8, 4, 16, 8, plan)
    told = []
    found = experiment.run(settings, tmp_path, seed=3, progress=lambda *what: told.append(what))
    found.write(tmp_path / "page")
    one, other = found.data["models"]
    assert [row["step"] for row in one["checkpoints"]] == [r["step"] for r in other["checkpoints"]]
    assert one["checkpoints"][0]["loss"] != other["checkpoints"][0]["loss"]
    for model in (one, other):
        assert model["checkpoints"][-1]["loss"] < model["checkpoints"][0]["loss"] - 0.1
    assert {stage for stage, *_ in told} >= {"training 1", "training 2"}
    assert not capsys.readouterr().out  # Standard output is the command's.
