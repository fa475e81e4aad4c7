"""The order of the step-size bias, on a target that is not quadratic, without random numbers.

A sampler's step says how E[f(w_m)] after m steps depends on where the chain starts. Applied again
and again, it becomes a constant: the expectation in the sampler's own stationary law. Noise enters
by Gauss–Hermite nodes, positions by a grid with splines, so the bias is seen to about 1e-7.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.interpolate import CubicSpline

from germ.samplers import SGLD, LeimkuhlerMatthews

GRID = np.linspace(-6.0, 6.0, 241)
MIDDLE = slice(60, 181)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(12)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
LADDER = (0.1, 0.2)

OBSERVED = {"w": lambda w: w, "w²": lambda w: w**2}


def potential(w: Any) -> Any:
    """½w² + 2 log cosh(w − 1): lopsided, of curvature between 1 and 3."""
    return 0.5 * w**2 + 2 * np.log(np.cosh(w - 1))


def grad(w: torch.Tensor) -> torch.Tensor:
    return w + 2 * torch.tanh(w - 1)


def exact(f: Any) -> float:
    total = quad(lambda w: np.exp(-potential(w)), -7, 7, epsabs=1e-13)[0]
    return quad(lambda w: f(w) * np.exp(-potential(w)), -7, 7, epsabs=1e-13)[0] / total


def stationary(sampler: Any, f: Any) -> float:
    """E[f] in the stationary law of a sampler whose state is a position, or that and a noise."""
    remembers = len(sampler.state_type._fields) == 2
    old = NODES if remembers else np.zeros(1)
    grids = np.meshgrid(GRID, old, NODES, indexing="ij")
    position, kept, noise = (torch.tensor(x.reshape(-1, 1)) for x in grids)
    state = sampler.state_type(position, *([kept] if remembers else []))
    then = sampler.step(state, grad(position), noise).position.numpy().reshape(grids[0].shape)
    then = then.clip(GRID[0], GRID[-1])  # the grid's ends are exp(−20) away from anything
    value = np.repeat(f(GRID)[:, None], len(old), axis=1)
    while np.ptp(value[MIDDLE]) > 1e-9:
        # The noise of this step is what the next state remembers.
        columns = value.T if remembers else [value[:, 0]] * len(NODES)
        parts = [
            weight * CubicSpline(GRID, column)(then[:, :, k])
            for k, (weight, column) in enumerate(zip(WEIGHTS, columns, strict=True))
        ]
        value = np.sum(parts, axis=0)
    return float(value[MIDDLE].mean())


@pytest.mark.parametrize("observed", OBSERVED)
@pytest.mark.parametrize(("kind", "order"), [(SGLD, 1), (LeimkuhlerMatthews, 2)])
def test_bias_falls_with_the_order_of_the_sampler(kind, order, observed):
    f = OBSERVED[observed]
    small, large = (abs(stationary(kind(eps), f) - exact(f)) for eps in LADDER)
    assert small > 1e-6, "smaller than the error of this calculation"
    assert np.log2(large / small) == pytest.approx(order, abs=0.15)


def test_the_second_order_sampler_is_better_where_it_matters():
    """At ε·a of 0.6 at most, a step that one would take."""
    f = OBSERVED["w²"]
    sgld, lm = (abs(stationary(kind(0.2), f) - exact(f)) for kind in (SGLD, LeimkuhlerMatthews))
    assert lm < sgld / 500
