"""The figures of `germ experiment modular-addition`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from germ.experiments import modular_findings as findings
from germ.experiments.modular_findings import Row
from germ.experiments.toy_section import BLUE, GREY, ORANGE, plain
from germ.report.figures import CHAIN_COLOURS

COLOURS = {"addition": BLUE, "random": ORANGE}
NAMES = {"addition": "addition", "random": "random labels"}


def sweep(found: Sequence[Row], published: dict[int, dict[float, float]]) -> Figure:
    """λ̂ and E[L] over the multiplier, beside the published λ̂."""
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, p in enumerate(sorted({each["modulus"] for each in found})):
        colour = CHAIN_COLOURS[i % len(CHAIN_COLOURS)]
        mine = [each for each in found if each["modulus"] == p]
        x = [each["multiplier"] for each in mine]
        _with_bars(left, x, [each["value"] for each in mine], colour, f"p = {p}, here")
        told = published.get(p, {})
        left.plot(list(told), list(told.values()), "x--", color=colour, label=f"p = {p}, published")
        free = [each["free"].value for each in mine]
        left.plot(x, free, ":", color=colour, label=f"p = {p}, here, all directions")
        for name, marker in (("germ", "s"), ("germ_free", "D")):
            values = [each[name].value for each in mine]
            if np.isfinite(values).any():
                said = "germ" + ("" if name == "germ" else ", all directions")
                left.plot(
                    x, values, marker, color=colour, fillstyle="none", markersize=8,
                    label=f"p = {p}, {said}",
                )  # fmt: skip
        _with_bars(right, x, [each["sampled"] for each in mine], colour, f"p = {p}")
        right.axhline(math.log(p), color=colour, linestyle=":", linewidth=1)
    left.set_yscale("log")
    right.set_yscale("log")
    left.set_ylabel("λ̂")
    right.set_ylabel("E[L], nats; dotted: guessing")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xlabel("multiplier of n in nβ = ñ/log ñ")
        _legend(axes)
    plain(left, "Temperature sweep")
    plain(right, "What a draw costs")
    return figure


def _with_bars(axes: Axes, x: Sequence[float], means: Sequence, colour: str, label: str) -> None:
    values = np.array([each.value for each in means])
    ends = np.array([[each.low, each.high] for each in means]).T
    bars = np.nan_to_num(np.abs(ends - values))
    axes.errorbar(x, values, yerr=bars, fmt="o-", color=colour, capsize=3, label=label)


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)


def growth(found: dict[str, dict[str, Row]]) -> Figure:
    """λ̂ over p, one point a network, for each estimate."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 3), findings.ESTIMATES, strict=True):
        for operation, each in found.items():
            points = each[kind]["points"]
            if not points:
                continue
            p, values = np.array(points, dtype=float).T
            fit = each[kind]["exponent"]
            label = NAMES[operation] + (f": p^{fit['value']:.2f}" if fit else "")
            axes.plot(p, values, "o", color=COLOURS[operation], alpha=0.6, label=label)
            if fit:
                line = np.geomspace(p.min(), p.max(), 50)
                middle = np.exp(np.mean(np.log(values) - fit["value"] * np.log(p)))
                axes.plot(line, middle * line ** fit["value"], color=COLOURS[operation])
        axes.set_xscale("log")
        axes.set_yscale("log")
        ticks = sorted({int(p) for each in found.values() for p, _ in each[kind]["points"]})
        axes.set_xticks(ticks, [str(p) for p in ticks])
        axes.minorticks_off()
        axes.set_xlabel("p")
        _legend(axes)
        plain(axes, f"λ̂, {findings.ESTIMATES[kind]}")
    return figure


def memory(rows: Sequence[Row]) -> Figure:
    """λ̂ over train loss, one point a network, for each estimate."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 3), findings.ESTIMATES, strict=True):
        for operation in ("addition", "random"):
            for good, marker in ((True, "o"), (False, "x")):
                points = [
                    (network["train_loss"], findings.value_of(network, kind))
                    for row in rows
                    for network in row["networks"]
                    if network["operation"] == operation
                    and findings.learned(network, operation) == good
                ]
                if not points:
                    continue
                missing = "not generalising" if operation == "addition" else "not fitted"
                label = NAMES[operation] + ("" if good else f", {missing}")
                axes.plot(
                    *zip(*points, strict=True), marker, color=COLOURS[operation], alpha=0.7,
                    label=label,
                )  # fmt: skip
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("train loss, nats")
        _legend(axes)
        plain(axes, f"λ̂, {findings.ESTIMATES[kind]}")
    return figure


def grokking(rows: Sequence[Row]) -> Figure:
    """Losses and λ̂ over steps, one colour a network."""
    figure = Figure(figsize=(9, 8.5), layout="constrained")
    panels = figure.subplots(3, 1, sharex=True)
    for i, row in enumerate(rows):
        colour = CHAIN_COLOURS[i % len(CHAIN_COLOURS)]
        records = row["records"]
        steps = [r["step"] for r in records]
        panels[0].plot(steps, [r["train_loss"] for r in records], color=colour, linewidth=1.2)
        panels[0].plot(steps, [r["test_loss"] for r in records], "--", color=colour, linewidth=1)
        for axes, kind in zip(panels[1:], ("notebook", "own"), strict=True):
            good = [r for r in records if r[kind] is not None and r[kind]["value"] is not None]
            axes.plot(
                [r["step"] for r in good], [r[kind]["value"] for r in good], "o-", color=colour,
                markersize=3, linewidth=1,
            )  # fmt: skip
        after = [r["step"] for r in records if r["test_accuracy"] >= findings.GENERALISES]
        for axes in panels[: 3 if after else 0]:
            axes.axvline(after[0], color=colour, linestyle=":", linewidth=1)
    panels[0].set_yscale("log")
    panels[0].set_ylabel("loss, nats")
    panels[1].set_ylabel("λ̂, nβ = 2")
    panels[2].set_ylabel("λ̂, ×10")
    panels[2].set_xlabel("training step")
    plain(panels[0], "Train loss (solid) and test loss (dashed); dotted: where it generalises")
    plain(panels[1], "λ̂ with the notebook's settings")
    plain(panels[2], "λ̂ by germ")
    panels[2].axhline(0, color=GREY, linewidth=0.8)
    return figure
