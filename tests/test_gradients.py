"""Estimates from batches: unbiased, exactly, and free of noise where they say so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.support import Net, Quadratic, net_data, net_posterior
from torch import Tensor

from germ import rng
from germ.errors import GermError
from germ.gradients import (
    AnchorPass,
    Evaluation,
    FullPotential,
    Gradients,
    anchor_pass,
    losses_and_grad,
)
from germ.posterior import LocalPosterior

NUM = 6


@pytest.fixture(scope="module")
def posterior() -> LocalPosterior:
    return net_posterior(torch.float64, num_examples=NUM, nbeta=7.0, localization=3.0)


def away(posterior: LocalPosterior, chains: int = 2, length: float = 0.3) -> Tensor:
    source = torch.Generator().manual_seed(1)
    shape = (chains, posterior.num_coordinates)
    noise = torch.randn(shape, generator=source, dtype=torch.float64)
    return posterior.anchor + length * noise


def direct(posterior: LocalPosterior, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """L_n, ΔL and ∇U at a position, by setting the weights of a fresh model."""
    model = Net(torch.float64)
    x, y = net_data(NUM, torch.float64)
    before = (model(x) - y).square().mean()
    start = 0
    for p in model.parameters():
        p.data = position[start : start + p.numel()].view_as(p).clone()
        start += p.numel()
    assert start == len(position)
    loss = (model(x) - y).square().mean()
    grads = torch.autograd.grad(loss, list(model.parameters()))
    grad = torch.cat([g.reshape(-1) for g in grads])
    full = posterior.nbeta * grad + posterior.localization * (position - posterior.anchor)
    return loss.detach(), (loss - before).detach(), full


def every_batch(posterior: LocalPosterior, estimate: str, positions: Tensor) -> list[Evaluation]:
    """Batches of one example, each example once: a batch is any of them with equal probability."""
    anchor = anchor_pass(posterior, 4, with_grad=True)
    gradients = Gradients(posterior, anchor, 1, seed=0, estimate=estimate)
    found: dict[float, Evaluation] = {}
    for step in range(200):
        example = rng.batch_indices(NUM, 1, 0, step).item()
        if example not in found:
            found[example] = gradients.at(positions, gradients.draw(step))
    assert len(found) == NUM
    return list(found.values())


@pytest.mark.parametrize("estimate", ["anchored", "minibatch"])
def test_estimates_are_unbiased(posterior, estimate):
    """The average over all batches of loss, difference and gradient is the full data's, exactly."""
    positions = away(posterior)
    batches = every_batch(posterior, estimate, positions)
    for chain, position in enumerate(positions):
        truth = direct(posterior, position)
        for field, expected in zip(("loss", "difference", "grad"), truth, strict=True):
            values = torch.stack([getattr(batch, field)[chain] for batch in batches])
            torch.testing.assert_close(values.mean(0), expected, rtol=1e-10, atol=1e-12)
            assert values.std(0).min() > 1e-6, "without noise this says nothing"


def test_anchored_estimates_have_no_noise_at_the_anchor(posterior):
    anchor = posterior.anchor.expand(2, -1)
    _, _, grad = direct(posterior, posterior.anchor)
    anchored = every_batch(posterior, "anchored", anchor)
    for batch in anchored:
        torch.testing.assert_close(batch.grad[0], grad, rtol=1e-12, atol=1e-13)
        assert batch.difference.abs().max() < 1e-15
    plain = every_batch(posterior, "minibatch", anchor)
    assert torch.stack([batch.grad for batch in plain]).std(0).max() > 0.1
    assert all(batch.difference.abs().max() < 1e-15 for batch in plain), "losses are paired"


@pytest.mark.parametrize("length", [0.01, 0.02])
def test_the_noise_of_anchored_estimates_grows_with_the_distance(posterior, length):
    """Gradient noise ∝ distance; difference noise ∝ distance², where plain pairing leaves ∝ it."""

    def spread(estimate: str, field: str, scale: float) -> float:
        positions = away(posterior, 1, scale)
        values = [getattr(batch, field) for batch in every_batch(posterior, estimate, positions)]
        return float(torch.stack(values).std(0).norm())

    for estimate, field, power in (
        ("anchored", "grad", 1), ("anchored", "difference", 2), ("minibatch", "difference", 1),
    ):  # fmt: skip
        ratio = spread(estimate, field, length) / spread(estimate, field, length / 4)
        assert ratio == pytest.approx(4**power, rel=0.15)
    assert spread("anchored", "grad", length) < 0.1 * spread("minibatch", "grad", length)


@pytest.mark.parametrize("estimate", ["anchored", "minibatch"])
@pytest.mark.parametrize("shared", [True, False])
def test_chains_together_and_alone(posterior, estimate, shared):
    """Chain i gets its own batch, or everybody's, in whichever group it is called."""
    gradients = Gradients(
        posterior, anchor_pass(posterior, 4, with_grad=True), 3, 0, estimate, shared
    )
    positions = away(posterior, 5)
    together = gradients.at(positions, gradients.draw(8, range(5)), with_halves=True)
    for chain in range(5):
        drawn = gradients.draw(8, range(chain, chain + 1))
        alone = gradients.at(positions[chain : chain + 1], drawn, with_halves=True)
        for one, many in zip(alone, together, strict=True):
            assert one is not None and many is not None
            torch.testing.assert_close(one[0], many[chain], rtol=1e-10, atol=1e-12)
    losses = gradients.at(posterior.anchor.expand(5, -1), gradients.draw(8, range(5))).loss
    assert (losses.max() - losses.min() < 1e-12) == shared


def test_a_full_batch_is_the_whole_data_without_noise(posterior):
    anchor = anchor_pass(posterior, NUM, with_grad=False)
    gradients = Gradients(posterior, anchor, NUM, seed=0)
    positions = away(posterior)
    found = gradients.at(positions, gradients.draw(0))
    again = gradients.at(positions, gradients.draw(1))
    assert torch.equal(found.grad, again.grad)
    for chain in range(2):
        loss, difference, grad = direct(posterior, positions[chain])
        torch.testing.assert_close(found.grad[chain], grad)
        torch.testing.assert_close(found.loss[chain], loss)
        torch.testing.assert_close(found.difference[chain], difference)


@pytest.mark.parametrize("batch_size", [1, 4, 5, NUM, 100])
def test_the_potential_does_not_depend_on_how_the_data_is_cut(posterior, batch_size):
    """Uneven last batches included: each example counts once."""
    anchor = anchor_pass(posterior, batch_size, with_grad=False)
    potential = FullPotential(posterior, anchor, batch_size)
    positions = away(posterior)
    value, grad = potential(positions)
    assert value.dtype == torch.float64
    for chain in range(2):
        _, difference, expected = direct(posterior, positions[chain])
        squares = (positions[chain] - posterior.anchor).square().sum()
        energy = posterior.nbeta * difference + 0.5 * posterior.localization * squares
        torch.testing.assert_close(value[chain], energy)
        torch.testing.assert_close(grad[chain], expected)
    at_anchor, _ = potential(posterior.anchor[None])
    assert at_anchor.abs().item() < 1e-14


@pytest.mark.parametrize("chunk_size", [None, 1, 5, 100])
def test_the_anchor_pass(posterior, chunk_size):
    found = anchor_pass(posterior, 4, with_grad=True, chunk_size=chunk_size)
    x, y = net_data(NUM, torch.float64)
    expected = (posterior.model(x) - y).square().mean(1)
    torch.testing.assert_close(found.example_losses, expected.detach())
    assert found.loss == pytest.approx(expected.mean().item())
    _, _, grad = direct(posterior, posterior.anchor)
    assert found.grad is not None
    torch.testing.assert_close(posterior.nbeta * found.grad, grad)
    assert anchor_pass(posterior, 4, with_grad=False).grad is None


def test_the_bad_example_is_named():
    """Beyond the first look of `from_model`, which would name it too."""
    x, y = net_data(30)
    y[24] = 1e30  # squared, more than float32 holds
    posterior = LocalPosterior.from_model(Net(), (x, y), loss="mse")
    with pytest.raises(GermError, match="example 24"):
        anchor_pass(posterior, 3, with_grad=False)
    y[4] = 1e30
    with pytest.raises(GermError, match="example 4"):
        LocalPosterior.from_model(Net(), (x, y), loss="mse")


def test_the_cost_is_counted(posterior):
    """C chains: C + 1 gradients a step where the batch is shared, 2C where not, C if plain."""
    anchor = anchor_pass(posterior, 4, with_grad=True)
    assert anchor.num_gradients == 2  # of a batch of 4, for 6 examples
    for estimate, shared, expected in (
        ("anchored", True, 6), ("anchored", False, 10), ("minibatch", True, 5),
        ("minibatch", False, 5),
    ):  # fmt: skip
        gradients = Gradients(posterior, anchor, 3, 0, estimate, shared)
        gradients.at(away(posterior, 5), gradients.draw(0, range(5)))
        assert gradients.num_gradients == expected
    potential = FullPotential(posterior, anchor, 4)
    potential(away(posterior, 5))
    assert potential.num_gradients == 2 * 5


def test_tokens_of_an_example_are_averaged_before_examples_are():
    def per_token(model: Net, batch: tuple[Tensor, Tensor]) -> Tensor:
        return (model(batch[0]) - batch[1]).square()

    by_token, by_example = net_posterior(loss=per_token), net_posterior()
    positions = away(by_token).float()
    for one, other in zip(
        losses_and_grad(by_token, positions, by_token.batch(torch.arange(5))),
        losses_and_grad(by_example, positions, by_example.batch(torch.arange(5))),
        strict=True,
    ):
        assert one.shape[0] == 2
        torch.testing.assert_close(one, other)


def test_wrong_settings_are_refused(posterior):
    anchor = anchor_pass(posterior, 4, with_grad=False)
    with pytest.raises(GermError, match="exact"):
        Gradients(posterior, anchor, 3, 0, "exact")
    with pytest.raises(GermError, match="batch_size"):
        Gradients(posterior, anchor, 0, 0)
    with pytest.raises(GermError, match="gradient"):
        Gradients(posterior, AnchorPass(anchor.example_losses, None, 0), 3, 0, "anchored")


def test_gradients_leave_no_trace_in_the_model(posterior):
    gradients = Gradients(posterior, anchor_pass(posterior, 4, with_grad=True), 3, 0)
    gradients.at(away(posterior), gradients.draw(0))
    gradients.at(away(posterior, 1), gradients.draw(0))
    assert all(p.grad is None for p in posterior.model.parameters())
    expected = torch.cat([p.detach().reshape(-1) for p in Net(torch.float64).parameters()])
    assert np.array_equal(posterior.anchor.numpy(), expected.numpy())


@pytest.mark.parametrize("gradient", ["anchored", "minibatch"])
@pytest.mark.parametrize("own", [False, True])
def test_products_of_the_halves_have_none_of_the_noise_of_a_batch(gradient, own):
    """At a place: E[a·b] = ΔL², while E[φ̂²] is larger by the variance of φ̂. Batches of 7 of 50."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(50, 2, dtype=torch.float64, generator=generator)

    def loss(model, batch):
        w = model.weight
        # Of an example: a slope at w* and a curvature, so that no control variate takes all.
        return 0.5 * (batch @ w).square() + batch.sum(1) * w[0]

    model = Quadratic((1.0, 1.0), dtype=torch.float64)
    posterior = LocalPosterior.from_model(model, x, loss=loss, nbeta=1.0, localization=1.0)
    anchor = anchor_pass(posterior, 50, with_grad=True)
    gradients = Gradients(posterior, anchor, 7, 0, gradient, shared=not own)
    places = torch.tensor([[0.7, -0.4], [-0.5, 0.2]], dtype=torch.float64)
    seen, whole = [], []
    for step in range(500):
        drawn = gradients.draw(step, range(2))
        found = gradients.at(places, drawn, with_halves=True)
        seen.append(found.halves)
        whole.append(found.difference)
    halves, difference = torch.stack(seen), torch.stack(whole)
    exact = Gradients(posterior, anchor, 50, 0, gradient)
    truth = exact.at(places, exact.draw(0), with_halves=True)
    torch.testing.assert_close(truth.halves, truth.difference[:, None].expand(-1, 2))
    # 3 of 7 examples make the first half, 4 the second; together they are the batch.
    torch.testing.assert_close((3 * halves[..., 0] + 4 * halves[..., 1]) / 7, difference)
    product = halves.prod(-1)
    error = product.std(0) / 500**0.5
    squared = truth.difference.square()
    assert ((product.mean(0) - squared).abs() < 4 * error).all()
    assert (difference.square().mean(0) - squared > 3 * error).all()
    assert gradients.at(places, gradients.draw(0, range(2))).halves is None
