"""The figures of `germ experiment superposition`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from germ.experiments.superposition_phases import PHASES
from germ.experiments.superposition_points import (
    COUNTS,
    MINIMA,
    coefficient,
    critical_point,
    levels,
)
from germ.experiments.superposition_posterior import share
from germ.experiments.superposition_summary import FIRST, LAST, groups
from germ.experiments.toy_section import BLUE, GREY, ORANGE, plain
from germ.report.figures import GREEN

Row = dict[str, Any]

COLOURS = {
    "4": "#b9a04a", "4+": "#a07a2b", "4++": "#7a5520", "5": BLUE, "5+": "#6fa3d0", "6": ORANGE,
    "other": GREY,
}  # fmt: skip

SHOWN = {"4": ("4", "4+", "4++"), "5 and 5+": ("5", "5+"), "6": ("6",)}


def polygons() -> Figure:
    """The critical points: columns as arrows, and L."""
    figure = Figure(figsize=(9, 1.9), layout="constrained")
    all_axes = figure.subplots(1, len(COUNTS), sharex=True, sharey=True)
    for axes, (name, (k, plus)) in zip(all_axes, COUNTS.items(), strict=True):
        found = critical_point(name)
        order = [*range(k), 0]
        axes.plot(*found.weights[:, order], color=COLOURS[name], linewidth=1)
        for column in range(k):
            axes.plot([0, found.weights[0, column]], [0, found.weights[1, column]], "o-",
                      color=COLOURS[name], markersize=4, linewidth=1.6)  # fmt: skip
        for column in range(plus):
            # Side by side, though both are at zero.
            axes.plot(0.14 * (2 * column + 1 - plus), 0, "P", color=GREEN, markersize=8)
        axes.set_title(f"{name}   L = {found.loss:.5f}", fontsize=9)
        axes.set_aspect("equal")
        axes.axis("off")
    return figure


def transitions(posteriors: Sequence[Row], trained: Row) -> Figure:
    """Both kinds of transition: of the posterior with n, and of SGD with steps."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    (one, loss), (half, hats) = figure.subplots(2, 2)
    kinds = groups(posteriors)
    _shares(one, kinds["data"], kinds["population"], "Bayesian: p(x | w) ∝ exp(−‖x − x̂‖²)")
    one.axvline(601, color="black", linestyle=":", linewidth=1)
    one.annotate("601 ", (601, 0.93), fontsize=8, ha="right")
    _shares(half, kinds["half"], [], "Bayesian: p(x | w) ∝ exp(−½‖x − x̂‖²)")
    half.axvspan(FIRST, LAST, color=GREY, alpha=0.25, linewidth=0)
    half.set_xlabel("n")
    for each in trained["loss"]:
        loss.plot(trained["epochs"], each, color=GREY, linewidth=0.7, alpha=0.8)
    for name, level in levels().items():
        loss.axhline(level, color=COLOURS[name], linewidth=1)
        loss.annotate(name, (1.01, level), xycoords=("axes fraction", "data"), fontsize=8,
                      va="center", color=COLOURS[name])  # fmt: skip
    loss.set_ylabel("L")
    loss.set_xlabel("epoch")
    plain(loss, "Dynamical: SGD, one line a network")
    _hats(hats, trained)
    return figure


def _shares(axes: Axes, runs: Sequence[Row], exact: Sequence[Row], title: str) -> None:
    """Mean shares over runs, with their 10–90% range, and those of the population as dashes."""
    for (name, phases), colour in zip(SHOWN.items(), ("#a07a2b", BLUE, ORANGE), strict=True):
        if runs:
            n = [row["n"] for row in runs[0]["rows"]]
            values = np.array([[share(row, *phases) for row in run["rows"]] for run in runs])
            low, high = np.quantile(values, [0.1, 0.9], axis=0)
            axes.fill_between(n, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(n, values.mean(0), "o-", color=colour, markersize=3, label=name)
        if exact:
            n = [row["n"] for row in exact[0]["rows"]]
            values = np.array([[share(row, *phases) for row in run["rows"]] for run in exact])
            axes.plot(n, values.mean(0), "--", color=colour, linewidth=1.2)
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("share of the posterior")
    axes.legend(frameon=False, fontsize=8, loc="center right")
    plain(axes, title)


def _hats(axes: Axes, trained: Row) -> None:
    """λ̂ on the plateaus over L, at each γ."""
    keys = [key for key in trained["stays"][0] if key.startswith("at ")]
    for key, marker in zip(keys, "o^sv", strict=False):
        for name in PHASES:
            mine = [stay for stay in trained["stays"] if stay["phase"] == name]
            axes.plot(
                [s["loss"] for s in mine], [s[key]["value"] for s in mine], marker,
                color=COLOURS[name], markersize=4,
                markerfacecolor="none" if key == keys[-1] else COLOURS[name],
            )  # fmt: skip
        axes.plot([], [], marker, color="black", label=f"λ̂ at γ = {key[3:]}",
                  markerfacecolor="none" if key == keys[-1] else "black")  # fmt: skip
    for name in MINIMA:
        axes.plot(
            levels()[name], coefficient(name), "_", color=GREEN, markersize=16, markeredgewidth=2
        )
    axes.plot([], [], "_", color=GREEN, markersize=10, label="exact λ of 5, 5+, 6")
    axes.invert_xaxis()
    axes.set_xlabel("L on the plateau (training goes to the right)")
    axes.set_ylabel("λ̂")
    axes.legend(frameon=False, fontsize=8)
    plain(axes, "Dynamical: λ̂ in the middle of each stay")


def estimates(rows: Sequence[Row]) -> Figure:
    """λ̂ at the polygons: germ's, other chains', what was published, and λ."""
    places = list(dict.fromkeys((row["n"], row["localization"]) for row in rows))
    figure = Figure(figsize=(3.2 * len(places) + 0.6, 3.8), layout="constrained")
    for axes, (n, localization) in zip(
        np.atleast_1d(figure.subplots(1, len(places), sharey=True)), places, strict=True
    ):
        mine = [r for r in rows if (r["n"], r["localization"]) == (n, localization)]
        for i, row in enumerate(mine):
            axes.plot([i - 0.4, i + 0.4], [row["lambda"]] * 2, color=GREEN, linewidth=2.5)
            for shift, name, colour, marker in (
                (-0.25, "germ", BLUE, "o"), (-0.08, "free", GREY, "s"),
                (0.08, "held", GREY, "D"), (0.22, "sgld", ORANGE, "v"),
            ):  # fmt: skip
                found = row[name]
                if found is None:
                    continue
                if found["value"] is None:
                    axes.annotate("✗", (i + shift, row["lambda"] - 0.6), color=colour, ha="center")
                    continue
                bars = None
                if found["low"] is not None:
                    bars = [[found["value"] - found["low"]], [found["high"] - found["value"]]]
                axes.errorbar(i + shift, found["value"], yerr=bars, fmt=marker, color=colour,
                              markersize=5, capsize=2,
                              markerfacecolor="none" if name == "held" else colour)  # fmt: skip
            if row["published"] is not None:
                axes.plot(i + 0.34, row["published"], "x", color=ORANGE, markersize=8)
        axes.set_xticks(range(len(mine)), [row["kind"] for row in mine])
        axes.set_xlim(-0.6, len(mine) - 0.4)
        plain(axes, f"n = {n:,}, γ = {localization:g}")
    axes = figure.axes[0]
    axes.set_ylabel("λ̂")
    entries: tuple[tuple[str, dict[str, Any]], ...] = (
        ("exact λ", {"color": GREEN, "linewidth": 2.5}),
        ("germ, 95% over data sets", {"color": BLUE, "marker": "o", "linestyle": ""}),
        ("other chains, free", {"color": GREY, "marker": "s", "linestyle": ""}),
        ("other chains, held in the phase",
         {"color": GREY, "marker": "D", "linestyle": "", "markerfacecolor": "none"}),
        ("SGLD as published", {"color": ORANGE, "marker": "v", "linestyle": ""}),
        ("published", {"color": ORANGE, "marker": "x", "linestyle": ""}),
    )  # fmt: skip
    for label, style in entries:
        axes.plot([], [], label=label, **style)
    figure.legend(loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    return figure


def odds(seen: Row) -> Figure:
    """Log-odds of 6 against 5 and 5+ on the population, and crossovers of data sets.

    Args:
        seen: Of `superposition_summary.posterior`.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes, right = figure.subplots(1, 2, width_ratios=(3, 2))
    rows = seen["odds"]
    n = [row["n"] for row in rows]
    for key, label, style, colour in (
        ("published", "as published: of the constants, ½‖w‖² alone", ":", "black"),
        ("leading", "leading order, every constant", "--", GREY),
        ("soft", "and the sixth column integrated", "-", GREEN),
    ):
        axes.plot(n, [row[key] for row in rows], style, color=colour, label=label)
    drawn = [row for row in rows if row["sampled"] is not None]
    value = np.array([row["sampled"]["value"] for row in drawn])
    ends = [[row["sampled"][e] for row in drawn] for e in ("low", "high")]
    bars = np.abs(np.array(ends, dtype=float) - value)
    axes.errorbar([row["n"] for row in drawn], value, yerr=bars, fmt="o", color=ORANGE,
                  markersize=4, capsize=2, label="sampled, 95% over runs")  # fmt: skip
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlim(0, 1000)
    axes.set_ylim(-8, 12)
    axes.set_xlabel("n")
    axes.set_ylabel("log-odds of 6 against 5 and 5+")
    axes.legend(frameon=False, fontsize=8)
    plain(axes, "Population loss")
    top = 1.0
    for key, colour, label in (("data", BLUE, "exp(−nL_n)"), ("half", ORANGE, "exp(−nL_n/2)")):
        x, y = (np.array(seen[key][of], dtype=float) for of in ("predicted", "crossings"))
        right.plot(x, y, "o", color=colour, markersize=5, label=label)
        top = max([top, *(1.1 * x[np.isfinite(x)])])
    right.plot([0, top], [0, top], color=GREY, linewidth=0.8)
    right.set_xlabel("predicted from the copies' losses on the data")
    right.set_ylabel("sampled")
    right.legend(frameon=False, fontsize=8)
    plain(right, "n at which 6 overtakes, one dot a data set")
    return figure
