"""Refined LLCs of all heads of the bundled model through its training.

    python -m benchmarks.bundled_heads [--draws 16]

λ̂ of each head alone (all else at w*) at nβ = 30, γ = 300, at checkpoints spread over training, by
`germ.gaussian_llc`; beside it, how much each head looks at the previous token, at the last
checkpoint. Errors are of the draws; there is one training run, so that nothing is said of others.

Writes `benchmarks/results/bundled_heads.{json,md}` and `docs/images/refined_heads.png`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats

from benchmarks.overhead import RESULTS, ROOT, machine, say
from germ import GermError, LocalPosterior, gaussian_llc
from germ.components import expand
from germ.development.attention_scores import text_scores
from germ.excess import Excess
from germ.zoo import bundled

NUM_STEPS = 5


def chosen_steps() -> list[int]:
    """Checkpoints spread evenly over the logarithm of the step."""
    steps = bundled.steps()
    wanted = np.geomspace(max(steps[0], 1), steps[-1], NUM_STEPS)
    near = {min(steps, key=lambda s, w=w: abs(np.log(max(s, 1) / w))) for w in wanted}
    return sorted(near)


def measured(step: int, draws: int) -> dict[str, Any]:
    """λ̂ and error of every head at a checkpoint."""
    model = bundled.model(step)
    data = {"input_ids": bundled.tokens("all", context=128)}
    found: dict[str, Any] = {}
    excess = None
    for name, restriction in expand(model, "heads").items():
        posterior = LocalPosterior.from_model(model, data, restrict=restriction)
        excess = Excess(posterior, like=excess)
        try:
            one = gaussian_llc(posterior, draws=draws, excess=excess)
            found[name] = {"llc": one.value, "error": one.standard_error, "share": one.share}
        except GermError as error:
            found[name] = {"llc": None, "reason": str(error)}
    return found


def main() -> None:
    """Measure, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/germ-bundled-heads"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    table: dict[int, Any] = {}
    seconds = 0.0
    for step in chosen_steps():
        kept = options.folder / f"step{step}-draws{options.draws}.json"
        if not kept.exists():
            began = time.monotonic()
            found = measured(step, options.draws)
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps({"seconds": time.monotonic() - began, "heads": found}))
        held = json.loads(kept.read_text())
        table[step] = held["heads"]
        seconds += held["seconds"]
        say(f"step {step}: {held['seconds']:.0f} s")
    model = bundled.model()
    scores = text_scores(model, bundled.tokens("all", context=128)[::97][:128])
    previous = {s.component: s.value for s in scores if s.measure.startswith("previous")}
    layers = sorted({head.split(".head")[0] for head in previous})
    ranks: dict[str, Any] = {}
    for step, found in table.items():
        for layer in layers:
            heads = [head for head in previous if head.startswith(layer)]
            rank: Any = stats.spearmanr(
                [previous[head] for head in heads], [found[head]["llc"] for head in heads]
            )
            ranks.setdefault(layer, {})[str(step)] = [float(rank.statistic), float(rank.pvalue)]
    result = {
        "steps": {str(step): found for step, found in table.items()},
        "previous_token": previous,
        "rank_correlations": ranks,
        "draws": options.draws, "seconds": round(seconds), "machine": machine(),
    }  # fmt: skip
    (RESULTS / "bundled_heads.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "bundled_heads.md").write_text(markdown(result))
    figure(table, previous).savefig(ROOT / "docs" / "images" / "refined_heads.png", dpi=110)
    print(markdown(result))


def markdown(result: dict[str, Any]) -> str:
    """The table."""
    steps = list(result["steps"])
    lines = [
        "# Refined LLCs of the bundled model's heads through training",
        "",
        f"nβ 30, γ 300, {result['draws']} weighted draws each; {result['seconds']} s in all, one "
        "thread. ± is one standard error over draws.",
        "",
        "| head | previous token | " + " | ".join(steps) + " |",
        "|---|---|" + "---|" * len(steps),
    ]
    for head, previous in result["previous_token"].items():
        cells = []
        for step in steps:
            one = result["steps"][step][head]
            empty = one["llc"] is None
            cells.append("–" if empty else f"{one['llc']:.2f} ± {one['error']:.2f}")
        lines.append(f"| {head} | {previous:.2f} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Rank correlation, over the heads of a layer, of λ̂ and of attention to the previous token "
        "at the last checkpoint (p for eight exchangeable heads):",
        "",
        "| layer | " + " | ".join(steps) + " |",
        "|---|" + "---|" * len(steps),
    ]
    for layer, row in result["rank_correlations"].items():
        cells = [f"{row[step][0]:+.2f} (p = {row[step][1]:.2g})" for step in steps]
        lines.append(f"| {layer} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def figure(table: dict[int, Any], previous: dict[str, float]) -> Figure:
    """λ̂ of every head against the step; a panel a layer, darker the more it looks one back."""
    drawn = Figure(figsize=(9.5, 3.8), layout="constrained")
    steps = [max(step, 1) for step in table]
    panels = drawn.subplots(1, 2, sharey=True)
    for axes, layer in zip(panels, ("layers.0", "layers.1"), strict=True):
        for head, share in previous.items():
            if not head.startswith(layer):
                continue
            values = [found[head]["llc"] for found in table.values()]
            errors = [found[head].get("error", np.nan) for found in table.values()]
            shade = str(0.75 * (1 - share / max(previous.values())))
            y = np.array([np.nan if v is None else v for v in values], float)
            axes.errorbar(steps, y, yerr=errors, color=shade, linewidth=1.1, marker="o", ms=3)
            axes.annotate(
                head.rsplit(".", 1)[1], (steps[-1], y[-1]), xytext=(4, 0),
                textcoords="offset points", fontsize=7, color=shade, va="center",
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlabel("training step")
        axes.set_title(layer, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("refined λ̂ of the head\n(nβ 30, γ 300)")
    return drawn


if __name__ == "__main__":
    main()
