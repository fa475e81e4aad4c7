"""Patterning: exact on a Gaussian posterior, within bounds, honest about what cannot be done."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from germ.errors import GermError
from germ.estimate.patterning import Infeasible, pattern

NBETA, GAMMA = 20.0, 5.0
COMPONENTS, PROBES = ("a", "b", "c"), ("p", "q", "r", "s")
BLOCKS = {"a": [0, 1], "b": [2, 3], "c": [4, 5]}


class Gaussian:
    """ℓ_d = ½ w'A_d w + a_d'w, L their mean, w* = 0: everything in closed form."""

    def __init__(self) -> None:
        source = np.random.default_rng(3)
        roots = source.standard_normal((len(PROBES), 6, 6))
        self.matrices = roots @ roots.transpose(0, 2, 1) / 6
        slopes = source.standard_normal((len(PROBES), 6))
        self.slopes = 0.3 * (slopes - slopes.mean(0))

    def moments(self, component: str, tilt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of the restricted posterior of L + Σ h_d (ℓ_d − L)."""
        at = BLOCKS[component]
        weights = 0.25 * (1 - tilt.sum()) + tilt
        matrix = np.tensordot(weights, self.matrices, 1)[np.ix_(at, at)]
        cov = np.linalg.inv(NBETA * matrix + GAMMA * np.eye(2))
        return -cov @ (NBETA * (weights @ self.slopes)[at]), cov

    def llc(self, component: str, tilt: np.ndarray) -> float:
        """λ̂ = nβ·E_h[L − L(w*)], L the untilted loss."""
        at = BLOCKS[component]
        mean, cov = self.moments(component, tilt)
        matrix = self.matrices.mean(0)[np.ix_(at, at)]
        return NBETA * 0.5 * float(mean @ matrix @ mean + np.trace(matrix @ cov))

    def chi(self) -> xr.DataArray:
        """χ = −Cov(L, ℓ_d − L) = −½tr(A S (A_d − A) S), for the mean is at 0 and L has no slope."""
        found = np.empty((3, 4))
        for i, component in enumerate(COMPONENTS):
            at = np.ix_(BLOCKS[component], BLOCKS[component])
            _, cov = self.moments(component, np.zeros(4))
            mean = self.matrices.mean(0)[at]
            for d in range(4):
                other = self.matrices[d][at] - mean
                found[i, d] = -0.5 * np.trace(mean @ cov @ other @ cov)
        coords = {"component": list(COMPONENTS), "probe": list(PROBES)}
        return xr.DataArray(found, dims=("component", "probe"), coords=coords)


MODEL = Gaussian()


def measured(tilt: np.ndarray) -> np.ndarray:
    zero = np.zeros(4)
    return np.array([MODEL.llc(c, tilt) - MODEL.llc(c, zero) for c in COMPONENTS])


@pytest.mark.parametrize("method", ["min_norm", "constrained"])
def test_what_is_predicted_is_what_happens_to_first_order(method: str):
    wishes = {"a": 0.002, "b": -0.001}
    errors = []
    for share in (1.0, 0.5, 0.25):
        target = {name: share * wish for name, wish in wishes.items()}
        found = pattern(MODEL.chi(), target, nbeta=NBETA, method=method)
        np.testing.assert_allclose(found.predicted.values[:2], list(target.values()), rtol=1e-4)
        errors.append(np.abs(measured(found.tilt.values) - found.predicted.values).max())
    # Linear response: what is left falls with the square of the tilt.
    assert errors[0] < 0.3 * 0.002
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.25)


def test_the_smallest_tilt_is_taken():
    target = {"a": 0.01}
    smallest = pattern(MODEL.chi(), target, nbeta=NBETA, method="min_norm").tilt.values
    within = pattern(MODEL.chi(), target, nbeta=NBETA).tilt.values
    # Bounds that are far away change nothing.
    np.testing.assert_allclose(within, smallest, atol=1e-6)
    assert smallest.sum() == pytest.approx(0, abs=1e-12)
    row = (NBETA**2 * MODEL.chi()).values[0]
    row = row - row.mean()
    np.testing.assert_allclose(smallest, 0.01 * row / (row @ row), rtol=1e-6)


def test_components_that_are_held_stay():
    target = {"a": 0.02}
    loose = pattern(MODEL.chi(), target, nbeta=NBETA)
    held = pattern(MODEL.chi(), target, nbeta=NBETA, hold=True)
    assert np.abs(held.predicted.values[1:]).max() < 1e-3 * 0.02
    assert np.abs(loose.predicted.values[1:]).max() > 0.05 * 0.02
    assert np.linalg.norm(held.tilt) > np.linalg.norm(loose.tilt)


@pytest.mark.parametrize("size", [0.02, 0.05, 0.1, 0.2, 0.5, 2.0])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.1, 0.5)])
def test_weights_are_a_mixture_within_the_bounds(size: float, bounds: tuple[float, float]):
    try:
        found = pattern(MODEL.chi(), {"a": size, "b": size / 2}, nbeta=NBETA, bounds=bounds)
    except Infeasible as error:
        found = error.best
    assert found.weights.sum() == pytest.approx(1, abs=1e-6)
    assert found.weights.values.min() >= bounds[0] - 1e-6
    assert found.weights.values.max() <= bounds[1] + 1e-6


def test_the_best_of_what_is_not_feasible_is_the_best():
    with pytest.raises(Infeasible, match=r"no weights do this \(the bounds\)") as error:
        pattern(MODEL.chi(), {"a": 5.0, "b": 5.0}, nbeta=NBETA)
    best = error.value.best
    assert best.residual > 1
    # No other mixture comes nearer.
    source = np.random.default_rng(0)
    response = (NBETA**2 * MODEL.chi()).values[:2]
    for weights in source.dirichlet(np.full(4, 0.3), size=4000):
        assert np.linalg.norm(response @ (weights - 0.25) - 5.0) >= best.residual - 1e-6
    with pytest.raises(Infeasible, match="wish for at most") as error:
        pattern(MODEL.chi(), {"a": 0.5, "b": 0.5}, nbeta=NBETA, method="min_norm")
    assert error.value.best.weights.values.min() == pytest.approx(0, abs=1e-9)


def test_noise_is_not_inverted():
    chi = MODEL.chi()
    values = chi.values.copy()
    # Rows a and b nearly equal: their difference is as small as the error of χ.
    values[1] = values[0] + 1e-5 * np.array([1.0, -1.0, 1.0, -1.0])
    chi = chi.copy(data=values)
    error = xr.full_like(chi, 1e-5)
    sharp = pattern(chi, {"a": 0.01, "b": 0.0}, nbeta=NBETA, method="min_norm", bounds=(-9.0, 9.0))
    assert sharp.rank == 2 and np.abs(sharp.tilt).max() > 0.5
    with pytest.raises(Infeasible, match="rank 1") as refused:
        pattern(
            chi, {"a": 0.01, "b": 0.0}, nbeta=NBETA, standard_error=error, method="min_norm"
        )  # fmt: skip
    best = refused.value.best
    assert best.rank == 1 and np.abs(best.tilt).max() < 0.1
    # The error of a prediction is that of χ, through h.
    expected = NBETA**2 * 1e-5 * np.linalg.norm(best.tilt)
    np.testing.assert_allclose(best.predicted_error, expected, rtol=1e-9)


def test_data_sets_that_are_added_to_other_data():
    found = pattern(MODEL.chi(), {"a": 0.02}, nbeta=NBETA, base=dict.fromkeys(PROBES, 0.0))
    assert (found.weights >= -1e-9).all() and found.weights.sum() < 1
    np.testing.assert_allclose(found.weights, found.tilt, atol=1e-12)
    half = pattern(MODEL.chi(), {"a": 0.01}, nbeta=NBETA, base={"p": 0.5})
    expected = 0.5 * (1 - half.tilt.sum()) + half.tilt.sel(probe="p")
    assert float(half.weights.sel(probe="p")) == pytest.approx(float(expected))


def test_a_data_set_of_susceptibilities_is_read():
    from tests.support_susceptibility import fake

    data = fake(components=4, probes=3, tokens=62)
    name = str(data["component"].values[1])
    found = pattern(data, {name: 0.1})
    assert found.target.dropna("component")["component"].values.tolist() == [name]
    assert set(found.to_dict()["weights"]) == set(data["probe"].values.tolist())
    assert "constrained" in str(found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": {"z": 1.0}}, "wishes for components among a, b, c; got z"),
        ({"target": {}}, "got none"),
        ({"nbeta": None}, "expected nbeta"),
        ({"base": {"p": 0.7, "q": 0.7}}, "at most 1 together"),
        ({"base": {"t": 0.1}}, "expected shares of p, q, r, s"),
        ({"method": "guess"}, "constrained, min_norm"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], words: str):
    arguments: dict[str, Any] = {"target": {"a": 0.01}, "nbeta": NBETA, **changes}
    with pytest.raises(GermError, match=words):
        pattern(MODEL.chi(), **arguments)


def test_chi_below_its_noise_is_refused():
    chi = MODEL.chi()
    with pytest.raises(GermError, match="measure χ with more draws"):
        pattern(chi, {"a": 0.01}, nbeta=NBETA, standard_error=xr.full_like(chi, 10.0))
