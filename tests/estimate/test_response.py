"""Susceptibilities from streams of draws whose law is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from germ.accumulate import CovarianceSummary
from germ.estimate.response import Baseline, Means, Response, contrast, observed

NUM_TOKENS = 5


class Gaussian:
    """w ~ N(m, S) with losses ½w'A_i w + a_i'w: whatever germ estimates has a closed form here."""

    def __init__(self, dim: int = 3, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)

        def matrix() -> Tensor:
            root = torch.randn(dim, dim, dtype=torch.float64, generator=generator)
            return root @ root.T / dim

        # Neither the covariance nor the losses are symmetric about w*: signs matter.
        self.S = 0.2 * matrix() + 0.1 * torch.eye(dim, dtype=torch.float64)
        self.m = 0.3 * torch.randn(dim, dtype=torch.float64, generator=generator)
        self.A = torch.stack([matrix() for _ in range(NUM_TOKENS + 1)])
        self.a = torch.randn(NUM_TOKENS + 1, dim, dtype=torch.float64, generator=generator)

    def losses(self, w: Tensor) -> Tensor:
        """Of all tokens and, last, of the model, at w (…, d)."""
        return 0.5 * torch.einsum("...i,kij,...j->...k", w, self.A, w) + w @ self.a.T

    def chi(self) -> Tensor:
        """−Cov(L, ℓ_i − L), by Cov = ½tr(A S B S) + (a + Am)'S(b + Bm)."""
        slope = self.a + self.A @ self.m
        turned = self.A @ self.S
        covariance = 0.5 * torch.einsum("ij,kji->k", turned[-1], turned)
        covariance += slope @ self.S @ slope[-1]
        return covariance[-1] - covariance[:-1]

    def means(self) -> Tensor:
        """E[ℓ_i], and last E[L]."""
        trace = torch.einsum("kij,ji->k", self.A, self.S)
        return 0.5 * trace + self.losses(self.m)

    def draws(self, chains: int, num: int, *, memory: float, seed: int) -> Tensor:
        """Stationary AR(1) chains, (chains, num, d)."""
        generator = torch.Generator().manual_seed(seed)
        root = torch.linalg.cholesky(self.S)
        noise = torch.randn(chains, num, len(self.m), dtype=torch.float64, generator=generator)
        steps = [noise[:, 0]]
        for t in range(1, num):
            steps.append(memory * steps[-1] + (1 - memory**2) ** 0.5 * noise[:, t])
        return self.m + torch.stack(steps, dim=1) @ root.T


def streamed(fold: Response, losses: Tensor) -> CovarianceSummary:
    """The summary of one chain, draw by draw, of losses (draws, tokens + 1) without noise."""
    summary = None
    for row in losses:
        value = observed(row[-1], row[-1].expand(2), row[:-1])
        summary = fold.update(fold.init(value) if summary is None else summary, value)
    assert summary is not None
    return summary


def folded(losses: Tensor, noise: Tensor | None = None) -> list[CovarianceSummary]:
    """What streaming comes to, at once: of (chains, draws, tokens + 1), and the halves' noise."""
    found = []
    for chain, series in enumerate(losses):
        halves = series[:, -1:].expand(-1, 2) + (0.0 if noise is None else noise[chain])
        x = halves.mean(1)
        y = torch.cat([halves, halves.prod(1, keepdim=True), series[:, :-1]], dim=1)
        products = (x - x.mean()) @ (y - y.mean(0))
        count = torch.tensor(float(len(x)), dtype=torch.float64)
        found.append(CovarianceSummary(count, x.mean()[None], y.mean(0), products[None]))
    return found


def test_equals_the_closed_form():
    world = Gaussian()
    fold = Response((2, 3))
    losses = world.losses(world.draws(24, 400, memory=0.5, seed=1))
    noise = 0.5 * torch.randn(24, 400, 2, dtype=torch.float64)
    found = fold.pooled(folded(losses, noise))
    truth, error = world.chi(), found["error"].double()
    assert (4 * error < truth.abs().max()).all(), "blind"
    assert ((found["chi"].double() - truth).abs() < 4 * error).all()
    by_probe = torch.stack([truth[:2].mean(), truth[2:].mean()])
    assert ((found["chi_probe"] - by_probe).abs() < 4 * found["error_probe"]).all()
    torch.testing.assert_close(found["chi_probe_chain"].mean(0), found["chi_probe"])


def test_noise_of_the_batch_is_in_no_product():
    """Var(φ̂) from one batch is too large by the batch's noise; the halves' covariance is not."""
    world = Gaussian()
    losses = world.losses(world.draws(24, 400, memory=0.0, seed=2))
    generator = torch.Generator().manual_seed(0)
    noise = 2.0 * torch.randn(24, 400, 2, dtype=torch.float64, generator=generator)
    fold = Response((NUM_TOKENS,))
    found = fold.pooled(folded(losses, noise))
    truth = losses[..., -1].var()
    of_one_batch = (losses[..., -1] + noise.mean(-1)).var()
    error = found["variance_error"]
    assert (found["variance"] - truth).abs() < 4 * error
    assert of_one_batch - truth > 10 * error
    assert of_one_batch - truth == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize(("memory", "num_draws"), [(0.0, 12), (0.9, 20)])
def test_no_bias_and_honest_errors_with_few_draws(memory, num_draws):
    """Over many runs of 4 chains: the mean is the truth, and intervals hold it.

    A covariance about the pooled mean, the usual one, is far off where draws hang together.
    """
    world, fold = Gaussian(), Response((1,))
    truth = float(world.chi()[0])
    num = 400
    chi, errors, usual = [], [], []
    for run in range(num):
        losses = world.losses(world.draws(4, num_draws, memory=memory, seed=100 + run))
        losses = losses[..., [0, -1]]
        found = fold.pooled(folded(losses))
        chi.append(float(found["chi"][0]))
        errors.append(float(found["error"][0]))
        flat = losses.reshape(-1, 2).numpy()
        matrix = np.cov(flat.T)
        usual.append(matrix[1, 1] - matrix[0, 1])
    spread = np.std(chi) / num**0.5
    assert abs(np.mean(chi) - truth) < 4 * spread
    if memory:
        assert abs(np.mean(usual) - truth) > 4 * np.std(usual) / num**0.5
    assert 0.9 < np.mean(np.square(errors)) ** 0.5 / np.std(chi) < 1.25
    inside = np.abs(np.array(chi) - truth) < stats.t.ppf(0.975, 3) * np.array(errors)
    # The products of dependent draws are skewed, which costs some of the nominal 95%.
    assert (0.8 if memory else 0.9) <= inside.mean() <= 0.98


def test_errors_are_those_of_the_jackknife():
    """Against leaving out one chain after the other."""
    world, fold = Gaussian(), Response((NUM_TOKENS,))
    summaries = folded(world.losses(world.draws(5, 20, memory=0.7, seed=8)))
    left = torch.stack(
        [fold.pooled([*summaries[:c], *summaries[c + 1 :]])["chi"] for c in range(5)]
    ).double()
    error = (4 / 5 * (left - left.mean(0)).square().sum(0)).sqrt()
    found = fold.pooled(summaries)
    torch.testing.assert_close(found["error"].double(), error, rtol=1e-4, atol=0.0)
    assert bool(fold.pooled(summaries[:2])["error"].isfinite().all())


def test_full_centring():
    """E[φL] − E[φℓ] − E[φ](E_f[L] − E_f[ℓ]), with the errors of both runs."""
    world, other = Gaussian(seed=0), Gaussian(seed=5)
    other.A, other.a = world.A, world.a
    means = Means((NUM_TOKENS,))
    every = means.pooled(folded(world.losses(other.draws(24, 200, memory=0.3, seed=3))))
    gap = other.means()[-1] - other.means()[:-1]
    assert ((every["gap"] - gap).abs() < 4 * every["error"]).all()
    fold = Response((NUM_TOKENS,), Baseline(**every))
    found = fold.pooled(folded(world.losses(world.draws(24, 400, memory=0.3, seed=4))))
    expected = world.means()
    phi = expected[-1]
    # E[φ(L − ℓ)] = Cov + E[φ](E[L] − E[ℓ]), all in the restricted run.
    truth = world.chi() + phi * (phi - expected[:-1]) - phi * gap
    error = found["error"].double()
    assert (4 * error < (truth - world.chi()).abs().max()).all(), "blind to the centring"
    assert ((found["chi"].double() - truth).abs() < 4 * error).all()


@pytest.mark.parametrize("chains", [2, 5, 6])
def test_one_realisation_of_the_errors(chains):
    """Over many sets of chains it has the covariance of the error of their mean."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[1.0, 0.8], [0.0, 0.6]], dtype=torch.float64)
    values = 7.0 + torch.randn(chains, 4000, 2, dtype=torch.float64, generator=generator) @ mixing
    found, expected = contrast(values), mixing.T @ mixing / chains
    torch.testing.assert_close(found.T @ found / 4000, expected, rtol=0.15, atol=0.0)


def test_streams_can_be_split_anywhere_and_chains_come_in_any_order():
    world, fold = Gaussian(), Response((2, 3))
    losses = world.losses(world.draws(4, 30, memory=0.2, seed=6))
    whole = folded(losses)
    parts = [
        fold.merge(streamed(fold, series[:7]), streamed(fold, series[7:])) for series in losses
    ]
    one, two = fold.pooled(whole), fold.pooled(parts)
    turned = fold.pooled([whole[i] for i in (2, 0, 3, 1)])
    for name in ("chi", "error", "chi_probe", "error_probe", "variance"):
        torch.testing.assert_close(two[name], one[name], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(turned[name], one[name], rtol=1e-6, atol=1e-9)


def test_what_is_kept_does_not_grow_with_draws():
    world, fold = Gaussian(), Response((2, 3))
    sizes = []
    for num in (10, 100):
        summary = streamed(fold, world.losses(world.draws(1, num, memory=0.0, seed=7))[0])
        sizes.append(sum(tensor.numel() for tensor in summary))
    assert sizes[0] == sizes[1]


def test_a_baseline_is_known_by_its_content():
    zero = torch.zeros(2, dtype=torch.float64)
    one, same = Baseline(zero, zero, zero, zero), Baseline(zero.clone(), zero, zero, zero)
    assert repr(Response((2,), one)) == repr(Response((2,), same))
    assert repr(one) != repr(Baseline(zero + 1, zero, zero, zero))
