"""Streaming summaries equal the batch formulas, however the stream is cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from germ.accumulate import Covariance, LogMeanExp, Moments

CASES: list[tuple[Any, Any]] = [
    (Moments(), torch.ones(2)),
    (Covariance(), (torch.ones(2), torch.ones(2))),
    (LogMeanExp(), torch.ones(2)),
]

NUMBERS = st.floats(-1e3, 1e3, width=32)


def streams(width: int):
    shape = st.tuples(st.integers(0, 12), st.just(width))
    return hnp.arrays(np.float64, shape, elements=NUMBERS)


@st.composite
def cut(draw, width: int):
    """A stream, the pieces it is cut into (some may be empty), and an order to merge them in."""
    values = draw(streams(width))
    ends = sorted(draw(st.lists(st.integers(0, len(values)), max_size=4)))
    pieces = np.split(values, ends)
    return values, pieces, draw(st.permutations(range(len(pieces)))), draw(st.randoms())


def fold(accumulator: Any, pairs: Any, like: Any) -> Any:
    summary = accumulator.init(like)
    for value in pairs:
        summary = accumulator.update(summary, value)
    return summary


def merged(accumulator, summaries, random):
    """Merge in a random tree: any neighbour with the next, until one is left."""
    summaries = list(summaries)
    while len(summaries) > 1:
        i = random.randrange(len(summaries) - 1)
        summaries[i : i + 2] = [accumulator.merge(summaries[i], summaries[i + 1])]
    return summaries[0]


@given(cut(3))
def test_moments_of_pieces_are_moments_of_the_whole(case):
    values, pieces, order, random = case
    moments = Moments()
    like = torch.zeros(3)
    parts = [fold(moments, map(torch.tensor, pieces[i]), like) for i in order]
    found = moments.result(merged(moments, parts, random))
    if len(values) >= 1:
        np.testing.assert_allclose(found["mean"], values.mean(0), atol=1e-9, rtol=1e-9)
    if len(values) >= 2:
        np.testing.assert_allclose(found["variance"], values.var(0, ddof=1), atol=1e-6, rtol=1e-9)
    else:
        assert found["variance"].isnan().all()


@given(cut(5))
def test_covariances_of_pieces_are_covariances_of_the_whole(case):
    values, pieces, order, random = case
    covariance = Covariance()

    def pair(row):
        return torch.tensor(row[:2]), torch.tensor(row[2:])

    parts = [fold(covariance, map(pair, pieces[i]), pair(np.zeros(5))) for i in order]
    found = covariance.result(merged(covariance, parts, random))
    if len(values) >= 2:
        expected = np.cov(values, rowvar=False).reshape(5, 5)[:2, 2:]
        np.testing.assert_allclose(found["covariance"], expected, atol=1e-6, rtol=1e-9)
        np.testing.assert_allclose(found["mean_x"], values[:, :2].mean(0), atol=1e-9)
        np.testing.assert_allclose(found["mean_y"], values[:, 2:].mean(0), atol=1e-9)
    else:
        assert found["covariance"].isnan().all()


@given(cut(3))
def test_log_mean_exps_of_pieces_are_those_of_the_whole(case):
    values, pieces, order, random = case
    accumulator = LogMeanExp()
    parts = [fold(accumulator, map(torch.tensor, pieces[i]), torch.zeros(3)) for i in order]
    found = accumulator.result(merged(accumulator, parts, random))["log_mean_exp"]
    if len(values) == 0:
        assert found.isnan().all()
    else:
        expected = np.logaddexp.reduce(values, axis=0) - np.log(len(values))
        np.testing.assert_allclose(found, expected, atol=1e-9, rtol=1e-12)


def test_a_density_of_zero_is_no_nan():
    """log p = −∞ for one draw lowers the mean; for all of them it is −∞."""
    values = torch.tensor([[-torch.inf, -torch.inf], [0.0, -torch.inf]])
    found = LogMeanExp().result(fold(LogMeanExp(), values, values[0]))["log_mean_exp"]
    torch.testing.assert_close(found, torch.tensor([0.5, 0.0]).double().log())


def test_small_variance_on_a_large_mean_survives():
    """The textbook formula E[x²] − E[x]² loses everything here."""
    rng = np.random.default_rng(0)
    values = 1e8 + rng.normal(size=(500, 2))
    moments, covariance = Moments(), Covariance()
    found = moments.result(fold(moments, map(torch.tensor, values), torch.zeros(2)))
    np.testing.assert_allclose(found["variance"], values.var(0, ddof=1), rtol=1e-6)
    pairs = ((torch.tensor(row[:1]), torch.tensor(row[1:])) for row in values)
    like = torch.zeros(1), torch.zeros(1)
    both = covariance.result(fold(covariance, pairs, like))["covariance"].item()
    assert both == pytest.approx(np.cov(values.T)[0, 1], rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_summaries_are_double_whatever_comes_in(dtype):
    summary = fold(Moments(), [torch.ones(2, 3).to(dtype)] * 3, torch.ones(2, 3).to(dtype))
    assert all(tensor.dtype == torch.float64 for tensor in summary)
    assert Moments().result(summary)["mean"].shape == (2, 3)


def test_an_update_leaves_the_old_summary_alone():
    """The loop goes back to it when it is interrupted."""
    for accumulator, value in CASES:
        old = fold(accumulator, [value], value)
        kept = [tensor.clone() for tensor in old]
        other = torch.full((2,), 5.0)
        accumulator.update(old, (other, other) if isinstance(accumulator, Covariance) else other)
        assert all(torch.equal(a, b) for a, b in zip(kept, old, strict=True))


def test_matrices_are_flattened_for_covariances():
    accumulator = Covariance()
    pair = torch.arange(6.0).reshape(2, 3), torch.ones(4)
    summary = fold(accumulator, [pair, (2 * pair[0], 3 * pair[1])], pair)
    assert accumulator.result(summary)["covariance"].shape == (6, 4)


def test_the_fields_are_the_names_of_the_results():
    for accumulator, value in CASES:
        found = accumulator.result(fold(accumulator, [value], value))
        assert set(accumulator.fields) == set(found)
