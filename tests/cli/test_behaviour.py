from __future__ import annotations

import csv
import json

from tests.cli.support import call, call_json, refused

DATA = ("--data", "bundled:literature", "--context", "32", "--max-examples", "40", "--rows", "8")


def test_heads_of_one_model_are_a_table(folder):
    result = call("behaviour", "bundled", *DATA, "--measures", "loss,heads")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("loss") and "±" in lines[0]
    assert lines[1].split() == [
        "component", "prefix", "matching", "previous", "token", "current", "token", "first",
        "token",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[2:]] == [
        *(f"layers.{i}.head.{h}" for i in range(2) for h in range(8)),
        "chance",
    ]


def test_checkpoints_are_rows_and_files(folder):
    args = ("bundled@{0,110,12000}", *DATA, "--measures", "loss,bigrams,heads,outputs")
    result = call("behaviour", *args, "--out", "here")
    assert result.exit_code == 0, result.output
    assert "the highest of 16" in result.stdout and "outputs PC1" in result.stdout
    rows = list(csv.DictReader((folder / "here" / "behaviour.csv").read_text().splitlines()))
    losses = [float(row["value"]) for row in rows if row["measure"] == "loss"]
    assert losses == sorted(losses, reverse=True) and len(losses) == 3
    assert len({(r["step"], r["measure"], r["component"]) for r in rows}) == len(rows)
    assert (folder / "here" / "behaviour.png").read_bytes().startswith(b"\x89PNG")
    stored = json.loads((folder / "here" / "behaviour.json").read_text())
    assert len(stored["rows"]) == len(rows) and not stored["failures"]


def test_json_has_every_number(folder):
    found = call_json("behaviour", "bundled@0", *DATA, "--measures", "in-context,repetition")
    assert found["command"] == "behaviour" and not found["failures"]
    assert [row["measure"] for row in found["rows"]] == ["in-context 32-3", "repetition"]
    assert all(row["standard_error"] > 0 for row in found["rows"])


def test_what_a_model_refuses_is_told_and_is_no_success(folder):
    result = call("behaviour", "bundled", *DATA, "--measures", "loss,outputs")
    assert result.exit_code == 3, result.output
    assert "3 checkpoints or more" in result.stdout


def test_the_default_is_the_librarys(folder):
    from inspect import signature

    from germ.cli.behaviour import behaviour
    from germ.development.measures import DEFAULT

    assert signature(behaviour).parameters["measures"].default == ",".join(DEFAULT)


def test_bad_input_is_one_line(folder):
    assert "among loss" in refused("behaviour", "bundled", *DATA, "--measures", "bigrms")
    assert "tokens" in refused("behaviour", "toys.py:toy", "--measures", "loss")
    assert "positions" in refused(
        "behaviour", "bundled", *DATA, "--measures", "in-context", "--late", "33"
    )
    assert "number of examples" in refused("behaviour", "bundled", *DATA[:-1], "0")
