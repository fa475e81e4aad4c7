"""Parts of an experiment in processes of their own: all done, told, stopped together."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from germ.errors import GermError
from germ.experiments import side_by_side
from germ.experiments.side_by_side import Report


def write(path: Path, report: Report) -> None:
    for done in range(3):
        report(done, 3)
    path.write_text(f"{os.getpid()} {torch.get_num_threads()}")
    report(3, 3)


def refuse(report: Report) -> None:
    raise GermError("expected something else")


def err(report: Report) -> None:
    raise ZeroDivisionError("a slip")


def die(report: Report) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stay(path: Path, report: Report) -> None:
    path.write_text(str(os.getpid()))
    for second in range(600):
        time.sleep(0.1)
        report(second, 600)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def until(condition, seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(side_by_side, "cores", lambda: 2)


def test_every_part_is_run_in_a_process_of_one_thread_and_told(tmp_path):
    told = []
    paths = [tmp_path / str(number) for number in range(3)]
    parts = [functools.partial(write, path) for path in paths]
    side_by_side.run_all(parts, "writing", lambda *what: told.append(what))
    each = [path.read_text().split() for path in paths]
    assert len({pid for pid, _ in each} | {str(os.getpid())}) == 4
    assert {threads for _, threads in each} == {"1"}
    assert told[-1] == ("writing", 9, 9)
    assert all(stage == "writing" and done <= total == 9 for stage, done, total in told)


def test_one_core_is_this_process(tmp_path, monkeypatch):
    monkeypatch.setattr(side_by_side, "cores", lambda: 1)
    told = []
    parts = [functools.partial(write, tmp_path / str(number)) for number in range(2)]
    side_by_side.run_all(parts, "writing", lambda *what: told.append(what))
    assert (tmp_path / "1").read_text().split()[0] == str(os.getpid())
    assert [done for _, done, _ in told] == [0, 1, 2, 3, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("part", "error", "words"),
    [
        (refuse, GermError, "expected something else"),
        (err, RuntimeError, "ZeroDivisionError: a slip"),
        (die, GermError, "was killed .* the same command again"),
    ],
)
def test_what_goes_wrong_is_said_and_the_others_are_stopped(tmp_path, part, error, words):
    path = tmp_path / "stays"
    with pytest.raises(error, match=words):
        side_by_side.run_all([functools.partial(stay, path), part], "work", lambda *_: None)
    assert not path.exists() or not alive(int(path.read_text()))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_processes_end_with_the_one_that_began_them(tmp_path, how):
    code = f"""
import functools, signal, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_side_by_side import stay
from germ.cli.boundary import terminate
from germ.experiments import side_by_side
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    side_by_side.cores = lambda: 2
    parts = [functools.partial(stay, Path({str(tmp_path)!r}) / str(n)) for n in range(2)]
    side_by_side.run_all(parts, "work", lambda *_: None)
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    paths = [tmp_path / "0", tmp_path / "1"]
    parent = subprocess.Popen([sys.executable, script], stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: all(path.exists() and path.read_text() for path in paths))
        parent.send_signal(how)
        assert parent.wait(60) != 0
        assert until(lambda: not any(alive(int(path.read_text())) for path in paths), 20)
    finally:
        parent.kill()
