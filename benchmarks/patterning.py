"""Patterning over seeds: what χ foretells of retraining, pooled over all targets.

    for seed in 0 1 2 3 4; do
        germ experiment patterning --preset small --seed $seed --out /tmp/pat/seed$seed
    done
    python -m benchmarks.patterning --from /tmp/pat/seed*

Writes `benchmarks/results/patterning.json` and `.md`. What is judged was fixed before these seeds
were run: ½(up − down) of the head aimed at, its sign and its slope.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from germ.experiments.patterning_loop import MODES
from germ.experiments.patterning_page import table
from germ.experiments.patterning_verdict import verdict

RESULTS = Path(__file__).parent / "results"


def load(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """What the experiment wrote in each folder, with its settings.

    Raises:
        SystemExit: A folder is unfinished, or they do not go together.
    """
    found = []
    for folder in folders:
        try:
            data = json.loads((folder / "data.json").read_text(encoding="utf-8"))
            settings = json.loads((folder / "results" / "settings.json").read_text("utf-8"))
        except FileNotFoundError as error:
            raise SystemExit(
                f"expected a finished experiment; {error.filename} is missing"
            ) from None
        found.append(
            {**data, "settings": {k: v for k, v in settings.items() if k not in ("seed", "modes")}}
        )
    return found


def check(runs: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to pool what does not go together.

    Raises:
        SystemExit: A seed twice, or other settings; modes may be left out of some seeds.
    """
    seeds = [run["seed"] for run in runs]
    if len(set(seeds)) < len(seeds):
        raise SystemExit(f"expected a seed once; got {seeds}")
    if any(run["settings"] != runs[0]["settings"] for run in runs):
        raise SystemExit("expected one preset; the folders hold results of several")


def pool(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Verdicts over all seeds that have a mode, and what each seed says alone."""
    heads = runs[0]["heads"]
    verdicts, alone = {}, {}
    for mode in MODES:
        rows = {run["seed"]: _rows(run, mode) for run in runs if mode in run["modes"]}
        if not rows:
            continue
        verdicts[mode] = verdict(list(rows.values()), len(heads))
        each = [verdict([one], len(heads)) for one in rows.values()]
        keys = ("odd_own_slope", "odd_slope", "odd_own_correlation", "odd_correlation")
        alone[mode] = {key: over_seeds([found[key][0] for found in each]) for key in keys}
        alone[mode]["seeds"] = list(rows)
        alone[mode]["odd_own_right"] = [found["odd_own_signs"][0] for found in each]
    return {
        "seeds": [run["seed"] for run in runs],
        "heads": heads,
        "settings": runs[0]["settings"],
        "worth": min(run["worth"] for run in runs),
        "methods": sorted({method for run in runs for method in run["methods"]}),
        "verdicts": verdicts,
        "alone": alone,
        "llc": [_llc(run) for run in runs],
        "rows": [{**row, "seed": run["seed"]} for run in runs for row in run["rows"]],
    }


def variation(run: Mapping[str, Any]) -> dict[str, Any]:
    """What a run with a smaller tilt or fewer steps says of going on from w*."""
    settings = run["settings"]
    return {
        "seed": run["seed"],
        "tilt": settings["tilt"],
        "finetune_steps": settings["finetune_steps"],
        "verdict": verdict([_rows(run, "continued")], len(run["heads"])),
    }


def _rows(run: Mapping[str, Any], mode: str) -> list[dict[str, Any]]:
    return [row for row in run["rows"] if row["mode"] == mode]


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Their mean and its 95% interval by Student's t, seeds being replicates."""
    mean, num = float(np.mean(values)), len(values)
    half = float("nan")
    if num > 1:
        half = float(stats.t.ppf(0.975, num - 1) * np.std(values, ddof=1) / num**0.5)
    return {"values": list(values), "mean": mean, "interval": [mean - half, mean + half]}


def markdown(found: Mapping[str, Any]) -> str:
    """Everything, as a page."""
    settings, num = found["settings"], len(found["seeds"])
    lines = [
        "# Patterning: what χ foretells of retraining",
        "",
        f"`germ experiment patterning`, {num} seeds ({', '.join(map(str, found['seeds']))}), "
        f"{len(found['heads'])} heads, each aimed at up and down: {2 * num * len(found['heads'])} "
        f"patterns; tilt {settings['tilt']:g}, {settings['finetune_steps']} steps going on, "
        f"{settings['train']['num_steps']} from scratch; nβ = {settings['nbeta']:g}, "
        f"γ = {settings['localization']:g}; χ by {', '.join(found['methods'])}. λ̂ of the heads "
        f"before: {np.min(found['llc']):.2f} to {np.max(found['llc']):.2f}. Weighted draws were "
        f"worth at least {100 * found['worth']:.0f}%.",
        "",
        "[Low, high] are 95%: a bootstrap over seeds, and in each over targets or mixtures, for "
        "correlations and slopes; binomial for signs, as if targets of a seed were independent, "
        "which they are not: they share χ's common direction.",
        "",
        *table(found["verdicts"]),
        "",
        "## By seed",
        "",
        "½(up − down) of the head aimed at: measured per predicted, and signs right. The mean's "
        "interval is Student's t over seeds.",
        "",
        "| | " + " | ".join(f"seed {seed}" for seed in found["seeds"]) + " | mean |",
        "|---" * (num + 2) + "|",
    ]
    for mode, alone in found["alone"].items():
        slopes = alone["odd_own_slope"]
        cells = {
            seed: f"{value:.2f}, {ok} of {len(found['heads'])}"
            for seed, value, ok in zip(
                alone["seeds"], slopes["values"], alone["odd_own_right"], strict=True
            )
        }
        mean = "{:.2f} [{:.2f}, {:.2f}]".format(slopes["mean"], *slopes["interval"])
        each = " | ".join(cells.get(seed, "not run") for seed in found["seeds"])
        lines.append(f"| {MODES[mode]} | {each} | {mean} |")
    if found["variations"]:
        lines += ["", "## Smaller tilts, fewer steps", "", *_variations(found["variations"])]
    return "\n".join(lines) + "\n"


def _variations(given: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "Going on from w*; ½(up − down), brackets over targets of the one seed.",
        "",
        "| seed | tilt | steps | signs, head aimed at | measured per predicted, head aimed at | "
        "all heads | size of changes | error of one |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in given:
        found = each["verdict"]
        slopes = [
            "{:.2f} [{:.2f}, {:.2f}]".format(*found[key]) for key in ("odd_own_slope", "odd_slope")
        ]
        lines.append(
            f"| {each['seed']} | {each['tilt']:g} | {each['finetune_steps']} | "
            f"{found['odd_own_signs'][0]} of {found['odd_own_signs'][1]} | {' | '.join(slopes)} | "
            f"{found['measured_size']:.3f} | {found['error']:.3f} |"
        )
    return lines


def _llc(run: Mapping[str, Any]) -> list[float]:
    return [float(np.mean(values)) for values in run["base"]["shares"].values()]


def main() -> None:
    """Read, pool, write."""
    parser = argparse.ArgumentParser(description="Patterning over seeds.")
    parser.add_argument("--from", dest="folders", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, default=RESULTS / "patterning")
    parser.add_argument("--variations", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    runs = load(given.folders)
    check(runs)
    found = pool(runs)
    found["variations"] = [variation(run) for run in load(given.variations)]
    text = markdown(found)
    given.out.with_suffix(".md").write_text(text, encoding="utf-8")
    given.out.with_suffix(".json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
