"""The toy model's summed loss by moments: against autograd, quadrature and the published values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from germ.experiments.superposition_local import Autoencoder, squared_error
from germ.experiments.superposition_pieces import Examples, dataset, draw_examples, population
from germ.experiments.superposition_points import as_point


def points(num: int, seed: int = 0) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(num, 18, generator=source, dtype=torch.float64)


def slow(point, x, weights):
    """From the definition, and by autograd."""
    at = point.clone().requires_grad_()
    w, b = at[:12].view(2, 6), at[12:]
    errors = ((torch.relu(x @ (w.T @ w) + b) - x) ** 2).sum(1)
    total = (errors * weights).sum()
    total.backward()
    return float(total.detach()), at.grad


def test_a_data_set_against_the_definition():
    examples = draw_examples(300, 0)
    weights = np.random.default_rng(1).random(300)
    # Zero columns, with a bias above, at and below 0: all units on a ReLU's edge.
    some = torch.cat([points(5), torch.from_numpy(as_point("5+"))[None]])
    some[-1, 17] = 0.0
    some[0, [0, 6]] = 0.0
    value, gradient = dataset(examples, weights)(some)
    x = torch.from_numpy(examples.dense())
    for i, point in enumerate(some):
        total, by = slow(point, x, torch.from_numpy(weights))
        assert float(value[i]) == pytest.approx(total, rel=1e-11)
        torch.testing.assert_close(gradient[i], by, rtol=1e-9, atol=1e-9)


def test_the_population_is_the_limit_of_a_fine_grid():
    num = 4000
    mu = np.tile((np.arange(num) + 0.5) / num, 6)
    grid = Examples(np.repeat(np.arange(6), num), mu)
    fine, by_fine = dataset(grid, np.full(6 * num, 1 / (6 * num)))(points(20))
    exact, by_exact = population(1.0)(points(20))
    torch.testing.assert_close(fine, exact, rtol=1e-6, atol=0)
    torch.testing.assert_close(by_fine, by_exact, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(population(7.0)(points(20))[1], 7 * by_exact)


def test_the_gradient_of_the_population_is_that_of_its_loss():
    at, energy = points(1)[0], population(1.0)
    ends = torch.stack([at + s * 1e-6 * unit for unit in torch.eye(18) for s in (1, -1)])
    loss = energy(ends)[0].view(18, 2)
    slope = (loss[:, 0] - loss[:, 1]) / 2e-6
    torch.testing.assert_close(energy(at[None])[1][0], slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("kind", "loss"), [("5", 0.06874), ("5+", 0.06180), ("6", 0.04819)])
def test_published_losses_and_no_slope(kind, loss):
    value, gradient = population(1.0)(torch.from_numpy(as_point(kind))[None])
    assert round(float(value), 5) == loss
    assert float(gradient.abs().max()) < 1e-12


def test_more_examples_begin_with_the_same():
    few, many = draw_examples(50, 3), draw_examples(500, 3)
    assert np.array_equal(few.mu, many.mu[:50]) and np.array_equal(few.inputs, many.inputs[:50])
    assert np.array_equal(many.part(10, 50).mu, few.mu[10:])
    assert not np.array_equal(draw_examples(50, 4).mu, few.mu)


def test_the_network_has_the_same_loss():
    examples = draw_examples(200, 0)
    x = torch.from_numpy(examples.dense()).float()
    point = points(1)[0]
    with torch.no_grad():
        losses = squared_error(Autoencoder(point.numpy())(x), x)
    assert losses.shape == (200,)
    assert float(losses.sum()) == pytest.approx(float(dataset(examples)(point[None])[0]), rel=1e-5)
