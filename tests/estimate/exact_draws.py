"""Samples without a sampler: independent draws of posteriors in one and two dimensions.

Drawn from a fine grid, so that an estimate is judged by itself; what it should be is computed
elsewhere, by quadrature or in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from scipy.integrate import quad

Potential = Callable[[np.ndarray], np.ndarray]


def samples(
    difference: np.ndarray, *, nbeta: float, localization: float, seed: int, **attrs: Any
) -> xr.Dataset:
    """What `germ.sample` would return for these loss differences, (chain, draw)."""
    settings = {
        "nbeta": nbeta, "localization": localization, "anchor_loss": 0.7, "num_coordinates": 1,
        "num_examples": 1000, "shared_batches": False, "seed": seed,
        "statuses": ["OK"] * len(difference),
    }  # fmt: skip
    found = xr.Dataset(
        {"loss_difference": (("chain", "draw"), difference)}, attrs={**settings, **attrs}
    )
    return found.assign_coords(chain=np.arange(len(difference)))


def draws_on_a_line(
    potential: Potential,
    *,
    nbeta: float,
    localization: float,
    seed: int,
    num: int = 2000,
    **attrs: Any,
) -> xr.Dataset:
    """Four chains of draws of ΔL = K(w), w one number, from exp(−nβK − γw²/2)."""
    reach = 8 / localization**0.5
    w = np.linspace(-reach, reach, 100_001)
    energy = nbeta * potential(w) + localization * w**2 / 2
    weights = np.cumsum(np.exp(-(energy - energy.min())))
    uniform = np.random.default_rng(seed).random((4, num))
    found = w[np.searchsorted(weights, uniform * weights[-1])]
    return samples(potential(found), nbeta=nbeta, localization=localization, seed=seed, **attrs)


def draws_of_a_product(
    *, nbeta: float, localization: float, seed: int, num: int = 2000, **attrs: Any
) -> xr.Dataset:
    """Of K = x²y²: y from its marginal on a grid, x given y from a normal distribution."""
    reach = 8 / localization**0.5
    # Even in log|y|: the marginal is broad on that scale.
    y = np.exp(np.linspace(np.log(1e-9 * reach), np.log(reach), 100_001))
    marginal = np.exp(-localization * y**2 / 2) / np.sqrt(2 * nbeta * y**2 + localization)
    weights = np.cumsum(marginal * y)
    rng = np.random.default_rng(seed)
    found = y[np.searchsorted(weights, rng.random((4, num)) * weights[-1])]
    x = rng.normal(size=found.shape) / np.sqrt(2 * nbeta * found**2 + localization)
    settings = {"num_coordinates": 2, **attrs}
    return samples((x * found) ** 2, nbeta=nbeta, localization=localization, seed=seed, **settings)


def log_evidence(potential: Potential, nbeta: float, localization: float) -> float:
    """log ∫ exp(−nβK(w)) N(w; 0, 1/γ) dw, by adaptive quadrature."""
    reach = 8 / localization**0.5
    points = [0.0, *(sign * reach / 10**k for k in range(1, 5) for sign in (-1, 1))]
    scale = (localization / (2 * np.pi)) ** 0.5
    value, _ = quad(
        lambda w: scale * np.exp(-nbeta * potential(w) - localization * w**2 / 2),
        -reach, reach, points=points, limit=500, epsabs=0, epsrel=1e-10,
    )  # fmt: skip
    return float(np.log(value))


def log_evidence_of_a_product(nbeta: float, localization: float) -> float:
    """The same of x²y², x integrated in closed form."""
    reach = 8 / localization**0.5
    value, _ = quad(
        lambda t: (
            np.exp(t - localization * np.exp(2 * t) / 2)
            / np.sqrt(2 * nbeta * np.exp(2 * t) + localization)
        ),
        np.log(reach) - 30, np.log(reach), limit=500, epsabs=0, epsrel=1e-10,
    )  # fmt: skip
    return float(np.log(2 * value * localization / (2 * np.pi) ** 0.5))


def expectation(log_evidence_at: Callable[[float], float], nbeta: float) -> float:
    """E[K] = −d log Z/d nβ, by a central difference."""
    step = 1e-3 * nbeta
    return (log_evidence_at(nbeta - step) - log_evidence_at(nbeta + step)) / (2 * step)
