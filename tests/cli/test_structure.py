from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tests.cli.support import call, call_json, refused
from tests.support_susceptibility import fake, fake_checkpoints

from germ.store.datasets import write as to_zarr

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command, whether or not the application has it yet."""
    from germ.cli import app
    from germ.cli.structure import structure

    if "structure" not in {command.name for command in app.registered_commands}:
        monkeypatch.setattr(app, "registered_commands", [*app.registered_commands])
        app.command("structure")(structure)


def test_tables_and_figures():
    to_zarr(fake(tokens=310).assign_attrs(model="bundled"), Path("run/susceptibility.zarr"))
    found = call_json("structure", "run", "--by-layer", "--cluster", "--num", "3")
    assert found["pca"]["num_significant"] >= 1
    assert set(found["by_layer"]) == {"layers.0", "layers.1"}
    assert {path.name for path in Path("run").iterdir()} == {
        "susceptibility.zarr", "pca.csv", "top_tokens.csv", "pca.png", "clusters.csv",
    }  # fmt: skip
    rows = list(csv.DictReader(Path("run/pca.csv").read_text().splitlines()))
    assert [float(row["explained"]) for row in rows] == found["pca"]["explained"]
    tokens = list(csv.DictReader(Path("run/top_tokens.csv").read_text().splitlines()))
    heads = [row for row in tokens if row["of"] == "layers.0.head.0" and row["sign"] == "+"]
    assert len(heads) == 3
    # The even heads answer to tokens that begin a word.
    assert all(row["text"].startswith(" ") for row in heads)


def test_one_checkpoint_of_several():
    data = fake_checkpoints((0, 10, 100), tokens=310)
    to_zarr(data, Path("susceptibility.zarr"))
    result = call("structure", "susceptibility.zarr", "--step", "10", "--out", "there")
    assert result.exit_code == 0, result.output
    assert Path("there/pca.png").exists()
    line = refused("structure", "susceptibility.zarr", "--step", "7")
    assert "one of 0, 10, 100; got 7" in line


def test_what_is_refused():
    assert "run it first" in refused("structure", "nothing")
    to_zarr(fake(tokens=310), Path("susceptibility.zarr"))
    assert "of one checkpoint" in refused("structure", ".", "--step", "3")
