"""`germ profile`: a table, a verdict, runs that are found again."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.support import FAST, TOYS, call, call_json, refused

LADDER = ("--nbeta-min", "1", "--nbeta-max", "100", "--rungs", "3", "--out", "out")


def toy(folder: Path) -> str:
    (folder / "toys.py").write_text(TOYS)
    return "toys.py:toy"


def test_a_line_a_rung_and_a_verdict(folder):
    result = call("profile", toy(folder), *LADDER, *FAST, "--figure")
    assert result.exit_code == 0, result.output
    head, *lines = result.stdout.splitlines()
    assert head.split()[:2] == ["nβ", "γ"] and "virial" in head
    assert [line.split()[0] for line in lines[:3]] == ["1", "10", "100"]
    assert lines[3].startswith("γ = 1: ")
    table = json.loads(Path("out/toys-toy-profile.json").read_text())
    assert [rung["nbeta"] for rung in table["rungs"]] == [1.0, 10.0, 100.0]
    assert Path("out/toys-toy-profile.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_finds_its_runs_again(folder):
    model = toy(folder)
    first = call_json("profile", model, *LADDER, *FAST)
    again = call_json("profile", model, *LADDER, *FAST, "--localization", "1,10")
    assert [rung["stored"] for rung in first["rungs"]] == [False] * 3
    assert [rung["stored"] for rung in again["rungs"]] == [True] * 3 + [False] * 3
    assert [r["estimate"]["value"] for r in again["rungs"][:3]] == [
        r["estimate"]["value"] for r in first["rungs"]
    ]
    assert [reading["localization"] for reading in again["readings"]] == [1.0, 10.0]


def test_what_cannot_be_a_ladder_is_refused(folder):
    model = toy(folder)
    line = refused("profile", model, "--nbeta-min", "100", "--nbeta-max", "1", *FAST)
    assert "--nbeta-min <= --nbeta-max" in line
    assert "numbers with commas" in refused("profile", model, "--localization", "1;2", *FAST)
