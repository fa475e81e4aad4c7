"""The figure of a profile: λ̂ against nβ above, how many nats above w* the chains were below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from germ.errors import GermError
from germ.report.figures import BLUE, CHAIN_COLOURS, GREY

if TYPE_CHECKING:
    from germ.estimate.profile import Profile, Reading, Rung


def profile_figure(profile: Profile, title: str = "") -> Figure:
    """λ̂(nβ) of each γ with its plateau and λ; below, E[L] and L(w*) over the same nβ.

    Rungs that take no part are open. A grey band is a plateau, a dashed line with a band λ with its
    interval. A dotted line of slope 1 is λ̂ of an E[L] that does not change.

    Args:
        profile: What `germ.profile` returned.
        title: What the figure is of.

    Raises:
        GermError: There is no rung with an estimate.
    """
    if not any(rung.estimate is not None for rung in profile.rungs):
        raise GermError("expected at least one rung with an estimate; all failed")
    figure = Figure(figsize=(7, 6.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    several = len(profile.readings) > 1
    for reading, colour in zip(profile.readings, _colours(len(profile.readings)), strict=True):
        rungs = [r for r in profile.at(reading.localization) if r.estimate is not None and r.nbeta]
        label = f"γ = {reading.localization:g}"
        _curve(above, rungs, colour, label if several else None)
        _verdict(above, reading, colour, shaded=not several)
        _losses(below, rungs, colour, label if several else None)
    above.set_ylabel("λ̂  (± its error)")
    below.set_ylabel("loss")
    below.set_xlabel("nβ" if several else f"nβ     [γ = {profile.readings[0].localization:g}]")
    above.set_xscale("log")
    _scale(above, profile)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.legend(frameon=False, fontsize=8, loc="best")
    above.set_title(title, loc="left", fontsize=10)
    return figure


def profiles_figure(named: Sequence[tuple[str, Profile]], title: str = "") -> Figure:
    """Several profiles at one γ: λ̂, ΔL and E[L] against nβ, side by side.

    Args:
        named: Names and profiles, such as those of checkpoints.
        title: What the figure is of.

    Raises:
        GermError: Nothing to draw.
    """
    if not named:
        raise GermError("expected at least one profile; got none")
    figure = Figure(figsize=(10.5, 3.9), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for (name, profile), colour in zip(named, _colours(len(named)), strict=True):
        gamma = profile.readings[0].localization
        rungs = [r for r in profile.at(gamma) if r.estimate is not None and r.nbeta]
        positive = [r for r in rungs if r.estimate is not None and r.estimate.value > 0]
        _curve(left, positive, colour, name)
        _curve(middle, positive, colour, None, per_nbeta=True)
        _losses(right, rungs, colour, None)
    for axes, label in (
        (left, "λ̂"),
        (middle, "ΔL = E[L] − L(w*)"),
        (right, "E[L];  dotted: L(w*)"),
    ):
        axes.set_xscale("log")
        axes.set_xlabel("nβ")
        axes.set_title(label, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.6)
    left.set_yscale("log")
    middle.set_yscale("log")
    left.legend(frameon=False, fontsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def _colours(num: int) -> list[str]:
    return [CHAIN_COLOURS[i % len(CHAIN_COLOURS)] for i in range(num)]


def _curve(
    axes: Axes, rungs: Sequence[Rung], colour: str, label: str | None, *, per_nbeta: bool = False
) -> None:
    """λ̂ (or λ̂/nβ, which is ΔL) with its error; open where a rung takes no part."""
    x = np.array([rung.nbeta for rung in rungs])
    unit = x if per_nbeta else np.ones_like(x)
    y = np.array([_value(rung) for rung in rungs]) / unit
    error = np.array([rung.error for rung in rungs]) / unit
    used = np.array([not rung.excluded for rung in rungs], dtype=bool)
    axes.plot(x, y, color=colour, linewidth=1.1, alpha=0.6, zorder=1)
    style: dict[str, Any] = {"fmt": "o", "markersize": 4.5, "capsize": 3, "linewidth": 1.2}
    for mask, face, name in ((used, colour, label), (~used, "white", None)):
        if mask.any():
            axes.errorbar(
                x[mask], y[mask], yerr=error[mask], color=colour, markerfacecolor=face, zorder=2,
                label=name, **style,
            )  # fmt: skip


def _verdict(axes: Axes, reading: Reading, colour: str, *, shaded: bool) -> None:
    where, found = reading.plateau, reading.extrapolation
    if where.found and shaded:
        axes.axvspan(where.first, where.last, color="0.93", zorder=0, label="plateau")
    if found is not None:
        axes.axhline(found.value, color=colour, linestyle="--", linewidth=1, label=str(found))
        axes.axhspan(*found.interval, color=colour, alpha=0.12, zorder=0)


def _losses(axes: Axes, rungs: Sequence[Rung], colour: str, label: str | None) -> None:
    x = [rung.nbeta for rung in rungs]
    found = [rung.estimate for rung in rungs if rung.estimate is not None]
    only = label is None and colour == BLUE
    axes.plot(
        x, [e.expected_loss for e in found], "o-", color=colour, markersize=4, linewidth=1.2,
        label=label or ("E[L]" if only else None),
    )  # fmt: skip
    if found:
        axes.axhline(
            found[0].anchor_loss, color=colour, linestyle=":", linewidth=1.2,
            label="L(w*)" if only else None,
        )  # fmt: skip


def _scale(axes: Axes, profile: Profile) -> None:
    """Logarithmic where λ̂ spans more than a decade, with a guide that says what that means."""
    used = [rung for rung in profile.rungs if not rung.excluded] or list(profile.rungs)
    points = [(r.nbeta, _value(r)) for r in used if r.nbeta and r.estimate is not None]
    values = [value for _, value in points]
    low, high = min(values), max(values)
    if low <= 0 or high < 8 * low:
        room = 0.15 * max(high - low, 0.15 * abs(high), 1e-9)
        axes.set_ylim(min(low, 0) if low <= 0 else max(low - 4 * room, 0), high + 2 * room)
        return
    axes.set_yscale("log")
    nbetas = np.array([nbeta for nbeta, _ in points])
    middle = math.sqrt(low * high)
    guide = middle * nbetas / math.exp(float(np.log(nbetas).mean()))
    axes.plot(
        nbetas, guide, color=GREY, linestyle=":", linewidth=1.2, zorder=0,
        label="λ̂ ∝ nβ: E[L] does not change",
    )  # fmt: skip


def _value(rung: Rung) -> float:
    return math.nan if rung.estimate is None else rung.estimate.value
