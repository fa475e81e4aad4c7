"""The figure of stages: λ̂ and the loss over log step, smoothed, with their boundaries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from germ.report.figures import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    from germ.development.curves import Curves
    from germ.development.stage_table import Stages
    from germ.development.turning import Ensemble

FILLS = {"A": "#dce8f3", "B": "#f7e3d0"}
"""Of stages by type; others are white."""

LINES = {"maximum": "-", "minimum": "-", "pause": "--"}


def stages_figure(found: Stages, title: str = "") -> Figure:
    """λ̂ above, the loss below: checkpoints as dots, the smoothed mean with its 90% band.

    Vertical lines are boundaries, grey their 90% intervals; dashed where the curve pauses and does
    not turn. Blue stages are of type A, orange ones of type B.

    Args:
        found: What `germ.stages` returned.
        title: What the figure is of.
    """
    given = found.curves
    panels = [("λ̂", given.llc, found.llc)]
    if given.loss is not None and found.loss is not None:
        panels.append(("L(w*)", given.loss, found.loss))
    figure = Figure(figsize=(7.5, 2.2 + 2.2 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False).ravel()
    for axes, (name, values, ensemble) in zip(grid, panels, strict=True):
        _stages(axes, found)
        for row in values:
            axes.plot(given.x, row, ".", color=GREY, markersize=2.5, zorder=2)
        _band(axes, ensemble)
        axes.set_ylabel(name)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    _names(grid[0], found)
    _ticks(grid[-1], given)
    seeds = f"{found.num_seeds} seeds" if found.num_seeds > 1 else "one seed"
    grid[-1].set_xlabel(f"training step     [{seeds}; band: 90%]")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def _place(given: Curves, step: float) -> float:
    return float(given.x[0]) if step <= 0 else float(np.log10(step))


def _stages(axes: Axes, found: Stages) -> None:
    given = found.curves
    for stage in found.stages:
        ends = _place(given, stage.start), _place(given, stage.end)
        axes.axvspan(*ends, color=FILLS.get(stage.kind, "white"), zorder=0, linewidth=0)
    for at in found.boundaries:
        low, high = (_place(given, end) for end in at.interval)
        axes.axvspan(low, high, color="black", alpha=0.12, zorder=1, linewidth=0)
        axes.axvline(
            _place(given, at.step), color="black", linewidth=1, linestyle=LINES[at.kind], zorder=3
        )


def _band(axes: Axes, ensemble: Ensemble) -> None:
    """The mean, and where nine tenths of the paths are (of seeds: the mean ± its 90% interval)."""
    if ensemble.draws is None:
        low, high = np.quantile(ensemble.paths, [0.05, 0.95], axis=0)
    else:
        from scipy import stats

        num = len(ensemble.paths)
        error = ensemble.paths.std(0, ddof=1) / np.sqrt(num)
        half = float(stats.t.ppf(0.95, num - 1)) * error
        low, high = ensemble.mean - half, ensemble.mean + half
    axes.fill_between(ensemble.grid, low, high, color=BLUE, alpha=0.25, linewidth=0, zorder=2)
    axes.plot(ensemble.grid, ensemble.mean, color=BLUE, linewidth=1.4, zorder=4)


def _names(axes: Axes, found: Stages) -> None:
    """The types above the stages; orange where λ̂ restates the loss."""
    for number, stage in enumerate(found.stages, 1):
        ends = _place(found.curves, stage.start), _place(found.curves, stage.end)
        name = stage.kind if stage.kind in FILLS else "?"
        axes.annotate(
            f"{number}: {name}", (sum(ends) / 2, 1.0), xycoords=("data", "axes fraction"),
            xytext=(0, 3), textcoords="offset points", ha="center", fontsize=8,
            color=ORANGE if stage.restated else "black",
        )  # fmt: skip
    if any(stage.restated for stage in found.stages):
        axes.annotate(
            "orange: λ̂ restates the loss", (0.005, 0.97), xycoords="axes fraction", va="top",
            fontsize=8, color=ORANGE,
        )  # fmt: skip


def _ticks(axes: Axes, given: Curves) -> None:
    first, last = float(given.x[1 if given.steps[0] == 0 else 0]), float(given.x[-1])
    decades = np.arange(np.ceil(first - 0.01), np.floor(last + 0.01) + 1)
    ticks = {float(place): f"{10**place:,.0f}" for place in decades}
    if given.steps[0] == 0:
        ticks = {float(given.x[0]): "0", **ticks}
    axes.set_xticks(list(ticks), list(ticks.values()))
    minor = np.add.outer(np.arange(np.floor(first), last + 1), np.log10(np.arange(2, 10))).ravel()
    axes.set_xticks(minor[(minor >= first) & (minor <= last)], minor=True)
    axes.set_xlim(float(given.x[0]), last)
