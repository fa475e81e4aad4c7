from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from tests.cli.support import call, call_json, refused

pytestmark = pytest.mark.usefixtures("folder")

FAST = (
    "--chains", "2", "--draws", "40", "--warmup", "10", "--thin", "2",
    "--sampler", "lm", "--step-size", "3e-2",
)  # fmt: skip


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command, whether or not the application has it yet."""
    from germ.cli import app
    from germ.cli.influence import influence

    if "influence" not in {command.name for command in app.registered_commands}:
        monkeypatch.setattr(app, "registered_commands", [*app.registered_commands])
        app.command("influence")(influence)


def test_a_table_and_files_for_a_classifier_or_a_regression():
    found = call_json("influence", "toys.py:toy", "--out", "here", "--train-examples", "10", *FAST)
    assert found["settings"]["chains"] == 2 and found["ess"]["all"] >= 20
    rows = list(csv.DictReader(Path("here/influence.csv").read_text().splitlines()))
    assert {row["query"] for row in rows} == {"train"}
    assert {int(row["example"]) for row in rows} == set(range(0, 40, 4))
    best = [r for r in rows if r["query_example"] == "8" and r["sign"] == "+" and r["rank"] == "1"]
    assert best[0]["example"] == "8"
    assert json.loads(Path("here/influence.zarr/zarr.json").read_text())["node_type"] == "group"


def test_text_that_came_from_data_cannot_take_hold_of_the_terminal(folder: Path):
    (folder / "train.txt").write_text("\x1b[31mred [bold]text[/bold] " * 60)
    (folder / "query.txt").write_text("some other words here " * 60)
    result = call(
        "influence", "bundled", "--data", "train.txt", "--query", "q=query.txt", "--context", "16",
        "--max-examples", "4", "--query-examples", "2", "--restrict", "layers.1.norm", "--out",
        "runs", "--chains", "2", "--draws", "30", "--thin", "2", "--warmup", "4", "--batch-size",
        "4", "--sampler", "lm", "--step-size", "2e-3",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.stdout
    assert "\\x1b[31mred [bold]" in result.stdout
    assert "on q:" in result.stdout


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--query", "data="), "expected --query NAME=DATA"),
        (("--query", "a=x.txt", "--query", "a=y.txt"), "'a' comes twice"),
        (("--train-examples", "0"), "at least 1"),
        (("--components", "heads", "--restrict", "weight"), "leave one out"),
        (("--per-token",), "per_token expected a loss of every token"),
        (("--chains", "1"), "at least 2 chains"),
    ],
)
def test_what_is_refused(flags: tuple[str, ...], words: str):
    assert words in refused("influence", "toys.py:toy", *flags)


def test_too_few_draws_are_refused():
    few = ("--chains", "2", "--draws", "6", "--warmup", "2", "--thin", "2")
    line = refused(
        "influence", "toys.py:toy", *few, "--sampler", "lm", "--step-size", "3e-2",
    )  # fmt: skip
    assert "effective draws for a covariance" in line
