"""What can go wrong around a run: folders of others, full disks, two writers, damage."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from tests.store_support import IDENTITY, finished, interrupted, listing, losses

import germ
from germ import store
from germ.errors import GermError
from germ.store import Run, files, series
from germ.store.lock import Lock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.zarr"


@pytest.fixture
def small_chunks(monkeypatch):
    """Four rows of `losses(2)` to a chunk."""
    monkeypatch.setattr(series, "_CHUNK_BYTES", 64)
    monkeypatch.setattr(series, "_FEWEST_ROWS", 1)


# What is not ours is never touched.


def a_folder(path: Path) -> None:
    (path / "src").mkdir(parents=True)
    (path / "src" / "zarr.json").write_text("{}")
    (path / "thesis.tex").write_text("years of work")


def a_file(path: Path) -> None:
    path.write_text("a file")


def someone_elses_zarr(path: Path) -> None:
    xr.Dataset({"x": ("t", np.arange(3))}).to_zarr(path, consolidated=False)


def a_damaged_run(path: Path) -> None:
    finished(path)
    (path / "zarr.json").write_text((path / "zarr.json").read_text()[:100])


def a_run_without_its_document(path: Path) -> None:
    finished(path)
    (path / "zarr.json").unlink()


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(
    "make", [a_folder, a_file, someone_elses_zarr, a_damaged_run, a_run_without_its_document]
)
def test_what_is_not_a_run_is_refused_and_left_alone(path, make, fresh):
    make(path)
    before = listing(path) or path.read_bytes()
    with pytest.raises(GermError, match=r"is not a germ run: .*; it was left as it is"):
        Run.open(path, identity=IDENTITY, fresh=fresh)
    with pytest.raises(GermError, match="is not a germ run"):
        store.load(path)
    assert (listing(path) or path.read_bytes()) == before


def test_links_inside_a_run_are_not_followed(path, tmp_path):
    finished(path)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (elsewhere / "c.0.0").write_text("precious")
    (path / "link").symlink_to(elsewhere)
    Run.open(path, identity=IDENTITY, fresh=True).close()
    assert (elsewhere / "c.0.0").read_text() == "precious"


def test_an_empty_folder_will_do_and_parents_are_made(tmp_path):
    (tmp_path / "empty.zarr").mkdir()
    assert finished(tmp_path / "empty.zarr").state == "complete"
    assert finished(tmp_path / "a" / "b" / "run.zarr").state == "complete"


# Where it cannot be written, one line says so, and the last commit stands.


@pytest.mark.parametrize("place", ["/dev/null/run.zarr", "file/run.zarr", "x" * 300])
def test_an_impossible_place_is_one_line(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(GermError, match=r"^(cannot|\S+ is not a germ run).{20,}$") as caught:
        Run.open(tmp_path / place, identity=IDENTITY)
    assert "\n" not in str(caught.value)


def test_a_folder_that_may_not_be_made(path, monkeypatch):
    def refuse(*args: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(GermError, match=r"cannot write to .*run\.zarr: Permission denied; "):
        Run.open(path, identity=IDENTITY)


def walk(path: Path) -> Run:
    """Twelve rows, each made from the state before it, in whichever sessions it takes."""
    with Run.open(path, identity=IDENTITY) as run:
        begin, state = run.last_commit() or (0, {"x": np.zeros(2)})
        for step in range(begin, 12):
            state = {"x": state["x"] * 1.5 + [1, step]}
            run.append("draws", {"x": state["x"][:, None]}, start=step)
            if step % 3 == 2:
                run.commit(step + 1, state)
        run.finish()
    return run


class Disk(io.FileIO):
    """A file on a disk that is full after so many more writes."""

    num_writes_left = 10**9

    def write(self, data) -> int:
        Disk.num_writes_left -= 1
        if Disk.num_writes_left < 0:
            super().write(memoryview(data)[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_a_full_disk_at_any_write_costs_nothing_but_the_time_since_the_last_commit(
    tmp_path, small_chunks, monkeypatch
):
    expected = walk(tmp_path / "reference.zarr").read()["x"]
    monkeypatch.setattr(files, "open", Disk, raising=False)
    num_failures = 0
    for room in range(1000):
        path = tmp_path / f"{room}.zarr"
        Disk.num_writes_left = room
        try:
            walk(path)
            break
        except GermError as error:
            num_failures += 1
            assert "No space left on device; what was committed is intact: make room" in str(error)
        assert not list(path.rglob("*.tmp"))  # What could not be written gives its room back.
        Disk.num_writes_left = 10**9
        if (path / "zarr.json").exists() and "x" in (committed := store.load(path)):
            assert committed["x"].equals(expected[:, : committed.sizes["draw"]])
        assert walk(path).read()["x"].equals(expected)
    assert num_failures > 20


def test_the_limit_of_the_system_on_file_size(path):
    """No stand-in here: the kernel refuses the write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Run.open(path, identity=IDENTITY) as run:
        run.commit(1, {"x": torch.ones(10)})
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
            with pytest.raises(GermError, match="File too large; what was committed is intact"):
                run.commit(2, {"x": torch.ones(10_000)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        commit = run.last_commit()
        assert commit is not None and commit[0] == 1
        run.commit(2, {"x": torch.ones(10_000)})  # There is room again.


# One writer at a time.


def test_a_second_writer_is_told_who_is_writing(path):
    with Run.open(path, identity=IDENTITY) as run:
        run.commit(1, {})
        before = listing(path)
        code = (
            "import sys; from germ.store import Run; from germ.errors import GermError\n"
            "for fresh in (False, True):\n"
            "    try: Run.open(sys.argv[1], identity={}, fresh=fresh)\n"
            "    except GermError as error: print(error)\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(Path(germ.__file__).parents[1])}
        command = [sys.executable, "-c", code.replace("identity={}", f"identity={IDENTITY}")]
        told = subprocess.run(
            [*command, str(path)], env=environment, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        assert len(told) == 2
        assert all(f"is being written by process {os.getpid()}; wait" in line for line in told)
        with pytest.raises(GermError, match=f"is being written by process {os.getpid()}"):
            Run.open(path, identity=IDENTITY)
        assert listing(path) == before
        assert store.load(path).attrs["step"] == 1  # Reading needs no lock.
    with Run.open(path, identity=IDENTITY) as again:
        assert again.state == "interrupted"


def test_a_run_that_is_let_go_can_be_taken(path):
    run = Run.open(path, identity=IDENTITY)
    del run
    run = Run.open(path, identity=IDENTITY)
    run.close()
    run.close()
    with pytest.raises(ValueError, match="or closed"):
        run.commit(1, {})
    (path / ".lock").write_text("12345")  # Of a process that died.
    Run.open(path, identity=IDENTITY).close()
    assert not (path / ".lock").exists()


def test_a_lock_on_a_file_that_lost_its_name_is_no_lock(tmp_path, monkeypatch):
    """The holder before may delete the lock file between the open and the lock of the next."""
    path, take, num_calls = tmp_path / ".lock", fcntl.flock, 0

    def flock(descriptor: int, operation: int) -> None:
        nonlocal num_calls
        num_calls += 1
        if num_calls == 1:
            path.unlink()
        take(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    lock = Lock(path, tmp_path)
    assert num_calls == 2
    with pytest.raises(GermError, match=f"is being written by process {os.getpid()}"):
        Lock(path, tmp_path)
    lock.release()
    assert not path.exists()


def test_a_file_system_without_locks_is_warned_of(path, monkeypatch):
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(RuntimeWarning, match="has no locks; do not let two processes write one run"):
        assert finished(path).state == "complete"


# Reading what is not right.


def test_nothing_there(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("missing.zarr", "empty"):
        with pytest.raises(GermError, match=f"there is no run at .*{name}; give the folder"):
            store.load(tmp_path / name)


def corrupt(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("harm", [corrupt, halve, Path.unlink])
@pytest.mark.parametrize("file", ["loss/c.0.0", "loss/c.0.1", "warmup_loss/c.0.0"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_damaged_chunk_is_an_error_and_not_a_number(path, small_chunks, harm, file, whole):
    with Run.open(path, identity=IDENTITY) as run:
        run.append("warmup", {"loss": losses(2, 0, 4)}, start=0)
        run.append("draws", {"loss": losses(2, 0, 9)}, start=0)
        run.commit(13, {})
        if whole:
            run.finish()
    assert store.load(path).sizes["draw"] == 9
    harm(path / file)
    with pytest.raises(GermError, match=rf"run\.zarr is damaged: {file.split('/')[0]}: .*--fresh"):
        store.load(path)


@pytest.mark.parametrize("harm", [halve, Path.unlink])
def test_a_damaged_document_is_an_error(path, harm):
    finished(path)
    harm(path / "loss" / "zarr.json")
    with pytest.raises(GermError, match=r"run\.zarr is damaged: loss: "):
        store.load(path)


def test_a_description_with_holes_is_an_error(path):
    finished(path)
    document = json.loads((path / "zarr.json").read_text())
    del document["attributes"]["rows"]
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(GermError, match=r"is damaged: its zarr\.json has no 'rows'"):
        store.load(path)
    with pytest.raises(GermError, match="is damaged"):
        Run.open(path, identity=IDENTITY)


def test_a_damaged_commit_is_an_error_and_fresh_mends_it(path):
    interrupted(path)
    halve(path / ".state.safetensors")
    for attempt in (lambda: store.load(path), lambda: Run.open(path, identity=IDENTITY)):
        with pytest.raises(GermError, match=r"the last commit of .* is damaged \("):
            attempt()
    assert finished(path, fresh=True).state == "complete"


def test_runs_of_a_folder_are_listed(tmp_path):
    finished(tmp_path / "b.zarr")
    interrupted(tmp_path / "a.zarr")
    with Run.open(tmp_path / "c.zarr", identity={"seed": 3}) as run:
        run.fail("chain 0 diverged")
    someone_elses_zarr(tmp_path / "x.zarr")
    a_folder(tmp_path / "y")
    a_file(tmp_path / "z")
    found = {info.path.name: info for info in store.list_runs(tmp_path)}
    assert {name: (info.status, info.num_draws) for name, info in found.items()} == {
        "a.zarr": ("interrupted", 3),
        "b.zarr": ("complete", 3),
        "c.zarr": ("failed", 0),
    }
    assert found["b.zarr"].result == {"llc": 1.5} and found["b.zarr"].identity == IDENTITY
    assert found["c.zarr"].problem == "chain 0 diverged"
    with pytest.raises(GermError, match=r"cannot list .*; give a folder that holds runs"):
        store.list_runs(tmp_path / "missing")
