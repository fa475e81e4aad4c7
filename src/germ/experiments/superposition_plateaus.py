"""Where SGD stays, and what λ̂ does there, over networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import binomtest

from germ.experiments.replicates import mean, said
from germ.experiments.superposition_phases import PHASES
from germ.experiments.superposition_training import on_plateau

Row = dict[str, Any]

WITHIN = 0.002
"""Distance of L from a critical point's at which a record counts as on its plateau."""


def plateaus(trained: Row, localizations: Sequence[float]) -> Row:
    """Plateaus of SGD: how often, which, and λ̂ on them; networks are the replicates."""
    loss = np.array(trained["loss"])
    on = mean(on_plateau(loss, WITHIN).mean(1))
    stays = trained["stays"]
    # From stay to stay alone: between two of them a network passes through other phases.
    moves = Counter(
        f"{a['phase']} → {b['phase']}"
        for a, b in pairwise(stays)
        if a["network"] == b["network"] and a["phase"] != b["phase"]
    )
    found: Row = {
        "on": on.to_dict(), "on_said": said(mean(100 * on_plateau(loss, WITHIN).mean(1)), 1),
        "moves": dict(moves.most_common()),
        "ends": dict(Counter(phases[-1] for phases in trained["phases"]).most_common()),
        "lambda_hat": {},
    }  # fmt: skip
    for localization in localizations:
        key = f"at {localization:g}"
        rises, falls = 0, 0
        for a, b in pairwise(stays):
            if a["network"] == b["network"] and b["loss"] < a["loss"] - WITHIN:
                falls += 1
                rises += b[key]["value"] > a[key]["value"]
        by_phase = {}
        for phase in PHASES:
            mine = [stay for stay in stays if stay["phase"] == phase]
            nets = sorted({stay["network"] for stay in mine})
            values = mean([
                float(np.mean([s[key]["value"] for s in mine if s["network"] == net]))
                for net in nets
            ])  # fmt: skip
            if mine:
                by_phase[phase] = {
                    "num": len(nets), "loss": float(np.mean([s["loss"] for s in mine])),
                    **values.to_dict(), "said": said(values, 1),
                }  # fmt: skip
        low, high = binomtest(rises, falls).proportion_ci() if falls else (0.0, 1.0)
        found["lambda_hat"][f"{localization:g}"] = {
            "phases": by_phase, "falls": falls, "rises": rises,
            "rises_said": f"95%: {100 * low:.0f}% … {100 * high:.0f}%",
            **restated(stays, key, trained["nbeta"]),
        }  # fmt: skip
    return found


def restated(stays: Sequence[Row], key: str, nbeta: float, num: int = 500) -> Row:
    """The slope of E[L] on L(w*): 0 where λ̂ restates the loss, 1 where it does not depend on it.

    Args:
        stays: Of `superposition.train`.
        key: Where the stays have λ̂.
        nbeta: nβ of it.
        num: Resamples of whole networks, for the 95% interval.
    """
    by_network: dict[int, list[tuple[float, float]]] = {}
    for stay in stays:
        expected = stay["loss"] + stay[key]["value"] / nbeta
        by_network.setdefault(stay["network"], []).append((stay["loss"], expected))
    networks = list(by_network.values())

    def slope(chosen: np.ndarray) -> float:
        loss, expected = np.array([point for i in chosen for point in networks[i]]).T
        if loss.std() < WITHIN:
            return float("nan")  # One level of the loss has no slope.
        return float(np.polyfit(loss, expected, 1)[0])

    value = slope(np.arange(len(networks)))
    rng = np.random.default_rng(0)
    drawn = np.array([slope(rng.integers(0, len(networks), len(networks))) for _ in range(num)])
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or len(drawn) < num / 2:
        return {"slope": None, "slope_said": "unknown"}
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"slope": value, "slope_said": f"{value:.2f} ({low:.2f} … {high:.2f})"}
