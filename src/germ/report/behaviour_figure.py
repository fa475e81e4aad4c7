"""The figure of `germ behaviour`: a panel a measure, over the checkpoints of a training run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from germ.development.scores import MODEL
from germ.errors import GermError
from germ.report.figure_text import plain
from germ.report.figures import BLUE, GREY, place_steps

if TYPE_CHECKING:
    from germ.development.behaving import Behaviour, Row

COLUMNS = 3


def behaviour_figure(found: Behaviour, title: str = "") -> Figure:
    """Every measure over training: of the model with its standard error, of heads a line each.

    Heads of a layer have one colour. A dotted line is what chance would give. What is the same at
    every checkpoint is of the data (entropies, coverages) and is not drawn.

    Args:
        found: What `germ.development.behaving.behaviour` measured at several checkpoints.
        title: What the figure is of.

    Raises:
        GermError: There is but one checkpoint.
    """
    steps = list(dict.fromkeys(row.step for row in found.rows))
    if len(steps) < 2:
        raise GermError(f"expected at least two checkpoints to draw curves, got {len(steps)}")
    seen: dict[str, dict[str, set[float]]] = {}
    for row in found.rows:
        own = seen.setdefault(row.score.measure, {})
        own.setdefault(row.score.component, set()).add(row.score.value)
    kinds = [kind for kind, own in seen.items() if any(len(each) > 1 for each in own.values())]
    if not kinds:
        raise GermError("expected a measure that changes over checkpoints; none does")
    columns = min(COLUMNS, len(kinds))
    rows = -(-len(kinds) // columns)
    figure = Figure(figsize=(0.6 + 3.3 * columns, 0.5 + 2.4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    x = dict(zip(steps, place_steps(grid[0], steps), strict=True))
    for axes, kind in zip(grid, kinds, strict=False):
        _panel(axes, x, [row for row in found.rows if row.score.measure == kind])
        axes.set_title(plain(kind), loc="left", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
    for axes in grid[len(kinds) :]:
        axes.set_visible(False)
    for axes in grid[max(len(kinds) - columns, 0) : len(kinds)]:
        axes.set_xlabel("training step")
        axes.tick_params(labelbottom=True)
    figure.suptitle(title, x=0.01, ha="left", fontsize=9, color=GREY)
    return figure


def _panel(axes: Axes, x: dict[int | str, float], rows: list[Row]) -> None:
    names = list(dict.fromkeys(row.score.component for row in rows))
    layers = list(dict.fromkeys(_layer(name) for name in names))
    shades = mpl.colormaps["viridis"](np.linspace(0.1, 0.85, len(layers)))
    for name in names:
        own = [row for row in rows if row.score.component == name]
        place = layers.index(_layer(name))
        alone = name == MODEL
        axes.errorbar(
            [x[row.step] for row in own],
            [row.score.value for row in own],
            yerr=[row.score.standard_error for row in own],
            fmt="o-" if alone else "-", markersize=3, linewidth=1.3 if alone else 0.8,
            color=BLUE if alone else shades[place], capsize=2 if alone else 0,
        )  # fmt: skip
    if names != [MODEL]:
        for layer, shade in zip(layers, shades, strict=True):
            axes.plot([], [], color=shade, label=plain(layer))
        axes.legend(frameon=False, fontsize=7)
    for value in {row.score.chance for row in rows if row.score.chance is not None}:
        axes.axhline(value, color=GREY, linestyle=":", linewidth=1)


def _layer(name: str) -> str:
    return name.rpartition(".head")[0] or name
