"""The page of `germ experiment scale`: figures, tables, and what they do not show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from germ.experiments.benchmark_scores import KINDS, holm
from germ.experiments.published_tables import FORMS, SIZES, VARIABLE
from germ.experiments.replicates import Mean, mean, mean_correlation, said
from germ.experiments.toy_section import BLUE, GREY, ORANGE, plain, table
from germ.report.figures import CHAIN_COLOURS
from germ.report.page import Page

TITLE = "Scale: what the published LLCs of Pythia show, and the command to measure them afresh"


def page(data: dict[str, Any]) -> Page:
    """The page.

    Args:
        data: What `scale.run` found: `tables` and `fresh` may be None.
    """
    found = data["tables"]
    figures, lines = {}, []
    if found is None:
        lines += _without()
    else:
        figures = {"laws": laws_figure(found["laws"]), "scores": scores_figure(found["scores"])}
        lines += [*_about(), *_laws(found["laws"]), *_factors(found), *_scores(found["scores"])]
    lines += _fresh(data)
    return Page(TITLE, "\n".join(lines), figures, data)


def laws_figure(laws: dict[str, Any]) -> Figure:
    """λ̂ over steps, and the loss over λ̂ with the fits."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (size, law), colour in zip(laws.items(), CHAIN_COLOURS, strict=False):
        step, llc, loss = (np.array(law["curve"][name]) for name in ("step", "llc", "loss"))
        inside = (step >= law["steps"][0]) & (step <= law["steps"][1])
        trained = step > 0
        left.plot(step[trained], llc[trained], color=colour, linewidth=1, alpha=0.5)
        left.plot(step[inside], llc[inside], ".", color=colour, label=size)
        late = step > law["steps"][1]
        right.plot(llc[late], loss[late], ".", color=colour, markersize=3, alpha=0.35)
        right.plot(llc[inside], loss[inside], ".", color=colour)
        fit = law["law"]
        x = np.geomspace(llc[inside].min(), llc[inside].max(), 100)
        y = fit["floor"] + fit["scale"] * (x / fit["center"]) ** -fit["exponent"]
        right.plot(x, y, color=colour, linewidth=1)
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_xlabel("training step")
    left.set_ylabel("λ̂")
    left.legend(frameon=False, fontsize=8)
    right.set_xscale("log")
    right.set_xlabel("λ̂")
    right.set_ylabel("test loss, nats per token")
    plain(left, "λ̂ over training; dots: fitted over")
    plain(right, "Loss over λ̂, and the law; pale: later")
    return figure


def scores_figure(scores: list[dict[str, Any]]) -> Figure:
    """Correlation with each benchmark, plain and given the loss, with intervals over models."""
    names = list(dict.fromkeys(each["benchmark"] for each in scores))
    figure = Figure(figsize=(9, 1.4 + 0.32 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(KINDS), sharey=True)
    for axes, kind in zip(panels, KINDS, strict=True):
        for y, name in enumerate(reversed(names)):
            each = next(e for e in scores if e["benchmark"] == name and e["kind"] == kind)
            found = each["mean"]
            values = list(each["by_model"].values())
            axes.plot(values, [y] * len(values), ".", color=GREY, markersize=4)
            if found["low"] is not None:
                apart = found["low"] > 0 or found["high"] < 0
                colour = ORANGE if apart else BLUE
                axes.plot([found["low"], found["high"]], [y, y], color=colour, linewidth=1.3)
                axes.plot([found["value"]], [y], "o", color=colour, markersize=4)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_xlim(-1.05, 1.05)
        axes.set_xlabel("correlation with λ̂")
        plain(axes, kind)
    panels[0].set_yticks(range(len(names)), list(reversed(names)), fontsize=8)
    return figure


def _without() -> Iterator[str]:
    yield (
        "**The published tables were not found, so nothing about them is on this page.** They are "
        "measurements of others and do not come with germ: "
        "[gradientinstitute/lsoc-psych](https://github.com/gradientinstitute/lsoc-psych) has them "
        "(Apache-2.0, `data/llc` and `data/evals`). Write them as CSV files into one folder, name "
        f"it with `{VARIABLE}=FOLDER` (or put them into `reference` in this experiment's folder), "
        "and give the command again:"
    )
    yield ""
    yield table(["file", "columns"], [[f"`{name}`", form] for name, form in FORMS.items()])
    yield ""


def _about() -> Iterator[str]:
    yield (
        "λ̂ of six Pythia models over training, as published by Gradient Institute and Timaeus "
        "(gradientinstitute/lsoc-psych, Apache-2.0; Carroll et al. 2025). nβ of the tables is not "
        "stated, and λ̂ on the Pile has no error bars. One run of each size: **models are the "
        "replicates, six of them or three, checkpoints are not**; intervals are 95%, over models "
        "where nothing else is said. The report that goes with the data is not public: its "
        "numbers, which would stand beside these, could not be read."
    )
    yield ""


def _laws(laws: dict[str, Any]) -> Iterator[str]:
    yield "## λ̂ against the loss"
    yield ""
    yield "![λ̂ over training, and the loss over λ̂](laws.png)"
    yield ""
    yield (
        "The authors' form, L = L∞ + c·λ̂^(−r), over the authors' steps. Intervals: bootstrap of "
        "the residuals in blocks; they say how well this run's points fix the law, not how another "
        "run's would come out."
    )
    yield ""
    rows = []
    for size, found in laws.items():
        law, after = found["law"], found["after"]
        floor, exponent = (_range(law[f"{n}_interval"]) for n in ("floor", "exponent"))
        rows.append([
            size.upper(), f"{found['steps'][0]:,}–{found['steps'][1]:,} ({found['num']})",
            f"{law['exponent']:.2f} ({exponent})", f"{law['floor']:.2f} ({floor})",
            f"{law['rms']:.3f}",
            "—" if after["rms"] is None else f"{after['rms']:.3f} ({after['num']})",
            f"{found['correlation']:.3f}", f"{found['change_correlation']:.2f}",
            f"×{found['late']['llc_ratio']:.2f}, {found['late']['loss_change']:+.2f}",
        ])  # fmt: skip
    head = ["model", "steps fitted (number)", "r", "L∞", "misfit, nats", "misfit after",
            "correlation", "of changes", "λ̂ and L, last step against end of fit"]  # fmt: skip
    yield table(head, rows)
    yield ""
    exponents = [found["law"]["exponent"] for found in laws.values()]
    order = np.asarray(spearmanr([SIZES[size] for size in laws], exponents))[0]
    level = mean_correlation([found["correlation"] for found in laws.values()])
    change = mean_correlation([found["change_correlation"] for found in laws.values()])
    apart = _disjoint([found["law"]["exponent_interval"] for found in laws.values()])
    worse = sum(
        found["after"]["rms"] is not None and found["after"]["rms"] > 2 * found["law"]["rms"]
        for found in laws.values()
    )
    yield (
        "*Misfit after* is the law's error at the checkpoints from the end of the fit to twice "
        "that step. "
        "The law fits where it is fitted; r is no constant of Pythia: from "
        f"{min(exponents):.2f} to {max(exponents):.2f}, its rank correlation with size is "
        f"{order:.2f} ({len(laws)} models; for no relation, the two orders that are perfect have "
        f"probability {2 / math.factorial(len(laws)):.1g}), and {apart[0]} of {apart[1]} pairs of "
        f"models have intervals that do not meet. (The models are fitted over different steps.) "
        f"Continued to twice the last step its error is more than twice the misfit in {worse}"
        f" of {len(laws)} models. Correlation of λ̂ and the loss: {said(level, 3)} of levels, where "
        f"any two quantities that follow training would be near ±1; {said(change)} of changes from "
        "checkpoint to checkpoint. Over these steps λ̂ and the loss are nearly one variable. After "
        "them they part: in the smaller models λ̂ grows at nearly constant loss (last column), "
        "which is an instability of their training or of the sampler there, and no power law."
    )
    yield ""
    above = {size: found["sampled_above_untrained_from"] for size, found in laws.items()}
    named = ", ".join(
        f"{s.upper()} {f'from step {v:,}' if v is not None else 'never'}" for s, v in above.items()
    )
    yield (
        "*If* nβ is 30 (not stated; another set, at nβ = 10, is about 2.9 times smaller), the "
        "sampled loss is E[L] = L + λ̂/30. It then stays above log 50304 = 10.8 nats, the loss of "
        f"knowing nothing: {named}. Chains that are worse than an untrained model have left what "
        "was learned, and such a λ̂ would not be local."
    )
    yield ""


def _factors(found: dict[str, Any]) -> Iterator[str]:
    yield "## Subsets of the Pile: one factor?"
    yield ""
    yield (
        "log λ̂ on 13 subsets over the checkpoints of the fit. *Surrogates* have each subset's own "
        "changes in an order of its own: they rise as much and share nothing in time."
    )
    yield ""
    rows = []
    for size, each in found["factors"].items():
        order = sorted(each["loadings"].items(), key=lambda pair: pair[1])
        ends = f"{order[-1][0]} {order[-1][1]:+.2f}, {order[0][0]} {order[0][1]:+.2f}"
        rows.append([
            size.upper(), str(each["num_checkpoints"]), _percent(each["levels"]),
            _percent(each["surrogates"]), _percent(each["changes"]), _percent(each["left"]),
            _percent(each["contrast"]), ends,
        ])  # fmt: skip
    head = ["model", "checkpoints", "first factor", "of surrogates", "of changes",
            "left without the mean", "first factor of that", "its ends"]  # fmt: skip
    yield table(head, rows)
    yield ""
    every = list(found["factors"].values())
    ends = Counter(max(e["loadings"], key=e["loadings"].get) for e in every).most_common(1)
    gained = mean([100 * (each["levels"] - each["surrogates"]) for each in every])
    left = mean([100 * each["left"] for each in every])
    contrast = mean([100 * each["contrast"] for each in every])
    yield (
        f"One factor explains {_percent(min(e['levels'] for e in every))} to "
        f"{_percent(max(e['levels'] for e in every))}; by construction surrogates reach nearly as "
        f"much (difference {said(gained, 1)} points), so the number itself is little evidence. "
        "Better evidence: changes from checkpoint to checkpoint share one factor as well. Once "
        f"every checkpoint's mean is off, {said(left, 1)}% of the variance is left, and one "
        f"contrast explains {said(contrast, 0)}% of it: a second factor, at whose end stands "
        f"{ends[0][0]} in {ends[0][1]} of {len(every)} models."
    )
    yield ""
    shares, intervals = found["explained"], found["explained"]["intervals"]
    rows = [
        [what, _percent(shares[name]), " … ".join(_percent(x) for x in intervals[name])]
        for name, what in (
            ("over_time", "over checkpoints, within a subset"),
            ("between", "between subsets, averaged over checkpoints"),
            ("contrast", "with both means off: subset × checkpoint"),
        )
    ]
    yield (
        "What restates the loss? For 70M the loss on each subset is known (steps 1,000 to 50,000). "
        "Share of the variance of log λ̂ that a straight line in the same subset's loss explains; "
        "intervals from a bootstrap over the 13 subsets of this one model:"
    )
    yield ""
    yield table(["variance", "explained by the loss", "95%"], rows)
    yield ""
    yield (
        "Where the share is near 100%, λ̂ is the loss over again; where its interval is wide, 13 "
        "subsets of one model do not say how much of it is."
    )
    yield ""


def _scores(scores: list[dict[str, Any]]) -> Iterator[str]:
    yield "## Benchmarks"
    yield ""
    yield "![correlations with benchmark scores](scores.png)"
    yield ""
    models = sorted({size for each in scores for size in each["by_model"]}, key=SIZES.__getitem__)
    yield (
        f"Models in both tables: {', '.join(m.upper() for m in models)}; steps from 1,000 to the "
        "end of the fit, where λ̂ is known or interpolated over log(step). Grey: each model; bars: "
        "the mean over models, orange where the interval leaves out 0."
    )
    yield ""
    rows = []
    for kind in KINDS:
        mine = [each for each in scores if each["kind"] == kind]
        means = [Mean(**{k: _nan(v) for k, v in each["mean"].items()}) for each in mine]
        adjusted = [p for p in holm([found.p for found in means]) if p == p]
        naive = sum((each["naive"] or 1.0) < 0.05 for each in mine)
        rows.append([
            kind, f"{np.nanmedian([m.value for m in means]):.2f}", f"{naive} of {len(mine)}",
            f"{sum(m.apart for m in means)} of {len(mine)}", f"{min(adjusted, default=1.0):.2f}",
        ])  # fmt: skip
    head = ["correlation", "median over benchmarks", "p < 0.05 if checkpoints were "
            "independent", "interval over models leaves out 0", "least p (Holm)"]  # fmt: skip
    yield table(head, rows)
    yield ""
    yield (
        "With three models an interval is wide, and that is what these tables can say. Scores "
        "are noisy themselves: of TruthfulQA, IMDB and BoolQ all are multiples of 1/50, as of 50 "
        "questions, whose sampling error is up to 7 points. Given the loss little of λ̂ is left (in "
        "ranks nothing: here λ̂ rises and the loss falls at nearly every checkpoint), so that *λ̂ "
        "adds to the loss* can be neither shown nor ruled out here. More seeds of one size would "
        "settle it; more checkpoints would not."
    )
    yield ""


def _fresh(data: dict[str, Any]) -> Iterator[str]:
    fresh = data["fresh"]
    yield "## Measured afresh"
    yield ""
    yield (
        "The same for Pythia-70M, with a sample of the Pile in `pile.jsonl` (nβ, γ, chains, draws "
        "and batch of arXiv 2510.12077; the sampler is germ's own choice, and the nβ = 0 control "
        "stands beside each λ̂):"
    )
    yield ""
    yield f"    {data['command']}"
    yield ""
    if fresh is None:
        yield "It was not tried here: transformers is not installed (`pip install 'germ[hf]'`)."
        return
    yield (
        f"It was run here at a smaller size, offline, on {len(fresh['rows'])} revisions of a "
        "GPT-NeoX of 2 layers with random weights in a hub cache of its own. Random "
        "weights have nothing to measure: λ̂ should be near the control, and what this shows is "
        "that the command runs."
    )
    yield ""
    rows = [
        [row["step"], *(_short(row[name]) for name in ("value", "standard_error", "control")),
         _short(row["anchor_loss"])]
        for row in fresh["rows"]
    ]  # fmt: skip
    yield table(["step", "λ̂", "standard error", "control", "L(w*)"], rows)


def _short(text: str) -> str:
    return f"{float(text):.3g}" if text else "—"


def _nan(value: Any) -> Any:
    return float("nan") if value is None else value


def _range(ends: Any) -> str:
    return f"{ends[0]:.2f} … {ends[1]:.2f}"


def _disjoint(intervals: list[Any]) -> tuple[int, int]:
    """How many pairs of intervals do not meet, of how many."""
    pairs = [(a, b) for i, a in enumerate(intervals) for b in intervals[:i]]
    return sum(a[0] > b[1] or b[0] > a[1] for a, b in pairs), len(pairs)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
