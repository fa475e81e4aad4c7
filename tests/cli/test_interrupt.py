"""Stopped at any moment and started again with the command it prints, a run ends the same."""

from __future__ import annotations

import shlex
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from tests.cli.support import call, call_json, refused, start

import germ
from germ.errors import GermError

RUN = ("llc", "toys.py:toy", "--chains", "2", "--draws", "60", "--warmup", "20",
       "--sampler", "lm", "--step-size", "1e-2", "--batch-size", "10")  # fmt: skip
OFTEN = "import germ.sampling; germ.sampling.COMMIT_SECONDS = 0.1; germ.sampling.BLOCK_STEPS = 4"


def wait_for_commit(place: Path, process) -> None:
    """Until a run below `place` has saved a step after its set-up."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for state in place.rglob(".state.safetensors"):
            try:
                if germ.load(state.parent).attrs.get("step", 0) > 0:
                    return
            except GermError:
                pass  # it is just being made
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("nothing was committed")


def same_draws(one: Path, other: Path) -> bool:
    left, right = germ.load(one), germ.load(other)
    assert set(left.data_vars) == set(right.data_vars)
    return all(np.array_equal(left[name].values, right[name].values) for name in left.data_vars)


def test_stopped_by_ctrl_c_it_saves_and_says_how_to_go_on(folder):
    call_json(*RUN, "--out", "whole.zarr")
    process = start(folder, *RUN, "--fresh", "--out", "run.zarr", slow=0.3, setup=OFTEN)
    wait_for_commit(folder, process)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert output == ""
    (line,) = errors.splitlines()
    assert line.startswith("germ: interrupted at step ") and "saved in run.zarr" in line
    command = shlex.split(line.split("go on with: ")[1])
    assert command == ["germ", *RUN, "--out", "run.zarr"]
    before = germ.load("run.zarr")
    assert before.attrs["status"] == "interrupted" and 0 < before.attrs["step"] < 80
    assert f"interrupted at step {before.attrs['step']}" in call("show", "run.zarr").stdout
    told = refused(*command[1:], "--no-resume")
    assert "interrupted" in told and "--fresh" in told
    (run,) = call_json(*command[1:])["runs"]
    assert not run["stored"]
    assert same_draws(Path("whole.zarr"), Path("run.zarr"))


def test_killed_it_goes_on_from_its_last_commit(folder):
    call_json(*RUN, "--out", "whole.zarr")
    process = start(folder, *RUN, "--out", "run.zarr", slow=0.3, setup=OFTEN)
    wait_for_commit(folder, process)
    process.kill()
    process.communicate()
    step = germ.load("run.zarr").attrs["step"]
    assert 0 < step < 80
    call_json(*RUN, "--out", "run.zarr")
    assert same_draws(Path("whole.zarr"), Path("run.zarr"))


def test_an_interrupted_sweep_keeps_what_is_finished_and_goes_on_with_the_rest(folder):
    arguments = ("sweep", "toys.py:toy", "toys.py:second", *RUN[2:], "--out", "out")
    source = Path("toys.py").read_text()
    Path("toys.py").write_text(
        source + "\ndef second():\n    return linear((0.0, 2.0, 3.0)), data(), squared\n"
    )
    process = start(folder, *arguments, slow=0.3, setup=OFTEN)
    deadline = time.monotonic() + 120
    while len(list(folder.rglob("out/*.zarr"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    for run in Path("out").glob("*.zarr"):
        if incomplete(run):
            wait_for_commit(run, process)
    process.send_signal(signal.SIGTERM)  # as a cluster does
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    (line,) = errors.splitlines()
    assert "saved in out" in line
    assert shlex.split(line.split("go on with: ")[1]) == ["germ", *arguments]
    assert len(output.splitlines()) == 2  # the header and the finished model
    rows = call_json(*arguments)["rows"]
    assert sorted(row["stored"] for row in rows) == [False, True]
    assert all(row["estimate"] is not None for row in rows)


def incomplete(run: Path) -> bool:
    try:
        return germ.load(run).attrs["status"] == "interrupted"
    except GermError:
        return True


@pytest.mark.parametrize("where", ["germ.hub.load", "germ.setup.anchor_pass"])
def test_interrupted_before_the_first_step_it_says_how_to_start_again(folder, monkeypatch, where):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(where, interrupt)
        result = call(*RUN)
    assert result.exit_code == 130
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "before the first step" in line and line.endswith(shlex.join(["germ", *RUN]))
    assert call_json(*RUN)["runs"][0]["estimate"] is not None
