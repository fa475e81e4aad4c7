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

BLUE, ORANGE, GREY, GREEN = "#2b5c8a", "#d1762a", "#8a8a8a", "#2f8f4e"
"""Of estimates, of those with warnings, of everything that only explains, and of the truth."""

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
    x = place_steps(below, [row.step for row in drawn])
    style: dict[str, Any] = {"marker": "o", "markersize": 4, "linewidth": 1.3}
    above.plot(x, [e.expected_loss for e in found], color=GREY, label="E[L]", **style)
    above.plot(x, [e.anchor_loss for e in found], color=BLUE, label="L(w*)", **style)
    above.set_ylabel("loss")
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
    _estimates(axes, None, found, y=y)
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
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axes = figure.subplots()
    draw_trace(axes, samples, estimate)
    axes.set_title(title, loc="left", fontsize=10)
    return figure


def traces(
    panels: Sequence[tuple[xr.Dataset, LLC | None, str]],
    truth: float | None = None,
    *,
    window: int = 1,
) -> Figure:
    """Traces side by side on one scale: what a good one looks like beside others.

    Args:
        panels: Samples, their estimate or None, and a title each.
        truth: The exact local expectation, where it is known: a green line.
        window: Steps that each point of a trace is the mean of: single draws are noisy.

    Raises:
        GermError: There is nothing to draw.
    """
    if not panels:
        raise GermError("expected at least one run to draw; got none")
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(9, 3.1 * rows), layout="constrained")
    grid = figure.subplots(rows, 2, squeeze=False, sharey=True).ravel()
    limits = []
    for axes, (samples, estimate, title) in zip(grid, panels, strict=False):
        draw_trace(axes, samples, estimate, legend=False, window=window)
        limits.append(axes.get_ylim())
        if truth is not None:
            axes.axhline(truth, color=GREEN, linewidth=1.6, zorder=4)
        axes.set_title(title, loc="left", fontsize=9)
    # Shared, the axis shows the widest, but for runs that leave the page.
    highs, lows = sorted(high for _, high in limits), sorted(low for low, _ in limits)
    middle = max(len(panels) // 2, 1)
    grid[0].set_ylim(min(lows[middle - 1], 0.0), min(highs[-1], 2 * highs[middle]))
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for number, axes in enumerate(grid):
        axes.set_ylabel("nβ (L(w) − L(w*))" if number % 2 == 0 else "")
    return figure


def draw_trace(
    axes: Axes,
    samples: xr.Dataset,
    estimate: LLC | None = None,
    *,
    legend: bool = True,
    window: int = 1,
) -> None:
    """Draw `trace` into given axes.

    Args:
        axes: Where.
        samples: What `germ.sample` or `germ.load` returned.
        estimate: Draws λ̂ ± its standard error as a band.
        legend: Whether to name the chains.
        window: Draws that each point is the mean of.

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
    raw = draws
    before_steps, warmup = _means(np.arange(num_warmup), warmup, window)
    after_steps, draws = _means(steps, draws, window)
    for chain, (before, after, every) in enumerate(zip(warmup, draws, raw, strict=True)):
        colour = CHAIN_COLOURS[chain % len(CHAIN_COLOURS)]
        thin_line: dict[str, Any] = {"color": colour, "linewidth": 0.6, "alpha": 0.35}
        axes.plot(before_steps, before, **thin_line)
        axes.plot(after_steps, after, **thin_line)
        # The first few of a running mean are as noisy as draws.
        mean = (np.cumsum(every) / np.arange(1, len(every) + 1))[window - 1 :]
        axes.plot(steps[window - 1 :], mean, color=colour, linewidth=1.4, label=f"chain {chain}")
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
    if legend and len(draws) <= 8:
        axes.legend(frameon=False, fontsize=8, ncols=4, loc="lower right")
    _plain(axes)


def _means(x: np.ndarray, series: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and means of windows of a series (chain, draw); what is left over at the end goes."""
    if window <= 1:
        return x, series
    num = len(x) // window
    cut = series[:, : num * window].reshape(len(series), num, window)
    return x[: num * window].reshape(num, window).mean(1), cut.mean(2)


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
    """Points with error bars along the axis of λ̂; those with warnings are open and orange.

    λ̂ is drawn upwards over `x`, or to the right beside `y`.
    """
    values = np.array([estimate.value for estimate in found])
    errors = np.array([estimate.standard_error for estimate in found])
    warned = np.array([bool(estimate.warnings) for estimate in found])
    style: dict[str, Any] = {"fmt": "o", "markersize": 5, "capsize": 3, "linewidth": 1.2}
    for suspect, colour, face in ((False, BLUE, BLUE), (True, ORANGE, "white")):
        i = np.flatnonzero(warned == suspect)
        if not i.size:
            continue
        style |= {"color": colour, "markerfacecolor": face, "zorder": 2}
        style["label"] = "with warnings" if suspect else None
        if y is None:
            axes.errorbar(np.asarray(x)[i], values[i], yerr=errors[i], **style)
        else:
            axes.errorbar(values[i], np.asarray(y)[i], xerr=errors[i], **style)
        if suspect:
            axes.legend(frameon=False, fontsize=8)


def place_steps(axes: Axes, steps: Sequence[int | str]) -> np.ndarray:
    """Where to draw each step, and the axis made to fit."""
    if not all(isinstance(step, int) for step in steps):
        axes.set_xticks(range(len(steps)), [str(step) for step in steps], rotation=30, ha="right")
        return np.arange(len(steps))
    x = np.array(steps, dtype=float)
    positive = x[x > 0]
    if not positive.size or positive.max() < 20 * positive.min():
        return x
    # A logarithm has no place for step 0: it goes half a decade before the first step.
    first, last = np.log10(positive.min()), np.log10(positive.max())
    decades = np.arange(np.ceil(first - 0.01), np.floor(last + 0.01) + 1)
    ticks = {place: f"{10**place:,.0f}" for place in decades}
    if (x == 0).any():
        ticks = {first - 0.5: "0", **ticks}
    axes.set_xticks(list(ticks), list(ticks.values()))
    minor = np.add.outer(np.arange(first // 1, last + 1), np.log10(np.arange(2, 10))).ravel()
    axes.set_xticks(minor[(minor >= first) & (minor <= last)], minor=True)
    return np.where(x > 0, np.log10(np.maximum(x, 1e-300)), first - 0.5)


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
