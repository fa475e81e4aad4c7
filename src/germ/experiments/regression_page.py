"""The page of `germ experiment regression-transformer`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from germ.experiments import replicates
from germ.experiments.stages_section import (
    PUBLISHED_HEAD,
    log_steps,
    stages_table,
    step_ticks,
)
from germ.experiments.toy_section import GREY, plain, table
from germ.report.figures import CHAIN_COLOURS
from germ.report.page import Page

PUBLISHED = (
    ("LR1", "0 … 1k", "predicts zero", "A", "−0.32", "+21.4"),
    ("LR2", "1k … 40k", "learns from its context", "A", "−2.21", "+149"),
    ("LR3", "40k … 126k", "robust out of distribution", "B", "−0.07", "−12.3"),
    ("LR4", "126k … 320k", "layer norms collapse", "B", "−0.05", "−44.1"),
    ("LR5", "320k … 500k", "converges", "A", "−0.03", "+3.56"),
)
"""Of 500,000 steps of 1,024 sequences (Hoogland et al., arXiv 2402.02364)."""


def page(data: dict[str, Any]) -> Page:
    """The page.

    Args:
        data: What `regression_transformer.run` found.
    """
    return Page(
        "Regression transformer: stages of learning in context",
        "\n".join(_text(data)),
        {"llc": llc_figure(data), "behaviour": behaviour_figure(data)},
        data,
    )


def llc_figure(data: dict[str, Any]) -> Figure:
    """λ̂, the loss at w* and while sampling, over log step, with the boundaries."""
    drawn = Figure(figsize=(9, 6.5), layout="constrained")
    upper, lower = drawn.subplots(2, 1, sharex=True)
    x = log_steps(data["steps"])
    for number, (seed, rows) in enumerate(zip(data["seeds"], data["rows"], strict=True)):
        colour = CHAIN_COLOURS[number % len(CHAIN_COLOURS)]
        value = [np.nan if r["value"] is None else r["value"] for r in rows]
        error = [r.get("total") or 0.0 for r in rows]
        upper.errorbar(x, value, yerr=error, fmt=".-", color=colour, linewidth=1, label=f"{seed}")
        lower.plot(x, [r["loss"] for r in rows], ".-", color=colour, linewidth=1)
        sampled = [r.get("expected_loss") or np.nan for r in rows]
        lower.plot(x, sampled, "--", color=colour, linewidth=1)
    for axes in (upper, lower):
        for at in data["stages"]["boundaries"]:
            low, high = (math.log10(max(step, 0.5)) for step in at["interval"])
            axes.axvspan(low, high, color=GREY, alpha=0.2, linewidth=0)
            axes.axvline(math.log10(max(at["step"], 0.5)), color=GREY, linewidth=0.8)
    lower.axhline(data["behaviour"]["ridge_loss"], color=GREY, linestyle=":", linewidth=1)
    upper.set_ylabel("λ̂ ± its total error")
    upper.legend(frameon=False, fontsize=8, title="training seed", title_fontsize=8)
    lower.set_ylabel("mean squared error")
    plain(upper, "λ̂ at nβ = 66.7, γ = 13.3; grey: boundaries with their 90% intervals")
    plain(lower, "Loss at w* (solid), while sampling (dashed), and of ridge regression (dotted)")
    step_ticks(lower, data["steps"])
    return drawn


def behaviour_figure(data: dict[str, Any]) -> Figure:
    """Distances to the two predictors, losses by position, and the path of outputs."""
    found = data["behaviour"]
    drawn = Figure(figsize=(9, 3.6), layout="constrained")
    left, middle, right = drawn.subplots(1, 3)
    x = log_steps(found["steps"])
    for number, model in enumerate(found["models"]):
        colour = CHAIN_COLOURS[number % len(CHAIN_COLOURS)]
        left.plot(x, model["to_zero"], "--", color=colour, linewidth=1)
        left.plot(x, model["to_ridge"], "-", color=colour, linewidth=1)
        path = np.array(found["paths"][number])
        right.plot(path[:, 0], path[:, 1], ".-", color=colour, markersize=3, linewidth=0.8)
    left.set_ylabel("root mean square distance")
    plain(left, "To ridge (solid), to zero (dashed)")
    step_ticks(left, found["steps"])
    losses = np.mean([model["by_position"] for model in found["models"]], axis=0)
    shown = np.unique(np.linspace(0, len(losses) - 1, 7).astype(int))
    for rank, i in enumerate(shown):
        shade = str(0.8 * (1 - rank / max(1, len(shown) - 1)))
        middle.plot(
            np.arange(1, losses.shape[1] + 1), losses[i], ".-", color=shade, linewidth=1,
            label=f"{found['steps'][i]:,}",
        )  # fmt: skip
    middle.plot(
        np.arange(1, losses.shape[1] + 1), found["ridge_by_position"], ":", color=CHAIN_COLOURS[1],
        label="ridge",
    )  # fmt: skip
    middle.set_xlabel("k")
    middle.set_ylabel("mean squared error")
    middle.legend(frameon=False, fontsize=6, title="step", title_fontsize=6)
    plain(middle, "Loss of the k-th y")
    for place, name, marker in zip(found["ideal"], ("zero", "ridge"), ("s", "*"), strict=True):
        right.plot(*place[:2], marker=marker, color="black", linestyle="none", label=name)
    right.legend(frameon=False, fontsize=7)
    right.set_xlabel(f"PC1, {found['explained'][0]:.0%}")
    right.set_ylabel(f"PC2, {found['explained'][1]:.0%}")
    plain(right, "Outputs of the checkpoints")
    return drawn


def _text(data: dict[str, Any]) -> Iterator[str]:
    plan, config = data["settings"]["plan"], data["settings"]["plan"]["config"]
    num, steps = len(data["seeds"]), data["steps"]
    examples = data["settings"]["effort"]["examples"]
    yield (
        f"{num} transformers ({config['num_layers']} blocks, {config['num_heads']} heads, width "
        f"{config['d_model']}) trained for {plan['num_steps']:,} steps of {plan['batch_size']} "
        f"sequences of {config['length']} pairs in {config['dim']} dimensions, σ² = 0.125; "
        f"published: 500,000 steps of 1,024. λ̂ at {len(steps)} checkpoints of each, at the "
        f"published nβ = 66.7 and γ = 13.3, on {examples:,} sequences, with "
        "germ's own sampler: one calibration a training, tested at each checkpoint."
    )
    yield "\n![λ̂ and the loss over training](llc.png)\n"
    yield "## Stages\n"
    yield (
        "As `germ stages` finds them; ± and intervals are between trainings, the only replicates. "
        "A: the loss falls and λ̂ rises; B: both fall.\n"
    )
    yield stages_table(data["stages"]["stages"])
    yield ""
    for at in data["stages"]["boundaries"]:
        low, high = map(_step, at["interval"])
        yield (
            f"- Boundary at {_step(at['step'])} (90%: {low} … {high}), {at['kind']} of "
            f"{'λ̂' if at['of'] == 'llc' else 'the loss' if at['of'] == 'loss' else 'both'}, "
            f"support {at['support']:.2f}."
        )
    yield "\nPublished, of 500,000 steps:\n"
    yield table(PUBLISHED_HEAD, PUBLISHED)
    yield ""
    yield from _restatement(data)
    yield "\n## What the models do\n"
    yield "![distances, losses by position, path](behaviour.png)\n"
    yield from _behaviour(data)
    warned = sum(bool(r["warnings"]) for rows in data["rows"] for r in rows)
    failed = sum(r["value"] is None for rows in data["rows"] for r in rows)
    yield (
        f"\n{warned} of {num * len(steps)} λ̂ carry a warning of germ's (`data.json` has them), and "
        f"{failed} failed. At "
        "these checkpoints w\\* is no minimum, since training had not ended."
    )


def _restatement(data: dict[str, Any]) -> Iterator[str]:
    yield "## Does λ̂ say more than the loss?\n"
    found = [
        [r for r in rows if r["value"] is not None and "expected_loss" in r]
        for rows in data["rows"]
    ]
    correlations = [
        float(np.corrcoef([r["loss"] for r in rows], [r["value"] for r in rows])[0, 1])
        for rows in found
    ]
    shares = [
        float(np.std([r["expected_loss"] for r in rows]) / np.std([r["loss"] for r in rows]))
        for rows in found
    ]
    yield (
        "λ̂ = nβ(E[L] − L(w\\*)): where E[L], the loss while sampling, is the same at all "
        "checkpoints, λ̂ is the loss over again. Over the checkpoints of a training λ̂ and the loss "
        f"correlate by {replicates.said(replicates.mean_correlation(correlations), 3)}, and E[L] "
        f"varies {replicates.said(replicates.mean(shares))} times as much as L(w\\*) "
        "(95%, over trainings).\n"
    )
    for warning in data["stages"]["warnings"]:
        yield f"- {warning}"
    if not data["stages"]["warnings"]:
        yield "- germ has no warning here."
    yield (
        "\nIn the published series the loss while sampling is constant to 0.3% through step 40k "
        "(LR1, LR2), and falls only in LR3 and LR4."
    )


def _behaviour(data: dict[str, Any]) -> Iterator[str]:
    found = data["behaviour"]
    last = {
        name: replicates.said(replicates.mean([model[name][-1] for model in found["models"]]), 3)
        for name in ("loss", "to_zero", "to_ridge")
    }
    nearest = []
    for model in found["models"]:
        place = int(np.argmin(model["to_zero"]))
        nearest.append(f"{found['steps'][place]:,} ({model['to_zero'][place]:.2f})")
    gain = replicates.mean(
        [model["by_position"][-1][-1] - model["by_position"][-1][1] for model in found["models"]]
    )
    yield (
        f"- **Zero first.** A model comes nearest to predicting zero at steps {', '.join(nearest)} "
        f"(by seed; the distance in brackets). The loss of predicting zero is "
        f"{found['zero_loss']:.3f}.\n"
        f"- **Then ridge.** At the end the loss is {last['loss']}, that of ridge regression "
        f"{found['ridge_loss']:.3f}, and the distance to ridge {last['to_ridge']} (to zero "
        f"{last['to_zero']}).\n"
        f"- **From context.** At the end the last y costs {replicates.said(gain, 3)} more than the "
        "second (in-context-learning score; negative where context helps).\n"
        f"- **Path.** Two components of the outputs hold {sum(found['explained'][:2]):.0%} of "
        f"their variance; random walks would have {sum(found['random_walk'][:2]):.0%}."
    )


def _step(value: float) -> str:
    return f"{value:,.0f}"
