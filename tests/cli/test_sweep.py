from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.cli.support import FAST, SHORT, call, call_json, refused
from tests.report.support import estimate, measurement

import germ
from germ.sweeping import Listener, Sweep, sweep
from germ.zoo.attention_only import PRESETS, AttentionOnly, save_checkpoint

TINY = PRESETS["tiny"]


def checkpoint(step: int, *, damaged: bool = False) -> None:
    torch.manual_seed(step)
    model = AttentionOnly(TINY)
    if damaged:
        with torch.no_grad():
            model.embed.weight[3, 2] = float("nan")
    Path("run").mkdir(exist_ok=True)
    save_checkpoint(model, f"run/step{step:04d}.safetensors", step)


@pytest.fixture
def checkpoints(folder):
    """Three tiny language models and data for them."""
    for step in (0, 10, 100):
        checkpoint(step)
    np.save("tokens.npy", np.random.default_rng(0).integers(0, TINY.vocab_size, (12, 8)))
    return folder


ARGUMENTS = ("--data", "tokens.npy", "--out", "out", "--restrict", "norm", *FAST)


def test_a_line_a_checkpoint_a_table_and_a_figure(checkpoints):
    result = call("sweep", "run", *ARGUMENTS)
    assert result.exit_code == 0, result.output
    head, *lines = result.stdout.splitlines()
    assert head.split()[0] == "step" and "λ̂" in head and "virial" in head
    assert [line.split()[0] for line in lines[:3]] == ["0", "10", "100"]
    with open("out/sweep.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "10", "100"]
    for row in rows:
        samples = germ.load(row["run"])
        assert float(row["value"]) == germ.llc(samples).value
        assert float(row["anchor_loss"]) == samples.attrs["anchor_loss"]
    table = json.loads(Path("out/sweep.json").read_text())
    assert [row["step"] for row in table["rows"]] == [0, 10, 100]
    assert Path("out/trajectory.png").read_bytes().startswith(b"\x89PNG")
    assert "out/trajectory.png" in lines[-1]


def test_finished_checkpoints_are_used_again_and_others_extend_the_table(checkpoints):
    first = call_json("sweep", "run/step00*", *ARGUMENTS)["rows"]
    second = call_json("sweep", "run", *ARGUMENTS)["rows"]
    assert [(row["step"], row["stored"]) for row in first] == [(0, False), (10, False)]
    assert [(row["step"], row["stored"]) for row in second] == [(0, True), (10, True), (100, False)]
    assert [row["estimate"] for row in second[:2]] == [row["estimate"] for row in first]
    assert all(row["stored"] for row in call_json("sweep", "run", *ARGUMENTS)["rows"])


def test_one_calibration_is_kept_for_all_and_for_those_that_are_added(checkpoints, monkeypatch):
    from germ import one_calibration

    calls = []
    propose = one_calibration.propose
    monkeypatch.setattr(
        one_calibration,
        "propose",
        lambda *args, **kwargs: calls.append(1) or propose(*args, **kwargs),
    )
    arguments = (
        "--data", "tokens.npy", "--out", "out", "--restrict", "norm", *SHORT, "--calibrate-once"
    )  # fmt: skip
    first = call_json("sweep", "run/step00*", *arguments)["rows"]
    assert len(calls) == 1 and Path("out/calibration.safetensors").exists()
    second = call_json("sweep", "run", *arguments)["rows"]
    assert len(calls) == 1
    assert [row["stored"] for row in second] == [True, True, False]
    assert [row["estimate"] for row in second[:2]] == [row["estimate"] for row in first]
    for row in second:
        assert "reused" in germ.load(row["run"]).attrs["reasons"]
    told = refused("sweep", "run", *arguments, "--nbeta", "7")
    assert "nβ" in told and "delete that file" in told
    told = refused("sweep", "run", *ARGUMENTS, "--calibrate-once")
    assert "--calibrate-once belongs to --sampler auto" in told


def test_one_bad_checkpoint_is_a_line_with_its_reason_and_the_others_go_on(checkpoints):
    checkpoint(50, damaged=True)
    result = call("sweep", "run", *ARGUMENTS, "--json")
    assert result.exit_code == 3
    rows = json.loads(result.stdout)["rows"]
    assert [(row["step"], row["estimate"] is None) for row in rows] == [
        (0, False), (10, False), (50, True), (100, False),
    ]  # fmt: skip
    assert "NaN" in rows[2]["status"] and "embed.weight" in rows[2]["status"]
    assert Path("out/trajectory.png").exists()
    # Mended, it takes its place in the table.
    checkpoint(50)
    rows = call_json("sweep", "run", *ARGUMENTS)["rows"]
    assert [row["stored"] for row in rows] == [True, True, False, True]


def test_a_diverged_checkpoint_is_a_line_too(folder):
    arguments = ("toys.py:toy", "toys.py:runaway", *FAST[:-1], "0.05", "--out", "out")
    result = call("sweep", *arguments, "--json")
    assert result.exit_code == 3
    statuses = {row["model"]: row["status"] for row in json.loads(result.stdout)["rows"]}
    assert statuses["toys.py:runaway"].startswith("failed: 2 of 2 chains")
    assert not statuses["toys.py:toy"].startswith("failed")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere/*"], "nowhere"),
        (["run", "--data", "nothing.npy"], "nothing.npy"),
        (["run", "--restrict", "nrom"], "nrom"),
        (["run", "--nbeta", "-1"], "nbeta"),
        (["run", "--draws", "1"], "draws"),
        (["run", "--sampler", "sgld"], "--step-size"),
    ],
)
def test_what_no_checkpoint_could_mend_ends_the_sweep_at_once(checkpoints, arguments, told):
    common = ("--data", "tokens.npy", "--out", "out")
    assert told in refused("sweep", *common, *arguments)
    assert not list(checkpoints.rglob("*.zarr"))


def test_no_checkpoint_that_can_be_read_is_an_error(folder):
    np.save("tokens.npy", np.zeros((4, 8), dtype=np.int64))
    for step in (1, 2):
        checkpoint(step, damaged=True)
    result = call("sweep", "run", *ARGUMENTS)
    assert result.exit_code == 2
    assert "none of 2 models could be loaded" in result.stderr


def test_modules_in_memory_are_swept_from_python():
    data = torch.randn(20, 2), torch.randn(20, 1)
    models = [(step, torch.nn.Linear(2, 1)) for step in (0, 1)]
    told = []

    class Told(Listener):
        def started(self, index, total, name):
            told.append((index, total, name))

    found = sweep(models, data, loss="mse", chains=2, draws=8, sampler=germ_sampler(),
                  listener=Told())  # fmt: skip
    assert [row.step for row in found.rows] == [0, 1]
    assert all(row.estimate is not None and row.run is None for row in found.rows)
    assert told == [(0, 2, "0"), (1, 2, "1")]
    assert str(found).splitlines()[0].startswith("step")
    assert found.failed == ()


def germ_sampler():
    from germ.samplers import SGLD

    return SGLD(1e-3)


def test_the_tokenized_data_are_read_once_for_checkpoints_alike(checkpoints):
    from germ import hub

    calls = []

    def load_data(loaded, spec):
        calls.append(loaded.name)
        return hub.load_data(loaded, spec)

    sweep("run", "tokens.npy", restrict="norm", chains=1, draws=4, sampler=germ_sampler(),
          load_data=load_data)  # fmt: skip
    assert len(calls) == 1


def test_the_control_is_measured_and_printed_beside_each_checkpoint(checkpoints):
    found = call_json("sweep", "run", *ARGUMENTS, "--control")
    assert len(found["controls"]) == 3
    for row, control in zip(found["rows"], found["controls"], strict=True):
        assert control["nbeta"] == row["estimate"]["nbeta"]
        assert isinstance(control["value"], float) and control["standard_error"] > 0
        assert control["localization"] == row["estimate"]["localization"]
    with open("out/sweep.csv") as file:
        written = [float(row["control"]) for row in csv.DictReader(file)]
    assert written == [control["value"] for control in found["controls"]]
    result = call("sweep", "run", *ARGUMENTS, "--control")
    assert result.stdout.count("λ̂/λ̂₀") == 3, "found again, not sampled again"


def rows_of(losses, sampled, **changes):
    return tuple(
        measurement(
            step,
            estimate(30 * (e - at), 0.3, anchor_loss=at, expected_loss=e, **changes),
        )
        for step, (at, e) in enumerate(zip(losses, sampled, strict=True))
    )


def test_a_table_that_restates_the_loss_says_so_and_another_does_not():
    losses = [5.0, 4.0, 3.0, 2.5, 2.2]
    (said,) = Sweep(rows_of(losses, [5.1] * 5)).warnings
    assert "restates the loss" in said
    assert Sweep(rows_of(losses, [at + 0.1 for at in losses])).warnings == ()
    assert Sweep(rows_of(losses[:3], [5.1] * 3)).warnings == (), "three are too few to tell"


def test_a_table_of_unequal_settings_says_that_first():
    one = rows_of([5.0, 4.0, 3.0, 2.0], [5.1] * 4)
    other = rows_of([4.0], [4.2], nbeta=300.0)
    (said,) = Sweep((*one, *other)).warnings
    assert "cannot be compared: nβ differs" in said


def test_a_sampler_chosen_for_each_model():
    data = torch.randn(20, 2), torch.randn(20, 1)
    models = [(step, torch.nn.Linear(2, 1)) for step in (0, 1)]
    asked = []

    def chosen(posterior):
        asked.append(posterior.num_coordinates)
        return germ_sampler()

    found = sweep(models, data, loss="mse", chains=2, draws=8, sampler_for=chosen)
    assert asked == [3, 3] and found.failed == () and found.controls == ()
