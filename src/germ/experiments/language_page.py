"""The page of `germ experiment language-model`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from scipy.cluster import hierarchy

from germ.development.attention_scores import PREFIX, PREVIOUS
from germ.experiments.stages_section import (
    PUBLISHED_HEAD,
    log_steps,
    stages_table,
    step_ticks,
)
from germ.experiments.toy_section import BLUE, GREY, ORANGE, plain, table
from germ.report.figures import CHAIN_COLOURS
from germ.report.page import Page

PUBLISHED = (
    ("LM1", "0 … 900", "bigrams", "A", "−2.33", "+26.4"),
    ("LM2", "900 … 6.5k", "n-grams", "A", "−1.22", "+22.5"),
    ("LM3", "6.5k … 8.5k", "previous-token heads", "B", "−0.18", "−1.57"),
    ("LM4", "8.5k … 17k", "induction heads", "A", "−0.40", "+8.62"),
    ("LM5", "17k … 50k", "converges", "A", "−0.34", "+1.77"),
)
"""Of 50,000 steps of 100 × 1,024 tokens of the Pile (Hoogland et al., arXiv 2402.02364)."""


def page(data: dict[str, Any]) -> Page:
    """The page.

    Args:
        data: What `language_model.run` found.
    """
    return Page(
        "A language model through training",
        "\n".join(_text(data)),
        {
            "llc": llc_figure(data),
            "behaviour": behaviour_figure(data),
            "heads": heads_figure(data),
        },
        data,
    )


def llc_figure(data: dict[str, Any]) -> Figure:
    """λ̂, and the loss at w* and while sampling."""
    drawn = Figure(figsize=(9, 6), layout="constrained")
    upper, lower = drawn.subplots(2, 1, sharex=True)
    for number, model in enumerate(data["models"]):
        rows = model["checkpoints"]
        x = log_steps([r["step"] for r in rows])
        colour = CHAIN_COLOURS[number % len(CHAIN_COLOURS)]
        upper.errorbar(
            x, [r["llc"] for r in rows], yerr=[r["total"] for r in rows], fmt=".-", color=colour,
            linewidth=1,
        )  # fmt: skip
        lower.plot(x, [r["loss"] for r in rows], ".-", color=colour, linewidth=1)
        lower.plot(x, [r["expected_loss"] for r in rows], "--", color=colour, linewidth=1)
    for at in data["stages"]["boundaries"]:
        ends = log_steps(list(at["interval"]))
        for axes in (upper, lower):
            axes.axvspan(*ends, color=GREY, alpha=0.2, linewidth=0)
            axes.axvline(float(log_steps([at["step"]])[0]), color=GREY, linewidth=0.8)
    upper.set_ylabel("λ̂ ± its total error")
    lower.set_ylabel("nats per token")
    plain(upper, "λ̂; grey: boundaries with their 90% intervals")
    plain(lower, "Loss at w* (solid) and while sampling (dashed)")
    step_ticks(lower, [r["step"] for r in data["models"][0]["checkpoints"]])
    return drawn


def behaviour_figure(data: dict[str, Any]) -> Figure:
    """n-grams, use of context, and what heads attend to, of the first training."""
    drawn = Figure(figsize=(10, 3.4), layout="constrained")
    panels = drawn.subplots(1, 3)
    rows = data["models"][0]["checkpoints"]
    x = log_steps([r["step"] for r in rows])
    groups = (
        ("divergence", "Divergence from n-grams, nats"),
        (("in-context", "repetition"), "Loss with context less without, nats"),
    )
    for axes, (wanted, title) in zip(panels, groups, strict=False):
        names = [
            s["measure"]
            for s in rows[0]["behaviour"]
            if s["component"] == "model"
            and (
                s["measure"].endswith(wanted)
                if isinstance(wanted, str)
                else s["measure"].startswith(wanted)
            )
        ]
        for name, colour in zip(names, CHAIN_COLOURS, strict=False):
            found = [score(r, name) for r in rows]
            axes.errorbar(
                x, [s["value"] for s in found], yerr=[s["standard_error"] or 0 for s in found],
                fmt=".-", color=colour, linewidth=1, label=name,
            )  # fmt: skip
        axes.legend(frameon=False, fontsize=7)
        plain(axes, title)
    for name, style in ((PREVIOUS, "-"), (PREFIX, ":")):
        for component in data["heads"][0]["names"]:
            values = [score(r, name, component)["value"] for r in rows]
            colour = BLUE if component.startswith("layers.0") else ORANGE
            panels[2].plot(x, values, style, color=colour, linewidth=0.8)
    panels[2].plot([], [], "-", color="black", label=PREVIOUS)
    panels[2].plot([], [], ":", color="black", label=PREFIX)
    panels[2].plot([], [], color=BLUE, label="layer 0")
    panels[2].plot([], [], color=ORANGE, label="layer 1")
    panels[2].legend(frameon=False, fontsize=7)
    plain(panels[2], "Attention of heads")
    for axes in panels:
        step_ticks(axes, [r["step"] for r in rows])
    return drawn


def heads_figure(data: dict[str, Any]) -> Figure:
    """λ̂ of heads through training, their dendrogram, and λ̂ on code against all text."""
    drawn = Figure(figsize=(10, 7), layout="constrained")
    panels = drawn.subplots(2, 2).flat
    rows, found = data["models"][0]["checkpoints"], data["heads"][0]
    x = log_steps([r["step"] for r in rows])
    last = {name: score(rows[-1], PREVIOUS, name)["value"] for name in found["names"]}
    shade = mpl.colormaps["viridis_r"]
    most = max(last.values())
    layers = sorted({name.split(".head")[0] for name in found["names"]})
    for axes, layer in zip(panels, layers, strict=False):
        for name in found["names"]:
            if name.startswith(f"{layer}."):
                each = [r["heads"]["all"][name] for r in rows]
                axes.errorbar(
                    x, [_number(e["llc"]) for e in each], yerr=[_number(e["error"]) for e in each],
                    fmt=".-", color=shade(0.1 + 0.9 * last[name] / most), linewidth=1,
                )  # fmt: skip
        plain(axes, f"Refined λ̂, {layer}; darker: attends to the previous token")
        step_ticks(axes, [r["step"] for r in rows])
    tree = panels[2]
    hierarchy.dendrogram(
        np.array(found["linkage"]), labels=[_short(name) for name in found["names"]], ax=tree,
        color_threshold=0, above_threshold_color=GREY,
    )  # fmt: skip
    tree.tick_params(axis="x", labelsize=7)
    plain(tree, "Heads by their λ̂ through training")
    axes = panels[3]
    for place, (name, (value, error)) in enumerate(found["code"].items()):
        colour = BLUE if name.startswith("layers.0") else ORANGE
        axes.errorbar(place, value, yerr=error, fmt="o", color=colour, markersize=4)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_xticks(range(len(found["code"])), [_short(name) for name in found["code"]], fontsize=7)
    plain(axes, "λ̂ on code less λ̂ on all text, at the end")
    return drawn


def score(row: dict[str, Any], measure: str, component: str = "model") -> dict[str, Any]:
    """A score of a checkpoint."""
    return next(
        s for s in row["behaviour"] if s["measure"] == measure and s["component"] == component
    )


def _text(data: dict[str, Any]) -> Iterator[str]:
    models = data["models"]
    rows = models[0]["checkpoints"]
    trained = data["settings"]["training"] is not None
    what = (
        f"{len(models)} models of the published size"
        if trained
        else "The model that comes with germ"
    )
    yield (
        f"{what}: two layers of attention alone, {len(rows)} checkpoints, on text of its training. "
        + ("" if trained else "One training run: what another would show is not known. ")
        + "λ̂ by germ's own sampler at nβ = 30 and γ = 300, calibrated once; heads by weighted "
        "draws."
    )
    yield "\n![λ̂ and loss](llc.png)\n"
    yield "## Stages\n"
    yield stages_table(data["stages"]["stages"])
    yield "\nPublished, of another model, text and optimizer:\n"
    yield table(PUBLISHED_HEAD, PUBLISHED)
    yield ""
    for warning in data["stages"]["warnings"]:
        yield f"- {warning}"
    yield "\n## What the model does\n"
    yield "![n-grams, context, heads](behaviour.png)\n"
    yield from _behaviour(data)
    yield "\n## Heads\n"
    yield "![heads through training](heads.png)\n"
    yield from _heads(data)


def _behaviour(data: dict[str, Any]) -> Iterator[str]:
    rows = data["models"][0]["checkpoints"]
    for name in ("bigram", "trigram", "4-gram"):
        values = [score(r, f"{name} divergence")["value"] for r in rows]
        errors = [score(r, f"{name} divergence")["standard_error"] for r in rows]
        place = int(np.argmin(values))
        rise = (values[-1] - values[place]) / max(float(np.hypot(errors[-1], errors[place])), 1e-9)
        after = f", and is {values[-1]:.2f} at the end ({rise:.1f} standard errors above)"
        yield (
            f"- The divergence from the counted {name}s is least at step {rows[place]['step']:,} "
            f"({values[place]:.2f} ± {errors[place]:.2f} nats)"
            + (after if place < len(rows) - 1 else ", the last")
            + "."
        )
    for measure in (PREVIOUS, PREFIX):
        last = {name: score(rows[-1], measure, name) for name in data["heads"][0]["names"]}
        best = max(last, key=lambda name: last[name]["value"])
        chance = last[best]["chance"]
        yield (
            f"- Most {measure}: {_short(best)}, {last[best]['value']:.3f} ± "
            f"{last[best]['standard_error']:.3f}"
            + ("" if chance is None else f" (chance {chance:.3f})")
            + "."
        )
    yield (
        "- Published: previous-token heads form in LM3 and induction heads in LM4. A model without "
        "prefix matching above chance has no induction heads, and so no such stages."
    )


def _heads(data: dict[str, Any]) -> Iterator[str]:
    for number, found in enumerate(data["heads"]):
        who = f"Training {number}: " if len(data["heads"]) > 1 else ""
        apart = found["layers_apart"]
        yield (
            f"- {who}Heads of a layer have trajectories nearer to each other than to those of the "
            f"other layer by {apart['gap']:.2f} (p = {apart['p']:.2g}, relabelling heads)."
        )
        last = str(data["models"][number]["checkpoints"][-1]["step"])
        for layer, by_step in found["previous"].items():
            if last in by_step:
                rank, p = by_step[last]
                yield (
                    f"- {who}{layer}: at the end λ̂ ranks heads as attention to the previous token "
                    f"does by {rank:+.2f} (p = {p:.2g})."
                )
        code = found["code"]
        clear = [n for n, (v, e) in code.items() if abs(v) > 3 * e]
        text = ", ".join(f"{_short(n)} {code[n][0]:+.2f} ± {code[n][1]:.2f}" for n in clear)
        yield (
            f"- {who}On code instead of all text λ̂ of {len(clear)} of {len(code)} heads is another "
            f"by more than three standard errors{': ' + text if text else ''}."
        )
    yield (
        "\nHeads are not replicates of training runs: the p-values are about this model's heads. "
        "Errors of their λ̂ are of the draws; the "
        f"{data['settings']['head_contexts']} rows of all text and of code are taken as given."
    )


def _short(name: str) -> str:
    return name.replace("layers.", "").replace(".head", "")


def _number(value: float | None) -> float:
    return np.nan if value is None else value
