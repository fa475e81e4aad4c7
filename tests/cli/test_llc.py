from __future__ import annotations

import json

import numpy as np
from tests.cli.support import FAST, SHORT, call, call_json

import germ


def test_a_function_becomes_a_stored_run_and_an_estimate(folder):
    found = call_json("llc", "toys.py:toy", *SHORT)
    (run,) = found["runs"]
    samples = germ.load(run["run"])
    assert dict(samples.sizes) == {"chain": 2, "draw": 8, "warmup_step": 2}
    assert run["estimate"]["value"] == germ.llc(samples).value
    assert run["estimate"]["num_coordinates"] == 4


def test_the_same_command_finds_its_run_again_and_another_setting_does_not(folder):
    first = call_json("llc", "toys.py:toy", *FAST)["runs"][0]
    again = call_json("llc", "toys.py:toy", *FAST)["runs"][0]
    other = call_json("llc", "toys.py:toy", *FAST, "--seed", "1")["runs"][0]
    assert (first["stored"], again["stored"], other["stored"]) == (False, True, False)
    assert again["run"] == first["run"] != other["run"]
    assert again["estimate"] == first["estimate"] != other["estimate"]
    fresh = call_json("llc", "toys.py:toy", *FAST, "--fresh")["runs"][0]
    assert not fresh["stored"]
    assert fresh["estimate"] == first["estimate"]


def test_a_person_reads_the_result_in_the_first_line_and_where_the_run_is(folder):
    result = call("llc", "toys.py:toy", *FAST, "--out", "mine.zarr", "--figure")
    assert result.exit_code == 0
    assert result.stdout.startswith("LLC ")
    assert "run: mine.zarr" in result.stdout
    assert "ESS" in result.stdout and "⚠" in result.stdout  # eight draws are too few
    assert result.stderr == ""
    assert (folder / "mine.png").read_bytes().startswith(b"\x89PNG")
    assert (
        "stored result: mine.zarr" in call("llc", "toys.py:toy", *FAST, "--out", "mine.zarr").stdout
    )


def test_options_reach_the_posterior_and_the_sampler(folder):
    call_json(
        "llc", "toys.py:toy", *SHORT, "--out", "run.zarr", "--restrict", "weight", "--nbeta", "7",
        "--localization", "2.5", "--sampler", "sgld", "--step-size", "1e-3", "--gradient",
        "minibatch", "--batch-size", "10", "--thin", "3", "--seed", "5",
    )  # fmt: skip
    samples = germ.load("run.zarr")
    identity = json.loads(samples.attrs["identity"])
    assert identity["posterior"]["num_coordinates"] == 3
    assert (identity["posterior"]["nbeta"], identity["posterior"]["localization"]) == (7, 2.5)
    assert identity["sampler"] == {"name": "SGLD", "step_size": 1e-3, "preconditioner": None}
    assert identity["plan"] == {
        "chains": 2, "draws": 8, "warmup": 2, "thin": 3, "batch_size": 10,
        "gradient": "minibatch", "share_batches": True, "seed": 5,
        "auto_batch": False, "precision": None, "max_draws": 8,
    }  # fmt: skip


def test_samplers_by_name(folder):
    kinds = {}
    for name, more in (("lm", ()), ("mala", ()), ("hmc", ("--leapfrog-steps", "2"))):
        out = folder / f"{name}.zarr"
        call_json("llc", "toys.py:toy", *SHORT, "--sampler", name, "--step-size", "1e-2", *more,
                  "--out", out)  # fmt: skip
        sampler = json.loads(germ.load(out).attrs["identity"])["sampler"]
        kinds[name] = sampler["name"], sampler.get("num_leapfrog_steps")
    assert kinds == {"lm": ("LeimkuhlerMatthews", None), "mala": ("HMC", 1), "hmc": ("HMC", 2)}


def test_several_data_sets_make_a_run_each(folder):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        np.save(f"{name}.npy", rng.integers(0, 1000, (6, 8)))
    found = call_json("llc", "bundled@0", "--data", "a.npy", "--on", "b.npy", *FAST,
                      "--restrict", "norm")  # fmt: skip
    assert [run["data"] for run in found["runs"]] == ["a.npy", "b.npy"]
    assert len({run["run"] for run in found["runs"]}) == 2
    values = [run["estimate"]["anchor_loss"] for run in found["runs"]]
    assert values[0] != values[1]


def test_a_failed_run_is_exit_code_3_and_stays_to_be_looked_at(folder):
    result = call("llc", "toys.py:runaway", *SHORT, "--sampler", "sgld", "--step-size", "10")
    assert result.exit_code == 3
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "2 of 2 chains failed" in line
    run = line.split("germ show ")[1].split()[0]
    shown = call("show", run)
    assert shown.exit_code == 0
    assert "failed" in shown.stdout
    again = call(
        "llc", "toys.py:runaway", *SHORT, "--sampler", "sgld", "--step-size", "10", "--json"
    )
    assert again.exit_code == 3
    (told,) = json.loads(again.stdout)["runs"]
    assert told["estimate"] is None and told["status"].startswith("failed: ")


def test_the_control_stands_beside_the_estimate(folder):
    (run,) = call_json("llc", "toys.py:toy", *FAST, "--control")["runs"]
    assert run["control"]["nbeta"] == run["estimate"]["nbeta"]
    assert run["control"]["value"] > 0
    result = call("llc", "toys.py:toy", *FAST, "--control")
    assert "control (nβ = 0): λ̂₀" in result.stdout and "λ̂/λ̂₀" in result.stdout
    assert "control" not in call_json("llc", "toys.py:toy", *FAST)["runs"][0]
