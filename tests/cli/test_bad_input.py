"""Whatever is the user's to mend is said in one line, with exit code 2, and nothing is lost."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from tests.cli.support import FAST, SHORT, call, call_json, refused

import germ
from germ.cli import boundary
from germ.store import files
from germ.sweeping import sweep


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["toys.py:empty_data"], ["at least one example", "empty"]),
        (["toys.py:alone", "--loss", "mse"], ["comes without data", "--data"]),
        (["toys.py:toy", "--data", "nowhere.txt"], ["no such file", "nowhere.txt"]),
        (["toys.py:alone", "--data", "numbers.npy"], ["comes without a loss"]),
        (["toys.py:nan_data"], ["finite", "NaN", "example 3"]),
        (["toys.py:nan_weights"], ["finite weights", "weight"]),
        (["toys.py:wrong_dtype"], ["float32", "float64", "convert"]),
        (["toys.py:dropout"], ["deterministic", "dropout"]),
        (["toys.py:no_model"], ["torch.nn.Module", "int"]),
        (["toys.py:broken"], ["RuntimeError", "first line", "toys.py"]),
        (["toys.py:toi"], ["no function 'toi'", "toy"]),
        (["toy.py:toy"], ["no file", "toys.py"]),
        (["toys.py"], ["toys.py:function"]),
        (["numbers.npy"], ["expected a model", "numbers.npy"]),
        (["folder"], ["config.json", "numbers.txt"]),
        (["bundled@7777777"], ["7777777", "final"]),
        (["toys.py:toy", "--restrict", "wieght"], ["wieght", "weight"]),
        (["toys.py:toy", "--nbeta", "-1"], ["nbeta >= 0", "-1"]),
        (["toys.py:toy", "--nbeta", "many"], ["nbeta", "'auto'", "'many'"]),
        (["toys.py:toy", "--localization", "-0.5"], ["localization >= 0", "-0.5"]),
        (["toys.py:toy", "--dtype", "int8"], ["float32", "int8"]),
        (["toys.py:toy", "--device", "tpu"], ["cpu", "tpu"]),
        (["toys.py:toy", "--chains", "0"], ["chains", "0"]),
        (["toys.py:toy", "--draws", "3"], ["draws", ">= 4", "3"]),
        (["toys.py:toy", "--sampler", "sgld"], ["--step-size"]),
        (["toys.py:toy", "--step-size", "0.1"], ["--sampler auto"]),
        (["toys.py:toy", "--sampler", "lm", "--step-size", "-1"], ["step_size > 0", "-1"]),
        (["toys.py:toy", "--leapfrog-steps", "3"], ["--sampler hmc"]),
        (["toys.py:toy", "--draws", "ten"], ["--draws", "ten", "germ llc --help"]),
        (["toys.py:toy", "--chians", "3"], ["--chians", "--chains", "germ llc --help"]),
        (["toys.py:toy", "--data", "a", "--data", "b", "--out", "x.zarr"], ["folder", "x.zarr"]),
        ([], ["MODEL", "germ llc --help"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0][:4] in ("toys", "bund") else None,
)
def test_one_line_says_what_was_expected_what_came_and_what_to_do(folder, arguments, told):
    np.save("numbers.npy", np.zeros((4, 3)))
    Path("folder").mkdir()
    Path("folder/numbers.txt").write_text("1 2 3")
    line = refused("llc", *arguments)
    for part in told:
        assert part in line
    assert not list(folder.rglob("*.zarr"))


@pytest.mark.parametrize(
    ("data", "more", "told"),
    [
        ("empty.txt", [], ["empty"]),
        ("short.txt", ["--context", "64"], ["64", "context"]),
        ("big.npy", [], ["vocabulary of 1,024", "5,000"]),
        ("floats.npy", [], ["integer", "float64"]),
        ("long.npy", [], ["128", "context"]),
        ("short.txt", ["--context", "999"], ["128", "999"]),
        ("bundled:poetry", [], ["poetry", "literature"]),
        ("notes.xyz", [], [".txt", ".jsonl"]),
        ("rows.jsonl", [], ["'text'", "'body'", "--field"]),
    ],
)
def test_data_that_does_not_fit_a_language_model(folder, data, more, told):
    Path("empty.txt").touch()
    Path("short.txt").write_text("Not even one context of text.")
    Path("notes.xyz").write_text("notes")
    Path("rows.jsonl").write_text(json.dumps({"body": "text"}) + "\n")
    np.save("big.npy", np.full((4, 16), 5000))
    np.save("floats.npy", np.zeros((4, 16)))
    np.save("long.npy", np.zeros((4, 300), dtype=np.int64))
    line = refused("llc", "bundled", "--data", data, *more, "--restrict", "norm", *FAST)
    for part in told:
        assert part in line


@pytest.mark.parametrize("out", ["/dev/null/run.zarr", "/dev/null/runs", "toys.py"])
def test_an_output_folder_that_cannot_be_written(folder, out):
    line = refused("llc", "toys.py:toy", *FAST, "--out", out)
    assert "/dev/null" in line or "toys.py" in line
    assert (folder / "toys.py").stat().st_size > 0
    assert "/dev/null/sweep" in refused("sweep", "toys.py:toy", *FAST, "--out", "/dev/null/sweep")


def test_a_folder_of_something_else_is_left_as_it_is(folder):
    Path("mine.zarr").mkdir()
    Path("mine.zarr/notes.txt").write_text("precious")
    assert "not a germ run" in refused("llc", "toys.py:toy", *FAST, "--out", "mine.zarr")
    assert "not a germ run" in refused("llc", "toys.py:toy", *FAST, "--out", "mine.zarr", "--fresh")
    assert Path("mine.zarr/notes.txt").read_text() == "precious"


def test_runs_are_not_put_into_a_run(folder):
    call_json("llc", "toys.py:toy", *FAST, "--out", "run.zarr")
    before = sorted(Path("run.zarr").rglob("*"))
    for out in ("run.zarr", "run.zarr/"):
        assert "itself a run" in refused("sweep", "toys.py:toy", *FAST, "--out", out)
    assert sorted(Path("run.zarr").rglob("*")) == before


def test_a_full_disk_says_so_and_the_run_goes_on_when_there_is_room(folder, monkeypatch):
    expected = call_json("llc", "toys.py:toy", *FAST, "--out", "whole.zarr")["runs"][0]["estimate"]
    real, written = files.write_durable, []

    def full(path, parts):
        written.append(path)
        if len(written) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, parts)

    monkeypatch.setattr("germ.sampling.COMMIT_SECONDS", 0.0)
    monkeypatch.setattr("germ.sampling.BLOCK_STEPS", 1)
    monkeypatch.setattr(files, "write_durable", full)
    line = refused("llc", "toys.py:toy", *FAST, "--out", "run.zarr")
    assert "No space left on device" in line and "run.zarr" in line
    monkeypatch.setattr(files, "write_durable", real)
    again = call_json("llc", "toys.py:toy", *FAST, "--out", "run.zarr")["runs"][0]["estimate"]
    assert again == expected


def test_a_store_of_another_version_is_refused_and_kept(folder):
    call_json("llc", "toys.py:toy", *FAST, "--out", "run.zarr")
    meta = Path("run.zarr/zarr.json")
    document = json.loads(meta.read_text())
    document["attributes"]["germ_store"] = 99
    meta.write_text(json.dumps(document))
    for command in (["llc", "toys.py:toy", *FAST, "--out", "run.zarr"], ["show", "run.zarr"]):
        line = refused(*command)
        assert "store version 99" in line and "version 1" in line and "--fresh" in line
    assert json.loads(meta.read_text()) == document


def test_another_setting_never_reuses_a_stored_run(folder):
    stored = call_json("llc", "toys.py:toy", *FAST, "--out", "run.zarr")["runs"][0]["estimate"]
    changes = [
        ["toys.py:toy", *FAST, "--seed", "1"],
        ["toys.py:toy", *FAST, "--nbeta", "3"],
        ["toys.py:toy", *FAST, "--restrict", "weight"],
        ["toys.py:toy", *SHORT, "--sampler", "lm", "--step-size", "2e-2"],
        ["toys.py:toy", *FAST, "--loss", "mse"],
    ]
    for arguments in changes:
        assert "holds another run" in refused("llc", *arguments, "--out", "run.zarr")
    assert call_json("show", "run.zarr")["estimate"] == stored


def test_show_says_what_is_missing(folder):
    assert "nothing" in refused("show", "nothing.zarr")
    Path("empty").mkdir()
    assert "holds none" in refused("show", "empty")


def test_an_unexpected_error_is_one_line_that_asks_to_report_it(folder, monkeypatch):
    def fault(*args, **options):
        raise KeyError("some internal\ndetail")

    monkeypatch.setattr("germ.measuring.llc", fault)
    result = call("llc", "toys.py:toy", *FAST)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "bug in germ" in line and "KeyError" in line and "GERM_DEBUG=1" in line
    monkeypatch.setenv("GERM_DEBUG", "1")
    result = call("llc", "toys.py:toy", *FAST)
    assert result.exit_code == 1
    assert "Traceback" in result.stderr and result.stderr.splitlines()[-1].startswith("germ: ")


def test_out_of_memory_is_the_users_to_mend(folder, monkeypatch):
    import torch

    def exhausted(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 TiB")

    monkeypatch.setattr("germ.measuring.sample", exhausted)
    assert "--batch-size" in refused("llc", "toys.py:toy", *FAST)


def test_the_advice_on_how_to_go_on_never_starts_afresh():
    given = ["llc", "a model.py:f", "--fresh", "--draws", "10", "--no-resume"]
    assert boundary.resume_command(given) == "germ llc 'a model.py:f' --draws 10"


def test_errors_are_the_same_from_python(folder):
    with pytest.raises(germ.GermError, match="wieght"):
        sweep("toys.py:toy", restrict="wieght", draws=8)
