"""`germ calibrate`: the table, the sweep's files, JSON, and what is refused."""

from __future__ import annotations

import csv

import pytest
from tests.cli.support import FAST, call, call_json, refused

from germ.reuse import Kept

SHORT = ("calibrate", "toys.py:toy", "--draws", "16")
TINY = ("--sweep", "--sweep-nbeta", "1,10", "--sweep-draws", "8")


def test_a_person_reads_each_choice_with_its_reason(folder):
    result = call(*SHORT)
    assert result.exit_code == 0, result.output
    for setting in ("metric", "step size ε", "friction", "batch size", "warmup", "thin"):
        assert setting in result.stdout
    assert "Metropolis" in result.stdout and "equilibrates" in result.stdout
    assert "calibration takes" in result.stdout
    assert not (folder / "runs").exists(), "nothing is written unless it is asked for"


def test_the_sweep_is_a_table_and_a_figure(folder):
    found = call_json(*SHORT, *TINY, "--nbeta", "10", "--out", "here")
    assert found["command"] == "calibrate" and 0 < found["proposal"]["share"] < 1
    assert len(found["cells"]) == 10 and sum(c["chosen"] for c in found["cells"]) == 1
    with open(folder / "here" / "sweep.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["nbeta"]) for row in rows] == [c["nbeta"] for c in found["cells"]]
    assert (folder / "here" / "sweep.png").read_bytes().startswith(b"\x89PNG")
    result = call(*SHORT, *TINY, "--nbeta", "10")
    assert "← chosen" in result.stdout and "sweep.png" in result.stdout


def test_a_calibration_is_kept_and_can_be_read(folder):
    found = call_json(*SHORT, "--save", "kept.safetensors", "--nbeta", "10")
    kept = Kept.load(folder / "kept.safetensors")
    assert kept.nbeta == 10 and kept.sampler.step_size == found["proposal"]["step_size"]


@pytest.mark.parametrize("text", ["1,x", "", "0", "-3", "nan"])
def test_an_nbeta_that_is_none_is_refused(folder, text):
    assert "sweep" in refused(*SHORT, "--sweep", "--sweep-nbeta", text)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--sampler", "baoab"), "--step-size"),
        (("--sampler", "rmsprop", "--metric", "diagonal"), "--step-size"),
        (("--metric", "kronecker"), "--metric"),
        (("--friction", "2"), "--friction"),
        (("--sampler", "sgld", "--step-size", "1e-3", "--friction", "2"), "momentum"),
        (("--sampler", "lm", "--calibration", "kept.safetensors", "--step-size", "1"), "auto"),
        (("--calibration", "missing.safetensors"), "missing.safetensors"),
    ],
)
def test_options_that_do_not_go_together_are_refused_by_name(folder, options, word):
    assert word in refused("llc", "toys.py:toy", "--draws", "8", *options)


def test_sghmc_is_baoab(folder):
    """Another name of the same sampler: the same run."""
    runs = [
        call_json("llc", "toys.py:toy", *FAST, "--sampler", name, "--friction", "2")["runs"][0]
        for name in ("baoab", "sghmc")
    ]
    assert runs[1]["stored"] and runs[1]["estimate"] == runs[0]["estimate"]
