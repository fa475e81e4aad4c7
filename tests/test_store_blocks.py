"""Blocks, states and results that do not fit are refused where they come in, and change nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from germ.store import Run, series

IDENTITY = {"seed": 0}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.zarr"


def losses(num_chains: int, first: int, num_rows: int) -> np.ndarray:
    rows = np.arange(first, first + num_rows)
    return np.arange(num_chains)[:, None] * 100.0 + rows


@pytest.mark.parametrize(
    ("block", "start", "dims", "message"),
    [
        ({"loss": losses(2, 3, 1)}, 2, None, "rows start at 2 of 'draws'; the run has 3 of 'draw"),
        ({"other": losses(2, 3, 1)}, 3, None, r"has \['other'\]; expected \['loss'\]"),
        ({"loss": losses(3, 3, 1)}, 3, None, "has 3 chains; expected 2"),
        ({"loss": losses(2, 3, 1).astype("f4")}, 3, None, "'loss' came as .*float32"),
        ({"loss": np.zeros((2, 1, 4))}, 3, None, r"came as \('float64', \(4,\)\)"),
        ({"loss": np.zeros(2)}, 3, None, r"expected arrays \(chain, row, \.\.\.\)"),
        ({}, 3, None, "of equal beginning"),
    ],
)
def test_a_block_that_does_not_fit_is_refused_and_changes_nothing(
    path, block, start, dims, message
):
    with Run.open(path, identity=IDENTITY) as run:
        run.append("draws", {"loss": losses(2, 0, 3)}, start=0)
        with pytest.raises(ValueError, match=message):
            run.append("draws", block, start=start, dims=dims)
        run.finish()
    assert np.array_equal(run.read()["loss"], losses(2, 0, 3))


@pytest.mark.parametrize(
    ("name", "shape", "dims", "message"),
    [
        ("a/b", (2, 1), None, "cannot name an array"),
        ("../up", (2, 1), None, "cannot name an array"),
        (".lock", (2, 1), None, "cannot name an array"),
        ("zarr.json", (2, 1), None, "cannot name an array"),
        ("chain", (2, 1), None, "cannot be the name of a series"),
        ("warmup_loss", (2, 1), None, "cannot be the name of a series"),
        ("x", (2, 1, 4), ("chain", "draw", "x"), "cannot be the name of a series"),
        ("x", (2, 1, 4), ("chain", "draw"), "for 3 dimensions; expected chain, draw, and a name"),
        ("x", (2, 1, 4), ("draw", "chain", "t"), "expected chain, draw"),
        ("x", (2, 1, 4, 4), ("chain", "draw", "t", "t"), "expected each name once"),
        ("x", (2, 1, 5), ("chain", "draw", "token"), "size 5 along token; the run has 3"),
    ],
)
def test_a_series_that_cannot_be_is_refused(path, name, shape, dims, message):
    with Run.open(path, identity=IDENTITY) as run:
        token_dims = {"t": ("chain", "draw", "token")}
        run.append("warmup", {"t": np.zeros((2, 1, 3))}, start=0, dims=token_dims)
        with pytest.raises(ValueError, match=message):
            run.append("draws", {name: np.zeros(shape)}, start=0, dims={name: dims} if dims else {})
        assert run.num_rows("draws") == 0


@pytest.mark.parametrize("array", [np.zeros((2, 1), complex), np.array([["a"], ["b"]])])
def test_a_dtype_that_cannot_be_stored_is_refused(path, array):
    with Run.open(path, identity=IDENTITY) as run:
        with pytest.raises(ValueError, match=f"'x' is {array.dtype}; expected float, int or bool"):
            run.append("draws", {"x": array}, start=0)


@pytest.mark.parametrize(
    ("attrs", "arrays", "message"),
    [
        ({"seconds": 1}, {}, "'seconds' is taken in every run"),
        ({"x": torch.ones(1)}, {}, "cannot store a Tensor"),
        ({}, {"loss": (("token",), np.zeros(3))}, "'loss' is taken in this run"),
        ({}, {"draw": (("draw",), np.zeros(3))}, "'draw' is taken in this run"),
        ({}, {"x": (("draw",), np.zeros(4))}, "size 4 along draw; the run has 3"),
        ({}, {"x": (("a", "b"), np.zeros(4))}, "has 1 dimensions and dims"),
        ({}, {"x": (("a",), np.zeros(4)), "y": (("a",), np.zeros(5))}, "size 5 along a; the run"),
    ],
)
def test_results_that_do_not_fit_are_refused_and_the_run_goes_on(path, attrs, arrays, message):
    with Run.open(path, identity=IDENTITY) as run:
        run.append("draws", {"loss": losses(2, 0, 3)}, start=0)
        with pytest.raises(ValueError, match=message):
            run.finish(attrs, arrays)
        run.finish({"llc": 1})
    assert run.state == "complete"


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, torch.zeros(2, dtype=torch.complex64)])
def test_a_state_that_cannot_be_stored_leaves_the_last_commit(path, value):
    with Run.open(path, identity=IDENTITY) as run:
        run.commit(1, {"x": 1})
        with pytest.raises(ValueError, match=r"'(state/)?bad' is .*(expected|cannot be stored)"):
            run.commit(2, {"bad": value})
        assert run.last_commit() == (1, {"x": 1})


@pytest.mark.parametrize("start", [0, 3, 4])
def test_ctrl_c_inside_an_append_leaves_whole_rows(path, monkeypatch, start):
    """Two series, interrupted between them: neither has the row, and the next append fills it."""
    monkeypatch.setattr(series, "_CHUNK_BYTES", 64)
    monkeypatch.setattr(series, "_FEWEST_ROWS", 1)
    append = series.Series.append

    def interrupted_append(self, block, start):
        if self.spec.name == "b":
            raise KeyboardInterrupt
        append(self, block, start)

    with Run.open(path, identity=IDENTITY) as run:
        if start:
            rows = losses(2, 0, start)
            run.append("draws", {"a": rows, "b": -rows}, start=0)
        monkeypatch.setattr(series.Series, "append", interrupted_append)
        with pytest.raises(KeyboardInterrupt):
            run.append("draws", {"a": losses(2, 900, 5), "b": losses(2, 900, 5)}, start=start)
        monkeypatch.undo()
        run.commit(start, {})
    with Run.open(path, identity=IDENTITY) as run:
        assert run.num_rows("draws") == start
        rows = losses(2, start, 6)
        run.append("draws", {"a": rows, "b": -rows}, start=start)
        run.finish()
    data = run.read()
    assert np.array_equal(data["a"], losses(2, 0, start + 6))
    assert np.array_equal(data["b"], -losses(2, 0, start + 6))
