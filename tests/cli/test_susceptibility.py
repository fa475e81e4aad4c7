"""`germ susceptibility`, on a small language model with the bundled tokenizer and text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import typer
from tests.cli import support
from typer.testing import CliRunner, Result

from germ import responses
from germ.cli.susceptibility import susceptibility
from germ.zoo.attention_only import AttentionOnly, AttentionOnlyConfig, save_checkpoint

QUICK = (
    "--context", "12", "--max-examples", "24", "--probe-examples", "3", "--chains", "2",
    "--draws", "8", "--thin", "1", "--warmup", "3", "--batch-size", "8",
    "--sampler", "sgld", "--step-size", "1e-4",
)  # fmt: skip
PROBES = ("--probe", "code=bundled:code_python", "--probe", "bundled:literature/heldout")

app = typer.Typer()
app.command()(susceptibility)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("checkpoints")
    config = AttentionOnlyConfig(
        vocab_size=1024, context=16, num_layers=2, num_heads=2, d_model=8, d_head=4
    )
    paths = []
    for step in (5, 10):
        torch.manual_seed(step)
        paths.append(folder / f"step{step:06d}.safetensors")
        save_checkpoint(AttentionOnly(config), paths[-1], step)
    return [str(path) for path in paths]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_tables_and_data_for_one_model(checkpoints, tmp_path):
    settings = ("--data", "bundled:code_python", *PROBES, "--components", "layers.1.head.*")
    result = call(checkpoints[0], *settings, *QUICK, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [row["component"] for row in found["rows"][::2]] == [
        "layers.1.head.0",
        "layers.1.head.1",
    ]
    assert [row["probe"] for row in found["rows"][:2]] == ["code", "heldout"]
    read = responses.read(tmp_path).data
    assert read.sizes["token"] == 2 * 3 * 11
    assert Path(found["files"]["csv"]).read_text().count("\n") == 5
    shown = call(checkpoints[0], *settings, *QUICK, "--out", tmp_path)
    assert shown.exit_code == 0 and "layers.1.head.1" in shown.stdout
    assert len(list((tmp_path / "runs").glob("*.zarr"))) == 2


def test_weighted_draws_are_shown_as_what_they_are(checkpoints, tmp_path):
    result = call(
        checkpoints[0], "--data", "bundled:code_python", *PROBES, "--components", "layers.1.head.0",
        "--method", "gaussian", "--draws", "8", "--max-examples", "3", "--context", "12",
        "--probe-examples", "3", "--out", tmp_path,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    listed = support.call_json("show", tmp_path / "runs")["runs"]
    assert [row["method"] for row in listed] == ["gaussian"] and listed[0]["num_draws"] == 8
    shown = support.call("show", listed[0]["run"])
    assert (
        shown.exit_code == 0 and f"{listed[0]['num_tokens']:,} tokens of 2 probes" in shown.stdout
    )
    assert support.call_json("show", listed[0]["run"])["llc"] == listed[0]["llc"]
    # What only looks like one is no run, and said to be none.
    Path(listed[0]["run"], "zarr.json").write_text('{"attributes": {"method": "gaussian"}}')
    assert support.call("show", listed[0]["run"]).exit_code == 2


def test_checkpoints_have_a_dimension(checkpoints, tmp_path):
    result = call(
        *checkpoints, "--data", "bundled:code_python", *PROBES, "--components", "unembed",
        *QUICK, "--out", tmp_path,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    read = responses.read(tmp_path).data
    assert read["checkpoint"].values.tolist() == [5, 10]
    assert read["chi"].dims == ("checkpoint", "component", "token")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--probe", "code="), "NAME=DATA"),
        (
            ("--probe", "a=bundled:literature", "--probe", "a=bundled:code_python"),
            "'a' comes twice",
        ),
        (("--probe", "a=nothing.txt"), "probe 'a'"),
        (("--probe", "a=bundled:literature", "--components", "layers.7"), "layers.7"),
        (("--probe", "a=bundled:literature", "--chains", "1"), "at least 2 chains"),
        (("--probe", "a=bundled:literature", "--precision", "0.1"), "--draws"),
    ],
)
def test_what_is_refused(checkpoints, tmp_path, arguments, said):
    quick = [a for a in QUICK]
    if "--chains" in arguments:
        where = quick.index("--chains")
        del quick[where : where + 2]
    result = call(
        checkpoints[0], "--data", "bundled:code_python", *quick, *arguments, "--out", tmp_path
    )
    assert result.exit_code != 0
    assert said in str(result.exception)
