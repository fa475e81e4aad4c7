from __future__ import annotations

import json
from pathlib import Path

from tests.cli.support import call, call_json

from germ.selfcheck import SelfCheck, self_check
from germ.zoo import bundled


def test_doctor_finds_a_sound_installation(folder):
    found = call_json("doctor")
    assert found["ok"] and all(check["ok"] for check in found["checks"])
    names = [check["check"] for check in found["checks"]]
    assert names == ["python", "packages", "extras", "devices", "out", "bundled", "self-check"]
    assert not list(folder.glob("runs"))


def test_doctor_names_what_is_broken_and_leaves_with_1(folder, monkeypatch):
    def gone():
        raise FileNotFoundError("no checkpoints")

    monkeypatch.setattr("germ.zoo.bundled.steps", gone)
    result = call("doctor", "--out", folder / "toys.py")
    assert result.exit_code == 1
    broken = [line for line in result.stdout.splitlines() if line.startswith("BROKEN")]
    assert [line.split()[1] for line in broken] == ["out", "bundled"]
    assert result.stdout.splitlines()[-1] == "broken: out, bundled"


def test_the_self_check_knows_a_wrong_result():
    found = self_check(draws=60)
    assert found.passed
    assert abs(found.expected - 1.0999) < 5e-5  # facts.md §1: h = (.1, 1, 5), nβ = 30, γ = 5
    assert not SelfCheck(found.expected + 1.0, found.estimate).passed


def test_the_demo_leaves_runs_tables_and_figures_and_is_found_again(folder):
    result = call("demo", "--fast", "--out", "demo")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert any(line.split()[:1] == [f"{bundled.steps()[-1]:,}"] for line in lines)
    for domain in bundled.domains():
        assert any(line.startswith(domain) for line in lines)
    for name in ("trajectory.png", "domains.png", "sweep.csv", "sweep.json"):
        assert (Path("demo") / name).stat().st_size > 0
        assert f"demo/{name}" in result.stdout
    assert len(list(Path("demo").glob("*.zarr"))) == 2 + len(bundled.domains())
    again = json.loads(call("demo", "--fast", "--out", "demo", "--json").stdout)
    assert all(row["stored"] for row in [*again["rows"], *again["domains"]])
