"""`germ experiment patterning`: do data weights chosen from χ do to heads what χ says they do?

A small attention-only transformer is trained on four domains in equal parts. From its
susceptibilities the data weights are chosen that should move λ̂ of one head up, or down; then it is
trained again on that mixture, and λ̂ measured again, on the unchanged data. Twice: going on from the
trained weights, and from scratch. Random mixtures as far from the equal one are the control, and
training on the same mixture with other batches is the noise.

After *Patterning* (arXiv 2601.13548), whose numbers are not public.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy.stats import rankdata

from germ.errors import GermError
from germ.estimate.patterning import pattern
from germ.experiments.catalogue import Progress
from germ.experiments.patterning_loop import VOCAB, Loop, Settings, changes, unit_tilt
from germ.report.figures import BLUE, GREY, ORANGE
from germ.report.page import Page
from germ.zoo.attention_only import AttentionOnly, AttentionOnlyConfig
from germ.zoo.train import TrainSettings

NAME = "patterning"
SUMMARY = "data weights chosen from susceptibilities, retraining, and what it really did"

MODES = {"continued": "going on from w*", "scratch": "from scratch"}

PRESETS = {
    "quick": Settings(
        AttentionOnlyConfig(VOCAB, context=32, num_heads=2, d_model=32, d_head=16),
        TrainSettings(num_steps=600, batch_size=32, lr=1e-2, warmup=60),
        finetune_steps=150,
        tilt=0.3,
        num_random=2,
        num_replicas=2,
        contexts=32,
        components="layers.1.head.*",
        draws=60,
        chi_draws=500,
    ),
    "small": Settings(
        AttentionOnlyConfig(VOCAB, context=32, num_heads=2, d_model=32, d_head=16),
        TrainSettings(num_steps=1000, batch_size=32, lr=1e-2, warmup=100),
        finetune_steps=200,
        tilt=0.3,
        num_random=3,
        num_replicas=2,
        contexts=64,
        draws=100,
        chi_draws=1000,
    ),
    "large": Settings(
        AttentionOnlyConfig(VOCAB, context=64, num_heads=4, d_model=64, d_head=16),
        TrainSettings(num_steps=6000, batch_size=32, lr=4.5e-3, warmup=300),
        finetune_steps=1000,
        tilt=0.3,
        num_random=8,
        num_replicas=4,
        contexts=128,
        draws=200,
        chi_draws=2000,
    ),
}


def run(settings: Settings, out: Path, *, seed: int, progress: Progress) -> Page:
    """Train, choose, retrain, compare.

    Args:
        settings: A preset.
        out: Results are kept in `out/results`, and taken from there.
        seed: Of everything random.
        progress: Told (stage, done, total).
    """
    loop = Loop(settings, Path(out) / "results", seed)
    equal = np.full(len(loop.domains), 1 / len(loop.domains))
    progress("the model", 0, 1)
    base = _weights(loop, "base", lambda: loop.train(equal))
    progress("susceptibilities", 0, 1)
    chi = _dataset(loop.kept("chi", lambda: loop.chi(base)), loop.domains, settings.nbeta)
    heads = [str(name) for name in chi["component"].values]
    slope = settings.nbeta**2 * chi["chi_probe"].values.astype(float)
    slope_error = settings.nbeta**2 * chi["standard_error_probe"].values.astype(float)
    tilts = _tilts(chi, heads, equal, settings, seed)
    at_base = loop.kept("measured-base", lambda: loop.measure(base))
    rows: list[dict[str, Any]] = []
    total = 2 * (len(tilts) + settings.num_replicas + 1)
    done = 0
    for mode in MODES:
        start = base if mode == "continued" else None

        def measured(
            name: str, shares: np.ndarray, batches: int = 0, *,
            mode: str = mode, start: AttentionOnly | None = start,
        ) -> Any:  # fmt: skip
            nonlocal done
            progress(f"retraining {MODES[mode]}", done, total)
            done += 1
            return loop.kept(
                f"measured-{mode}-{name}",
                lambda: loop.measure(loop.train(shares, start=start, batches=batches)),
            )

        before = at_base if mode == "scratch" else measured("equal", equal)
        for tilt in tilts:
            after = measured(tilt["name"], equal + np.array(tilt["tilt"]))
            h = np.array(tilt["tilt"])
            rows.append(
                {
                    **tilt, "mode": mode, "measured": changes(after, before).tolist(),
                    "measured_error": [
                        float(np.hypot(after["error"][n], before["error"][n])) for n in heads
                    ],
                    "predicted": (slope @ h).tolist(),
                    "predicted_error": np.sqrt(slope_error**2 @ h**2).tolist(),
                }
            )  # fmt: skip
        for i in range(settings.num_replicas):
            after = measured(f"replica-{i}", equal, i + 1)
            rows.append({"name": f"replica {i}", "kind": "replica", "mode": mode,
                         "measured": changes(after, before).tolist()})  # fmt: skip
    progress("done", total, total)
    summaries = {mode: summary([r for r in rows if r["mode"] == mode], heads) for mode in MODES}
    data = {
        "seed": seed, "heads": heads, "domains": loop.domains, "base": at_base, "rows": rows,
        "slope": slope.tolist(), "slope_error": slope_error.tolist(), "summaries": summaries,
    }  # fmt: skip
    return Page(
        "Patterning: data weights chosen to move one head, and what retraining did",
        _text(data), {"changes": _figure(data)}, data,
    )  # fmt: skip


def _dataset(found: dict[str, Any], domains: list[str], nbeta: float) -> xr.Dataset:
    coords = {"component": found["components"], "probe": domains}
    dims = ("component", "probe")
    variables = {"chi_probe": (dims, found["chi"]), "standard_error_probe": (dims, found["error"])}
    return xr.Dataset(variables, coords=coords, attrs={"nbeta": nbeta})


def _weights(loop: Loop, name: str, make: Any) -> AttentionOnly:
    """A model from its file, or trained and written."""
    from germ.zoo.attention_only import load_checkpoint, save_checkpoint

    path = loop.folder / f"{name}.safetensors"
    if not path.exists():
        save_checkpoint(make(), path, loop.settings.train.num_steps)
    return load_checkpoint(path)


def _tilts(
    chi: xr.Dataset, heads: list[str], base: np.ndarray, settings: Settings, seed: int
) -> list[dict[str, Any]]:
    """Patterns for each head, up and down, and random tilts; all of one norm."""
    found = []
    for i, head in enumerate(heads):
        for sign, word in ((1.0, "up"), (-1.0, "down")):
            # The size of the wish follows from the norm of the tilt: the response is linear.
            small, above = _smallest(chi, head, sign)
            tilt = unit_tilt(small, settings.tilt, base)
            found.append({"name": f"{head}-{word}", "kind": "pattern", "target": i, "sign": sign,
                          "above_noise": above, "tilt": tilt.tolist()})  # fmt: skip
    source = np.random.default_rng([seed, 2601, 13548])
    for i in range(settings.num_random):
        tilt = unit_tilt(source.standard_normal(len(base)), settings.tilt, base)
        found.append({"name": f"random-{i}", "kind": "random", "tilt": tilt.tolist()})
    return found


def _smallest(chi: xr.Dataset, head: str, sign: float) -> tuple[np.ndarray, bool]:
    """The direction of the smallest tilt that moves a head, and whether χ is above its noise."""
    # Wide bounds: only the direction is asked for.
    wide: dict[str, Any] = {"method": "min_norm", "bounds": (-1e9, 1e9)}
    try:
        return pattern(chi, {head: sign}, **wide).tilt.values, True
    except GermError:
        return pattern(
            chi.drop_vars("standard_error_probe"), {head: sign}, **wide
        ).tilt.values, False


def summary(rows: list[dict[str, Any]], heads: list[str]) -> dict[str, Any]:
    """How predictions and measurements agree, for patterns and for the control."""
    patterns = [r for r in rows if r["kind"] == "pattern"]
    randoms = [r for r in rows if r["kind"] == "random"]
    replicas = np.array([r["measured"] for r in rows if r["kind"] == "replica"])
    own = np.array([(r["predicted"][r["target"]], r["measured"][r["target"]]) for r in patterns])
    noise = float(np.sqrt(np.square(replicas).mean())) if replicas.size else float("nan")
    return {
        "num_patterns": len(patterns),
        "own_correlation": _correlation(own[:, 0], own[:, 1]),
        "own_signs": int((np.sign(own[:, 0]) == np.sign(own[:, 1])).sum()),
        "own_slope": float((own[:, 0] * own[:, 1]).sum() / np.square(own[:, 0]).sum()),
        "all_correlation": _all(patterns)[0],
        "all_rank_correlation": _all(patterns)[1],
        "random_correlation": _all(randoms)[0],
        "random_rank_correlation": _all(randoms)[1],
        "noise": noise,
        "measured_size": float(np.sqrt(np.square(own[:, 1]).mean())),
        "predicted_size": float(np.sqrt(np.square(own[:, 0]).mean())),
        **_halves(patterns, heads),
    }


def _all(rows: list[dict[str, Any]]) -> tuple[float, float]:
    x = np.array([r["predicted"] for r in rows]).ravel()
    y = np.array([r["measured"] for r in rows]).ravel()
    if len(x) < 3:
        return float("nan"), float("nan")
    return _correlation(x, y), _correlation(rankdata(x), rankdata(y))


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1])


def _halves(patterns: list[dict[str, Any]], heads: list[str]) -> dict[str, Any]:
    """What changes sign with the tilt, ½(up − down), and what does not, ½(up + down).

    Linear response is of the first alone. Training noise that opposite mixtures share, having begun
    at the same weights with the same random numbers, is of the second.
    """
    odd, even, predicted = [], [], []
    for i in range(len(heads)):
        up, down = (
            next(r for r in patterns if r["target"] == i and r["sign"] == sign)
            for sign in (1.0, -1.0)
        )
        above, below = np.array(up["measured"]), np.array(down["measured"])
        odd.append(0.5 * (above - below))
        even.append(0.5 * (above + below))
        predicted.append(0.5 * (np.array(up["predicted"]) - np.array(down["predicted"])))
    x, y = np.concatenate(predicted), np.concatenate(odd)
    return {
        "odd_predicted": x.tolist(),
        "odd_measured": y.tolist(),
        "odd_signs": int((np.sign(x) == np.sign(y)).sum()),
        "odd_slope": float((x * y).sum() / np.square(x).sum()),
        "even_part": float(np.linalg.norm(even) / max(float(np.linalg.norm(odd)), 1e-300)),
    }


def _figure(data: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    for axes, (mode, words) in zip(figure.subplots(1, 2), MODES.items(), strict=True):
        rows = [r for r in data["rows"] if r["mode"] == mode]
        noise = data["summaries"][mode]["noise"]
        axes.axhspan(-noise, noise, color="0.92", zorder=0, label="noise of training")
        for row in rows:
            if row["kind"] == "replica":
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
        axes.set_title(f"trained {words}", loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    return figure


def _text(data: dict[str, Any]) -> str:
    lines = [
        "A two-layer attention-only transformer was trained on four domains in equal parts. From "
        "its susceptibilities χ, data weights were chosen that should move λ̂ of one head: the "
        "smallest tilt h of the mixture along the response of that head, and its opposite. Then "
        "it was trained on that mixture, and λ̂ of every head measured on the unchanged data.",
        "",
        "![predicted and measured changes](changes.png)",
        "",
        "| | " + " | ".join(MODES.values()) + " |",
        "|---|---|---|",
    ]
    table = {
        "head aimed at: correlation of predicted and measured": "own_correlation",
        "head aimed at: signs right": "own_signs",
        "head aimed at: measured per predicted": "own_slope",
        "½(up − down), all heads: signs right": "odd_signs",
        "½(up − down), all heads: measured per predicted": "odd_slope",
        "all heads, patterns: correlation": "all_correlation",
        "all heads, patterns: rank correlation": "all_rank_correlation",
        "all heads, random mixtures: correlation": "random_correlation",
        "size of predicted changes (rms)": "predicted_size",
        "size of measured changes (rms)": "measured_size",
        "noise of training: same mixture, other batches (rms)": "noise",
        "part that does not change sign with the tilt, to that which does": "even_part",
    }
    for words, key in table.items():
        cells = []
        for mode in MODES:
            found = data["summaries"][mode]
            value = found[key]
            of = {"own_signs": found["num_patterns"], "odd_signs": len(found["odd_measured"])}
            cells.append(f"{value} of {of[key]}" if key in of else f"{value:.3g}")
        lines.append(f"| {words} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "What χ predicts is the response of the posterior *around the trained weights*, at fixed "
        "(nβ, γ). Retraining moves w* itself, and λ̂ is then measured around another point. Where "
        "the correlation is small, or the signs are those of a coin, linear response around w* "
        "does not foretell retraining here; the random mixtures say how much of a correlation any "
        "mixture has, and the replicas how much of a change is noise.",
        "",
        _above(data),
        "",
        f"Heads: {', '.join(data['heads'])}. Domains: {', '.join(data['domains'])}.",
    ]
    return "\n".join(lines)


def _above(data: dict[str, Any]) -> str:
    rows = [r for r in data["rows"] if r["kind"] == "pattern" and r["mode"] == "continued"]
    below = sorted({data["heads"][r["target"]] for r in rows if not r["above_noise"]})
    if not below:
        return "χ of every head was above its noise."
    return (
        f"χ of {', '.join(below)} was not above its noise (`germ.pattern` refuses it): these "
        "patterns are directions chosen in part by chance."
    )
