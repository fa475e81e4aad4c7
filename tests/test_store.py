"""What a run promises: to be continued, never mixed up, never to destroy, and to be readable."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from tests.store_support import IDENTITY, finished, interrupted, listing, losses

from germ import store
from germ.errors import GermError
from germ.store import Run, series


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.zarr"


@pytest.fixture
def small_chunks(monkeypatch):
    """Four rows of `losses(2)` to a chunk."""
    monkeypatch.setattr(series, "_CHUNK_BYTES", 64)
    monkeypatch.setattr(series, "_FEWEST_ROWS", 1)


# What is written is what is read.


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int8", "bool"])
@pytest.mark.parametrize("num_rows", [1, 7, 8, 9])
def test_rows_of_every_dtype_come_back_bit_for_bit(path, small_chunks, dtype, num_rows):
    rng = np.random.default_rng(0)
    scalar = (rng.standard_normal((3, num_rows)) * 3).astype(dtype)
    wide = (rng.standard_normal((3, num_rows, 2, 5)) * 3).astype(dtype)
    if scalar.dtype.kind == "f":
        scalar[0, 0], wide[-1, -1, 0, 0] = np.nan, -np.inf
    with Run.open(path, identity=IDENTITY) as run:
        for row in range(num_rows):
            block = {"loss": scalar[:, row : row + 1], "heads": wide[:, row : row + 1]}
            dims = {"heads": ("chain", "draw", "layer", "head")}
            run.append("draws", block, start=row, dims=dims)
        run.commit(num_rows, {})
        growing = run.read()
        run.finish()
    for data in (growing, store.load(path)):
        assert data["loss"].dims == ("chain", "draw")
        assert data["heads"].dims == ("chain", "draw", "layer", "head")
        for name, expected in (("loss", scalar), ("heads", wide)):
            assert data[name].dtype == expected.dtype
            assert data[name].values.tobytes() == expected.tobytes()


def test_the_size_of_blocks_does_not_matter(tmp_path, small_chunks):
    everything = losses(2, 0, 23)
    found = []
    for size in (1, 5, 23):
        with Run.open(tmp_path / f"{size}.zarr", identity=IDENTITY) as run:
            for row in range(0, 23, size):
                run.append("draws", {"loss": everything[:, row : row + size]}, start=row)
            run.finish()
        found.append(listing(run.path / "loss"))
        assert np.array_equal(run.read()["loss"], everything)
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 1 + 6  # zarr.json, and 23 rows by fours.


def test_an_appended_buffer_may_be_reused(path):
    buffer = np.zeros((2, 1))
    with Run.open(path, identity=IDENTITY) as run:
        for row in range(3):
            buffer[:] = row
            run.append("draws", {"loss": buffer}, start=row)
        run.finish()
    assert run.read()["loss"].values.tolist() == [[0, 1, 2]] * 2


def test_a_finished_run_is_plain_zarr(path):
    """Anyone reads it with xarray alone, and it has few and small files."""
    num_chains, num_draws, num_tokens = 8, 200, 1000
    with Run.open(path, identity=IDENTITY, provenance={"device": "cpu"}) as run:
        run.append("warmup", {"loss": losses(num_chains, 0, 4)}, start=0)
        run.append("draws", {"loss": losses(num_chains, 0, num_draws)}, start=0)
        token_loss = np.linspace(0, 1, num_tokens, dtype=np.float32)
        run.finish({"llc": np.float64(2.5)}, {"token_loss": (("token",), token_loss)})
    data = xr.open_zarr(path, chunks=None)
    assert data.attrs["identity"] == IDENTITY
    assert data.attrs["sessions"][0]["device"] == "cpu"
    ours = store.load(path)
    for name in ("loss", "warmup_loss", "token_loss"):
        assert data[name].dims == ours[name].dims
        assert data[name].values.tobytes() == ours[name].values.tobytes()
    content = listing(path)
    assert content.keys() == {"zarr.json"} | {
        f"{name}/{file}"
        for name, chunk in (("loss", "c.0.0"), ("token_loss", "c.0"), ("warmup_loss", "c.0.0"))
        for file in (chunk, "zarr.json")
    }
    everything_of_the_peer = num_chains * num_draws * num_tokens * 4
    assert sum(map(len, content.values())) < 0.01 * everything_of_the_peer


def test_the_data_set_explains_itself(path):
    with Run.open(path, identity=IDENTITY) as run:
        run.provenance["device"] = "NVIDIA H200"
        run.append("warmup", {"loss": losses(2, 0, 5)}, start=0)
        run.append("draws", {"loss": losses(2, 5, 3), "n": np.ones((2, 3), int)}, start=0)
        covariance = np.eye(3)
        run.finish(
            {"llc": np.float32(1.5), "per_chain": np.arange(2), "worst": float("nan")},
            {"covariance": (("token", "token_too"), covariance), "scalar": ((), np.array(4.0))},
        )
        assert run.state == "complete"
    data = run.read()
    assert set(data.data_vars) == {"loss", "n", "warmup_loss", "covariance", "scalar"}
    assert data["warmup_loss"].dims == ("chain", "warmup_step")
    assert data["draw"].values.tolist() == [0, 1, 2]
    assert data["chain"].values.tolist() == [0, 1]
    assert np.array_equal(data["covariance"], covariance) and data["scalar"] == 4.0
    attrs = data.attrs
    assert json.loads(attrs["identity"]) == IDENTITY
    (session,) = json.loads(attrs["provenance"])
    assert session["torch"] == torch.__version__ and session["device"] == "NVIDIA H200"
    assert session["python"] == ".".join(map(str, sys.version_info[:3]))
    assert attrs["created"] <= attrs["finished"] and attrs["seconds"] > 0
    assert attrs["llc"] == 1.5 and attrs["per_chain"] == [0, 1] and np.isnan(attrs["worst"])
    assert (attrs["status"], attrs["germ_store"]) == ("complete", store.SCHEMA)


def test_only_committed_rows_are_read_and_kept(path, small_chunks):
    with Run.open(path, identity=IDENTITY) as run:
        assert (run.state, run.last_commit()) == ("new", None)
        assert dict(run.read().sizes) == {} and run.read().attrs["status"] == "interrupted"
        run.append("draws", {"loss": losses(2, 0, 6)}, start=0)
        assert "loss" not in run.read()
        run.commit(6, {})
        run.append("draws", {"loss": losses(2, 6, 6)}, start=6)  # Fills chunks on disk.
        assert run.num_rows("draws") == 12
        during = run.read()
        assert np.array_equal(during["loss"], losses(2, 0, 6)) and during.attrs["step"] == 6
    with Run.open(path, identity=IDENTITY) as run:
        assert (run.state, run.num_rows("draws")) == ("interrupted", 6)
        run.append("draws", {"loss": -losses(2, 6, 6)}, start=6)
        run.finish()
    expected = np.concatenate([losses(2, 0, 6), -losses(2, 6, 6)], axis=1)
    assert np.array_equal(run.read()["loss"], expected)


def test_what_no_commit_knows_is_swept_away(path, small_chunks):
    with Run.open(path, identity=IDENTITY) as run:
        run.append("draws", {"loss": losses(2, 0, 9)}, start=0)
        run.commit(9, {})
        run.append("warmup", {"other": losses(2, 0, 9)}, start=0)
        run.append("draws", {"loss": losses(2, 9, 9)}, start=9)
    (path / ".state.safetensors.tmp").write_bytes(b"half a commit")
    (path / "loss" / "c.0.9.tmp").write_bytes(b"half a chunk")
    assert (path / "warmup_other").exists() and (path / "loss" / "c.0.3").exists()
    with Run.open(path, identity=IDENTITY) as run:
        assert listing(path).keys() == {
            "zarr.json", ".lock", ".state.safetensors",
            "loss/zarr.json", "loss/c.0.0", "loss/c.0.1",
        }  # fmt: skip


def test_the_state_of_a_commit_comes_back(path):
    torch.manual_seed(0)
    square = torch.randn(3, 3)
    state = {
        "f64": torch.randn(2, 3, dtype=torch.float64),
        "bf16": torch.randn(5).bfloat16(),
        "f16": torch.randn(()).half(),
        "odd": torch.randint(-9, 9, (3,), dtype=torch.int8),
        "flags": torch.tensor([True, False]),
        "none at all": torch.zeros(0, 4),
        "generator": torch.Generator().manual_seed(3).get_state(),
        "turned": square.T,
        "tied": square,
        "part": square[1:, :2],
        "array": np.arange(6, dtype=np.int64).reshape(2, 3)[:, ::-1],
        "frozen": np.broadcast_to(np.float32(2), (3,)),
        "point": np.array(1.5),
        "step": 2**70, "eps": 0.1, "bad": float("-inf"), "np": np.float64(0.3),
        "name": "a β", "yes": True, "nothing": None,
    }  # fmt: skip
    with Run.open(path, identity=IDENTITY) as run:
        run.commit(1, {"x": torch.zeros(3)})
        run.commit(12, state)
        assert run.last_commit() is not None
    with Run.open(path, identity=IDENTITY) as run:
        for _ in range(2):
            commit = run.last_commit()
            assert commit is not None
            step, back = commit
            assert step == 12 and back.keys() == state.keys()
            for name, value in state.items():
                if isinstance(value, torch.Tensor):
                    assert back[name].dtype == value.dtype and torch.equal(back[name], value)
                elif isinstance(value, np.ndarray):
                    assert isinstance(back[name], np.ndarray)
                    assert back[name].dtype == value.dtype and np.array_equal(back[name], value)
                else:
                    assert back[name] == value
            back["f64"].zero_()  # The caller's own: not the file's.
    assert [f.name for f in path.iterdir() if "state" in f.name] == [".state.safetensors"]
    with Run.open(path, identity=IDENTITY) as run:
        run.finish()
        assert run.last_commit() is None
    assert [f.name for f in path.iterdir()] == ["zarr.json"]


def test_a_resumed_run_remembers_its_sessions(path):
    interrupted(path)
    before = store.load(path).attrs["seconds"]
    with Run.open(path, identity=IDENTITY, provenance={"device": "second"}) as run:
        run.finish()
    attrs = run.read().attrs
    sessions = json.loads(attrs["provenance"])
    assert [session.get("device") for session in sessions] == [None, "second"]
    assert attrs["seconds"] > before


# Another run is never taken for this one.


@pytest.mark.parametrize("make", [finished, interrupted])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, r"holds another run: seed is 0 there and 1 now\. Give another --out"),
        (
            {"posterior": {"nbeta": 10, "localization": 100}},
            r"run: posterior\.nbeta is 30 there and 10 now\. Give",
        ),
        ({"weights": "9b" * 32}, r"weights is \"3fa23fa23fa23fa…fa23fa2\" there and \"9b9b9b9b"),
        ({"extra": None}, r"run: extra is absent there and null now\. "),
        ({"posterior": {}}, r"posterior is absent there and \{\} now; posterior\.nbeta is 30 "),
        ({"sampler": {"name": "lm"}}, r"\.name is .sgld. there and .lm. now; sampler\.step_size"),
        ({"seed": False}, r"seed is 0 there and false now"),
        ({f"f{i}": i for i in range(9)}, r"f5 is absent there and 5 now; 3 more fields differ"),
    ],
)
def test_another_identity_is_refused_by_field(path, make, changed, message):
    make(path)
    before = listing(path)
    with pytest.raises(GermError, match=message):
        Run.open(path, identity={**IDENTITY, **changed})
    assert listing(path) == before


def test_equal_identities_are_one(path):
    """30 and 30.0 give the same numbers, and so do tuples and lists, in any order of keys."""
    identity = {"a": {"x": 30.0, "y": (1, 2)}, "b": 0.1}
    with Run.open(path, identity=identity) as run:
        run.finish()
    again = Run.open(path, identity={"b": 0.1, "a": {"y": [1, 2], "x": 30}})
    assert again.state == "complete"


def test_an_identity_is_json(path):
    with pytest.raises(GermError, match=r"sampler\.step is a Tensor"):
        Run.open(path, identity={"sampler": {"step": torch.ones(1)}})
    assert not path.exists()


@pytest.mark.parametrize("make", [finished, interrupted])
def test_fresh_replaces(path, make):
    make(path)
    (path / "notes.txt").write_text("mine")
    identity = {**IDENTITY, "seed": 1}
    with Run.open(path, identity=identity, fresh=True) as run:
        assert (run.state, run.num_rows("draws"), run.last_commit()) == ("new", 0, None)
        assert dict(run.read().sizes) == {}
        run.append("draws", {"other": losses(3, 0, 1)}, start=0)
        run.finish()
    assert set(run.read().data_vars) == {"other"} and run.read().sizes["chain"] == 3
    assert not (path / "loss").exists()
    assert (path / "notes.txt").read_text() == "mine"


def test_a_complete_run_is_found_done(path):
    finished(path)
    before = listing(path)
    run = Run.open(path, identity=IDENTITY)
    assert (run.state, run.num_rows("draws"), run.read().attrs["llc"]) == ("complete", 3, 1.5)
    assert run.identity == IDENTITY
    with pytest.raises(ValueError, match="not open for writing: it is complete"):
        run.append("draws", {"loss": losses(2, 3, 1)}, start=3)
    assert listing(path) == before


def test_a_failed_run_says_why(path):
    with Run.open(path, identity=IDENTITY) as run:
        run.append("draws", {"loss": losses(2, 0, 3)}, start=0)
        run.commit(3, {"x": torch.ones(3)})
        run.fail("chain 1 diverged", {"statuses": ["OK", "DIVERGED"]})
    run = Run.open(path, identity=IDENTITY)
    assert (run.state, run.reason) == ("failed", "chain 1 diverged")
    data = run.read()
    assert data.attrs["status"] == "failed" and data.attrs["reason"] == "chain 1 diverged"
    assert data.attrs["statuses"] == ["OK", "DIVERGED"] and data.sizes["draw"] == 3
    assert Run.open(path, identity=IDENTITY, fresh=True).state == "new"


def test_resume_can_be_declined(path):
    interrupted(path)
    before = listing(path)
    with pytest.raises(GermError, match="interrupted run of the same settings, at step 7; give"):
        Run.open(path, identity=IDENTITY, resume=False)
    assert listing(path) == before
    with Run.open(path, identity=IDENTITY, resume=False, fresh=True) as run:
        assert run.state == "new"
    # Nothing was committed: nothing to go on with, and nothing to lose.
    assert Run.open(path, identity=IDENTITY, resume=False).state == "new"


@pytest.mark.parametrize("version", [0, 2])
def test_another_version_is_named_and_only_replaced_on_request(path, version):
    finished(path)
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"] = {"germ_store": version, "germ_version": "9.8.7", "other": "layout"}
    (path / "zarr.json").write_text(json.dumps(document))
    before = listing(path)
    message = (
        rf"was written by germ 9\.8\.7 \(store version {version}\), and this is germ \S+, which "
        "reads store version 1; read it with that germ, or"
    )
    for attempt in (lambda: Run.open(path, identity=IDENTITY), lambda: store.load(path)):
        with pytest.raises(GermError, match=message):
            attempt()
    assert store.list_runs(path.parent)[0].status == "unreadable"
    assert listing(path) == before
    assert finished(path, fresh=True).state == "complete"
