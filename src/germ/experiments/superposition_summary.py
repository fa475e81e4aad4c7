"""The numbers of the page of `germ experiment superposition`, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from germ.experiments import superposition_copies as copies
from germ.experiments.replicates import mean, said
from germ.experiments.superposition_evidence import crossings, evidence, soft_evidence
from germ.experiments.superposition_pieces import draw_examples
from germ.experiments.superposition_plateaus import plateaus
from germ.experiments.superposition_points import MINIMA, coefficient, levels
from germ.experiments.superposition_posterior import last_rise, overtakes, share

Row = dict[str, Any]

PUBLISHED_LOSS = {
    "4": 0.11111, "4+": 0.10417, "4++": 0.09722, "5": 0.06874, "5+": 0.06180, "6": 0.04819
}  # fmt: skip
PUBLISHED = {
    5000: {"5": 7.705, "5+": 9.906, "6": 9.027},
    500_000: {"5": 6.90, "5+": 8.41, "6": 8.46},
}
"""λ̂ of Chen et al., Table K.1 (n = 5000) and for a larger n, at γ = 0.1."""

FIRST, LAST = 600, 700
"""Between these n the published posterior goes over from 5 to 6."""


def summary(
    posteriors: Sequence[Row], estimates: Sequence[Row], trained: Row, settings: Row
) -> Row:
    """All of it; JSON-able.

    Args:
        posteriors: Of `superposition_posterior.follow`.
        estimates: Of `superposition.measure`.
        trained: Of `superposition.train`.
        settings: The settings, as a dict.
    """
    return {
        "polygons": polygons(),
        "evidence": {k: vars(evidence(k)) | {"constant": evidence(k).constant} for k in MINIMA},
        "crossings": crossings(),
        "posterior": posterior(posteriors, settings["effort"]["num_particles"]),
        "estimates": summed(estimates),
        "training": plateaus(trained, settings["plateau_localizations"]),
    }


def polygons() -> list[Row]:
    """L and λ of each critical point, exact, and what was published."""
    return [
        {
            "phase": name,
            "loss": loss,
            "published": PUBLISHED_LOSS[name],
            "lambda": coefficient(name) if name in MINIMA else None,
        }
        for name, loss in levels().items()
    ]


def groups(posteriors: Sequence[Row]) -> dict[str, list[Row]]:
    """Runs by what they were run on: the population, data sets, data sets with a factor ½."""
    return {
        "population": [r for r in posteriors if r["data_seed"] is None],
        "data": [r for r in posteriors if r["data_seed"] is not None and r["scale"] == 1],
        "half": [r for r in posteriors if r["data_seed"] is not None and r["scale"] != 1],
    }


def posterior(posteriors: Sequence[Row], num_particles: int) -> Row:
    """Where 6 overtakes, how far runs differ, and how good sampler and classification are."""
    found: Row = {}
    kinds = groups(posteriors)
    for name, runs in kinds.items():
        by_data: dict[Any, list[float]] = {}
        for number, run in enumerate(runs):
            # On the population every run is a replicate; else the data sets are.
            key = number if run["data_seed"] is None else run["data_seed"]
            by_data.setdefault(key, []).append(overtakes(run["rows"], num_particles))
        values = [float(np.mean(each)) for each in by_data.values()]
        at = mean(values)
        predicted = [] if name == "population" else _predicted(runs)
        good = [value for value in values if np.isfinite(value)]
        found[name] = {
            "crossings": [_finite(value) for value in values],
            "mean": at.to_dict(),
            "said": said(at, 0),
            "low": min(good, default=None),
            "high": max(good, default=None),
            "predicted": [_finite(value) for value in predicted],
            "predicted_said": said(mean(predicted), 0),
            "without": len(values) - len(good),
            "repeated": _average([abs(v[0] - v[1]) for v in by_data.values() if len(v) == 2]),
            "between": _average([abs(a - b) for a, b in combinations(good, 2)]),
        }  # fmt: skip
    last = [run["rows"][-1] for run in kinds["population"]]
    log_z = mean([row["log_evidence"] + np.log(max(share(row, "6"), 1e-9)) for row in last])
    n = last[0]["n"]
    found["last"] = {
        "n": n, "sampled": log_z.to_dict(), "said": said(log_z, 2),
        "theory": evidence("6").log(float(n)),
    }  # fmt: skip
    found["agrees"] = [
        {"n": row["n"], **row["agrees"]}
        for row in kinds["population"][0]["rows"]
        if row["agrees"] is not None
    ]
    found["odds"] = odds(kinds["population"], num_particles)
    return found


def _predicted(runs: Sequence[Row]) -> list[float]:
    """Where 6 should overtake on each data set, by its copies' losses alone."""
    found = {}
    for run in runs:
        if run["data_seed"] not in found:
            nums = [row["n"] for row in run["rows"]]
            examples = draw_examples(nums[-1], run["data_seed"])
            values = [copies.odds(examples.part(0, n), run["scale"]) for n in nums]
            found[run["data_seed"]] = last_rise(nums, values)
    return list(found.values())


def odds(runs: Sequence[Row], num_particles: int) -> list[Row]:
    """Log-odds of 6 against 5 and 5+: sampled, and by the theories."""
    rows = []
    five, plus, six = evidence("5"), evidence("5+"), evidence("6")
    for i, first in enumerate(runs[0]["rows"]):
        pairs = [
            (share(r["rows"][i], "6"), share(r["rows"][i], "5", "5+")) for r in runs
        ]  # fmt: skip
        good = [np.log(a / b) for a, b in pairs if min(a, b) * num_particles >= 5]
        n = float(first["n"])
        # As published: of the constants only the prior at the corners.
        known = n * (five.loss - six.loss) - 1.5 * np.log(n)
        rows.append({
            "n": first["n"],
            "sampled": mean(good).to_dict() if len(good) == len(pairs) else None,
            "leading": six.log(n) - float(np.logaddexp(five.log(n), plus.log(n))),
            "soft": six.log(n) - soft_evidence(n),
            "published": float(known + six.prior - five.prior + 1.5 * np.log(2 * np.pi)),
        })  # fmt: skip
    return rows


def summed(estimates: Sequence[Row]) -> list[Row]:
    """λ̂ by place and polygon, over data sets."""
    found = []
    places = sorted({(row["n"], row["localization"]) for row in estimates})
    for n, localization in places:
        mine = [r for r in estimates if (r["n"], r["localization"]) == (n, localization)]
        for kind in mine[0]["kinds"]:
            each = [row["kinds"][kind] for row in mine]
            good = [e for e in each if e["germ"]["value"] is not None]
            ours = {
                name: mean([e[name]["value"] for e in each]) for name in ("free", "held")
            }  # fmt: skip
            germs = mean([e["germ"]["value"] for e in good])
            # What free chains lose against those held in the phase: they have left it.
            lost = mean([e["held"]["value"] - e["free"]["value"] for e in each])
            apart = [e for e in good if not _holds(e["germ"], e["free"]["value"])]
            short = [e["sgld"] for e in each if e["sgld"] is not None]
            runs = mean([float(np.mean(values)) for values in short])
            found.append({
                "n": n, "localization": localization, "kind": kind, "num": len(each),
                "lambda": coefficient(kind),
                "published": PUBLISHED.get(n, {}).get(kind) if localization == 0.1 else None,
                "germ": germs.to_dict(), "germ_said": said(germs),
                "sgld": runs.to_dict() if short else None, "sgld_said": said(runs),
                "sgld_sd": float(np.mean([np.std(v, ddof=1) for v in short])) if short else None,
                "failed": len(each) - len(good),
                "warned": sum(bool(e["germ"]["warnings"]) for e in good),
                **{name: value.to_dict() for name, value in ours.items()},
                **{f"{name}_said": said(value) for name, value in ours.items()},
                "left": lost.to_dict(),
                "outside": len(apart),
                "outside_warned": sum(bool(e["germ"]["warnings"]) for e in apart),
                "covers": {
                    name: sum(_holds(e["germ"], e[name]["value"]) for e in good)
                    for name in ("free", "held")
                },
            })  # fmt: skip
    return found


def _average(values: Sequence[float]) -> float | None:
    good = [value for value in values if np.isfinite(value)]
    return float(np.mean(good)) if good else None


def _holds(estimate: Row, value: float) -> bool:
    """Whether the 90% interval of an estimate holds a value."""
    return estimate["low"] <= value <= estimate["high"]


def _finite(value: float) -> float | None:
    """For JSON."""
    return value if np.isfinite(value) else None
