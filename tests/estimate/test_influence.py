"""Pooling over chains, its jackknife, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from germ.errors import GermError
from germ.estimate.influence import MIN_ESS, pooled, refuse_few


def moments(x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """The sums of each chain, from x (chain, draw, p) and y (chain, draw, q)."""
    dx, dy = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    return {
        "count": np.full(len(x), float(x.shape[1])),
        "mean_x": x.mean(1),
        "mean_y": y.mean(1),
        "products": np.einsum("cdp,cdq->cpq", dx, dy),
        "squares_x": np.square(dx).sum(1),
        "squares_y": np.square(dy).sum(1),
    }


def draws(chains: int = 5, num: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    source = np.random.default_rng(seed)
    common = source.standard_normal((chains, num, 1))
    x = common + source.standard_normal((chains, num, 3)) + source.standard_normal((chains, 1, 3))
    return x, 0.7 * common + source.standard_normal((chains, num, 2))


def test_errors_are_those_of_leaving_out_one_chain_after_another():
    x, y = draws()
    found = pooled(moments(x, y))

    def without(chain: int) -> tuple[np.ndarray, np.ndarray]:
        keep = [c for c in range(len(x)) if c != chain]
        u, v = x[keep].reshape(-1, 3).T, y[keep].reshape(-1, 2).T
        return np.cov(u, v)[:3, 3:], np.corrcoef(u, v)[:3, 3:]

    left = [without(chain) for chain in range(len(x))]
    for i, error in enumerate((found.covariance_error, found.correlation_error)):
        values = np.stack([one[i] for one in left])
        expected = np.sqrt((len(x) - 1) * values.var(0))
        np.testing.assert_allclose(error, expected, rtol=1e-9)


def test_the_error_is_the_spread_over_repetitions():
    truth = 0.7
    found = [pooled(moments(*draws_alike(seed))) for seed in range(200)]
    values = np.array([one.covariance[0, 0] for one in found])
    errors = np.array([one.covariance_error[0, 0] for one in found])
    spread = values.std(ddof=1)
    # The spread of 200 is known to 5%, the mean squared error to 200/√(2·7)/... well within 12%.
    assert np.sqrt(np.square(errors).mean()) == pytest.approx(spread, rel=0.15)
    assert abs(values.mean() - truth) < 4 * spread / 200**0.5


def draws_alike(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Eight chains of one law, autocorrelated."""
    source = np.random.default_rng(seed)
    noise = source.standard_normal((8, 60, 1))
    common = np.empty_like(noise)
    common[:, 0] = noise[:, 0]
    for t in range(1, 60):
        common[:, t] = 0.6 * common[:, t - 1] + 0.8 * noise[:, t]
    x = common + source.standard_normal((8, 60, 1))
    return x, 0.7 * common + source.standard_normal((8, 60, 1))


def test_a_loss_that_never_moves_correlates_with_nothing():
    x, y = draws()
    x[..., 1] = 3.0
    found = pooled(moments(x, y))
    assert (found.correlation[1] == 0).all() and (found.covariance[1] == 0).all()
    assert np.isfinite(found.correlation_error).all()


def test_one_chain_is_refused():
    x, y = draws(chains=1)
    with pytest.raises(GermError, match="at least 2 chains"):
        pooled(moments(x, y))


@pytest.mark.parametrize("ess", [MIN_ESS - 1, float("nan")])
def test_too_few_effective_draws_are_refused(ess: float):
    with pytest.raises(GermError, match="effective draws"):
        refuse_few(ess, "all, 2 chains of 10 draws")
