r"""Local expectations of polynomials under a Gaussian localization, by quadrature.

$$ E[n\beta K] = \frac{\int n\beta K\,e^{-n\beta K - \gamma|w-w^*|^2/2}\,dw}
                      {\int e^{-n\beta K - \gamma|w-w^*|^2/2}\,dw} $$

Independent of everything that germ samples with. The stated error is the change when the grid is
made half as fine again; the rules converge faster than any power of the spacing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.truth.case import Expectation

NUM_POINTS = {1: (40_001,), 2: (9_001, 1_801)}
"""Points of each axis, by the number of variables. Valleys like x² = y³ are narrow in x alone: what
is left after the integral over x is smooth in y."""

CHUNK = 64
"""Rows of the grid held at a time."""

REACH = 8.5
"""Standard deviations of the localization on each side: beyond lies 1e-16 of the mass."""

FINEST = 1e-3
"""Scale below which the grid is uniform, in standard deviations: K is flat there."""


def on_a_grid(
    potential: Callable[[Tensor], Tensor], at: tuple[float, ...], nbeta: float, localization: float
) -> Expectation:
    """One or two variables: the trapezoidal rule in u, w = s·sinh(u), which is dense near w = 0.

    Args:
        potential: K on points (..., d).
        at: w*.
        nbeta: nβ.
        localization: γ > 0.
    """
    counts = NUM_POINTS[len(at)]
    fine = _grid_mean(potential, at, nbeta, localization, counts)
    coarse = _grid_mean(potential, at, nbeta, localization, tuple(2 * n // 3 for n in counts))
    grid = " × ".join(str(n) for n in counts)
    return Expectation(fine, abs(fine - coarse), f"quadrature, {grid} points", {})


def _grid_mean(
    potential: Callable[[Tensor], Tensor],
    at: tuple[float, ...],
    nbeta: float,
    localization: float,
    counts: tuple[int, ...],
) -> float:
    scale = localization**-0.5
    axes, log_weights = [], []
    for center, count in zip(at, counts, strict=True):
        low, high = (
            float(np.arcsinh((center + side * REACH * scale) / (FINEST * scale)))
            for side in (-1, 1)
        )
        u = torch.linspace(low, high, count, dtype=torch.float64)
        axis = FINEST * scale * u.sinh()
        axes.append(axis)
        log_weights.append(u.cosh().log() - 0.5 * localization * (axis - center) ** 2)
    total = torch.zeros(2, dtype=torch.float64)
    for rows in torch.arange(len(axes[-1])).split(CHUNK if len(at) > 1 else len(axes[-1])):
        parts = [*axes[:-1], axes[-1][rows]]
        points = torch.stack(torch.meshgrid(*parts, indexing="ij"), dim=-1)
        parts = [*log_weights[:-1], log_weights[-1][rows]]
        log_weight = torch.stack(torch.meshgrid(*parts, indexing="ij")).sum(0)
        energy = nbeta * potential(points)
        density = (log_weight - energy).exp()  # K ≥ 0: nothing overflows
        total += torch.stack([(energy * density).sum(), density.sum()])
    return float(total[0] / total[1])


def by_product_rule(squares: tuple[int, ...], nbeta: float, localization: float) -> Expectation:
    r"""K = Π w_i^{p_i} at w* = 0, any number of variables, one at a time.

    F_0(s) = e^{-s}, F_i(s) = E_w[F_{i−1}(s·w^{p_i})] with w ~ N(0, 1/γ), and the same for
    G_0(s) = s·e^{-s}; E[nβK] = G_d(nβ)/F_d(nβ).

    Args:
        squares: The powers p_i, even.
        nbeta: nβ.
        localization: γ > 0.
    """
    fine, coarse = (_product_mean(squares, nbeta, localization, count) for count in (3000, 2000))
    return Expectation(fine, abs(fine - coarse), "quadrature, a variable at a time", {})


def _product_mean(squares: tuple[int, ...], nbeta: float, localization: float, count: int) -> float:
    # In t = log s and v = log w² the recursion is a smoothing: F_i(t) = ∫ F_{i−1}(t + p·v/2) ρ(v).
    v = np.linspace(-90.0, np.log(REACH**2), count)
    density = np.exp(0.5 * v - 0.5 * np.exp(v))  # of log χ² with one degree of freedom
    density /= density.sum()
    v = v - np.log(localization)
    t = np.linspace(-400.0, 60.0, 8 * count)
    s = np.exp(t)
    functions = [np.exp(-s), s * np.exp(-s)]
    for power in squares[:-1]:
        moved = [np.zeros_like(t) for _ in functions]
        for shift, weight in zip(0.5 * power * v, density, strict=True):
            if weight > 1e-18:
                for out, values in zip(moved, functions, strict=True):
                    out += weight * np.interp(t + shift, t, values)
        functions = moved
    place = np.log(nbeta) + 0.5 * squares[-1] * v
    ends = [float((density * np.interp(place, t, values)).sum()) for values in functions]
    return ends[1] / ends[0]
