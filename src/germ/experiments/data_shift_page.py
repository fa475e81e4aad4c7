"""The page of `germ experiment data-shift`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from germ.experiments.toy_section import BLUE, GREY, ORANGE, plain, table
from germ.report.figures import CHAIN_COLOURS
from germ.report.page import Page

FOLLOWED = {"cue": BLUE, "product": ORANGE}


def page(data: dict[str, Any]) -> Page:
    """The page.

    Args:
        data: What `data_shift.run` found.
    """
    return Page(
        "Data shift: one loss, two solutions",
        "\n".join(_text(data)),
        {"apart": apart_figure(data), "odds": odds_figure(data)},
        data,
    )


def apart_figure(data: dict[str, Any]) -> Figure:
    """λ̂ and χ of every network, by the mixture it was trained on."""
    names = [row["of"] for row in data["compared"]]
    drawn = Figure(figsize=(2.6 * len(names), 3.2), layout="constrained")
    panels = np.atleast_1d(drawn.subplots(1, len(names)))
    for axes, name in zip(panels, names, strict=True):
        for place, (follow, colour) in enumerate(FOLLOWED.items()):
            mine = [n for n in data["networks"] if n["follow"] == follow and n["value"] is not None]
            x = place + np.linspace(-0.2, 0.2, len(mine))
            if name == "λ̂":
                axes.errorbar(
                    x, [n["value"] for n in mine], yerr=[n["total"] for n in mine], fmt="o",
                    color=colour, markersize=4, linewidth=0.8,
                )  # fmt: skip
                axes.hlines(data["known"][follow], place - 0.35, place + 0.35, color="black")
            else:
                axes.plot(x, [n["chi"][name] for n in mine], "o", color=colour, markersize=4)
        axes.set_xticks([0, 1], list(FOLLOWED))
        axes.set_xlabel("trained to follow")
        if name == "λ̂":
            plain(axes, "λ̂ ± total; line: exact λ")
        else:
            axes.axhline(0, color=GREY, linewidth=0.6)
            if max(abs(n["chi"][name]) for n in data["networks"]) > 10:
                axes.set_yscale("symlog", linthresh=1)
            plain(axes, f"(nβ)²χ: {name}")
    return drawn


def odds_figure(data: dict[str, Any]) -> Figure:
    """Log odds of the cue against n: sampled, and continued by theory."""
    drawn = Figure(figsize=(8, 4), layout="constrained")
    axes = drawn.subplots()
    nums = np.array(data["settings"]["nums"])
    found = data["odds"]
    late = nums >= found["start"]
    for number, row in enumerate(found["by_share"]):
        colour = CHAIN_COLOURS[number % len(CHAIN_COLOURS)]
        value = np.array([_number(m["value"]) for m in row["measured"]])
        low = np.array([_number(m["low"]) for m in row["measured"]])
        axes.errorbar(
            nums, value, yerr=value - low, fmt="o", color=colour, markersize=4, linewidth=0.8,
            label=f"ε = {row['disagree']:g}",
        )  # fmt: skip
        axes.plot(nums[late], row["predicted"], "-", color=colour, linewidth=1)
    axes.axhline(0, color=GREY, linewidth=0.8)
    most = math.log(2 * data["settings"]["effort"]["num_particles"])
    axes.set_ylim(-most - 1, most)
    axes.set_xscale("log")
    axes.set_xlabel("n")
    axes.set_ylabel("log odds, cue : product")
    axes.legend(frameon=False, fontsize=8)
    plain(axes, "Points: sampled, 95% over runs. Lines: from λ, ΔL and the odds at one n")
    return drawn


def _text(data: dict[str, Any]) -> Iterator[str]:
    settings, known = data["settings"], data["known"]
    yield (
        f"A product of three affine maps of a cue u and {settings['dim']} numbers v. Where u = "
        "v₁v₂, u·1·1 and v₁·v₂·1 have the same loss, 0, and no mixture of them has. λ there is "
        f"known exactly: {known['cue']:g} for the cue, {known['product']:g} for the product "
        "(`germ.experiments.data_shift_model`)."
    )
    yield "\n## Told apart on data where their losses are equal\n"
    rows = []
    for follow, row in data["trained"].items():
        both = row["cue"] + row["product"]
        rows.append([follow, str(row["num"]), str(row["cue"]), str(row["product"]), str(both)])
    yield table(
        ["mixture's target follows", "trained", "learned the cue", "the product", "either"], rows
    )
    yield (
        "\nThe first two mixtures have 10% of examples on which cue and product disagree; in the "
        "third they never do. Most networks end in a local minimum of higher loss and are left "
        "out. The others are measured on data on which both solutions agree, where all have a loss "
        "below 10⁻⁶.\n"
    )
    yield "![λ̂ and χ by network](apart.png)\n"
    yield table(
        ["", "cue networks (95%)", "product networks (95%)", "difference (95%)",
         "pairs ordered alike", "p"],
        [_compared(row) for row in data["compared"]],
    )  # fmt: skip
    yield (
        "\nχ is in units of 1/nβ², of all weights, and of three probes. Intervals are over "
        "networks trained apart; p is of Mann and Whitney's test, of each row by itself. The "
        "probes are not in the data that λ̂ sees."
    )
    yield from _llc(data)
    yield "\n## Which one a posterior prefers\n"
    yield "![log odds against n](odds.png)\n"
    yield from _odds(data)
    yield from _training(data)


def _compared(row: dict[str, Any]) -> list[str]:
    def mean(found: dict[str, Any]) -> str:
        if found["low"] is None:
            return _short(found["value"])
        return f"{_short(found['value'])} ({_short(found['low'])} … {_short(found['high'])})"

    if "difference" not in row:
        return [row["of"], mean(row["cue"]), mean(row["product"]), "—", "—", "—"]
    difference = f"{_short(row['difference'])} ({_short(row['low'])} … {_short(row['high'])})"
    alike = max(row["auc"], 1 - row["auc"])
    return [
        row["of"], mean(row["cue"]), mean(row["product"]), difference, f"{alike:.0%}",
        f"{row['p']:.2g}",
    ]  # fmt: skip


def _llc(data: dict[str, Any]) -> Iterator[str]:
    measured = [n for n in data["networks"] if n["value"] is not None]
    if not measured:
        return
    inside = sum(n["low"] <= data["known"][n["follow"]] <= n["high"] for n in measured)
    warned = sum(bool(n["warnings"]) for n in measured)
    gap = data["known"]["product"] - data["known"]["cue"]
    yield (
        f"\nThe exact difference of λ is {gap:g}. The 90% intervals of λ̂ hold the exact λ in "
        f"{inside} of {len(measured)} networks, at nβ = {measured[0]['nbeta']:.0f} and γ = "
        f"{measured[0]['localization']:g}; {warned} carry a warning. (At a finite nβ, and held by "
        "γ, λ̂ is not λ: directions of fourth order are not yet seen as such.)"
    )


def _odds(data: dict[str, Any]) -> Iterator[str]:
    found = data["odds"]
    slope = found["slope"]
    yield (
        "A population of particles is led from the prior N(0, 1) to more and more data "
        f"(sequential Monte Carlo, {data['settings']['effort']['num_particles']:,} particles, "
        f"{data['settings']['num_runs']} runs at each share ε of data that disagree, where the "
        "target is the product). Theory has one constant, the odds at "
        f"n = {found['start']:g} without such data; from there it knows λ and the loss only.\n"
    )
    llc = found["llc"]
    yield (
        "- **λ by free energy.** −d log Z/d log n of either solution, without data that disagree, "
        f"from n = {llc['from']:,.0f} on: {_interval(llc['cue'])} for the cue (exact "
        f"{data['known']['cue']:g}), {_interval(llc['product'])} for the product (exact "
        f"{data['known']['product']:g})."
    )
    yield (
        f"- **Equal losses.** The log odds of the cue grow by {_interval(slope)} per unit of "
        f"log n; λ_product − λ_cue is {found['exact']:g}, {_where(slope, found['exact'])}."
    )
    for row in found["by_share"]:
        if row["disagree"] == 0:
            continue
        foretold = row["predicted_crossing"]
        if foretold.get("value") is None:
            begun = row["predicted"][0] <= 0
            place = f"before n = {found['start']:g}" if begun else "beyond these n"
            yield f"- **ε = {row['disagree']:g}.** The product is foretold to take over {place}."
            continue
        ends = [foretold.get("low"), foretold.get("high")]
        between = "" if None in ends else f" ({min(ends):,.0f} … {max(ends):,.0f})"
        yield (
            f"- **ε = {row['disagree']:g}.** The product is foretold to take over at n = "
            f"{foretold['value']:,.0f}{between}; it does at {_interval(row['crossing'], 0)}."
        )


def _training(data: dict[str, Any]) -> Iterator[str]:
    row = data["trained"]["either"]
    both = row["cue"] + row["product"]
    if not both:
        return
    yield (
        f"\n**Training is not the posterior.** Of {row['num']} networks trained where the "
        f"solutions agree, {both} learned it: {row['cue']} by the cue, {row['product']} by "
        "the product. What gradient descent finds from small weights is a matter of its path; the "
        "free energy says nothing of that."
    )


def _where(found: dict[str, Any], value: float) -> str:
    """Whether an interval holds a value, in words."""
    if found["low"] is None:
        return "and there is no interval"
    return "inside" if found["low"] <= value <= found["high"] else "outside"


def _interval(found: dict[str, Any], digits: int = 2) -> str:
    if found["value"] is None:
        return "none in these n"
    if found["low"] is None:
        return f"{found['value']:,.{digits}f} (no interval)"
    low, high = found["low"], found["high"]
    return f"{found['value']:,.{digits}f} ({low:,.{digits}f} … {high:,.{digits}f})"


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _short(value: float | None) -> str:
    return "—" if value is None else f"{value:.3g}"
