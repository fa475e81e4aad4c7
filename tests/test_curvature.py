"""Hessian–vector products, the diagonal and the largest eigenvalue, against PyTorch's Hessian."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.support import net_posterior, quadratic_posterior
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import germ
from germ.curvature import Curvature
from germ.posterior import LocalPosterior
from germ.samplers import Diagonal


def hessian(posterior: LocalPosterior, at: Tensor | None = None) -> Tensor:
    """The Hessian of L_n on the moving coordinates."""
    batch = posterior.batch(torch.arange(posterior.data.num_examples))

    def loss(position: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return posterior.example_losses(position, batch).mean()

    found = torch.autograd.functional.hessian(loss, posterior.anchor if at is None else at)
    assert isinstance(found, Tensor)
    return found


def full(posterior: LocalPosterior) -> Curvature:
    return Curvature(posterior, posterior.data.num_examples, seed=0)


def all_data(posterior: LocalPosterior) -> Any:
    return posterior.batch(torch.arange(posterior.data.num_examples))


@pytest.fixture(scope="module")
def posterior() -> LocalPosterior:
    return net_posterior(torch.float64, restrict="outer, head")


def test_products(posterior):
    matrix = hessian(posterior)
    assert torch.linalg.eigvalsh(matrix)[0] < 0, "a Hessian that is not positive either"
    curvature = full(posterior)
    vectors = torch.randn(3, len(matrix), generator=torch.Generator().manual_seed(0)).double()
    for vector in vectors:
        found = curvature.product(vector, all_data(posterior))
        torch.testing.assert_close(found, matrix @ vector, rtol=1e-9, atol=1e-11)
    elsewhere = posterior.anchor + 0.5
    found = curvature.product(vectors[0], all_data(posterior), elsewhere)
    torch.testing.assert_close(found, hessian(posterior, elsewhere) @ vectors[0])
    assert curvature.double_backward and curvature.num_gradients == 2 * 4


@pytest.mark.parametrize("num_probes", [4, 64])
def test_the_diagonal(posterior, num_probes):
    """Hutchinson's estimate has variance Σ_{j≠i} H_ij² a probe: 4 standard errors of it."""
    matrix = hessian(posterior)
    others = matrix.square().sum(1) - matrix.diagonal().square()
    error = (others / num_probes).sqrt()
    found = full(posterior).diagonal(num_probes)
    z = ((found - matrix.diagonal()) / error).numpy()
    assert np.abs(z).max() < 4 and z.std() > 0.3


def test_the_diagonal_of_a_diagonal_is_exact():
    curvatures = (0.1, 1.0, 5.0, -2.0)
    posterior = quadratic_posterior(curvatures, nbeta=2.0, localization=9.0)
    np.testing.assert_allclose(full(posterior).diagonal(1), curvatures, rtol=1e-6)


def test_minibatches_are_unbiased(posterior):
    """Products on batches of 6 of 24, averaged over 200 probes, against the full Hessian's."""
    curvature = Curvature(posterior, 6, seed=1)
    vector = torch.ones_like(posterior.anchor)
    found = torch.stack([curvature.product(vector, batch) for _, batch in curvature.batches(200)])
    error = found.std(0) / 200**0.5
    z = ((found.mean(0) - hessian(posterior) @ vector) / error).numpy()
    assert np.abs(z).max() < 4 and z.std() > 0.3


@pytest.mark.parametrize("metric", [False, True])
@pytest.mark.parametrize("displaced", [False, True])
def test_the_largest_eigenvalue(posterior, metric, displaced):
    """Of D^½(nβH + γ)D^½; in absolute value, since the Hessian need not be positive."""
    d = posterior.num_coordinates
    at = posterior.anchor + 0.3 if displaced else None
    scale = torch.linspace(0.1, 2, d, dtype=torch.float64) if metric else torch.ones(d).double()
    matrix = posterior.nbeta * hessian(posterior, at) + posterior.localization * torch.eye(d)
    root = scale.sqrt().diag()
    truth = torch.linalg.eigvalsh(root @ matrix @ root).abs().max().item()
    curvature = full(posterior)
    few = curvature.largest(Diagonal(scale) if metric else None, 3, position=at)
    many = curvature.largest(Diagonal(scale) if metric else None, 300, position=at)
    assert few <= truth * (1 + 1e-9)
    assert many == pytest.approx(truth, rel=1e-4)


class Attention(nn.Module):
    """Fused attention, which has no second derivative of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part[:, None] for part in self.qkv(x).chunk(3, dim=-1))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, 0]


def test_products_go_through_fused_attention():
    source = torch.Generator().manual_seed(2)
    model = Attention()
    nn.init.normal_(model.qkv.weight, std=0.7, generator=source)
    data = torch.randn(6, 5, 4, generator=source), torch.randn(6, 5, 4, generator=source)
    posterior = germ.LocalPosterior.from_model(model, data, loss="mse")
    curvature = full(posterior)
    vector = torch.randn(posterior.num_coordinates, generator=source)
    found = curvature.product(vector, all_data(posterior))
    torch.testing.assert_close(found, hessian(posterior) @ vector, rtol=1e-3, atol=1e-5)
    assert curvature.double_backward, "exact, and not by differences"


class Cube(torch.autograd.Function):
    """x³ whose backward pass cannot be differentiated, like a fused kernel's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        return 3 * ctx.saved_tensors[0] ** 2 * grads[0]


class Cubic(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)


def cubic_loss(model: Any, batch: Tensor) -> Tensor:
    return (batch * Cube.apply(model.weight)).sum(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.0, 1.0, 100.0])
def test_central_differences_where_double_backward_is_missing(dtype, size):
    """Of Σ x_i·w_i³ the Hessian is diag(6x_i·w_i): a difference is exact, but for rounding.

    Also at w* = 0, where a step relative to ‖w*‖ would be no step at all.
    """
    x = torch.tensor([[1.0, -2.0, 0.5]], dtype=dtype)
    weight = size * torch.tensor([1.0, 0.3, -0.7], dtype=dtype)
    posterior = germ.LocalPosterior.from_model(Cubic(weight), x, loss=cubic_loss)
    curvature = full(posterior)
    vector = torch.tensor([0.2, 1.0, -0.5], dtype=dtype)
    found = curvature.product(vector, x)
    assert not curvature.double_backward
    expected = 6 * x[0] * weight * vector
    torch.testing.assert_close(found, expected, rtol=5e-3, atol=1e-4 * max(size, 0.01))
    assert curvature.diagonal(2).isfinite().all()


def test_running_out_of_memory_is_not_papered_over(posterior, monkeypatch):
    def exhausted(*args: Any, **settings: Any) -> Tensor:
        raise torch.OutOfMemoryError("out of memory")

    curvature = full(posterior)
    monkeypatch.setattr(LocalPosterior, "example_losses", exhausted)
    with pytest.raises(torch.OutOfMemoryError):
        curvature.product(torch.ones_like(posterior.anchor), None)


def test_a_linear_loss_has_no_curvature():
    def linear(model: Any, batch: Tensor) -> Tensor:
        return batch @ model.weight

    posterior = germ.LocalPosterior.from_model(
        Cubic(torch.ones(3)), torch.randn(4, 3), loss=linear, nbeta=2.0, localization=0.0
    )
    found = full(posterior).product(torch.ones(3), all_data(posterior))
    assert found.abs().max() < 1e-2  # a difference of equal gradients
