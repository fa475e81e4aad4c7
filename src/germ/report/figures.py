"""Figures: λ̂ over training, the trace of a run, λ̂ side by side.

Each takes what was measured and returns a `matplotlib.figure.Figure`, drawn without pyplot: no
window, no state. `save` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from germ.errors import GermError
from germ.report.tables import plus_minus

if TYPE_CHECKING:
    import xarray as xr

    from germ.estimate.llc import LLC
    from germ.measuring import Measurement

BLUE, ORANGE, GREY = "#2b5c8a", "#d1762a", "#8a8a8a"
"""Of estimates, of those with warnings, and of everything that only explains."""

CHAIN_COLOURS = ("#2b5c8a", "#d1762a", "#4f9a5b", "#a04f8e", "#8a7a2b", "#3f9aa8")

DPI = 150


def trajectory(rows: Sequence[Measurement], title: str = "") -> Figure:
    """L(w*) and E[L] above, λ̂ ± its standard error below, over training steps.

    Steps that are numbers are drawn on a logarithmic axis with 0 in its place; others side by
    side. Models without an estimate are named in a footnote and not drawn.

    Args:
        rows: A measurement per checkpoint, in order of training.
        title: What the figure is of.

    Raises:
        GermError: There is no estimate to draw.
    """
    drawn = [row for row in rows if row.estimate is not None]
    if not drawn:
        raise GermError("expected at least one checkpoint with an estimate; all failed")
    found = [row.estimate for row in drawn if row.estimate is not None]
    figure = Figure(figsize=(7, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    x = _place_steps(below, [row.step for row in drawn])
    style: dict[str, Any] = {"marker": "o", "markersize": 4, "linewidth": 1.3}
    above.plot(x, [e.expected_loss for e in found], color=GREY, label="E[L]", **style)
    above.plot(x, [e.anchor_loss for e in found], color=BLUE, label="L(w*)", **style)
    above.set_ylabel("loss (nats)")
    above.legend(frameon=False)
    below.plot(x, [e.value for e in found], color=BLUE, linewidth=1.3, zorder=1)
    _estimates(below, x, found)
    below.set_ylabel("λ̂  (± 1 standard error)")
    below.set_xlabel(_resolution("training step", found))
    for axes in (above, below):
        _plain(axes)
    if len(drawn) < len(rows):
        missing = ", ".join(str(row.step) for row in rows if row.estimate is None)
        _footnote(figure, f"without an estimate: {missing}")
    above.set_title(title, loc="left", fontsize=10)
    return figure


def dots(rows: Sequence[Measurement], labels: Sequence[str], title: str = "") -> Figure:
    """λ̂ ± its standard error, one line a measurement: domains, restrictions, models.

    Args:
        rows: The measurements.
        labels: A name for each.
        title: What the figure is of.

    Raises:
        GermError: There is no estimate to draw.
    """
    pairs = [(r.estimate, n) for r, n in zip(rows, labels, strict=True) if r.estimate is not None]
    if not pairs:
        raise GermError("expected at least one estimate to draw; all failed")
    found = [estimate for estimate, _ in pairs]
    figure = Figure(figsize=(7, 1.4 + 0.42 * len(pairs)), layout="constrained")
    axes = figure.subplots()
    y = np.arange(len(pairs))[::-1]
    _estimates(axes, [e.value for e in found], found, y=y)
    for place, estimate in zip(y, found, strict=True):
        label = plus_minus(estimate.value, estimate.standard_error)
        axes.annotate(
            label, (estimate.value, float(place)), xytext=(0, 7), textcoords="offset points",
            ha="center", fontsize=8, color=GREY,
        )  # fmt: skip
    axes.set_yticks(y, [name for _, name in pairs])
    axes.set_ylim(-0.6, len(pairs) - 0.3)
    axes.margins(x=0.12)
    axes.set_xlabel(_resolution("λ̂  (± 1 standard error)", found))
    _plain(axes)
    axes.set_title(title, loc="left", fontsize=10)
    return figure


def trace(samples: xr.Dataset, estimate: LLC | None = None, title: str = "") -> Figure:
    """nβ·(L(w) − L(w*)) of each chain and its running mean over the draws, warmup shaded.

    Args:
        samples: What `germ.sample` or `germ.load` returned.
        estimate: Draws λ̂ ± its standard error as a band.
        title: What the figure is of.

    Raises:
        GermError: The samples hold no draws.
    """
    if "loss_difference" not in samples or not samples.sizes.get("draw"):
        raise GermError("expected samples with draws; the run holds none yet")
    nbeta, thin = float(samples.attrs["nbeta"]), int(samples.attrs["thin"])
    draws = nbeta * np.asarray(samples["loss_difference"].values, dtype=float)
    warmup = np.empty((len(draws), 0))
    if "warmup_loss_difference" in samples:
        warmup = nbeta * np.asarray(samples["warmup_loss_difference"].values, dtype=float)
    num_warmup = warmup.shape[1]
    steps = num_warmup + thin * np.arange(draws.shape[1])
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axes = figure.subplots()
    for chain, (before, after) in enumerate(zip(warmup, draws, strict=True)):
        colour = CHAIN_COLOURS[chain % len(CHAIN_COLOURS)]
        axes.plot(np.arange(num_warmup), before, color=colour, linewidth=0.6, alpha=0.35)
        axes.plot(steps, after, color=colour, linewidth=0.6, alpha=0.35)
        mean = np.cumsum(after) / np.arange(1, len(after) + 1)
        axes.plot(steps, mean, color=colour, linewidth=1.4, label=f"chain {chain}")
    if num_warmup:
        axes.axvspan(0, num_warmup, color="0.93", zorder=0)
        axes.annotate(
            "warmup", (num_warmup / 2, 0.98), xycoords=("data", "axes fraction"),
            ha="center", va="top", fontsize=8, color=GREY,
        )  # fmt: skip
    if estimate is not None:
        low, high = (estimate.value + sign * estimate.standard_error for sign in (-1, 1))
        axes.axhspan(low, high, color="black", alpha=0.12, zorder=0)
        axes.axhline(estimate.value, color="black", linewidth=0.8, linestyle="--", zorder=1)
    if draws.size:
        # Single draws may be wild where a chain failed: the axis shows the bulk of them.
        shown = np.concatenate([warmup.ravel(), draws.ravel()])
        shown = shown[np.isfinite(shown)]
        if shown.size:
            low, high = np.quantile(shown, [0.002, 0.998])
            room = 0.08 * max(high - low, 1e-12)
            axes.set_ylim(low - room, high + 2 * room)
    axes.set_xlim(0, max(int(steps[-1]), 1))
    axes.set_xlabel("step")
    axes.set_ylabel("nβ (L(w) − L(w*))")
    if len(draws) <= 8:
        axes.legend(frameon=False, fontsize=8, ncols=4, loc="lower right")
    _plain(axes)
    axes.set_title(title, loc="left", fontsize=10)
    return figure


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure to a file, whose suffix says the format (.png, .svg, .pdf).

    Raises:
        GermError: It cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DPI)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise GermError(f"cannot write the figure {path}: {reason}; give another path") from error
    return path


def _estimates(axes: Axes, x: Any, found: Sequence[LLC], y: Any = None) -> None:
    """Points with error bars along the axis of λ̂; those with warnings are open and orange."""
    for suspect, colour, face in ((False, BLUE, BLUE), (True, ORANGE, "white")):
        chosen = [i for i, e in enumerate(found) if bool(e.warnings) == suspect]
        if not chosen:
            continue
        errors = [found[i].standard_error for i in chosen]
        values = [found[i].value for i in chosen]
        along = [np.asarray(x, dtype=float)[i] for i in chosen]
        places = {"x": along, "y": values, "yerr": errors}
        if y is not None:
            places = {"x": values, "y": [float(y[i]) for i in chosen], "xerr": errors}
        axes.errorbar(
            **places, fmt="o", color=colour, markerfacecolor=face, markersize=5, capsize=3,
            linewidth=1.2, zorder=2, label="with warnings" if suspect else None,
        )  # fmt: skip
        if suspect:
            axes.legend(frameon=False, fontsize=8)


def _place_steps(axes: Axes, steps: Sequence[int | str]) -> np.ndarray:
    """Where to draw each step, and the axis made to fit."""
    if not all(isinstance(step, int) for step in steps):
        axes.set_xticks(range(len(steps)), [str(step) for step in steps], rotation=30, ha="right")
        return np.arange(len(steps))
    x = np.array(steps)
    positive = x[x > 0]
    if positive.size and positive.max() > 20 * positive.min():
        # Linear up to the first step after 0, so that 0 has a place a decade before it.
        axes.set_xscale("symlog", linthresh=float(positive.min()))
        axes.set_xlim(left=0 if (x == 0).any() else float(positive.min()) * 0.8)
        if (x == 0).any():
            axes.set_xlim(left=-0.15 * float(positive.min()))
    return x


def _resolution(label: str, found: Sequence[LLC]) -> str:
    """A label that says at which nβ and γ: values compare at equal resolution only."""
    said = {(f"{e.nbeta:.4g}", f"{e.localization:.4g}") for e in found}
    if len(said) > 1:
        return label
    nbeta, localization = said.pop()
    return f"{label}     [nβ = {nbeta}, γ = {localization}]"


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def _footnote(figure: Figure, text: str) -> None:
    figure.supxlabel(text, fontsize=8, color=GREY, x=0.01, ha="left")
