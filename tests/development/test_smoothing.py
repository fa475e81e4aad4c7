"""The Gaussian process of stages: against scikit-learn's, and against curves that are known."""

from __future__ import annotations

import numpy as np
import pytest

from germ.development import smoothing
from germ.development.smoothing import matern, smooth
from germ.errors import GermError

X = np.linspace(0, 4, 40)
GRID = np.linspace(0, 4, 101)


def wave(x):
    return 3 + 2 * np.sin(2 * x)


def noisy(seed, size=0.2):
    return wave(X) + size * np.random.default_rng(seed).standard_normal(len(X))


def test_at_one_cell_the_posterior_is_that_of_scikit_learn():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern

    z = noisy(0) - 3
    error = np.full(len(X), 0.2)
    cell = smoothing._Cell(0.8, 1.7, 1.0, 1.0)
    mean, covariance = smoothing._posterior(X, z, error, GRID, cell, matern)
    kernel = ConstantKernel(1.7**2) * Matern(0.8, nu=2.5)
    other = GaussianProcessRegressor(kernel, alpha=0.2**2, optimizer=None)  # type: ignore[arg-type]
    other.fit(X[:, None], z)
    expected, spread = other.predict(GRID[:, None], return_cov=True)
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    np.testing.assert_allclose(covariance(), spread, atol=1e-6)


@pytest.mark.parametrize("stated", [False, True])
def test_the_weights_of_cells_are_their_likelihoods(stated):
    from scipy import stats

    z, unit = (noisy(0) - 3) / 2, np.linspace(0.05, 0.3, len(X)) if stated else np.ones(len(X))
    cells = smoothing._cells(X, z, unit, stated, matern)
    expected = []
    for cell in cells:
        cov = cell.amplitude**2 * matern(np.abs(X[:, None] - X) / cell.length)
        cov += np.diag((cell.factor * unit) ** 2)
        fit = stats.multivariate_normal.logpdf(z, np.zeros(len(X)), cov)  # type: ignore[arg-type]
        # A log-normal prior of s about 1, where it is the factor of stated errors.
        expected.append(fit + (stats.norm.logpdf(np.log(cell.factor)) if stated else 0.0))
    ratios = np.exp(np.array(expected) - expected[0])
    np.testing.assert_allclose([c.weight for c in cells], ratios / ratios.sum(), rtol=1e-5)


@pytest.mark.parametrize("errors", [None, np.full(40, 0.2)])
def test_the_noise_is_found_and_the_paths_hold_the_truth(errors):
    inside = []
    for seed in range(6):
        found = smooth(X, noisy(seed), GRID, errors=errors, num_paths=400)
        # 40 checkpoints know the size of the noise to 1/√80 = 11%; the fit takes some of them.
        assert found.noise == pytest.approx(0.2, rel=0.45)
        low, high = np.quantile(found.paths, [0.05, 0.95], axis=0)
        inside.append(((low < wave(GRID)) & (wave(GRID) < high)).mean())
    assert np.mean(inside) > 0.75, "of 90%: neighbours go in and out of it together"


def test_paths_scatter_about_the_mean_as_draws_do():
    found = smooth(X, noisy(1), GRID, num_paths=2000)
    error = found.paths.std(0, ddof=1) / np.sqrt(2000)
    assert (np.abs(found.paths.mean(0) - found.mean) < 5 * error + 1e-9).all()


def test_errors_that_checkpoints_share_stay_in_the_paths():
    """Errors of 0.5 of which neighbours show 0.02: the rest moves the whole curve."""
    y = wave(X) + 0.02 * np.random.default_rng(2).standard_normal(len(X))
    stated = smooth(X, y, GRID, errors=np.full(len(X), 0.5), num_paths=2000)
    unstated = smooth(X, y, GRID, num_paths=2000)
    assert stated.noise_factor < 0.2
    assert stated.paths.std(0).mean() == pytest.approx(0.5, rel=0.1)
    assert unstated.paths.std(0).mean() < 0.1
    step = stated.paths[:, 1] - stated.paths[:, 0]
    assert step.std() < 0.1, "what is shared is shared by neighbours"


def test_a_constant_stays_one():
    found = smooth(X, np.full(len(X), 2.0), GRID, num_paths=3)
    assert (found.mean == 2.0).all() and (found.paths == 2.0).all()


def test_what_cannot_be_smoothed_is_refused():
    with pytest.raises(GermError, match="at least 8 checkpoints"):
        smooth(X[:7], noisy(0)[:7], GRID)
    with pytest.raises(GermError, match="increase"):
        smooth(X[::-1].copy(), noisy(0), GRID)
    with pytest.raises(GermError, match="finite"):
        smooth(X, np.where(X > 2, np.nan, noisy(0)), GRID)
    with pytest.raises(GermError, match="positive standard error"):
        smooth(X, noisy(0), GRID, errors=np.zeros(len(X)))
