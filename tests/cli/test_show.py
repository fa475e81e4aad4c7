from __future__ import annotations

import json
import os
from pathlib import Path

from tests.cli.support import FAST, call, call_json, start

import germ


def test_a_run_shows_its_estimate_its_chains_and_where_it_came_from(folder):
    made = call_json("llc", "toys.py:toy", *FAST, "--out", "run.zarr")["runs"][0]
    result = call("show", "run.zarr", "--figure")
    assert result.exit_code == 0
    estimate = germ.llc(germ.load("run.zarr"))
    assert result.stdout.startswith(str(estimate))
    for value in estimate.chain_values:
        assert f"{value:.4g}" in result.stdout
    for said in ("2 chains, 8 draws, warmup 2", "LeimkuhlerMatthews, step size 0.01", "seed 0",
                 "4 coordinates, 40 examples", *estimate.warnings):  # fmt: skip
        assert said in result.stdout
    assert Path("run.png").read_bytes().startswith(b"\x89PNG")
    shown = call_json("show", "run.zarr")
    assert shown["estimate"] == made["estimate"]
    assert shown["identity"]["posterior"]["num_coordinates"] == 4
    assert shown["sizes"] == {"chain": 2, "draw": 8, "warmup_step": 2}


def test_a_folder_lists_its_runs(folder):
    for seed in (0, 1):
        call_json("llc", "toys.py:toy", *FAST, "--seed", seed, "--out", "runs")
    (folder / "runs" / "notes").mkdir()
    found = call_json("show", "runs")["runs"]
    assert [run["status"] for run in found] == ["complete", "complete"]
    assert {run["run"] for run in found} == {str(p) for p in Path("runs").glob("*.zarr")}
    assert call("show", "runs").stdout.count("LLC ") == 2


def test_a_reader_that_leaves_early_is_no_error(folder):
    call_json("llc", "toys.py:toy", *FAST, "--out", "run.zarr")
    reading, writing = os.pipe()
    os.close(reading)  # nobody reads: the first write breaks the pipe
    process = start(folder, "show", "run.zarr", stdout=writing)
    os.close(writing)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 141
    assert errors == ""


def test_json_is_strict(folder):
    call_json("llc", "toys.py:toy", *FAST, "--chains", "1", "--out", "run.zarr")

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    result = call("show", "run.zarr", "--json")
    found = json.loads(result.stdout, parse_constant=refuse)
    assert found["estimate"]["rhat"] is None  # one chain has none: NaN, which JSON cannot say


def test_a_folder_of_unequal_runs_says_that_they_do_not_compare(folder):
    call_json("llc", "toys.py:toy", *FAST, "--out", "runs")
    call_json("llc", "toys.py:toy", *FAST, "--seed", "1", "--out", "runs")
    assert call_json("show", "runs")["warning"] is None, "seeds may differ"
    call_json("llc", "toys.py:toy", *FAST, "--nbeta", "3", "--out", "runs")
    warning = call_json("show", "runs")["warning"]
    assert "cannot be compared: nβ differs" in warning
    assert warning in call("show", "runs").stdout
