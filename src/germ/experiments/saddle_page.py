"""The page of `germ experiment saddle-to-saddle`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from germ.exact import deep_linear
from germ.experiments.replicates import mean, said
from germ.experiments.toy_section import BLUE, GREY, ORANGE, plain, table
from germ.report.figures import CHAIN_COLOURS, GREEN
from germ.report.page import Page

Row = dict[str, Any]
KINDS = {
    "function": "as a function (γ = 1)",
    "held": "as a saddle (large γ)",
    "published": "as published",
    "saddle": "as a saddle (γ = 1)",
}
LOWEST = -2.0
"""Of the axis of λ̂: chains that left a saddle are far below."""

WIDE = (5, 10, 10, 10, 10, 5)


def page(rows: Sequence[Row], settings: Row, seed: int) -> Page:
    """The page of these networks.

    Args:
        rows: What `saddle_to_saddle.measure` found, one a network.
        settings: The settings, as a dict.
        seed: The first network's.
    """
    found = summary(rows)
    return Page(
        "Saddle to saddle: λ̂ on the plateaus of a deep linear network",
        "\n".join(_text(rows, found, settings, seed)),
        {"curves": curves(rows), "ranks": ranks(rows)},
        {"rows": list(rows), "summary": found},
    )


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """By rank: the exact λ, and each kind of λ̂ as a mean over networks, the replicates."""
    found: dict[str, Any] = {}
    for rank in sorted({each["rank"] for row in rows for each in row["plateaus"]}):
        mine = [
            next(each for each in row["plateaus"] if each["rank"] == rank)
            for row in rows
            if any(each["rank"] == rank for each in row["plateaus"])
        ]
        values = {
            kind: mean([p[kind]["value"] for p in mine if p[kind]["value"] is not None])
            for kind in KINDS
        }
        escaped = {
            kind: [p[kind]["escaped"] for p in mine if p[kind]["escaped"] is not None]
            for kind in ("saddle", "held")
        }
        found[str(rank)] = {
            "networks": len(mine),
            "loss": float(np.mean([p["loss"] for p in mine])),
            "lambda": mine[0]["known"]["lambda_float"],
            "multiplicity": mine[0]["known"]["multiplicity"],
            "expected": mine[0]["expected"],
            "covered": sum(
                p["function"]["value"] is not None
                and p["function"]["low"] <= p["expected"] <= p["function"]["high"]
                for p in mine
            ),
            "warned": {kind: sum(bool(p[kind]["warnings"]) for p in mine) for kind in KINDS},
            "failed": {kind: sum(p[kind]["value"] is None for p in mine) for kind in KINDS},
            "escaped": {k: float(np.mean(v)) if v else None for k, v in escaped.items()},
            **{kind: value.to_dict() for kind, value in values.items()},
            **{f"{kind}_said": said(value, 1) for kind, value in values.items()},
        }
    return found


def curves(rows: Sequence[Row]) -> Figure:
    """The loss of every network over steps, its plateaus, and λ̂ on them."""
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for i, row in enumerate(rows):
        colour = CHAIN_COLOURS[i % len(CHAIN_COLOURS)]
        above.plot(row["curve"]["step"], row["curve"]["loss"], color=colour, linewidth=1.2)
        steps = [each["step"] for each in row["plateaus"]]
        above.plot(steps, [each["loss"] for each in row["plateaus"]], "o", color=colour)
        good = [each for each in row["plateaus"] if each["function"]["value"] is not None]
        below.errorbar(
            [each["step"] for each in good],
            [each["function"]["value"] for each in good],
            yerr=np.abs([
                [e["function"][end] - e["function"]["value"] for e in good]
                for end in ("low", "high")
            ]),
            fmt="o-", color=colour, linewidth=1, capsize=3,
        )  # fmt: skip
    above.set_ylabel("loss")
    below.set_ylabel("λ̂ of the function, 90% interval")
    below.set_xlabel("training step")
    plain(above, "Loss; dots: where training nearly stood still")
    plain(below, "λ̂ there, one colour a network")
    return figure


def ranks(rows: Sequence[Row]) -> Figure:
    """λ̂ over rank, each way of measuring, beside the exact λ."""
    found = summary(rows)
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    x = np.array([int(rank) for rank in found])
    axes.plot(x, [each["lambda"] for each in found.values()], "s-", color=GREEN, label="exact λ")
    expected = [each["expected"] for each in found.values()]
    axes.plot(x, expected, "--", color=GREEN, label="λ − (m − 1)/log nβ")
    shown = (("function", BLUE, "o"), ("held", ORANGE, "^"), ("published", GREY, "v"))
    for i, (kind, colour, marker) in enumerate(shown):
        points = [
            (each["rank"] + 0.06 * (i - 1), each[kind]["value"])
            for row in rows
            for each in row["plateaus"]
            if each[kind]["value"] is not None
        ]
        below = sum(value < LOWEST for _, value in points)
        label = f"λ̂ {KINDS[kind]}" + (f"; {below} below the axis" if below else "")
        places, values = zip(*points, strict=True) if points else ((), ())
        axes.plot(places, values, marker, color=colour, markersize=5, label=label)
    axes.set_ylim(LOWEST, 1.25 * max(each["lambda"] for each in found.values()))
    axes.set_xticks(x)
    axes.set_xlabel("rank of the plateau")
    axes.set_ylabel("λ̂, one point a network")
    axes.legend(frameon=False, fontsize=8)
    plain(axes)
    return figure


def _text(rows: Sequence[Row], found: Row, settings: Row, seed: int) -> Iterator[str]:
    plan = settings["plan"]
    yield (
        f"Deep linear networks of widths {'-'.join(map(str, plan['widths']))}, teacher "
        f"diag({', '.join(f'{v:g}' for v in plan['values'])}), inputs of covariance 1, mean "
        "squared error, gradient descent from normal weights of deviation "
        f"{plan['spread']:.3g}; {len(rows)} networks, seeds {seed} onwards. **Networks are the "
        "replicates**: intervals in the table are 95% over them. nβ = n/log n with n = 10,000. "
        "Plateaus are found where the gradient is least between drops, their rank is read off the "
        "singular values; nothing says beforehand how many there are."
    )
    yield ""
    yield "![loss and λ̂ over training](curves.png)"
    yield ""
    yield "## λ̂ against the exact λ of each rank"
    yield ""
    yield "![λ̂ over rank](ranks.png)"
    yield ""
    head = ["rank", "networks", "loss", "exact λ (m)", "λ − (m−1)/log nβ",
            "λ̂ as a function", "its 90% covers that", "large γ", "as published"]  # fmt: skip
    yield table(head, [
        [rank, str(each["networks"]), f"{each['loss']:.3g}",
         f"{each['lambda']:g} ({each['multiplicity']})", f"{each['expected']:.2f}",
         each["function_said"], f"{each['covered']} of {each['networks']}",
         each["held_said"], each["published_said"]]
        for rank, each in found.items()
    ])  # fmt: skip
    yield ""
    steps = _steps(rows)
    yield (
        "*As a function*: targets are the network's own outputs, so that w* is a minimum and the "
        "exact λ of its rank is what λ̂ should come to. From a plateau to the next, within a "
        f"network, the loss falls by a median of {steps['loss']:.2g} and this λ̂ rises in "
        f"{steps['rises']} of {steps['num']} transitions. What is missing up to λ has two causes: "
        "(m − 1)/log nβ, given beside it, and valleys as wide as γ = 1 lets them be, which chains "
        "of this length do not cross; germ says of how many of these estimates that they are not "
        f"to be taken as they are: {_count(found, 'function')}."
    )
    yield ""
    yield (
        "## A plateau is not a minimum\n\n*As a saddle*, with the teacher's outputs, L(w*) can be "
        "undercut. Then λ̂ = nβ(E[L] − L(w*)) is no learning coefficient: at γ = 1 chains run down "
        "to where the next modes are learned, and λ̂ is minus nβ times what they gain. (A chain has "
        "left where it is, on average over its last quarter, below the plateau by more than half "
        "of the next drop.)"
    )
    yield ""
    yield table(
        ["rank", "λ̂ at γ = 1", "chains that left", "with a warning or failed",
         f"λ̂ at γ = {settings['held']:g}", "chains that left", "with a warning or failed"],
        [
            [rank, each["saddle_said"], _share(each["escaped"]["saddle"]), _flagged(each, "saddle"),
             each["held_said"], _share(each["escaped"]["held"]), _flagged(each, "held")]
            for rank, each in found.items()
        ],
    )  # fmt: skip
    yield ""
    said_of, gone = _examples(rows), _left(rows)
    if said_of:
        yield f"What germ says there, for example: *{said_of}*."
        yield ""
    yield (
        f"Of {gone['num']} saddles (every network and γ), chains left {gone['left']}; germ stayed "
        f"silent at {gone['silent']} of those. Where a large γ holds the chains, λ̂ rises with rank "
        "too, but it counts the directions that the learned modes determine, at that γ; of the "
        "modes still to come it sees little. It is a number about the neighbourhood, and no "
        "estimate of λ."
    )
    yield ""
    wide = [deep_linear(WIDE, rank) for rank in range(6)]
    levels = ", ".join(f"{float(each.value):g}" for each in wide)
    yield (
        "## What was published, and what differs\n\nPublished (Lau et al., arXiv 2308.12108; code "
        "edmundlth/validating_lambdahat): teacher 10·diag(1 … 5), four hidden layers, n = 10,000, "
        "SGLD with ε = 10⁻⁶ for 100 steps, γ = 1; λ̂ rises in steps as the loss falls, negative "
        "values cut off at 0. No table of values is known to us. Here *as published* is the same "
        "sampler (batches of 128, 8 chains, nothing cut off) on our networks. In 100 such steps a "
        "weight moves by about 0.01, so that its λ̂ is about nβ·ε·50/2 times the trace of the "
        "Hessian, and depends on the number of steps: "
        f"{_count(found, 'published')} of these estimates carry a warning."
    )
    yield ""
    yield (
        f"In wide networks the exact λ does not rise at all: for widths {'-'.join(map(str, WIDE))}"
        f" it is {levels} at ranks 0 to 5 (Aoyagi). Where a published λ̂ rises in steps in such "
        "a network, it shows curvature at the resolution of the chains, and not λ. That is why the "
        "networks of the small preset are as wide as their ends."
    )


def _steps(rows: Sequence[Row]) -> Row:
    """Transitions within networks: how far the loss falls, and how often λ̂ rises."""
    falls, rises = [], []
    for row in rows:
        good = [each for each in row["plateaus"] if each["function"]["value"] is not None]
        for before, after in pairwise(good):
            falls.append(before["loss"] - after["loss"])
            rises.append(after["function"]["value"] > before["function"]["value"])
    loss = float(np.median(falls)) if falls else float("nan")
    return {"loss": loss, "rises": int(sum(rises)), "num": len(rises)}


def _examples(rows: Sequence[Row]) -> str:
    """A warning about a negative λ̂ or a descent, where there is one."""
    every = [w for row in rows for each in row["plateaus"] for w in each["saddle"]["warnings"]]
    return next((w for w in every if "minimum" in w), every[0] if every else "")


def _left(rows: Sequence[Row]) -> Row:
    """Of all saddles measured: how many were left by a chain, and how many of these in silence."""
    every = [each[kind] for row in rows for each in row["plateaus"] for kind in ("saddle", "held")]
    saddles = [each for each in every if each["escaped"] is not None]
    left = [each for each in saddles if each["escaped"] > 0]
    silent = sum(each["value"] is not None and not each["warnings"] for each in left)
    return {"num": len(saddles), "left": len(left), "silent": silent}


def _count(found: Row, kind: str) -> str:
    warned = sum(each["warned"][kind] + each["failed"][kind] for each in found.values())
    return f"{warned} of {sum(each['networks'] for each in found.values())}"


def _flagged(each: Row, kind: str) -> str:
    return f"{each['warned'][kind] + each['failed'][kind]} of {each['networks']}"


def _share(value: float | None) -> str:
    return "—" if value is None else f"{100 * value:.0f}%"
