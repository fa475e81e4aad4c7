"""What the modular-addition runs amount to: means over networks, growth in p, comparisons.

Networks are the replicates. Everything here is a pure function of what the units of work stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import linregress
from scipy.stats import t as student

from germ.errors import GermError
from germ.estimate.restatement import restatement_of
from germ.experiments.replicates import LEVEL, Mean, mean

Row = dict[str, Any]

GENERALISES, GUESSES = 0.95, 0.1
"""Test accuracy from which on a network generalises, and up to which it shows nothing of it."""

FITS = 0.99
"""Train accuracy of a network that has learned what it was shown."""

ESTIMATES = {
    "1": "published sampler, ×1",
    "10": "published sampler, ×10",
    "own": "germ, ×10, all directions",
}
"""Whose λ̂, and at which multiplier. The published sampler does not move along ∇L(w*)."""


def value_of(network: Row, kind: str) -> float:
    """λ̂ of a network by one of `ESTIMATES`; NaN where there is none."""
    found = network.get("own") if kind == "own" else network["published"].get(kind)
    return math.nan if found is None or found["value"] is None else float(found["value"])


def learned(network: Row, operation: str) -> bool:
    """Whether it does what networks of this operation are compared for: generalise, or fit."""
    if operation == "addition":
        return network["test_accuracy"] >= GENERALISES
    return network["train_accuracy"] >= FITS


def temperatures(rows: Sequence[Row]) -> list[Row]:
    """By p and multiplier: λ̂ over networks by each sampler, and E[L].

    `value` is by the published sampler, `whole` of all its steps, `free` in all directions, `germ`
    and `germ_free` by germ's sampler without and with motion along ∇L(w*).
    """
    found = []
    for row in rows:
        every = list(row["networks"][0]["published"])
        if row["operation"] != "addition" or len(every) <= 2:
            continue
        for multiplier in every:
            each = [network["published"][multiplier] for network in row["networks"]]
            found.append(
                {
                    "modulus": row["modulus"],
                    "multiplier": float(multiplier),
                    "value": _mean(each, "value"),
                    "whole": _mean(each, "whole"),
                    "free": _mean([n["free"][multiplier] for n in row["networks"]], "value"),
                    "germ": _by_germ(row["networks"], f"{multiplier} restricted"),
                    "germ_free": _by_germ(row["networks"], multiplier),
                    "sampled": _mean(each, "sampled"),
                    "virial": _mean(each, "virial"),
                    "guessing": math.log(row["modulus"]),
                    "lost": sum(one["value"] is None for one in each),
                }
            )
    return found


def _by_germ(networks: Sequence[Row], kind: str) -> Mean:
    return _mean([n["germ"][kind] for n in networks if kind in n["germ"]], "value")


def ratio(one: Sequence[float], other: Sequence[float]) -> Mean:
    """Geometric mean of one/other, paired by network; pairs with a NaN or a sign are left out."""
    logs = [math.log(a / b) for a, b in zip(one, other, strict=True) if a > 0 and b > 0]
    found = mean(logs)
    value, low, high = (math.exp(x) for x in (found.value, found.low, found.high))
    return Mean(value, low, high, found.num, found.p)


def comparisons(row: Row) -> dict[str, Mean]:
    """Ratios of λ̂ of the networks of one swept p.

    `plateau` and `plateau_free`: ×10 over ×1, by the published sampler and in all directions, NaN
    without a λ̂; `direction`: without motion along ∇L(w*) over with it, at ×10; `sampler`: the
    published sampler over germ's, both without, at ×10, and `sampler_free` both with. And at ×10 in
    all directions `along`, how far chains go along w*, and `nothing`, what a quadratic model gains
    by descending from w*.
    """
    networks = row["networks"]

    def values(*path: str) -> list[float]:
        found = []
        for each in networks:
            for name in path:
                each = (each or {}).get(name)
            found.append(math.nan if each is None or each["value"] is None else each["value"])
        return found

    held, free = values("published", "10"), values("free", "10")
    return {
        "plateau": ratio(held, values("published", "1")),
        "plateau_free": ratio(free, values("free", "1")),
        "direction": ratio(held, free),
        "sampler": ratio(held, values("germ", "10 restricted")),
        "sampler_free": ratio(free, values("germ", "10")),
        "along": _mean([n["free"]["10"] for n in networks], "along"),
        "nothing": _mean([n["own"] for n in networks if n["own"] is not None], "not_a_minimum"),
        "cosine": mean([abs(n["own"]["cosine"]) for n in networks if n["own"] is not None]),
    }


def growth(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """By operation and estimate: slope and exponent in p, with 95% intervals over networks."""
    found: dict[str, dict[str, Row]] = {}
    for operation in sorted({row["operation"] for row in rows}):
        found[operation] = {}
        for kind in ESTIMATES:
            points = [
                (float(row["modulus"]), value_of(network, kind))
                for row in rows
                for network in row["networks"]
                if row["operation"] == operation and learned(network, operation)
            ]
            good = [(p, value) for p, value in points if math.isfinite(value) and value > 0]
            found[operation][kind] = {"points": good, **_fits(good)}
    return found


def _fits(points: Sequence[tuple[float, float]]) -> Row:
    """Least squares of λ̂ on p, and of its logarithm on log p."""
    if len({p for p, _ in points}) < 2 or len(points) < 3:
        return {"slope": None, "exponent": None}
    x, y = (np.array(each, dtype=float) for each in zip(*points, strict=True))
    factor = float(student.ppf((1 + LEVEL) / 2, len(points) - 2))
    fits = {}
    for name, axes in (("slope", (x, y)), ("exponent", (np.log(x), np.log(y)))):
        line: Any = linregress(*axes)
        middle, half = float(line.slope), factor * float(line.stderr)
        fits[name] = {"value": middle, "low": middle - half, "high": middle + half}
    return fits


def at_equal_loss(rows: Sequence[Row]) -> dict[str, Row]:
    """By estimate: λ̂ of memorising over λ̂ of generalising networks, at equal train loss.

    For each seed log λ̂ is interpolated in log train loss along the decays, for each operation, and
    read off in the middle of the losses that both reach. Seeds are the replicates.
    """
    found = {}
    for kind in ESTIMATES:
        ratios, losses = [], []
        for row in rows:
            curves = [_curve(row, operation, kind) for operation in ("addition", "random")]
            if any(len(curve) < 2 for curve in curves):
                continue
            low = max(curve[0, 0] for curve in curves)
            high = min(curve[-1, 0] for curve in curves)
            if low > high:
                continue
            middle = (low + high) / 2
            one, other = (float(np.interp(middle, *curve.T)) for curve in curves)
            ratios.append(other - one)
            losses.append(math.exp(middle))
        made = ratio(np.exp(ratios).tolist(), [1.0] * len(ratios))
        found[kind] = {**vars(made), "losses": losses}
    return found


def _curve(row: Row, operation: str, kind: str) -> np.ndarray:
    """(log train loss, log λ̂) of one seed's networks that learned, by rising loss."""
    points = [
        (math.log(network["train_loss"]), math.log(value_of(network, kind)))
        for network in row["networks"]
        if network["operation"] == operation
        and learned(network, operation)
        and value_of(network, kind) > 0
    ]
    return np.array(sorted(points)).reshape(-1, 2)


def margin(rows: Sequence[Row], kind: str) -> float:
    """Smallest λ̂ of a network that memorises over the largest of one that generalises.

    Of all seeds and losses together; NaN where one of the groups is empty.
    """
    groups = {
        operation: [
            value_of(n, kind)
            for row in rows
            for n in row["networks"]
            if n["operation"] == operation and learned(n, operation) and value_of(n, kind) > 0
        ]
        for operation in ("addition", "random")
    }
    if not all(groups.values()):
        return math.nan
    return min(groups["random"]) / max(groups["addition"])


def across(rows: Sequence[Row], num_classes: int) -> list[Row]:
    """Of each grokking run, by estimate: before and after, and whether λ̂ restates the loss."""
    found = []
    for row in rows:
        records = row["records"]
        mine: Row = {"seed": row["seed"], "groks": _groks(records)}
        for kind in ("notebook", "own"):
            good = [r for r in records if r[kind] is not None and r[kind]["value"] is not None]
            fitted = [r for r in good if r["train_accuracy"] >= FITS]
            mine[kind] = {
                "change": _change(good, kind),
                "said": _restated(good, kind, num_classes),
                "fitted": _restated(fitted, kind, num_classes),
            }
        found.append(mine)
    return found


def _groks(records: Sequence[Row]) -> Row:
    """The first steps at which it fits what it was shown, and at which it generalises."""
    fits = [r["step"] for r in records if r["train_accuracy"] >= FITS]
    after = [r["step"] for r in records if r["test_accuracy"] >= GENERALISES]
    return {"fits": fits[0] if fits else None, "generalises": after[0] if after else None}


def _change(records: Sequence[Row], kind: str) -> Row | None:
    """From the first record that fits, over the last that shows nothing, to the last of all.

    None where the last does not generalise.
    """
    fits = [r for r in records if r["train_accuracy"] >= FITS]
    hidden = [r for r in fits if r["test_accuracy"] <= GUESSES]
    if not hidden or records[-1]["test_accuracy"] < GENERALISES:
        return None
    every = [hidden[0], hidden[-1], records[-1]]
    first, before, last = (r[kind]["value"] for r in every)
    return {
        "steps": [r["step"] for r in every],
        "train_losses": [r["train_loss"] for r in every],
        "test_losses": [r["test_loss"] for r in every],
        "values": [first, before, last],
        "value": last - first,
        "early": before - first,
        # What λ̂ would have done, had E[L] stayed where it was.
        "by_loss": every[0][kind]["nbeta"] * (every[0]["train_loss"] - every[-1]["train_loss"]),
        "sampled": [r[kind]["sampled"] for r in every],
    }


def _restated(records: Sequence[Row], kind: str, num_classes: int) -> Row | None:
    try:
        made = restatement_of(
            np.array([r["train_loss"] for r in records]),
            np.array([r[kind]["value"] for r in records]),
            np.array([r[kind]["error"] or 0.0 for r in records]) / records[0][kind]["nbeta"],
            nbeta=records[0][kind]["nbeta"],
            names=[r["step"] for r in records],
            untrained_loss=math.log(num_classes),
        )
    except (GermError, IndexError):
        return None  # Too few records with an estimate.
    return {
        "slope": made.slope,
        "correlation": made.correlation,
        "restates": made.restates,
        "warnings": list(made.warnings),
    }


def changes(found: Sequence[Row], kind: str) -> dict[str, Mean]:
    """Over networks: changes of λ̂, in all, before it shows, and as train loss alone would make."""
    every = [each[kind]["change"] for each in found if each[kind]["change"] is not None]
    return {name: mean([c[name] for c in every]) for name in ("value", "early", "by_loss")}


def warned(networks: Sequence[Row]) -> tuple[int, int, int]:
    """Of estimates by germ: how many, how many with a warning, how many at no minimum."""
    every = [n["own"] for n in networks if n["own"] is not None]
    doubted = [e for e in every if e["warnings"] or e["value"] is None]
    no_minimum = [e for e in every if any("not a minimum" in w for w in e["warnings"])]
    return len(every), len(doubted), len(no_minimum)


def _mean(each: Sequence[Row], name: str) -> Mean:
    return mean([math.nan if one.get(name) is None else one[name] for one in each])
