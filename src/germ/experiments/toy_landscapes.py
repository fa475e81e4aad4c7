"""Four landscapes in two variables, of ever smaller λ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from germ.exact import polynomial
from germ.experiments.toy_section import BLUE, Effort, Section, plain, table
from germ.numerical import fit_exponent, quadrature, split

NBETA = 1e4
LEVELS = (1e-4, 1e-3, 1e-2, 1e-1)
SHADES = ("#0d2a45", "#2b5c8a", "#7ea6c9", "#cddfee")


@dataclass(frozen=True)
class Landscape:
    """A potential, as germ.exact and as NumPy read it."""

    expression: str
    title: str
    potential: Callable[[np.ndarray], np.ndarray]


LANDSCAPES = (
    Landscape("x^2+y^2", "x² + y²", lambda w: w[:, 0] ** 2 + w[:, 1] ** 2),
    Landscape("x^2*y^2", "x²y²", lambda w: (w[:, 0] * w[:, 1]) ** 2),
    Landscape("(x^2-y^3)^2", "(x² − y³)²", lambda w: (w[:, 0] ** 2 - w[:, 1] ** 3) ** 2),
    Landscape("x^2*y^4", "x²y⁴", lambda w: w[:, 0] ** 2 * w[:, 1] ** 4),
)


def section(effort: Effort, seed: int) -> Section:
    """Compute and draw.

    Args:
        effort: Of the Monte Carlo volumes.
        seed: Of the same.
    """
    found: list[dict[str, Any]] = []
    square = [(-1.0, 1.0)] * 2
    for landscape in LANDSCAPES:
        known = polynomial(landscape.expression)
        run = split(
            landscape.potential, square, effort.smallest,
            num_points=effort.num_points, num_replicas=effort.num_replicas, seed=seed,
        )  # fmt: skip
        fit = fit_exponent(run)
        integral = quadrature(landscape.potential, square, NBETA)
        logs, _ = run.log_volumes([LEVELS[1]])
        found.append(
            {
                "expression": landscape.expression,
                "title": landscape.title,
                "exact": known.to_dict(),
                "measured": fit.value,
                "noise": fit.error,
                "form": fit.systematic,
                "multiplicity": fit.multiplicity,
                "decided": fit.decided,
                "nbeta": NBETA,
                "mean": integral.mean,
                "mean_error": integral.mean_error,
                "share_below": float(np.exp(logs[0])),
            }
        )
    return Section("landscapes", _text(found), _figure(found), {"landscapes": found})


def _figure(found: list[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(9, 3.1), layout="constrained")
    panels = figure.subplots(1, 4, sharex=True, sharey=True)
    side = np.linspace(-1, 1, 401)
    x, y = np.meshgrid(side, side)
    points = np.stack([x.ravel(), y.ravel()], 1)
    image = None
    for axes, landscape, numbers in zip(panels, LANDSCAPES, found, strict=True):
        values = landscape.potential(points).reshape(x.shape)
        image = axes.contourf(x, y, values, levels=[0, *LEVELS], colors=SHADES)
        axes.contour(x, y, values, levels=LEVELS, colors="white", linewidths=0.4)
        axes.set_aspect("equal")
        axes.set_xlabel("x")
        axes.set_xticks([-1, 0, 1])
        axes.set_yticks([-1, 0, 1])
        m = numbers["exact"]["multiplicity"]
        plain(axes, f"{landscape.title}\nλ = {numbers['exact']['lambda']}" + f", m = {m}")
    panels[0].set_ylabel("y")
    assert image is not None
    bar = figure.colorbar(image, ax=panels, shrink=0.8, ticks=[0, *LEVELS])
    bar.set_ticklabels(["0", "10⁻⁴", "10⁻³", "10⁻²", "10⁻¹"])
    bar.set_label("loss below", color=BLUE)
    return figure


def _text(found: list[dict[str, Any]]) -> str:
    rows = []
    for each in found:
        exact = each["exact"]
        leading = exact["lambda_float"] - (exact["multiplicity"] - 1) / np.log(each["nbeta"])
        rows.append(
            [
                each["title"],
                f"{exact['lambda']}, {exact['multiplicity']}",
                f"{each['measured']:.3f} ± {each['noise']:.3f} ± {each['form']:.3f}, "
                f"{each['multiplicity']}{'' if each['decided'] else '?'}",
                f"{each['mean']:.4f}",
                f"{leading:.4f}",
                f"{100 * each['share_below']:.1f}%",
            ]
        )
    header = [
        "K", "exact λ, m", "λ, m from the volume (± noise ± form)",
        f"E[nβK] at nβ = {NBETA:,.0f}", "λ − (m − 1)/log nβ", "K < 0.001",
    ]  # fmt: skip
    return f"""\
## Four landscapes, from ordinary to very degenerate

All four have their minimum, 0, at the origin, and two parameters. A count of parameters would call
them equally complex.

![Contours of four potentials; the darker, the lower](landscapes.png)

Where the minimum is a point with a round bottom λ is half the number of parameters. Where valleys
meet, or end in a cusp, there is more room near the minimum and λ is smaller. m, the multiplicity,
counts how many ways of being singular tie; it adds a logarithm to the volume.

{table(header, rows)}

The second column is exact (`germ exact '{found[2]["expression"]}'`). The volume fit knows nothing
of it: beside its Monte Carlo noise it states by how much λ changes among forms of the curve that
fit alike, and puts a *?* where they differ in m. E[nβK] is what a sampler estimates: at a finite nβ
it is not yet λ, and with m > 1 or a cusp it comes near only slowly. That gap is no error of the
sampler. λ − (m − 1)/log nβ is the leading term of the theory.
"""
