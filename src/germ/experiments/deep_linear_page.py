"""The page of `germ experiment dln`: two figures, a table, and what differs from the paper."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from scipy.stats import spearmanr

from germ.experiments.rank_reduced import SizeClass
from germ.report.figures import BLUE, GREY, ORANGE
from germ.report.page import Page

Row = dict[str, Any]

PUBLISHED, AUTO = "published SGLD", "germ auto"
STYLES: dict[str, dict[str, Any]] = {
    AUTO: {"color": BLUE, "marker": "o"},
    PUBLISHED: {"color": ORANGE, "marker": "^"},
}


def page_of(rows: Sequence[Row], classes: Sequence[SizeClass], seed: int) -> Page:
    """The page of these networks.

    Args:
        rows: What `deep_linear_networks.measure` found, one a network.
        classes: The classes they are of.
        seed: The first network's.
    """
    figures = {"scatter": scatter(rows), "errors": errors(rows)}
    return Page(
        "Deep linear networks: λ̂ against λ",
        "\n".join(_text(rows, classes, seed)),
        figures,
        {"rows": list(rows), "summary": {size.name: summary(rows, size.name) for size in classes}},
    )


def truth(row: Row) -> float:
    """λ at the weights where it is decided, else of the most singular point over their product."""
    return float((row["local"] or row["least"])["lambda_float"])


def summary(rows: Sequence[Row], name: str) -> dict[str, Any]:
    """Of one class: by estimator, relative errors and order preservation; how local λ differs."""
    mine = [row for row in rows if row["class"] == name]
    decided = [row for row in mine if row["local"]]
    found: dict[str, Any] = {
        "networks": len(mine),
        "decided": len(decided),
        "local_above_least": sum(_differs(row) for row in decided),
    }
    for estimator in (PUBLISHED, AUTO):
        good = [row for row in mine if row["estimates"][estimator]["value"] is not None]
        values = np.array([row["estimates"][estimator]["value"] for row in good])
        local = np.array([truth(row) for row in good])
        least = np.array([row["least"]["lambda_float"] for row in good])
        expected = np.array([row["expected"] for row in good])
        some = len(good) > 0
        found[estimator] = {
            "estimates": len(good),
            "failed": len(mine) - len(good),
            "gradients": float(
                np.mean([row["estimates"][estimator].get("num_gradients", 0) for row in mine])
            )
            if mine
            else None,
            "warned": sum(bool(r["estimates"][estimator].get("warnings")) for r in good),
            "median_error": float(np.median((local - values) / local)) if some else None,
            "median_absolute_error": float(np.median(abs(local - values) / local))
            if some
            else None,
            "median_absolute_error_to_least": float(np.median(abs(least - values) / least))
            if some
            else None,
            "median_absolute_error_to_expected": float(
                np.median(abs(expected - values) / abs(expected))
            )
            if some
            else None,
            "spearman": _order(local, values),
            "spearman_to_least": _order(least, values),
        }
    return found


def _differs(row: Row) -> bool:
    return bool(row["local"]) and row["local"]["lambda"] != row["least"]["lambda"]


def _order(truths: np.ndarray, values: np.ndarray) -> float | None:
    if len(values) < 3 or np.ptp(truths) == 0 or np.ptp(values) == 0:
        return None
    return float(np.asarray(spearmanr(truths, values))[0])


def scatter(rows: Sequence[Row]) -> Figure:
    """λ̂ over λ, both logarithmic, one panel an estimator; the line is λ̂ = λ."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, estimator in zip(panels, (PUBLISHED, AUTO), strict=True):
        _points(axes, rows, estimator)
        axes.set_title(estimator, fontsize=10)
        axes.set_xlabel("λ, exact, at the true weights where it is decided")
        for side, scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
            scale("log")
            side.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            side.set_major_formatter(StrMethodFormatter("{x:g}"))
            side.set_minor_formatter(NullFormatter())
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8, loc="upper left")
    panels[0].set_ylabel("λ̂")
    return figure


def _points(axes: Axes, rows: Sequence[Row], estimator: str) -> None:
    good = [row for row in rows if (row["estimates"][estimator]["value"] or 0) > 0]
    style = STYLES[estimator]
    for warned, face, label in (
        (False, style["color"], "without a warning" if estimator == AUTO else None),
        (True, "white", "with a warning"),
    ):
        some = [row for row in good if bool(row["estimates"][estimator].get("warnings")) == warned]
        if some:
            bars = [row["estimates"][estimator].get("standard_error") or 0.0 for row in some]
            axes.errorbar(
                [truth(row) for row in some],
                [row["estimates"][estimator]["value"] for row in some],
                yerr=[2 * bar for bar in bars],
                fmt=style["marker"],
                color=style["color"],
                markerfacecolor=face,
                markersize=5,
                linewidth=1,
                label=label,
            )
    moved = [row for row in good if _differs(row)]
    if moved:
        axes.plot(
            [row["least"]["lambda_float"] for row in moved],
            [row["estimates"][estimator]["value"] for row in moved],
            "x",
            color=GREY,
            markersize=5,
            label="the same over the least λ of the fibre",
        )
    if good:
        ends = [truth(row) for row in good] + [row["least"]["lambda_float"] for row in good]
        line = np.array([0.8 * min(ends), 1.25 * max(ends)])
        axes.plot(line, line, "--", color="black", linewidth=0.8)


def errors(rows: Sequence[Row]) -> Figure:
    """Histograms of the relative error (λ − λ̂)/λ, one panel an estimator."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True, sharey=True)
    parts = {
        estimator: np.array(
            [
                (truth(row) - row["estimates"][estimator]["value"]) / truth(row)
                for row in rows
                if row["estimates"][estimator]["value"] is not None
            ]
        )
        for estimator in (PUBLISHED, AUTO)
    }
    both = np.concatenate(list(parts.values()))
    reach = min(1.0, max(0.1, float(np.abs(both).max()))) if both.size else 1.0
    bins = np.linspace(-reach, reach, 25).tolist()
    for axes, (estimator, values) in zip(panels, parts.items(), strict=True):
        beyond = int((np.abs(values) > reach).sum())
        axes.hist(values, bins, color=STYLES[estimator]["color"], edgecolor="white")
        title = estimator + (f" ({beyond} beyond the axis)" if beyond else "")
        axes.set_title(title, loc="left", fontsize=10)
        axes.axvline(0, color="black", linewidth=0.8, linestyle="--")
        axes.set_ylabel("networks")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("relative error (λ − λ̂)/λ")
    return figure


def _text(rows: Sequence[Row], classes: Sequence[SizeClass], seed: int) -> Iterator[str]:
    decided = [row for row in rows if row["local"]]
    moved = [row for row in decided if _differs(row)]
    yield (
        "The learning coefficient of a deep linear network is known exactly (Aoyagi), so these "
        "networks show how far an estimate is off. The generator is that of Lau et al. (arXiv "
        "2308.12108): random widths and depths, matrices as Haiku initializes them, each with "
        "probability 1/2 of a lower rank; inputs uniform on [−10, 10]^d, no noise, the mean "
        "squared error, nβ = n/log n, γ = 1, and chains that start at the true weights. "
        "*Published SGLD* is one chain at the published ε and number of steps, batches of 500, "
        "averaged over its last "
        f"tenth. *germ auto* is `germ.sample` as it comes. Networks {seed} onwards."
    )
    yield ""
    yield "![λ̂ against λ](scatter.png)"
    yield ""
    yield (
        "Bars are two stated standard errors; open points carry a warning of germ's. The dashed "
        "line is λ̂ = λ. Grey crosses are the same estimates over the least λ of the fibre, where "
        "that is another one (see below)."
    )
    yield ""
    yield "![relative errors](errors.png)"
    yield ""
    yield "## What came out"
    yield ""
    yield (
        "| class | estimator | networks | failed | with a warning | median (λ − λ̂)/λ | median "
        "absolute error | the same, to λ − (m−1)/log nβ | to the least λ | Spearman | gradients |"
    )
    yield "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for size in classes:
        found = summary(rows, size.name)
        for estimator in (PUBLISHED, AUTO):
            mine = found[estimator]
            yield (
                f"| {size.name} | {estimator} | {found['networks']} | {mine['failed']} | "
                f"{mine['warned'] if estimator == AUTO else '—'} | "
                f"{_percent(mine['median_error'], sign=True)} | "
                f"{_percent(mine['median_absolute_error'])} | "
                f"{_percent(mine['median_absolute_error_to_expected'])} | "
                f"{_percent(mine['median_absolute_error_to_least'])} | "
                f"{_three(mine['spearman'])} | {mine['gradients'] or 0:,.0f} |"
            )
    yield ""
    yield (
        "A chain of *germ auto* takes 1,500 steps, one of *published SGLD* 10,000 or more: where "
        "germ is further off it has not run long enough, and its warnings say so (virial below 1). "
        "The published settings have no error bar and no warning."
    )
    yield ""
    yield "## Which λ is the truth?"
    yield ""
    yield (
        "Aoyagi's formula is the λ of the most singular point among all weights with the same "
        "product; the published benchmark compares with it. Weights whose layers have *different* "
        "ranks are not that point, and an estimator that starts there sees the λ of the place "
        f"where it stands. germ.exact decides that local λ for {len(decided)} of these {len(rows)} "
        f"networks; **for {len(moved)} of them it is larger than the least one**"
        + (f", by {_range(moved)}" if moved else "")
        + f". For the other {len(rows) - len(decided)} the local λ is an open problem or was not "
        "looked for, and the least λ stands in for it: it may be too small there. With a finite γ "
        "a chain also feels nearby, more singular points, so neither is the whole truth."
    )
    yield ""
    yield "## What was published, and what differs"
    yield ""
    yield (
        "Published: scatter plots of λ̂ against λ and histograms of the relative error for six "
        "classes of 100 networks (99, 100, 100, 99, 93 and 54 of them used), without a table of "
        "errors that we could find; and one run in full (519,614 parameters, λ = 20546.5), whose "
        "last tenth gives λ̂ = 16304, 79% of λ. Here: batches are drawn afresh instead of passing "
        "over the shuffled data, each loss is traced before the step on its batch instead of "
        "after, and every matrix has its own random rank, where the published code uses one random "
        "key for all matrices of a network. Widths and seeds are our own draws, so single networks "
        "cannot be compared, only distributions."
    )


def _range(moved: Sequence[Row]) -> str:
    shares = [row["local"]["lambda_float"] / row["least"]["lambda_float"] - 1 for row in moved]
    return (
        f"{_percent(min(shares))} to {_percent(max(shares))} (median {_percent(np.median(shares))})"
    )


def _percent(share: Any, *, sign: bool = False) -> str:
    if share is None or not math.isfinite(share):
        return "—"
    return f"{100 * share:{'+' if sign else ''}.1f}%"


def _three(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"
