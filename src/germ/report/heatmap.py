"""Component × probe: the mean susceptibility of each, with what may be noise hatched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from germ.errors import GermError
from germ.report.digits import signed
from germ.report.figure_text import plain
from germ.report.token_colours import DIVERGING, INK
from germ.report.token_view import is_signal

MOST_ROWS = 64
"""Components that a figure has room for."""

MOST_COLUMNS = 24
"""Probes that it has room for."""

_ROW, _COLUMN = 0.25, 0.95


def heatmap(
    chi: np.ndarray,
    error: np.ndarray,
    components: Sequence[str],
    probes: Sequence[str],
    spread: np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """χ of each component (rows) on each probe (columns), the number in its cell.

    Two panels where `spread` is given: χ itself on one scale, and χ in units of the component's
    own spread over tokens, in which components compare. Cells within two standard errors of zero
    are hatched and keep no colour. Colours are darker the larger |χ|, whatever its sign; the sign
    is printed.

    Args:
        chi: (component, probe), in nats².
        error: Standard errors, the same shape.
        components: Names of rows.
        probes: Names of columns.
        spread: (component,), the standard deviation of χ over tokens.
        title: What the figure is of.

    Raises:
        GermError: There is nothing to draw, or more than `MOST_ROWS` or `MOST_COLUMNS`.
    """
    if not chi.size:
        raise GermError("expected at least one component and one probe to draw; got none")
    if len(components) > MOST_ROWS or len(probes) > MOST_COLUMNS:
        raise GermError(
            f"expected at most {MOST_ROWS} components and {MOST_COLUMNS} probes to draw, got "
            f"{len(components)} and {len(probes)}; choose some of them"
        )
    panels = 1 if spread is None else 2
    labels = [plain(name) for name in components]
    heads = [plain(name) for name in probes]
    left = 0.4 + 0.085 * max(map(len, labels))
    top = 0.9 + 0.05 * max(map(len, heads))
    size = (left + panels * (0.3 + _COLUMN * len(probes)), top + _ROW * len(components))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False, sharey=True)[0]
    signal = is_signal(chi, error)
    _panel(axes[0], chi, signal, "χ, nats²  (one scale)")
    if spread is not None:
        unit = np.where(spread > 0, spread, 1.0)[:, None]
        _panel(axes[1], chi / unit, signal, "χ / spread over the component's tokens")
    for panel in axes:
        rotated = {"rotation": 30, "ha": "right"} if max(map(len, heads)) > 11 else {}
        panel.set_xticks(np.arange(len(probes)) + 0.5, heads, fontsize=8, **rotated)
    axes[0].set_yticks(np.arange(len(components)) + 0.5, labels, fontsize=8)
    axes[0].set_ylim(len(components), 0)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def _panel(axes: Axes, values: np.ndarray, signal: np.ndarray, title: str) -> None:
    largest = float(np.abs(values).max()) or 1.0
    scale = Normalize(-largest, largest)
    axes.pcolormesh(
        np.where(signal, values, 0.0), cmap=DIVERGING, norm=scale, edgecolors="white", linewidth=1
    )
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            if not signal[i, j]:
                axes.add_patch(
                    Rectangle((j, i), 1, 1, fill=False, hatch="////", edgecolor="#d0d0d0", lw=0)
                )
            number = axes.text(
                j + 0.5, i + 0.52, signed(float(value)), ha="center", va="center", fontsize=7.5,
                color=INK if signal[i, j] else "#5a5a5a",
            )  # fmt: skip
            # Inside its cell anyway: measuring it for the layout takes half of the time.
            number.set_in_layout(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, loc="left", fontsize=9)
