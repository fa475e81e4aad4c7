"""What `germ experiment patterning` shows: a figure, a table, and how to read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from germ.experiments.patterning_loop import MODES
from germ.report.figures import BLUE, GREY, ORANGE

TABLE = {
    "head aimed at: correlation of predicted and measured": "own_correlation",
    "head aimed at: signs right": "own_signs",
    "½(up − down), head aimed at: signs right": "odd_own_signs",
    "… where χ is above its noise": "odd_own_above_signs",
    "½(up − down), head aimed at: measured per predicted": "odd_own_slope",
    "½(up − down), head aimed at: correlation about zero": "odd_own_correlation",
    "½(up − down), all heads: measured per predicted": "odd_slope",
    "½(up − down), all heads: correlation about zero": "odd_correlation",
    "random mixtures, all heads: correlation about zero": "random_correlation",
    "random mixtures, all heads: signs right": "random_signs",
    "predicted changes of the head aimed at (rms)": "predicted_size",
    "measured changes of the head aimed at (rms)": "measured_size",
    "measured changes, random mixtures (rms)": "random_size",
    "noise of training: same mixture, other batches (rms)": "noise",
    "error of a measured change, from its draws (rms)": "error",
    "part that does not change sign with the tilt, to that which does": "even_part",
}


def table(verdicts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Lines of Markdown: a column a mode, [95% intervals]."""
    lines = ["| | " + " | ".join(MODES[mode] for mode in verdicts) + " |"]
    lines.append("|---" * (1 + len(verdicts)) + "|")
    for words, key in TABLE.items():
        cells = [_cell(found[key]) for found in verdicts.values()]
        lines.append(f"| {words} | " + " | ".join(cells) + " |")
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, list):
        return f"{value:.3g}"
    if len(value) == 4:
        right, of, low, high = value
        return f"{right} of {of} [{low:.2f}, {high:.2f}]" if of else "none"
    return "" if None in value else "{:.2f} [{:.2f}, {:.2f}]".format(*value)


def figure(data: Mapping[str, Any]) -> Figure:
    """Predicted against measured changes, a panel a mode."""
    modes = data["modes"]
    made = Figure(figsize=(4.6 * len(modes), 4.2), layout="constrained")
    for axes, mode in zip(made.subplots(1, len(modes), squeeze=False)[0], modes, strict=True):
        noise = data["verdicts"][mode]["noise"]
        if noise is not None:
            axes.axhspan(-noise, noise, color="0.92", zorder=0, label="noise of training")
        for row in data["rows"]:
            if row["mode"] != mode or row["kind"] == "replica":
                continue
            for i in range(len(data["heads"])):
                aimed = row["kind"] == "pattern" and row["target"] == i
                style = {"fmt": "o", "markersize": 6, "color": BLUE} if aimed else {
                    "fmt": "s" if row["kind"] == "random" else ".", "markersize": 4,
                    "color": ORANGE if row["kind"] == "random" else GREY,
                    "markerfacecolor": "white"}  # fmt: skip
                axes.errorbar(
                    row["predicted"][i], row["measured"][i], xerr=row["predicted_error"][i],
                    yerr=row["measured_error"][i], linewidth=0.7, zorder=3 if aimed else 2, **style,
                )  # fmt: skip
        for label, marker, colour in (
            ("the head aimed at", "o", BLUE), ("other heads", ".", GREY),
            ("random mixtures", "s", ORANGE),
        ):  # fmt: skip
            axes.plot([], [], marker, color=colour, label=label)
        axes.axhline(0, color=GREY, linewidth=0.6)
        axes.axvline(0, color=GREY, linewidth=0.6)
        axes.set_xlabel("predicted change of λ̂, (nβ)²·χ·h")
        axes.set_ylabel("measured change of λ̂")
        axes.set_title(MODES[mode], loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    return made


def text(data: Mapping[str, Any]) -> str:
    """The page of one seed, Markdown."""
    lines = [
        "A two-layer attention-only transformer was trained on four domains in equal parts. From "
        "its susceptibilities χ, data weights were chosen that should move λ̂ of one head: the "
        "smallest tilt h of the mixture along the response of that head, and its opposite. Then "
        "it was trained on that mixture, and λ̂ of every head measured on the unchanged data, with "
        "the same draws.",
        "",
        "![predicted and measured changes](changes.png)",
        "",
        *table(data["verdicts"]),
        "",
        "In brackets 95%: a bootstrap over the targets of this one seed, and binomial for signs. "
        "They say nothing about other seeds: `python -m benchmarks.patterning` pools seeds.",
        "",
        "What χ predicts is the response of the posterior *around the trained weights*, at fixed "
        "(nβ, γ): the first column. Retraining moves w* itself, and λ̂ is then measured around "
        "another point. Where the correlation is small, or the signs are those of a coin, linear "
        "response around w* does not foretell retraining here; the random mixtures say how much "
        "of a correlation any mixture has, and the replicas how much of a change is noise.",
        "",
        _above(data),
        "",
        f"χ by: {', '.join(sorted(set(data['methods'])))}. The draws of λ̂ were worth at least "
        f"{100 * data['worth']:.0f}% of the posterior's own at every model.",
        "",
        f"Heads: {', '.join(data['heads'])}. Domains: {', '.join(data['domains'])}.",
    ]
    return "\n".join(lines)


def _above(data: Mapping[str, Any]) -> str:
    rows = [row for row in data["rows"] if row["kind"] == "pattern"]
    below = sorted({data["heads"][row["target"]] for row in rows if not row["above_noise"]})
    if not below:
        return "χ of every head was above its noise."
    return (
        f"χ of {', '.join(below)} was not above its noise (`germ.pattern` refuses it): these "
        "patterns are directions chosen in part by chance."
    )
