from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from germ.development import regression_predictors as predictors
from germ.development.regression_predictors import (
    distances,
    dmmse,
    nested_tasks,
    ridge,
    sequences,
)
from germ.errors import GermError

NOISE = 0.125


def test_ridge_is_the_regularised_least_squares_of_every_prefix():
    x, y = sequences(6, 9, NOISE, dim=4, seed=1)
    found = ridge(x, y, NOISE)
    assert (found[:, 0] == 0).all()
    for row, (xs, ys) in enumerate(zip(x.numpy(), y.numpy(), strict=True)):
        for k in range(1, 9):
            gram = xs[:k].T @ xs[:k] + NOISE * np.eye(4)
            weights = np.linalg.solve(gram, xs[:k].T @ ys[:k])
            assert float(found[row, k]) == pytest.approx(float(xs[k] @ weights), rel=1e-9)


def test_ridge_tends_to_least_squares_and_to_nothing():
    x, y = sequences(4, 12, 0.1, dim=3, seed=2)
    plain, *_ = np.linalg.lstsq(x[0, :11].numpy(), y[0, :11].numpy(), rcond=None)
    small = ridge(x, y, 1e-10)
    assert float(small[0, 11]) == pytest.approx(float(x[0, 11].numpy() @ plain), rel=1e-6)
    assert float(ridge(x, y, 1e12).abs().max()) < 1e-9


def test_ridge_stays_exact_where_normal_equations_do_not():
    # Two inputs that differ in the eighth digit: their squares differ beyond the sixteenth.
    x = torch.tensor([[[1.0, 1.0], [1.0, 1.0 + 1e-8], [0.0, 1.0]]], dtype=torch.float64)
    y = torch.tensor([[1.0, 1.0 + 2e-8, 0.0]], dtype=torch.float64)
    found = float(ridge(x, y, 1e-20)[0, 2])
    assert found == pytest.approx(2.0, abs=1e-3)  # y = −x₁ + 2 x₂ to rounding.


def test_one_task_is_predicted_outright():
    tasks = nested_tasks(1, 5)
    x, y = sequences(7, 6, NOISE, tasks=tasks)
    assert torch.allclose(dmmse(x, y, tasks, NOISE), x @ tasks[0], atol=1e-12)


def test_two_tasks_are_weighed_by_their_odds():
    tasks = nested_tasks(2, 3, seed=4)
    x, y = sequences(5, 8, 1.0, tasks=tasks, seed=5)
    found = dmmse(x, y, tasks, 1.0)
    for row in range(5):
        odds = 0.0
        for k in range(8):
            first, second = (float(x[row, k] @ t) for t in tasks)
            share = 1 / (1 + math.exp(-odds))
            assert float(found[row, k]) == pytest.approx(share * first + (1 - share) * second)
            odds += ((float(y[row, k]) - second) ** 2 - (float(y[row, k]) - first) ** 2) / 2


def test_many_tasks_are_ridge_to_their_sampling_error():
    tasks = nested_tasks(20_000, 2, seed=6)
    x, y = sequences(40, 4, 1.0, dim=2, seed=7)
    gaps = (dmmse(x, y, tasks, 1.0) - ridge(x, y, 1.0)).numpy()
    # The posterior mean over drawn tasks is an importance-sampling estimate of ridge's; its error.
    answers = (x @ tasks.T).numpy()
    misfit = np.cumsum((y.numpy()[..., None] - answers) ** 2, axis=1) / 2
    weights = np.exp(-np.concatenate([np.zeros_like(misfit[:, :1]), misfit[:, :-1]], axis=1))
    weights /= weights.sum(-1, keepdims=True)
    centred = answers - (weights * answers).sum(-1, keepdims=True)
    errors = np.sqrt((weights**2 * centred**2).sum(-1))
    assert np.abs(gaps / errors).max() < 4.5
    assert errors.max() < 0.1
    # Far fewer tasks are far from it.
    few = dmmse(x, y, tasks[:4], 1.0) - ridge(x, y, 1.0)
    assert float(few.square().mean()) > 20 * float((gaps**2).mean())


def test_tasks_that_cannot_be_give_no_nan():
    x, y = sequences(3, 6, 0.0, dim=2)
    found = dmmse(x, 1e3 * y, nested_tasks(8, 2), 1e-12)
    assert torch.isfinite(found).all()


def test_a_block_at_a_time_is_the_same(monkeypatch):
    tasks = nested_tasks(10, 3)
    x, y = sequences(9, 5, NOISE, tasks=tasks)
    whole = dmmse(x, y, tasks, NOISE), ridge(x, y, NOISE)
    monkeypatch.setattr(predictors, "MAX_NUMBERS", 1)
    parts = dmmse(x, y, tasks, NOISE), ridge(x, y, NOISE)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(whole, parts, strict=True))


def test_each_predictor_is_best_where_it_is_ideal():
    tasks = nested_tasks(4, 3, seed=8)
    for drawn, best in ((tasks, 1), (None, 0)):
        x, y = sequences(2000, 8, NOISE, dim=3, tasks=drawn, seed=9)
        losses = [
            distances(f, x, y, NOISE, tasks)[0]
            for f in (ridge(x, y, NOISE), dmmse(x, y, tasks, NOISE))
        ]
        gap = losses[1 - best].value - losses[best].value
        error = math.hypot(*(score.standard_error for score in losses))
        assert gap > 4 * error
        assert losses[best].value > NOISE


def test_distances_are_named_and_zero_at_the_ideal():
    tasks = nested_tasks(3, 2)
    x, y = sequences(5, 4, NOISE, tasks=tasks)
    found = distances(dmmse(x, y, tasks, NOISE), x, y, NOISE, tasks, "in distribution")
    assert [score.measure for score in found] == [
        "mean squared error, in distribution",
        "distance to ridge, in distribution",
        "distance to dMMSE, in distribution",
    ]
    assert found[2].value == 0 and found[1].value > 0
    assert len(distances(y, x, y, NOISE)) == 2


def test_fewer_tasks_are_the_first_of_more_and_unit_normal():
    many = nested_tasks(5000, 3)
    assert torch.equal(nested_tasks(70, 3), many[:70]) and torch.equal(nested_tasks(1, 3), many[:1])
    assert float(many.mean().abs()) < 4 / math.sqrt(15_000)
    assert float(many.var()) == pytest.approx(1, abs=4 * math.sqrt(2 / 15_000))


def test_sequences_are_of_their_tasks_and_noise():
    task = nested_tasks(1, 3)
    x, y = sequences(3000, 5, 0.25, tasks=task, seed=3)
    residuals = y - x @ task[0]
    assert float(residuals.var()) == pytest.approx(0.25, abs=4 * 0.25 * math.sqrt(2 / 15_000))


@pytest.mark.parametrize("predictor", [ridge, lambda x, y, s: dmmse(x, y, nested_tasks(2, 3), s)])
def test_what_does_not_fit_is_refused(predictor):
    x, y = sequences(2, 4, NOISE, dim=3)
    with pytest.raises(GermError, match="σ² > 0"):
        predictor(x, y, 0.0)
    with pytest.raises(GermError, match="tasks of 3 numbers"):
        dmmse(x, y, nested_tasks(2, 4), NOISE)
    with pytest.raises(GermError, match="neither"):
        sequences(2, 4, NOISE)
