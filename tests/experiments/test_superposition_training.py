"""SGD of the toy model: steps against autograd, runs apart, stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from germ.experiments import superposition_training as training
from germ.experiments.superposition_phases import PHASES

PLAN = training.Plan(num_examples=60, batch_size=20, lr=0.01, num_epochs=4, num_records=3)


def test_a_step_is_gradient_descent():
    rng = np.random.default_rng(0)
    w, b, x = rng.normal(size=(3, 2, 6)), rng.normal(size=(3, 1, 6)), rng.random(size=(3, 20, 6))
    before = [torch.from_numpy(each.copy()).requires_grad_() for each in (w, b)]
    out = torch.relu(torch.from_numpy(x) @ before[0].mT @ before[0] + before[1])
    loss = ((out - torch.from_numpy(x)) ** 2).sum(2).mean(1).sum()
    loss.backward()
    training._descend(w, b, x, 0.1)
    for at, now in zip(before, (w, b), strict=True):
        assert at.grad is not None
        np.testing.assert_allclose(now, (at - 0.1 * at.grad).detach().numpy(), rtol=1e-10)


def test_networks_are_their_own_whatever_is_trained_beside_them():
    alone, beside = training.train(PLAN, [5]), training.train(PLAN, [2, 5])
    np.testing.assert_allclose(alone.points[0], beside.points[1], rtol=1e-10)
    assert alone.epochs.tolist() == [0, 2, 4] and beside.loss.shape == (2, 3)
    assert not np.allclose(beside.points[0], beside.points[1])


def test_training_starts_at_a_four_gon_and_learns_the_pluses():
    plan = training.Plan(num_examples=1000, lr=0.02, num_epochs=16, num_records=4)
    paths = training.train(plan, range(6))
    assert paths.loss[:, 0] == pytest.approx(1 / 9, abs=0.01)
    # A column's bias above 0 goes to 1/12, and wins 1/144; below 0 nothing reaches it.
    for point, loss in zip(paths.points[:, -1], paths.loss[:, -1], strict=True):
        dead = np.argsort((point[:12].reshape(2, 6) ** 2).sum(0))[:2]
        positive = int((point[12:][dead] > 0).sum())
        assert loss == pytest.approx(1 / 9 - positive / 144, abs=0.002)
    assert len({PHASES[phase] for phase in paths.phases[:, -1]}) > 1


def test_stays_and_plateaus():
    names = ["4", "4", "4+", "5", "5", "5", "4+", "5"]
    phases = [PHASES.index(name) for name in names]
    assert training.stays(phases, 2) == [("4", 0, 1), ("5", 3, 5)]
    assert training.stays(phases, 1)[-1] == ("5", 7, 7)
    loss = np.array([[1 / 9, 1 / 9 + 0.003], [0.0482, 0.055]])
    assert training.on_plateau(loss, 0.002).tolist() == [[True, False], [True, False]]
