"""A recipe becomes the sampler it names, in a metric of the posterior it meets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.support import net_posterior, quadratic_posterior

import germ
from germ.errors import GermError
from germ.recipes import Named, Recipe
from germ.rotated import RotatedFit, matrices
from germ.samplers import (
    BAOAB,
    HMC,
    MALA,
    SGLD,
    SGNHT,
    Diagonal,
    Kronecker,
    LeimkuhlerMatthews,
    RMSpropSGLD,
)

KINDS = {
    "sgld": SGLD, "lm": LeimkuhlerMatthews, "baoab": BAOAB, "sgnht": SGNHT, "hmc": HMC,
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_with_a_step_size_and_no_metric_it_is_the_sampler(name):
    found = Named(name, 0.1).sampler()
    assert found is not None
    assert isinstance(found, KINDS[name]) and found.step_size == 0.1
    assert found.preconditioner is None


def test_what_needs_a_posterior_waits_for_it():
    posterior = net_posterior()
    for recipe in (Named("baoab", metric="diagonal"), Named("rmsprop", 1e-3)):
        assert isinstance(recipe, Recipe) and recipe.sampler() is None
    found = Named("rmsprop", 1e-3).resolve(posterior, batch_size=8, seed=0, anchored=True)
    assert found.sampler == RMSpropSGLD(1e-3, posterior.nbeta, posterior.localization)


@pytest.mark.parametrize(("metric", "kind"), [("diagonal", Diagonal), ("kronecker", Kronecker)])
def test_the_step_is_measured_in_the_metric(metric, kind):
    """On a quadratic of curvature 1/D the largest step of the sampler, and stable in any case."""
    posterior = quadratic_posterior((0.5, 2.0, 8.0, 1.0), nbeta=10.0, localization=1.0)
    for name, most in (("baoab", 0.5), ("sgld", 0.1)):
        found = Named(name, metric=metric).resolve(posterior, batch_size=1, seed=0, anchored=True)
        assert isinstance(found.sampler.preconditioner, kind)
        assert found.sampler.step_size == pytest.approx(most)
        assert found.num_gradients > 0 and "step_size" in found.reasons
    net = net_posterior(torch.float64, num_examples=24)
    found = Named("mala", metric=metric).resolve(net, batch_size=24, seed=0, anchored=True)
    assert isinstance(found.sampler, type(MALA(0.1)))
    samples = germ.sample(net, found.sampler, chains=2, draws=20)
    assert samples["acceptance"].mean() > 0.3


def test_the_same_bits_every_time():
    recipe = Named("sgnht", metric="kronecker", friction=2.0)
    one, two = (
        recipe.resolve(net_posterior(), batch_size=8, seed=3, anchored=True).sampler
        for _ in range(2)
    )
    assert one.friction == 2.0
    assert one.preconditioner.identity() == two.preconditioner.identity()
    other = recipe.resolve(net_posterior(), batch_size=8, seed=4, anchored=True).sampler
    assert one.preconditioner.identity() != other.preconditioner.identity()


def test_settings_that_do_not_go_together():
    cases: list[tuple[Any, str]] = [
        ({"name": "adam", "step_size": 0.1}, "sampler among"),
        ({"name": "sgld", "step_size": 0.1, "metric": "dense"}, "metric among"),
        ({"name": "sgld", "step_size": 0.1, "friction": 1.0}, "no momentum"),
        ({"name": "rmsprop", "step_size": 0.1, "metric": "diagonal"}, "adapts its own"),
        ({"name": "baoab"}, "needs a step size"),
    ]
    for settings, match in cases:
        with pytest.raises(GermError, match=match):
            Named(**settings)


def test_matrices_are_whole_parameters_of_two_dimensions():
    posterior = net_posterior()  # inner 3×2, outer 3×3 (tied), head 2×3 and their biases
    shapes = [rotation.shape for rotation in matrices(posterior.coordinates)]
    assert shapes == [(3, 2), (1, 3), (3, 3), (1, 3), (1, 3), (2, 3), (1, 2)]
    mask = torch.tensor([[True, False, True], [False] * 3, [True] * 3])
    part = net_posterior(restrict={"outer.weight": mask})
    assert [rotation.shape for rotation in matrices(part.coordinates)] == [(1, 5)]


class Bilinear(torch.nn.Module):
    """½‖A(W − W*)B‖²: the curvature of W is (AᵀA) ⊗ (BBᵀ), in no coordinate basis."""

    def __init__(self) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.zeros(6, 5))
        left, right = (torch.linalg.qr(torch.randn(k, k, generator=source))[0] for k in (6, 5))
        self.register_buffer("left", torch.logspace(0, 1.2, 6)[:, None] * left)
        self.register_buffer("right", right * torch.logspace(0, 1.2, 5))


def rotated_loss(model, batch):
    return 0.5 * (model.left @ model.weight @ model.right).square().sum() + 0 * batch[:, 0]


def test_kronecker_curvature_is_diagonal_in_the_basis_that_is_found():
    """In it curvatures that span 10⁵ are within ten of each other, for want of more pairs."""
    posterior = germ.LocalPosterior.from_model(
        Bilinear(), torch.zeros(1, 1), loss=rotated_loss, nbeta=1.0, localization=1e-3
    )
    fit = RotatedFit(posterior, 1, 0, damping=1e-6)
    metric = fit.kronecker(8, 8)
    eye = torch.eye(30)
    model: Any = posterior.model
    hessian = torch.kron(model.left.T @ model.left, model.right @ model.right.T)
    whitened = metric.sqrt(metric.sqrt(hessian).T)
    values = torch.linalg.eigvalsh(whitened)
    assert values.max() < 3.5 and values.min() > 0.3
    diagonal = Diagonal(1 / germ.metric.MetricFit(posterior, 1, 0).fit(8, 8))
    spread = torch.linalg.eigvalsh(diagonal.sqrt(diagonal.sqrt(hessian).T))
    assert spread.max() / spread.min() > 20 * values.max() / values.min()
    torch.testing.assert_close(metric.back(metric.into(eye)), eye, atol=1e-5, rtol=0)
