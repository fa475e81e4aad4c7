"""What the sections of the toy-posteriors page share: their form, and the look of their figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from germ.report.figures import BLUE, GREY, ORANGE

__all__ = ["BLUE", "GREY", "ORANGE", "Effort", "Section", "plain", "share", "table"]


@dataclass(frozen=True)
class Effort:
    """How much Monte Carlo the volumes get.

    Attributes:
        num_points: Points of a replica.
        num_replicas: Replicas.
        smallest: The t down to which volumes are followed.
    """

    num_points: int = 300
    num_replicas: int = 16
    smallest: float = 1e-16


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        name: Of its figure and of its data.
        text: Markdown, which shows the figure.
        figure: The figure.
        data: What the figure is drawn from, and the numbers of the text.
    """

    name: str
    text: str
    figure: Figure
    data: dict[str, Any]


def plain(axes: Axes, title: str = "") -> None:
    """No box, a faint grid, the title at the left."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    if title:
        axes.set_title(title, loc="left", fontsize=10)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def share(value: float) -> str:
    """A probability as a percentage that says how near it is to 0 or 1.

    Example:
        >>> share(0.0172), share(0.5), share(0.99991)
        ('1.7%', '50%', '99.991%')
    """
    distance = min(value, 1 - value)
    if distance <= 0:
        return "0%" if value < 0.5 else "100%"
    digits = max(0, int(np.floor(-np.log10(distance))) - 1) if distance < 0.1 else 0
    return f"{100 * value:.{digits + (distance < 0.1 and value < 0.5 and digits == 0)}f}%"
