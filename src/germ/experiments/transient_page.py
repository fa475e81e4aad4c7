"""The page of `germ experiment transient-ridge`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from germ.experiments.stages_section import log_steps, step_ticks
from germ.experiments.toy_section import BLUE, GREY, ORANGE, plain, table
from germ.report.page import Page

DIP = 0.1
"""What is called a fall of the loss on new tasks, as a share of the way to ridge."""


def page(data: dict[str, Any]) -> Page:
    """The page.

    Args:
        data: What `transient_ridge.run` found.
    """
    return Page(
        "Transient ridge: what task diversity teaches",
        "\n".join(_text(data)),
        {
            "distances": distances_figure(data),
            "loss": loss_figure(data),
            "joint": joint_figure(data),
        },
        data,
    )


def distances_figure(data: dict[str, Any]) -> Figure:
    """Distances to both predictors on new tasks, a panel for each M."""
    models = data["models"]
    columns = min(3, len(models))
    rows = -(-len(models) // columns)
    drawn = Figure(figsize=(3.2 * columns, 2.3 * rows), layout="constrained")
    panels = drawn.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    x = log_steps(data["steps"])
    for axes, model in zip(panels.flat, models, strict=False):
        found = model["new"]
        axes.plot(x, found["ridge"], "-", color=BLUE, linewidth=1.2, label="to ridge")
        if "dmmse" in found:
            axes.plot(x, found["dmmse"], "--", color=ORANGE, linewidth=1.2, label="to dMMSE")
        axes.set_yscale("log")
        axes.set_ylim(0.1, 10)  # With one task dMMSE is met to 10⁻⁴, which would flatten the rest.
        plain(axes, f"M = {_named(model)}")
        step_ticks(axes, data["steps"])
    for axes in panels.flat[len(models) :]:
        axes.set_visible(False)
    panels[0, 0].legend(frameon=False, fontsize=8)
    panels[0, 0].set_ylabel("mean squared distance\non new tasks")
    return drawn


def loss_figure(data: dict[str, Any]) -> Figure:
    """The loss on new tasks and on a model's own, with that of the ideal predictors."""
    drawn = Figure(figsize=(9.5, 3.4), layout="constrained")
    panels = drawn.subplots(1, 2, sharey=True)
    x, shades = log_steps(data["steps"]), _shades(len(data["models"]))
    for axes, where, title in zip(
        panels, ("new", "own"), ("Loss on new tasks", "Loss on a model's own tasks"), strict=True
    ):
        for model, shade in zip(data["models"], shades, strict=True):
            found = model[where]
            axes.plot(x, found["loss"], color=shade, linewidth=1, label=f"M = {_named(model)}")
            if "dmmse" in found["ideal_loss"]:
                axes.plot(x[-1] + 0.12, found["ideal_loss"]["dmmse"], "^", color=shade)
        ridge = data["models"][-1]["new"]["ideal_loss"]["ridge"]
        axes.axhline(ridge, color="black", linewidth=0.8, linestyle=":", label="ridge, new tasks")
        step_ticks(axes, data["steps"])
        plain(axes, title)
    panels[0].plot([], [], "^", color=GREY, label="dMMSE of that M")
    panels[0].legend(frameon=False, fontsize=7)
    panels[0].set_ylabel("mean squared error")
    return drawn


def _shades(num: int) -> np.ndarray:
    return mpl.colormaps["viridis"](np.linspace(0.05, 0.9, num))


def joint_figure(data: dict[str, Any]) -> Figure:
    """The joint path with the ideal predictors, and λ̂ of the final models."""
    drawn = Figure(figsize=(9.5, 4), layout="constrained")
    left, right = drawn.subplots(1, 2)
    found = data["joint"]
    shades = _shades(len(found["paths"]))
    for (name, path), shade in zip(found["paths"].items(), shades, strict=True):
        line = np.array(path)
        left.plot(line[:, 0], line[:, 1], "-", color=shade, linewidth=1, label=f"M = {name}")
        left.plot(*line[-1], "o", color=shade, markersize=4)
        place = found["ideal"].get(f"dMMSE {name}")
        if place is not None:
            left.plot(*place, marker="^", color=shade, markeredgecolor="black", markersize=7)
    left.plot(
        *found["ideal"]["ridge"], marker="*", color="black", markersize=11, linestyle="none",
        label="ridge",
    )  # fmt: skip
    left.plot([], [], "^", color="white", markeredgecolor="black", label="dMMSE of that M")
    left.legend(frameon=False, fontsize=7)
    left.set_xlabel(f"PC1, {found['explained'][0]:.0%}")
    left.set_ylabel(f"PC2, {found['explained'][1]:.0%}")
    plain(left, "Outputs of all checkpoints; a dot: the end")
    good = [i for i, m in enumerate(data["models"]) if m["llc"]["value"] is not None]
    right.errorbar(
        good,
        [data["models"][i]["llc"]["value"] for i in good],
        yerr=[data["models"][i]["llc"]["total"] for i in good],
        fmt="o-", color=BLUE, linewidth=1,
    )  # fmt: skip
    right.set_xticks(range(len(data["models"])), [_named(m) for m in data["models"]])
    right.set_xlabel("M")
    right.set_ylabel("λ̂ of the final model ± its total error")
    right.axhline(0, color=GREY, linewidth=0.5)
    effort = data["settings"]["effort"]
    plain(right, f"nβ = {effort['nbeta']:g}, γ = {effort['localization']:g}, on its own tasks")
    return drawn


def _text(data: dict[str, Any]) -> Iterator[str]:
    plan = data["settings"]["plan"]
    yield (
        f"{len(data['models'])} transformers, each trained for {plan['num_steps']:,} steps of "
        f"{plan['batch_size']} sequences of {plan['config']['length']} pairs in "
        f"{plan['config']['dim']} dimensions on its own number of tasks M: the first M of one "
        "list, so that all share the first. Same first weights and the same stream of inputs. One "
        "model each: differences between M are read as a trend, and no single one has an interval "
        "over trainings."
    )
    yield "\n![distances to ridge and to dMMSE](distances.png)\n"
    zero = data["models"][0]["new"]["zero_to_ridge"]
    rows = []
    for model in data["models"]:
        new, rise, llc = model["new"], model["transience"], model["llc"]
        rows.append(
            [
                _named(model), f"{new['ridge'][-1]:.3f}",
                f"{new['dmmse'][-1]:.3f}" if "dmmse" in new else "—",
                f"{min(new['ridge']):.3f}", f"{data['steps'][int(np.argmin(new['ridge']))]:,}",
                f"{fallen(model, data['steps']):.0%}", f"{rise['step']:,}",
                f"{rise['rise']:+.3f} ± {rise['error']:.3f}", verdict(model),
                "failed" if llc["value"] is None else f"{llc['value']:.1f} ± {llc['total']:.1f}",
            ]
        )  # fmt: skip
    yield table(
        ["M", "to ridge, end", "to dMMSE, end", "to ridge, nearest", "at step",
         "loss on new tasks falls", "until", "and changes by", "verdict", "λ̂ at the end"],
        rows,
    )  # fmt: skip
    yield (
        "\nDistances are mean squared, on sequences of new tasks, where the two predictors differ "
        f"(predicting zero is {zero:.2f} from ridge). The loss on new tasks falls by a share of "
        "the way from its first value to that of ridge. The step of its least is chosen on half "
        "of the sequences and the rise measured on the other half; ± is one standard error over "
        "sequences. A model is at the predictor that it is nearer to. It has come by ridge, and "
        "ridge was transient, if it was nearer to ridge than to dMMSE and less than half as far as "
        "zero is, ends at dMMSE, and its loss on new tasks rose by three standard errors."
    )
    yield "\n![losses against time](loss.png)\n"
    yield "![the joint path, and λ̂ by M](joint.png)\n"
    joint = data["joint"]
    walks = sum(joint["random_walk"])
    yield (
        f"Two components of the joint path hold {sum(joint['explained']):.0%} of the variance "
        f"(published: 27.5%; random walks of so many checkpoints: {walks:.0%}). "
        "Ideal predictors are projected in afterwards."
    )
    yield "\n## What was published, and what came out\n"
    yield from _compared(data)


def verdict(model: dict[str, Any]) -> str:
    """Where a model ends on new tasks, and whether it came by ridge."""
    new = model["new"]
    if "dmmse" not in new:
        return "ridge"
    at_ridge = new["ridge"][-1] < new["dmmse"][-1]
    nearest = int(np.argmin(new["ridge"]))
    # An untrained model is nearer to ridge than to dMMSE too, since it is near zero: to have come
    # by ridge is to have been nearer to it than zero is, by half.
    came = new["ridge"][nearest] < min(new["dmmse"][nearest], new["zero_to_ridge"] / 2)
    passed = came and not at_ridge
    end = "ridge" if at_ridge else "dMMSE"
    if passed and model["transience"]["transient"]:
        return f"{end}, after ridge"
    return f"{end}, loss risen" if model["transience"]["transient"] else end


def _compared(data: dict[str, Any]) -> Iterator[str]:
    ends = {_named(m): verdict(m) for m in data["models"]}
    for name, what in (("dMMSE", "end at dMMSE"), ("ridge", "end at ridge")):
        which = [m for m, v in ends.items() if v.startswith(name)]
        yield f"- M that {what}: {', '.join(which) or 'none'}."
    passing = [m for m, v in ends.items() if v.endswith("after ridge")]
    yield f"- M that pass ridge and leave, by this rule: {', '.join(passing) or 'none'}."
    dips = [
        f"{_named(m)} (falls {fallen(m, data['steps']):.0%} of the way to ridge, then rises by "
        f"{m['transience']['rise']:.2f} ± {m['transience']['error']:.2f})"
        for m in data["models"]
        if m["transience"]["transient"] and fallen(m, data["steps"]) > DIP
    ]
    yield (
        "- The published sign of transience, a loss on new tasks that falls and rises again (here: "
        f"by more than {DIP:.0%} of the way, and by three standard errors): M = "
        f"{', '.join(dips) or 'none'}."
    )
    yield from _llc(data)
    yield (
        "- Published (D = 8, K = 16, 2.65 million weights, 150,000 steps of 1,024): M ≤ 128 end at "
        "dMMSE, M ≥ 362 stay at ridge, 182 and 256 between; ridge is transient for M of 16 to 128; "
        "λ̂ of the final models rises with M, crosses that of M = ∞ where transience begins, and is "
        "level above M = 32. The thresholds are those of that dimension and training, so that here "
        "it is their order that can be compared."
    )


def fallen(model: dict[str, Any], steps: list[int]) -> float:
    """How far the loss on new tasks falls: 1 is from its first value down to that of ridge."""
    losses = model["new"]["loss"]
    least = losses[steps.index(model["transience"]["step"])]
    return (losses[0] - least) / (losses[0] - model["new"]["ideal_loss"]["ridge"])


def _llc(data: dict[str, Any]) -> Iterator[str]:
    effort, models = data["settings"]["effort"], data["models"]
    good = [m for m in models if m["llc"]["value"] is not None]
    text = ", ".join(f"{m['llc']['value']:.1f} ± {m['llc']['total']:.1f}" for m in good)
    rises = ", ".join(f"{m['llc']['expected_loss'] - m['llc']['loss']:.3f}" for m in good)
    warned = sum(bool(m["llc"]["warnings"]) for m in good)
    yield (
        f"- λ̂ of the final models in order of M: {text} ({len(models) - len(good)} failed, "
        f"{warned} carry a warning of germ's, in `data.json`; ± is of the chains, not between "
        f"trainings). "
        f"nβ = {effort['nbeta']:g} and γ = {effort['localization']:g} on {effort['examples']:,} "
        f"sequences of a model's own tasks; while sampling the loss is {rises} above that at w\\*. "
        "The published nβ and γ could not be read."
    )
    last = models[-1]
    if last["num_tasks"] is None and last["llc"]["value"] is not None:
        gaps = ", ".join(
            f"{_named(m)}: {m['llc']['value'] - last['llc']['value']:+.1f} ± "
            f"{np.hypot(m['llc']['total'], last['llc']['total']):.1f}"
            for m in good
            if m is not last
        )
        yield f"- λ̂ less that of M = ∞, by M: {gaps}."


def _named(model: dict[str, Any]) -> str:
    return "∞" if model["num_tasks"] is None else str(model["num_tasks"])
