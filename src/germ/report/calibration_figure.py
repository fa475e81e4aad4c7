"""The sweep of step size and nβ: λ̂ and the thermometer in every cell, the chosen one framed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from germ.errors import GermError

if TYPE_CHECKING:
    from germ.step_sweep import Cell

FAILED = "#dddddd"
"""Of cells without a number."""

WIDEST = 0.1
"""A virial or temperature this far from 1 has the darkest colour."""


def calibration(cells: Sequence[Cell], title: str = "") -> Figure:
    """λ̂ on the left, the thermometer on the right: ε upwards, nβ to the right, a row for each γ.

    λ̂ is coloured by its distance from the column's own cell at the chosen ε, in per cent; the
    thermometer is the kinetic temperature, or else the virial. Both should be white where the
    choice is good, and for some steps below and above it: that is the plateau people look for.

    Args:
        cells: What `germ.step_sweep.sweep` returned.
        title: What the figure is of.

    Raises:
        GermError: There are no cells.
    """
    if not cells:
        raise GermError("expected at least one cell to draw; got none")
    gammas = list(dict.fromkeys(cell.localization for cell in cells))
    columns = len({cell.nbeta for cell in cells})
    rows = max(sum(c.nbeta == cells[0].nbeta for c in cells) // len(gammas), 1)
    figure = Figure(
        figsize=(2.2 + 2.0 * max(columns, 2), (0.9 + 0.5 * rows) * len(gammas) + 0.6),
        layout="constrained",
    )
    grid = figure.subplots(len(gammas), 2, squeeze=False)
    warm = any(math.isfinite(cell.temperature) for cell in cells)
    name = "temperature" if warm else "virial"
    for (left, right), gamma in zip(grid, gammas, strict=True):
        mine = [cell for cell in cells if cell.localization == gamma]
        _panel(
            left,
            mine,
            lambda c: c.value,
            _relative,
            Normalize(-25, 25),
            "{:.3g}".format,
            "λ̂        (colour: −25% … +25% from the chosen ε)",
        )
        _panel(
            right, mine, lambda c: getattr(c, name), lambda values, _: values,
            TwoSlopeNorm(1, 1 - WIDEST, 1 + WIDEST), "{:.3f}".format,
            f"{name}: 1 in equilibrium        (colour: {1 - WIDEST:g} … {1 + WIDEST:g})",
        )  # fmt: skip
        left.set_ylabel(f"ε / chosen ε      (γ = {gamma:g})")
    for axes in grid[-1]:
        axes.set_xlabel("nβ   (chosen ε)")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def _relative(values: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Per cent from the column's value in the row of the chosen step."""
    return 100 * (values / middle - 1)


def _panel(
    axes: Axes,
    cells: Sequence[Cell],
    value: Callable[[Cell], float],
    shade: Callable[[np.ndarray, np.ndarray], np.ndarray],
    scale: Normalize,
    form: Callable[[float], str],
    title: str,
) -> None:
    nbetas = list(dict.fromkeys(cell.nbeta for cell in cells))
    columns = [
        sorted((c for c in cells if c.nbeta == b), key=lambda c: c.step_size) for b in nbetas
    ]
    own = [next(i for i, c in enumerate(column) if c.factor == 1.0) for column in columns]
    table = np.array([[value(cell) for cell in column] for column in columns], dtype=float).T
    middle = np.array([table[i, j] for j, i in enumerate(own)])
    colours = np.ma.masked_invalid(shade(table, middle))
    axes.set_facecolor(FAILED)
    axes.pcolormesh(colours, cmap="RdBu_r", norm=scale, edgecolors="white", linewidth=1.0)
    for j, column in enumerate(columns):
        for i, cell in enumerate(column):
            number = table[i, j]
            text = form(number) if math.isfinite(number) else cell.status.split()[-1].lower()
            shaded = scale(float(colours[i, j])) if math.isfinite(number) else 0.5
            dark = abs(float(shaded) - 0.5) > 0.35
            axes.text(
                j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=8,
                color="white" if dark else "black",
            )  # fmt: skip
            if cell.chosen:
                axes.add_patch(Rectangle((j, i), 1, 1, fill=False, linewidth=2.2, zorder=3))
    labels = [f"{b:.4g}\n({column[k].step_size:.3g})"
              for b, column, k in zip(nbetas, columns, own, strict=True)]  # fmt: skip
    axes.set_xticks(np.arange(len(nbetas)) + 0.5, labels, fontsize=8)
    factors = [f"{cell.factor:.3g}" for cell in columns[0]]
    axes.set_yticks(np.arange(len(factors)) + 0.5, factors, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, loc="left", fontsize=9)
