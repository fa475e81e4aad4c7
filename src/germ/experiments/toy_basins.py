"""Basins in one variable: what is below a threshold, and how fast it shrinks."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from germ.exact import polynomial
from germ.experiments.toy_section import BLUE, ORANGE, Effort, Section, plain, table
from germ.numerical import fit_exponent, split

POWERS = (2, 4, 6)
THRESHOLDS = (0.3, 0.1, 0.03)
STYLES = ((BLUE, "-", "o"), (ORANGE, "--", "s"), ("#3b3b3b", ":", "^"))


def section(effort: Effort, seed: int) -> Section:
    """Compute and draw.

    Args:
        effort: Of the Monte Carlo volumes.
        seed: Of the same.
    """
    basins: list[dict[str, Any]] = []
    for power in POWERS:
        known = polynomial(f"x^{power}")
        run = split(
            lambda w, power=power: w[:, 0] ** power, [(-1, 1)], effort.smallest,
            num_points=effort.num_points, num_replicas=effort.num_replicas, seed=seed,
        )  # fmt: skip
        found = fit_exponent(run)
        t = np.geomspace(1, effort.smallest, 25)[1:]
        logs, errors = run.log_volumes(t)
        basins.append(
            {
                "power": power,
                "lambda": str(known.value),
                "lambda_float": float(known.value),
                "measured": found.value,
                "error": found.total_error,
                "t": t.tolist(),
                "log_volume": logs.tolist(),
                "log_volume_error": errors.tolist(),
            }
        )
    return Section("basins", _text(basins), _figure(basins), {"basins": basins})


def _figure(basins: list[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(9, 5.8), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    above, below = parts
    x = np.linspace(-1, 1, 801)
    panels: Any = above.subplots(1, 3, sharey=True)
    for axes, basin, (colour, style, _) in zip(panels, basins, STYLES, strict=True):
        power = basin["power"]
        y = np.abs(x) ** power
        for t, alpha in zip(THRESHOLDS, (0.18, 0.34, 0.6), strict=True):
            axes.fill_between(x, y, t, where=y <= t, color=colour, alpha=alpha, linewidth=0)
            half = t ** (1 / power)
            axes.annotate(
                f"{2 * half:.2f}", (0, t), ha="center", va="bottom", fontsize=7.5, color="black"
            )
        axes.plot(x, y, color=colour, linestyle=style, linewidth=1.6)
        axes.set_ylim(0, 0.6)
        axes.set_xlabel("w")
        plain(axes, f"L = w{_superscript(power)}:  λ = {basin['lambda']}")
    panels[0].set_ylabel("loss L")
    axes = below.subplots()
    for basin, (colour, style, marker) in zip(basins, STYLES, strict=True):
        t, volumes = np.array(basin["t"]), np.exp(basin["log_volume"])
        axes.loglog(t, t ** basin["lambda_float"], color=colour, linestyle=style, linewidth=1.2)
        axes.errorbar(
            t, volumes, volumes * 2 * np.array(basin["log_volume_error"]), fmt=marker,
            color=colour, markersize=4.5, capsize=2,
            label=f"w{_superscript(basin['power'])}:  slope {basin['measured']:.3f} ± "
            f"{basin['error']:.3f}   (exact {basin['lambda']})",
        )  # fmt: skip
    axes.invert_xaxis()
    axes.set_xlabel("threshold t  (smaller to the right)")
    axes.set_ylabel("share of the prior with L < t")
    axes.legend(frameon=False, fontsize=9)
    plain(axes, "The share shrinks as a power of t; the power is λ  (lines: exact)")
    return figure


def _superscript(power: int) -> str:
    return str(power).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _text(basins: list[dict[str, Any]]) -> str:
    rows = [
        [
            f"w{_superscript(basin['power'])}",
            basin["lambda"],
            f"{basin['measured']:.4f} ± {basin['error']:.4f}",
            f"{2 ** (-basin['lambda_float']):.2f}",
        ]
        for basin in basins
    ]
    return f"""\
## λ is how fast a basin fills in

Take all parameters with a loss below t, and let t shrink. In an ordinary basin, a parabola, each
halving of t leaves 1/√2 of them. In a flatter one more are left. The number λ in

    (share of the prior with L < t)  ≈  c · t^λ

is the learning coefficient: a small λ means that many parameters are nearly as good as the best.

![Three basins, shaded below three thresholds, and the shrinking of the shaded share](basins.png)

The numbers in the basins are the widths of the shaded intervals. Below, the share is measured by
multilevel splitting (`germ.numerical.split`), over sixteen decades of t, and its slope fitted
without being told λ:

{table(["L", "exact λ", "measured", "left after halving t"], rows)}

Errors combine the Monte Carlo noise and what other forms of the curve would give.
"""
