"""Why the width of a basin decides, and not its Hessian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from germ.exact import polynomial
from germ.experiments.toy_section import BLUE, ORANGE, Section, plain, share, table
from germ.numerical import quadratures

SQUARE = [(-1.0, 1.0)] * 2
NS = (1e2, 1e4, 1e6)


@dataclass(frozen=True)
class Basin:
    """A potential with its minimum, 0, at the origin."""

    expression: str
    title: str
    potential: Callable[[np.ndarray], np.ndarray]


BASINS = (
    Basin("x^4+y^4", "x⁴ + y⁴", lambda w: w[:, 0] ** 4 + w[:, 1] ** 4),
    Basin("x^2*y^2", "x²y²", lambda w: (w[:, 0] * w[:, 1]) ** 2),
    Basin("x^2*y^4", "x²y⁴", lambda w: w[:, 0] ** 2 * w[:, 1] ** 4),
    Basin("x^2+y^4", "x² + y⁴", lambda w: w[:, 0] ** 2 + w[:, 1] ** 4),
    Basin("x^2+y^8", "x² + y⁸", lambda w: w[:, 0] ** 2 + w[:, 1] ** 8),
    Basin("x^2+y^2", "x² + y²", lambda w: w[:, 0] ** 2 + w[:, 1] ** 2),
    Basin("100*x^2+y^8", "100x² + y⁸", lambda w: 100 * w[:, 0] ** 2 + w[:, 1] ** 8),
)
DUELS = (("x^4+y^4", "x^2*y^4"), ("x^2+y^4", "x^2+y^8"), ("x^2+y^2", "100*x^2+y^8"))
"""Pairs, as equals before the posterior: same loss, same prior. The second has the smaller λ."""


def hessian(potential: Callable[[np.ndarray], np.ndarray], step: float = 1e-3) -> np.ndarray:
    """Second derivatives at the origin, by central differences, (2, 2).

    Args:
        potential: K.
        step: Of the differences.
    """
    unit = step * np.eye(2)
    found = np.empty((2, 2))
    for i in range(2):
        for j in range(2):
            corners = np.stack([s * unit[i] + r * unit[j] for s in (1, -1) for r in (1, -1)])
            found[i, j] = potential(corners) @ [1, -1, -1, 1] / (4 * step**2)
    return found


def section(num_curve: int = 25) -> Section:
    """Compute and draw.

    Args:
        num_curve: Points of the curves over n.
    """
    curve = np.geomspace(1, 1e6, num_curve)
    ns = [*curve.tolist(), *NS]
    basins: dict[str, dict[str, Any]] = {}
    for basin in BASINS:
        known = polynomial(basin.expression)
        values = np.linalg.eigvalsh(hessian(basin.potential))
        found = quadratures(basin.potential, SQUARE, ns, tolerance=1e-6)
        basins[basin.expression] = {
            "title": basin.title,
            "exact": known.to_dict(),
            "eigenvalues": [round(float(each), 4) + 0.0 for each in values],
            "log_z": [each.log_z for each in found],
        }
    duels = []
    for first, second in DUELS:
        odds = np.array(basins[second]["log_z"]) - np.array(basins[first]["log_z"])
        duels.append(
            {"first": first, "second": second, "share": (1 / (1 + np.exp(-odds))).tolist()}
        )
    data = {"n": ns, "basins": basins, "duels": duels}
    return Section("hessian", _text(data), _figure(data, num_curve), data)


def _figure(data: dict[str, Any], num_curve: int) -> Figure:
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    first, second = figure.subplots(1, 2, width_ratios=(1, 1.5))
    x = np.linspace(-1, 1, 401)
    first.plot(x, x**2, color=BLUE, linewidth=1.6, label="x² + y²: along any line")
    first.plot(x, x**8, color=ORANGE, linewidth=1.6, linestyle="--", label="100x² + y⁸: along y")
    first.plot(x, 100 * x**2, color=ORANGE, linewidth=1.2, linestyle=":", label="… along x")
    first.set_ylim(0, 0.7)
    first.set_xlabel("distance from the minimum")
    first.set_ylabel("loss K")
    first.legend(framealpha=1, edgecolor="none", fontsize=8, loc="upper center")
    plain(first, "Steep one way, wide the other")
    n = data["n"][:num_curve]
    for duel, (colour, style) in zip(
        data["duels"], (("#3b3b3b", ":"), (BLUE, "-"), (ORANGE, "--")), strict=True
    ):
        one, other = (data["basins"][duel[key]] for key in ("first", "second"))
        label = (
            f"{other['title']} (λ = {other['exact']['lambda']}) "
            f"against {one['title']} (λ = {one['exact']['lambda']})"
        )
        second.semilogx(
            n, duel["share"][:num_curve], color=colour, linestyle=style, linewidth=1.6, label=label
        )
    second.axhline(0.5, color="black", linewidth=0.6)
    second.set_ylim(0, 1.35)
    second.set_yticks([0, 0.25, 0.5, 0.75, 1])
    second.set_xlabel("number of examples n")
    second.set_ylabel("posterior share of the first named")
    second.legend(frameon=False, fontsize=8, loc="upper left")
    plain(second, "The smaller λ wins in the end")
    return figure


def _text(data: dict[str, Any]) -> str:
    basins = data["basins"]
    rows = [
        [
            each["title"],
            ", ".join(f"{value:g}" for value in each["eigenvalues"]),
            f"{sum(each['eigenvalues']):g}",
            f"{np.prod(each['eigenvalues']) + 0.0:g}",
            f"{each['exact']['lambda']}, {each['exact']['multiplicity']}",
        ]
        for each in basins.values()
    ]
    shares = []
    for duel in data["duels"]:
        one, other = (basins[duel[key]]["title"] for key in ("first", "second"))
        shares.append(
            [f"{other} against {one}", *(share(each) for each in duel["share"][-len(NS) :])]
        )
    header = ["share of the posterior", *(f"n = {n:,.0f}" for n in NS)]
    return f"""\
## The width of a basin, not its Hessian

"Flat minima" are often measured by second derivatives: the trace or the determinant of the Hessian.
In singular models these do not say how much room a basin has.

{table(["K", "eigenvalues of the Hessian", "trace", "determinant", "exact λ, m"], rows)}

The first three have the same Hessian, zero, and differ in λ or m. The next two have the same
Hessian too, and different λ. Of the last two, the second is by its trace the much sharper minimum,
and has the smaller λ. The determinant is zero in all cases but one and tells nothing apart.

![Two cuts through basins, and who wins the posterior](hessian.png)

Let two of them stand side by side in one landscape, with the same loss at the bottom and the same
prior. What share of the posterior does the one of smaller λ get?

{table(header, shares)}

In the first two rows the Hessian cannot tell the two apart; in the third its trace names the wrong
one. The posterior follows the volume: in the end the odds grow like n^(difference of λ), up to
logarithms. In the end: at small n the steep direction of the third still counts, as a constant.
"""
