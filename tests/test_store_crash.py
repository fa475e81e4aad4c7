"""A writer killed anywhere and started again ends bit-identical to one that never was.

The file is its own helper: run as a script it imports germ once and forks one process per kill.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import germ
import germ.store
from germ.store import Run, series

NUM_WARMUP, NUM_STEPS, COMMIT_EVERY = 3, 14, 4
KILLED = 9
# Every system call of these kinds that Python makes, whoever in the program makes it.
CALLS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.listdir", "os.scandir"}


def write(path: Path, seed: int = 0, fresh: bool = False, pause: float = 0.0) -> None:
    """A random walk whose every row depends on the state before it; goes on where it stopped."""
    # Few rows per chunk, so that kills fall before, between and after whole chunks.
    series._CHUNK_BYTES, series._FEWEST_ROWS = 64, 3
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
                "accepted": (position[:, :1] > 0).numpy(),
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
    return found


def assert_same_run(path: Path, reference: Path) -> None:
    one, two = germ.store.load(path), germ.store.load(reference)
    assert one.attrs["status"] == two.attrs["status"] == "complete"
    assert one.attrs["llc"] == two.attrs["llc"]
    assert one.sizes == two.sizes
    for name in two.variables:
        assert one[name].dtype == two[name].dtype
        assert one[name].values.tobytes() == two[name].values.tobytes(), name
    assert files_of(path) == files_of(reference)


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
    assert len(list((path / "loss").glob("c.0.*"))) >= 3
    return path


def helper(*args: object, start: bool = False):
    command = [sys.executable, "-W", "error", __file__, *map(str, args)]
    source = Path(germ.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    if start:
        return subprocess.Popen(command, env=environment)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_killed_before_every_system_call(tmp_path, reference):
    kills = helper("every", tmp_path)
    # A commit alone makes several: fewer kills than this would mean that the helper sees nothing.
    assert kills > 100
    for number in range(kills):
        assert_same_run(tmp_path / f"{number}.zarr", reference)


def test_killed_again_and_again(tmp_path, reference):
    for name, kills in helper("again", tmp_path, 12).items():
        assert kills >= 2
        assert_same_run(tmp_path / name, reference)


def test_killed_while_replacing_another_run(tmp_path, reference):
    """At every moment the folder is the old run, whole or restarted, or the new one; never a mix."""
    outcome = helper("replace", tmp_path)
    assert {"complete", "new"} <= set(outcome.values())
    for name in outcome:
        assert_same_run(tmp_path / name, reference)


def test_sigkill_at_random_moments(tmp_path, reference):
    path, rng, kills = tmp_path / "run.zarr", random.Random(0), 0
    while True:
        writer = helper("slow", path, start=True)
        # The first kills fall into start-up, the later ones into sampling.
        try:
            code = writer.wait(timeout=rng.uniform(0.5, 1.0) * (4 + kills))
        except subprocess.TimeoutExpired:
            writer.send_signal(signal.SIGKILL)
            assert writer.wait() == -signal.SIGKILL
            kills += 1
            continue
        assert code == 0
        break
    assert_same_run(path, reference)


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


def in_child(action: Callable[[], None], kill_at: int | None = None) -> int:
    """Run in a forked process, killed before its system call number `kill_at`; its exit code."""
    if (child := os.fork()) == 0:
        count = 0

        def watch(event: str, args: object) -> None:
            nonlocal count
            if event in CALLS:
                if count == kill_at:
                    os._exit(KILLED)
                count += 1

        if kill_at is not None:
            sys.addaudithook(watch)
        try:
            action()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, KILLED):
        raise SystemExit(f"the writer failed with code {code}")
    return code


def every(folder: Path) -> int:
    number = 0
    while in_child(lambda: write(folder / f"{number}.zarr"), kill_at=number) == KILLED:
        in_child(lambda: write(folder / f"{number}.zarr"))
        number += 1
    return number


def again(folder: Path, num_runs: int) -> dict[str, int]:
    kills = {}
    for i in range(num_runs):
        rng, name = random.Random(i), f"{i}.zarr"
        kills[name] = 0
        while in_child(lambda: write(folder / name), kill_at=rng.randrange(20, 120)) == KILLED:
            kills[name] += 1
    return kills


def replace(folder: Path) -> dict[str, str]:
    """Replace a finished and an interrupted run of another seed; kill; look; replace it again."""
    outcome = {}
    for interrupted in (None, 75):
        for number in range(1000):
            path = folder / f"{interrupted}-{number}.zarr"
            in_child(lambda: write(path, seed=1), kill_at=interrupted)
            # Enough calls to get past the replacement itself and a commit of the new run.
            if in_child(lambda: write(path, fresh=True), kill_at=number) != KILLED or number > 60:
                break
            identity = {"seed": 1, "num_steps": NUM_STEPS}
            try:
                with Run.open(path, identity=identity) as run:
                    outcome[path.name] = run.state
                    assert interrupted or run.state == "complete", run.state
                    germ.store.load(path)  # The old run is whole.
            except germ.store.run.GermError as error:
                assert "seed is 0 there and 1 now" in str(error), error
                with Run.open(path, identity={**identity, "seed": 0}) as run:
                    outcome[path.name] = run.state
                in_child(lambda: write(path))
                continue
            in_child(lambda: write(path, fresh=True))
    return outcome


if __name__ == "__main__":
    torch.set_num_threads(1)
    mode, target = sys.argv[1], Path(sys.argv[2])
    if mode == "slow":
        write(target, pause=0.3)
    else:
        modes = {"every": every, "again": again, "replace": replace}
        print(json.dumps(modes[mode](target, *map(int, sys.argv[3:]))))
