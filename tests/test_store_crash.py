"""A writer killed anywhere and started again ends bit-identical to one that never was.

A process that dies leaves what its system calls had written. So one writer is stopped before each
of them and its folder copied: each copy is what a kill at that moment leaves. Some writers are
really killed as well. All of it happens in one helper process, which is this file run as a script.
"""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import germ
import germ.store
from germ.errors import GermError
from germ.store import Run, series

NUM_WARMUP, NUM_STEPS, COMMIT_EVERY = 2, 8, 3
# Every system call of these kinds that Python makes, whoever in the program makes it.
CALLS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.listdir", "os.scandir"}


def write(path: Path, seed: int = 0, fresh: bool = False, pause: float = 0.0) -> None:
    """A random walk whose every row depends on the state before it; goes on where it stopped."""
    # Few rows per chunk, so that kills fall before, between and after whole chunks.
    series._CHUNK_BYTES, series._FEWEST_ROWS = 64, 2
    with Run.open(path, identity={"seed": seed, "num_steps": NUM_STEPS}, fresh=fresh) as run:
        if run.state == "complete":
            return
        generator = torch.Generator().manual_seed(seed)
        position, begin, total = torch.zeros(2, 5), 0, 0.0
        if (commit := run.last_commit()) is not None:
            begin, state = commit
            position, total = state["position"], state["total"]
            generator.set_state(state["generator"])
        for step in range(begin, NUM_STEPS):
            position = position + torch.randn(2, 5, generator=generator)
            total += float(position.sum())
            phase = "warmup" if step < NUM_WARMUP else "draws"
            block = {
                "loss": position.square().sum(1).double().numpy()[:, None] + total,
                "token_loss": position.numpy()[:, None],
            }
            dims = {"token_loss": ("chain", "draw", "token")}
            run.append(phase, block, start=run.num_rows(phase), dims=dims)
            time.sleep(pause)
            if (step + 1) % COMMIT_EVERY == 0:
                state = {"position": position, "total": total, "generator": generator.get_state()}
                run.commit(step + 1, state)
        run.finish({"llc": total}, {"mean": (("token",), position.mean(0).numpy())})


def files_of(path: Path) -> dict[str, bytes]:
    """Every file of a run but its root document, which holds dates."""
    found = {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}
    del found["zarr.json"]
    found.pop(".lock", None)  # Of a writer killed after its last word: an unlocked lock file.
    return found


load_once = functools.cache(germ.store.load)
files_once = functools.cache(files_of)


def assert_same_run(path: Path, reference: Path) -> None:
    one, two = germ.store.load(path), load_once(reference)
    assert one.attrs["status"] == two.attrs["status"] == "complete"
    assert one.attrs["llc"] == two.attrs["llc"]
    assert one.sizes == two.sizes
    for name in two.variables:
        assert one[name].dtype == two[name].dtype
        assert one[name].values.tobytes() == two[name].values.tobytes(), name
    assert files_of(path) == files_once(reference)


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "run.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(series, "_CHUNK_BYTES", series._CHUNK_BYTES)  # `write` sets it: undo.
        patch.setattr(series, "_FEWEST_ROWS", series._FEWEST_ROWS)
        write(path)
    data = germ.store.load(path)
    assert data.sizes["draw"] == NUM_STEPS - NUM_WARMUP
    assert data.sizes["warmup_step"] == NUM_WARMUP
    assert len(list((path / "token_loss").glob("c.0.*"))) >= 3
    return path


@pytest.fixture(scope="module")
def helped(tmp_path_factory) -> tuple[Path, dict[str, dict[str, str]]]:
    """The folder of the helper, and what it did, by way of killing and name of the run."""
    folder = tmp_path_factory.mktemp("helped")
    environment = {**os.environ, "PYTHONPATH": str(Path(germ.__file__).parents[1])}
    command = [sys.executable, "-W", "error", __file__, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.mark.parametrize("way", ["once", "again", "replace", "sigkill"])
def test_a_killed_run_ends_as_if_it_never_was(helped, reference, way):
    folder, outcome = helped
    for name in outcome[way]:
        assert_same_run(folder / way / name, reference)


def test_kills_fell_everywhere(helped):
    """A commit alone makes several calls: far fewer kills would mean that the helper is blind."""
    _, outcome = helped
    assert len(outcome["once"]) > 60
    assert set(outcome["once"].values()) == {"new", "interrupted", "complete"}
    assert len(outcome["again"]) >= 10
    # While another run is replaced the folder is either of the two, and never a mix.
    assert len(outcome["replace"]) == 60
    found = set(outcome["replace"].values())
    assert {"old complete", "new new"} <= found
    assert found <= {"old complete", "old new", "old interrupted", "new new"}
    assert sum(map(int, outcome["sigkill"].values())) >= 3


def test_a_file_is_synced_before_it_takes_its_name(tmp_path, monkeypatch):
    """What survives a power cut cannot be tested here; the order of the calls can."""
    synced: set[int] = set()
    renamed: list[str] = []
    sync, rename = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        sync(descriptor)

    def replace(source: Path, target: Path) -> None:
        assert os.stat(source).st_ino in synced, source
        renamed.append(Path(target).name)
        rename(source, target)
        synced.discard(os.stat(Path(target).parent).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    with Run.open(tmp_path / "run.zarr", identity={}) as run:
        run.append("draws", {"loss": np.zeros((2, 3))}, start=0)
        run.commit(3, {"position": torch.zeros(2)})
        assert os.stat(run.path).st_ino in synced
        run.finish()
    assert {"zarr.json", ".state.safetensors", "c.0.0"} <= set(renamed)


# The rest runs in the helper.

copying: tuple[Path, Path] | None = None  # From where to where, while a writer is watched.


def watch(event: str, args: object) -> None:
    """Copy the watched folder before every system call."""
    global copying
    if copying and event in CALLS:
        (source, target), copying = copying, None  # The copying is not watched.
        copy = target / f"{len(list(target.iterdir())):03}.zarr"
        copy.mkdir() if not source.exists() else shutil.copytree(source, copy)
        copying = (source, target)


def copies_of(path: Path, target: Path, **options: Any) -> list[Path]:
    """What `write` leaves in `path` if it is killed, for every moment."""
    global copying
    target.mkdir(parents=True)
    copying = (path, target)
    write(path, **options)
    copying = None
    return sorted(target.iterdir())


def look(path: Path, seed: int) -> str:
    """The state of the run in the eyes of whoever opens it; what it holds must be readable."""
    with Run.open(path, identity={"seed": seed, "num_steps": NUM_STEPS}) as run:
        germ.store.load(path)
        return run.state


def once(folder: Path) -> dict[str, str]:
    outcome = {}
    for path in copies_of(folder / "run.zarr", folder / "copies"):
        outcome[str(path.relative_to(folder))] = look(path, 0)
        write(path)
    return outcome


def again(folder: Path) -> dict[str, str]:
    rng, outcome = random.Random(0), {}
    for path in rng.sample(copies_of(folder / "run.zarr", folder / "first"), 5):
        second = copies_of(path, folder / f"second-{path.stem}")
        for path in rng.sample(second, min(3, len(second))):
            third = copies_of(path, folder / f"third-{len(outcome)}")
            path = rng.choice([path, *third])
            write(path)
            outcome[str(path.relative_to(folder))] = ""
    return outcome


def replace(folder: Path) -> dict[str, str]:
    """Replace a finished run of another seed, and an interrupted one."""
    outcome = {}
    olds = [*copies_of(folder / "old.zarr", folder / "olds", seed=1), folder / "old.zarr"]
    interrupted = next(path for path in reversed(olds) if (path / ".state.safetensors").exists())
    for old, num_kills in ((olds[-1], 45), (interrupted, 15)):
        for path in copies_of(old, folder / f"copies-{old.stem}", fresh=True)[:num_kills]:
            try:
                found = f"old {look(path, 1)}"
            except GermError as error:
                assert "seed is 0 there and 1 now" in str(error)
                found = f"new {look(path, 0)}"
            write(path, fresh=found.startswith("old"))
            outcome[str(path.relative_to(folder))] = found
    return outcome


def sigkill(folder: Path) -> dict[str, str]:
    rng, path, kills = random.Random(0), folder / "run.zarr", 0
    while True:
        if (child := os.fork()) == 0:
            write(path, pause=0.05)
            os._exit(0)
        # Longer and longer, so that an end is reached on the slowest machine.
        time.sleep(rng.uniform(0.05, 0.1) * (1 + kills))
        os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            return {path.name: str(kills)}
        assert code == -signal.SIGKILL, code
        kills += 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    # Python 3.12 and later warn of forks beside threads; here only the forking thread matters.
    warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")
    # What was written outlives a process without it, and a disk is slow.
    os.fsync = lambda descriptor: None
    done = {}
    for way in (sigkill, once, again, replace):
        (place := Path(sys.argv[1]) / way.__name__).mkdir()
        if way is once:
            sys.addaudithook(watch)
        done[way.__name__] = way(place)
    print(json.dumps(done))
