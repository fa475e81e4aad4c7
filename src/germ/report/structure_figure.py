"""Figures of the structure of susceptibilities: principal components, and maps of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from germ.errors import GermError
from germ.report.figures import BLUE, CHAIN_COLOURS, GREY, ORANGE

if TYPE_CHECKING:
    from germ.estimate.structure import PCA

MARKERS = "os^Dv*XP"
"""Beside colour, so that groups are told apart without it."""

MAX_POINTS = 4000
"""Tokens drawn in a map; a sample of more looks the same."""

MAX_NAMES = 40
"""Components whose names are written beside their loadings."""


def pca_figure(found: PCA, groups: np.ndarray, title: str = "") -> Figure:
    """Explained variance against noise, loadings of components, scores of tokens.

    Args:
        found: The principal components; of several checkpoints, the last is drawn.
        groups: A name for each token, such as its probe.
        title: What the figure is of.
    """
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    scree, loadings, scores = figure.subplots(1, 3)
    _scree(scree, found)
    _loadings(loadings, found)
    points = found.scores.values[:2]
    points = points if points.ndim == 2 else points[:, -1]
    if len(points) == 1:
        points = np.concatenate([points, np.zeros_like(points)])
    _map(scores, points.T, groups)
    scores.set_xlabel("PC 1")
    scores.set_ylabel("PC 2")
    scores.set_title("scores of tokens", loc="left", fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def map_figure(points: np.ndarray, groups: np.ndarray, title: str = "") -> Figure:
    """Tokens in two dimensions, marked by group.

    Args:
        points: Shape (token, 2).
        groups: A name for each token.
        title: What the figure is of.

    Raises:
        GermError: Points and groups do not belong together.
    """
    if points.shape != (len(groups), 2):
        raise GermError(f"expected points (token, 2) of {len(groups)} tokens; got {points.shape}")
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    _map(axes, points, groups)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, loc="left", fontsize=10)
    return figure


def _scree(axes: Axes, found: PCA) -> None:
    shares, pcs = 100 * found.explained.values, found.explained["pc"].values
    above = pcs <= found.num_significant
    axes.bar(pcs[above], shares[above], color=BLUE, label="above the noise")
    axes.bar(
        pcs[~above], shares[~above], color="white", edgecolor=GREY, hatch="///", label="not above"
    )
    if found.noise_limit > 0:
        axes.axhline(100 * found.noise_limit, color=ORANGE, linestyle="--", label="noise alone")
    axes.set_yscale("log")
    axes.set_ylim(bottom=max(shares[shares > 0].min() / 3, 1e-4))
    axes.set_xlabel("principal component")
    axes.set_ylabel("% of the variance")
    axes.legend(frameon=False, fontsize=8)
    _plain(axes)


def _loadings(axes: Axes, found: PCA) -> None:
    values = found.loadings.values[:2]
    names = [str(name) for name in found.loadings["component"].values]
    y = values[1] if len(values) > 1 else np.zeros(len(names))
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.axvline(0, color=GREY, linewidth=0.6)
    axes.plot(values[0], y, "o", color=BLUE, markersize=4)
    for name, at in zip(names[:MAX_NAMES], zip(values[0], y, strict=True), strict=False):
        short = name.replace("layers.", "").replace(".head.", ":")
        axes.annotate(short, at, xytext=(3, 3), textcoords="offset points", fontsize=7)
    axes.set_xlabel("PC 1")
    axes.set_ylabel("PC 2")
    axes.set_title("loadings of components", loc="left", fontsize=9)
    _plain(axes)


def _map(axes: Axes, points: np.ndarray, groups: np.ndarray) -> None:
    if len(points) > MAX_POINTS:
        chosen = np.random.default_rng(0).choice(len(points), MAX_POINTS, replace=False)
        points, groups = points[chosen], groups[chosen]
    names = sorted(set(groups.tolist()))
    for i, name in enumerate(names):
        here = points[groups == name]
        alone = name in ("-1", "none")
        axes.plot(
            here[:, 0], here[:, 1], "." if alone else MARKERS[i % len(MARKERS)],
            color="0.8" if alone else CHAIN_COLOURS[i % len(CHAIN_COLOURS)],
            markersize=3, alpha=0.6, linestyle="none", label=name, zorder=0 if alone else 1,
        )  # fmt: skip
    if len(names) <= len(MARKERS):
        axes.legend(frameon=False, fontsize=8, markerscale=2)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
