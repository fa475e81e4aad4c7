"""Susceptibilities over training: a panel for each probe, a curve for each component."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from germ.errors import GermError
from germ.report.figure_text import plain
from germ.report.figures import CHAIN_COLOURS, GREY
from germ.report.token_view import is_signal

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""A marker for each curve with a name: colours alone do not tell them apart for everybody."""


def trajectories(
    steps: Sequence[Any],
    chi: np.ndarray,
    error: np.ndarray,
    components: Sequence[str],
    probes: Sequence[str],
    title: str = "",
) -> Figure:
    """χ ± its standard error over checkpoints, all panels on the same axes.

    Where there are many components, those that get furthest from zero have colour, marker and
    name; the others are grey. Values within two standard errors of zero are open. Steps that are
    numbers are on a logarithmic axis that has a place for 0.

    Args:
        steps: Of the checkpoints, in order of training.
        chi: (checkpoint, component, probe), in nats².
        error: Standard errors, the same shape.
        components: Names of curves.
        probes: Names of panels.
        title: What the figure is of.

    Raises:
        GermError: There are fewer than two checkpoints.
    """
    if len(steps) < 2:
        raise GermError(f"expected at least two checkpoints to draw curves, got {len(steps)}")
    columns = min(len(probes), 2)
    rows = -(-len(probes) // columns)
    figure = Figure(figsize=(1.2 + 4.2 * columns, 0.9 + 2.7 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    named = leading(chi, error)
    x = _place(grid[0], steps)
    for probe, axes in enumerate(grid[: len(probes)]):
        axes.axhline(0, color="black", linewidth=0.8, zorder=1)
        for component in range(len(components)):
            if component not in named:
                axes.plot(x, chi[:, component, probe], color="#c4c4c4", linewidth=0.8, zorder=1)
        for number, component in enumerate(named):
            label = plain(components[component])
            here = chi[:, component, probe], error[:, component, probe]
            _curve(axes, x, *here, number, label)
        axes.set_title(plain(probes[probe]), loc="left", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
    for axes in grid[len(probes) :]:
        axes.set_visible(False)
    for axes in grid[::columns]:
        axes.set_ylabel("χ, nats²")
    for axes in grid[max(len(probes) - columns, 0) : len(probes)]:
        axes.set_xlabel("training step")
        axes.tick_params(labelbottom=True)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8
    )  # fmt: skip
    note = f"; grey: the other {len(components) - len(named)}" * (len(components) > len(named))
    figure.suptitle(f"{title}   (± 1 SE; open: within 2 SE of zero{note})".strip(), x=0.01,
                    ha="left", fontsize=9, color=GREY)  # fmt: skip
    return figure


def leading(chi: np.ndarray, error: np.ndarray) -> list[int]:
    """The components (indices, in order) whose signal gets furthest from zero: one a marker."""
    furthest = np.where(is_signal(chi, error), np.abs(chi), 0).max(axis=(0, 2))
    return sorted(np.argsort(-furthest, kind="stable")[: len(MARKERS)].tolist())


def _curve(
    axes: Axes, x: np.ndarray, y: np.ndarray, error: np.ndarray, number: int, label: str
) -> None:
    colour = CHAIN_COLOURS[number % len(CHAIN_COLOURS)]
    dashed = "--" if number >= len(CHAIN_COLOURS) else "-"
    axes.plot(x, y, color=colour, linewidth=1.2, linestyle=dashed, zorder=2)
    style: dict[str, Any] = {
        "color": colour, "fmt": MARKERS[number % len(MARKERS)], "markersize": 4.5, "capsize": 2,
        "linewidth": 1, "zorder": 3,
    }  # fmt: skip
    signal = is_signal(y, error)
    axes.errorbar(x[signal], y[signal], error[signal], label=label, **style)
    style["markerfacecolor"] = "white"
    axes.errorbar(x[~signal], y[~signal], error[~signal], **style)


def _place(axes: Axes, steps: Sequence[Any]) -> np.ndarray:
    """Where each step is drawn; the axis is made to fit."""
    numbers = all(isinstance(step, int | float) for step in steps)
    x = np.array(steps, dtype=float) if numbers else np.arange(len(steps), dtype=float)
    if not numbers:
        axes.set_xticks(x, [plain(step) for step in steps], rotation=30, ha="right")
        return x
    positive = x[x > 0]
    if (x >= 0).all() and positive.size and positive.max() >= 20 * positive.min():
        # Straight up to the first step, so that step 0 has a place, then logarithmic.
        axes.set_xscale("symlog", linthresh=float(positive.min()), linscale=0.5)
    return x
