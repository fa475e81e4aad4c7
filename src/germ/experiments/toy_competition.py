r"""Two regions that compete: a worse one with crossing valleys and a better one that is ordinary.

Left of x = 0, K = Δ + ((x + ½)y)², λ = 1/2, m = 2. Right, K = (x − ½)² + y², λ = 1. Over half of
the square [−1, 1]² each, to leading order,

$$ Z_n(\text{left}) = e^{-n\Delta}\, \frac{\sqrt{\pi}}{4\sqrt{n}} \log n, \qquad
   Z_n(\text{right}) = \frac{\pi}{4n}, $$

which is where the constant of the prediction, ½ log π, comes from.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from germ.estimate.crossover import crossover
from germ.exact import polynomial
from germ.experiments.toy_section import BLUE, ORANGE, Section, plain, table
from germ.numerical import Region, crossings, free_energies

GAP = 0.002
SQUARE = [(-1.0, 1.0)] * 2
LEFT = Region([(-1.0, 0.0), (-1.0, 1.0)])
RIGHT = Region([(0.0, 1.0), (-1.0, 1.0)])


def potential(w: np.ndarray) -> np.ndarray:
    """K of points (num_points, 2)."""
    x, y = w[:, 0], w[:, 1]
    return np.where(x < 0, GAP + ((x + 0.5) * y) ** 2, (x - 0.5) ** 2 + y**2)


def section(num_curve: int = 25) -> Section:
    """Compute and draw.

    Args:
        num_curve: Points of the curves over n.
    """
    simple, regular = polynomial("x^2*y^2"), polynomial("x^2+y^2")
    ns = np.geomspace(10, 1e5, num_curve).tolist()
    left = free_energies(potential, LEFT, ns, within=SQUARE, tolerance=1e-6)
    right = free_energies(potential, RIGHT, ns, within=SQUARE, tolerance=1e-6)
    actual = crossings(
        potential, LEFT, RIGHT, 10.0, 1e5, num_scanned=16, within=SQUARE, tolerance=1e-6
    )
    known = {
        "loss_u": GAP, "lambda_u": simple.value, "loss_v": 0.0, "lambda_v": regular.value,
    }  # fmt: skip
    both = {"multiplicity_u": simple.multiplicity, "multiplicity_v": regular.multiplicity}
    constant = math.log(math.pi) / 2
    logs = np.log(ns)
    data: dict[str, Any] = {
        "gap": GAP,
        "left": simple.to_dict(),
        "right": regular.to_dict(),
        "n": ns,
        "free_energy_left": left.values.tolist(),
        "free_energy_right": right.values.tolist(),
        "errors": np.maximum(left.errors, right.errors).tolist(),
        "predicted_left": (
            np.array(ns) * GAP + logs / 2 - np.log(logs) - math.log(math.sqrt(math.pi) / 4)
        ).tolist(),
        "predicted_right": (logs - math.log(math.pi / 4)).tolist(),
        "crossings": actual,
        "predicted": {
            "lambda": crossover(**known),
            "lambda and m": crossover(**known, **both),
            "lambda, m and constant": crossover(**known, **both, constant=constant),
        },
    }
    return Section("competition", _text(data), _figure(data), data)


def _figure(data: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(9.4, 3.7), layout="constrained")
    first, second = figure.subplots(1, 2, width_ratios=(1, 1.5))
    side = np.linspace(-1, 1, 401)
    x, y = np.meshgrid(side, side)
    values = potential(np.stack([x.ravel(), y.ravel()], 1)).reshape(x.shape)
    levels = [0, GAP, 2 * GAP, 5 * GAP, 20 * GAP, 100 * GAP]
    shades = ("black", "#0d2a45", "#2b5c8a", "#7ea6c9", "#cddfee")
    image = first.contourf(x, y, values, levels=levels, colors=shades)
    first.axvline(0, color=ORANGE, linewidth=1.2)
    first.set_aspect("equal")
    first.set_xlabel("x")
    first.set_ylabel("y")
    bar = figure.colorbar(image, ax=first, shrink=0.8)
    bar.set_ticks(levels, labels=[f"{level:g}" for level in levels])
    bar.set_label("loss below")
    plain(first, "The landscape, cut in two")
    n = np.array(data["n"])
    for side_name, colour, style, marker, label in (
        ("left", BLUE, "--", "o", "left:  loss Δ, λ = 1/2, m = 2"),
        ("right", ORANGE, "-", "s", "right: loss 0, λ = 1"),
    ):
        second.plot(n, data[f"predicted_{side_name}"], color=colour, linestyle=style, linewidth=1.3)
        second.plot(
            n, data[f"free_energy_{side_name}"], marker, color=colour, markersize=4.5, label=label
        )
    for root in data["crossings"]:
        second.axvline(root, color="black", linewidth=0.8, linestyle=":")
        second.annotate(
            f"n = {root:,.0f}", (root, 0.03), xycoords=("data", "axes fraction"),
            xytext=(4, 0), textcoords="offset points", fontsize=9,
        )  # fmt: skip
    second.set_xscale("log")
    second.set_ylim(0, 1.6 * max(data["free_energy_right"]))
    second.set_xlabel("number of examples n")
    second.set_ylabel("free energy F_n, nats")
    second.legend(frameon=False, fontsize=9, loc="upper left")
    plain(second)
    second.set_title(
        "Points: integrated. Lines: nL + λ log n − (m − 1) log log n + c", loc="left", fontsize=9
    )
    return figure


def _text(data: dict[str, Any]) -> str:
    predicted = data["predicted"]
    rows = [
        ["λ alone", f"{predicted['lambda']:,.0f}"],
        ["λ and m", f"{predicted['lambda and m']:,.0f}"],
        ["λ, m and the constant", f"{predicted['lambda, m and constant']:,.0f}"],
        ["integrated (quadrature)", f"**{data['crossings'][-1]:,.0f}**"],
    ]
    return f"""\
## Two regions, one posterior

Left, a bottom of crossing valleys at a loss of Δ = {data["gap"]:g} nats; right, an ordinary bowl at
a loss of 0. Which one does the posterior prefer? The one of smaller free energy,
F_n = −log ∫ e^(−nK) φ over the region.

![The landscape and the free energies of its halves over n](competition.png)

With few examples the difference in loss is not worth the difference in room, and the worse half
wins. Then n Δ outgrows what log n can pay. Watanabe's formula says where:

{table(["from", "crossing at n"], rows)}

The more of the formula is kept, the better the prediction. What is left is its o(1): log log n
stands in for a log(log n + constant).
"""
