"""The automatic sampler: its metric and step against curvatures that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tests.support import net_posterior, quadratic_posterior
from torch import Tensor, nn

import germ
from germ import calibrate as calibration
from germ import heat
from germ.calibrate import calibrate
from germ.posterior import LocalPosterior
from germ.samplers import BAOAB, GHMC, Diagonal


def metric_of(sampler: BAOAB | GHMC) -> np.ndarray:
    assert isinstance(sampler.preconditioner, Diagonal)
    return sampler.preconditioner.scale.double().numpy()


def calibrated(posterior: LocalPosterior, batch_size: int = 1000, **settings: Any):
    return calibrate(posterior, batch_size=batch_size, seed=0, **settings)


def test_the_metric_of_a_quadratic_is_its_inverse_curvature():
    """Five orders of magnitude of curvature, one of them 0: alike to a factor of 4."""
    curvatures = np.array([0.0, 1e-3, 0.1, 1.0, 30.0])
    posterior = quadratic_posterior(curvatures.tolist(), nbeta=100.0, localization=1.0)
    found = calibrated(posterior).sampler
    ratio = metric_of(found) * (100 * curvatures + 1)
    assert ratio.max() < 3 and ratio.min() > 1 / 5 and ratio.max() / ratio.min() < 4
    assert 0.1 < found.step_size <= calibration.MAX_STEP_SIZE


def test_directions_that_are_flat_at_the_anchor_only():
    """L = w⁴ has no curvature at w* = 0; a step by that curvature would fall off the cliff.

    The metric is that of the Gaussian that fits best: a = E_q[12·nβ·w²] with q = N(0, 1/a), so
    a = √(12nβ).
    """

    class Scalars(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(60))

    def loss(model: Any, batch: Tensor) -> Tensor:
        return model.weight.pow(4).sum().expand(len(batch))

    posterior = germ.LocalPosterior.from_model(
        Scalars(), torch.zeros(1, 1), loss=loss, nbeta=1e4, localization=1e-3
    )
    ratio = metric_of(calibrated(posterior).sampler) * (12 * 1e4) ** 0.5
    assert 0.1 < np.median(ratio) < 2 and ratio.max() < 10


def test_the_step_is_stable_where_directions_are_correlated():
    """A diagonal metric cannot see H = 1 + 11ᵀ, whose largest eigenvalue is d + 1."""
    d = 50
    posterior = quadratic_posterior(torch.eye(d) + torch.ones(d, d), nbeta=50.0, localization=1.0)
    found = calibrated(posterior).sampler
    root = np.diag(metric_of(found) ** 0.5)
    matrix = 50 * (np.eye(d) + np.ones((d, d))) + np.eye(d)
    largest = np.linalg.eigvalsh(root @ matrix @ root).max()
    assert largest > 5, "a hard case"
    assert found.step_size * largest < 2


def test_gradient_noise_raises_the_friction_and_shortens_the_step():
    """Where the batch is given; and anchoring takes away noise that the weights do not change."""
    posterior = quadratic_posterior(
        (1.0,) * 10, nbeta=100.0, localization=1.0, noise=0.5, num_examples=50
    )
    plain = calibrated(posterior, 5, anchored=False)
    anchored = calibrated(posterior, 5, anchored=True)
    full = calibrated(posterior, 50)
    # In this metric the noise of ∇U has variance about (nβs)²/B/a = 2500/5/101 = 5.
    assert plain.sampler.step_size < 0.1 < 0.2 < anchored.sampler.step_size
    assert "noise" in plain.reasons["step_size"] and "noise" not in full.reasons["step_size"]
    assert plain.sampler.friction > anchored.sampler.friction == full.sampler.friction
    assert (plain.batch_size, full.batch_size) == (5, 50)


def test_gradient_noise_enlarges_the_batch_where_it_may():
    posterior = quadratic_posterior(
        (1.0,) * 10, nbeta=100.0, localization=1.0, noise=0.6, num_examples=5000
    )
    given = calibrated(posterior, 50, anchored=False)
    free = calibrated(posterior, 50, anchored=False, max_batch_size=4000)
    assert given.batch_size == 50 < free.batch_size <= 4000
    # In this metric Var(∂Û)/a is about (100·0.6)²/50/101 at 50 examples, and falls as 1/B.
    noise = 3600 / free.batch_size / 101
    added = heat.excess(free.sampler.step_size, free.sampler.friction, noise)
    assert calibration.HEAT / 2 < added < 2 * calibration.HEAT
    assert free.sampler.friction == calibration.FRICTION
    assert free.sampler.step_size > given.sampler.step_size or given.sampler.friction > 1
    assert "50 examples" in free.reasons["batch_size"]


def test_a_run_enlarges_its_batch_and_counts_in_it(tmp_path):
    posterior = quadratic_posterior(
        (1.0,) * 10, nbeta=1000.0, localization=1.0, noise=1.0, num_examples=8000
    )
    settings = {"chains": 2, "draws": 8, "gradient": "minibatch"}
    seen = germ.sample(posterior, store=tmp_path / "run.zarr", **settings)
    assert (
        seen.attrs["batch_size"] > 2048
        and f"{seen.attrs['batch_size']:,}:" in (seen.attrs["reasons"]["batch_size"])
    )
    given = germ.sample(posterior, batch_size=2048, **settings)
    assert given.attrs["batch_size"] == 2048
    again = germ.sample(posterior, store=tmp_path / "run.zarr", **settings)
    assert again.attrs["batch_size"] == seen.attrs["batch_size"]


def test_the_anchor_needs_not_be_a_minimum():
    """Negative curvature makes no negative metric."""
    posterior = quadratic_posterior((1.0, -0.3, 0.5), nbeta=10.0, localization=5.0)
    assert (metric_of(calibrated(posterior).sampler) > 0).all()


def test_without_data_the_metric_is_that_of_the_localization():
    posterior = quadratic_posterior((1.0, 2.0, 3.0), nbeta=0.0, localization=25.0)
    np.testing.assert_allclose(metric_of(calibrated(posterior).sampler), 1 / 25, rtol=0.5)


def test_it_counts_what_it_spends_and_says_how_far_it_is():
    told: list[tuple[int, int]] = []
    found = calibrated(net_posterior(), 8, on_probe=lambda done, total: told.append((done, total)))
    done, totals = zip(*told, strict=True)
    assert list(done) == sorted(done) and done[-1] == totals[-1] and len(set(totals)) == 1
    assert found.num_gradients > 24
    assert set(found.reasons) == {"preconditioner", "step_size", "friction", "batch_size"}
    assert f"{found.sampler.step_size:.3g}" in found.reasons["step_size"]


def test_the_same_seed_chooses_the_same_sampler():
    one, two = calibrated(net_posterior(), 8), calibrated(net_posterior(), 8)
    assert (metric_of(one.sampler) == metric_of(two.sampler)).all()
    assert one.sampler.step_size == two.sampler.step_size
    other = calibrate(net_posterior(), batch_size=8, seed=1)
    assert (metric_of(one.sampler) != metric_of(other.sampler)).any()
