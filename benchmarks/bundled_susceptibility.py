r"""What χ of the bundled model's heads says, beside measures that know nothing of it.

    germ susceptibility bundled --data bundled:all --draws 16 --out runs/heads \
        --probe code=bundled:code_python --probe literature=bundled:literature \
        --probe math=bundled:math_metamath --probe speech=bundled:speech_sotu
    python -m benchmarks.bundled_susceptibility runs/heads

For each head and token: χ; what zeroing the head does to the token's loss; and the first order of
−Cov(φ, ℓ), which is −∇L·∇ℓ/γ at w* (γ the localization). Correlations over tokens are given with
what the error of χ takes from them made good. Contrasts between kinds of tokens are compared over
heads.

Writes `benchmarks/results/bundled_susceptibility.{json,md}`.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy import stats

from benchmarks.overhead import RESULTS, say
from germ import LocalPosterior, prefix, responses
from germ.anchor_gradients import anchor_gradients
from germ.components import expand
from germ.data import as_data
from germ.development.attention_patterns import patterns
from germ.estimate import structure
from germ.losses import causal_lm
from germ.restriction import select
from germ.zoo import bundled

CHUNK = 32


def per_token(posterior: LocalPosterior, pieces: list[Any], position: torch.Tensor) -> np.ndarray:
    """ℓ of every token at a position."""
    with torch.no_grad():
        parts = [posterior.token_losses(position, piece).double().flatten() for piece in pieces]
    return torch.cat(parts).numpy()


def measured(data: xr.Dataset) -> dict[str, dict[str, np.ndarray]]:
    """For each head, what zeroing does to each token, and the first order of χ."""
    model, tokens = bundled.model(), torch.from_numpy(data["tokens"].values).long()
    rows = {"input_ids": bundled.tokens("all", context=tokens.shape[1])}
    heads = expand(model, data["component"].values.tolist())
    gradients = anchor_gradients(
        model, as_data(rows), causal_lm, {name: select(model, one) for name, one in heads.items()}
    )
    found, last = {}, None
    for name, restriction in heads.items():
        whole = LocalPosterior.from_model(model, rows, restrict=restriction)
        last = posterior = prefix.shorten(whole, like=last)
        pieces = [posterior.attach({"input_ids": part}) for part in tokens.split(CHUNK)]
        at = per_token(posterior, pieces, posterior.anchor)
        zeroed = per_token(posterior, pieces, torch.zeros_like(posterior.anchor)) - at
        gradient = gradients[name]
        step = 0.05 / float(gradient.norm())
        ends = [
            per_token(posterior, pieces, posterior.anchor + s * step * gradient) for s in (1, -1)
        ]
        first = -(ends[0] - ends[1]) / (2 * step) / posterior.localization
        found[name] = {"zeroing": zeroed, "first": first}
        say(f"{name}: zeroing {zeroed.mean():+.4f} nats")
    return found


def kinds(data: xr.Dataset) -> dict[str, np.ndarray]:
    """Pairs of kinds of tokens: 1 for the one, −1 for the other, 0 for neither."""
    tokenizer = bundled.tokenizer()
    ids = data["token_id"].values
    text = {i: tokenizer.decode([i]) for i in np.unique(ids).tolist()}
    line_break = np.array([text[i] == "\n" for i in ids])
    wrapped = data["token_probe"].values == "literature"
    inside = np.array([bool(re.fullmatch(r"[A-Za-z]+", text[i])) for i in ids])
    begins = np.array([bool(re.fullmatch(r" [A-Za-z]+", text[i])) for i in ids])
    loss = data["loss_at_anchor"].values
    repeated = _seen_before(data)
    return {
        "line break / other token, in wrapped prose": np.where(
            wrapped, 2 * line_break.astype(int) - 1, 0
        ),
        "goes on a word / begins one": inside.astype(int) - begins,
        "pair seen before in the row / not": repeated,
        "loss above / below its median": np.where(loss > np.median(loss), 1, -1),
    }


def to_line_break(num: int = 128) -> dict[str, float]:
    """Attention to the latest line break 8 to 64 tokens back, over what an even one gives it."""
    tokens = bundled.tokens("literature", context=128)[:: max(1, num // 16)][:num]
    breaks = tokens == bundled.tokenizer().encode("\n").ids[0]
    query, key, row = [], [], []
    for r in range(len(tokens)):
        at = -1
        for t in range(tokens.shape[1]):
            if at >= 0 and 8 <= t - at <= 64:
                query.append(t)
                key.append(at)
                row.append(r)
            if bool(breaks[r, t]):
                at = t
    even = float(np.mean([1 / (q + 1) for q in query]))
    with torch.no_grad():
        found = patterns(bundled.model(), tokens)
    return {h: float(x[row, query, key].mean()) / even for h, x in found.items()}


def _seen_before(data: xr.Dataset) -> np.ndarray:
    """1 where this token followed the one before it earlier in the row already, else −1."""
    tokens, found = data["tokens"].values, []
    for row in tokens:
        seen: set[tuple[int, int]] = set()
        for pair in zip(row[:-1].tolist(), row[1:].tolist(), strict=True):
            found.append(1 if pair in seen else -1)
            seen.add(pair)
    return np.array(found)


def contrast(values: np.ndarray, kind: np.ndarray) -> float:
    """Mean over the one kind less that over the other, in standard deviations of all tokens."""
    return float((values[kind > 0].mean() - values[kind < 0].mean()) / values.std())


def row_error(values: np.ndarray, kind: np.ndarray, row: np.ndarray) -> float:
    """Its standard error over rows of text, which are the independent pieces of it."""
    num = int(row.max()) + 1
    parts = []
    for group in range(40):
        keep = row % 40 != group
        parts.append(contrast(values[keep], kind[keep]))
    return float(np.std(parts) * np.sqrt(39)) if num >= 40 else float("nan")


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = responses.read(options.folder).data
    kept = options.folder / "other_measures.npz"
    if kept.exists():
        with np.load(kept) as file:
            others = {
                name: {key: file[f"{name}/{key}"] for key in ("zeroing", "first")}
                for name in data["component"].values.tolist()
            }
    else:
        others = measured(data)
        flat = {f"{name}/{key}": x for name, o in others.items() for key, x in o.items()}
        np.savez(kept, **flat)  # pyright: ignore[reportArgumentType]
    by_kind, look = kinds(data), to_line_break()
    row = data["row"].values
    heads: dict[str, Any] = {}
    for name, other in others.items():
        one = data.sel(component=name)
        chi = one["chi"].values.astype(float)
        noise = one["chi_half"].values.astype(float)
        noise = (noise[0] - noise[1]) / 2
        reliability = 1 - float(
            np.mean(one["standard_error"].values.astype(float) ** 2) / chi.var()
        )
        heads[name] = {
            "llc": float(one["llc"]), "llc_error": float(one["llc_error"]),
            "sd": float(chi.std()), "reliability": reliability,
            "zeroing": float(other["zeroing"].mean()), "to_line_break": look[name],
            "r_zeroing": float(np.corrcoef(chi, other["zeroing"])[0, 1] / reliability**0.5),
            "r_size": float(np.corrcoef(np.abs(chi), np.abs(other["zeroing"]))[0, 1]),
            "r_first": float(np.corrcoef(chi, other["first"])[0, 1] / reliability**0.5),
            "slope_first": float(np.polyfit(other["first"], chi, 1)[0]),
            "contrast": {
                kind: {
                    "chi": contrast(chi, which), "rows": row_error(chi, which, row),
                    "draws": contrast_noise(noise, which, chi.std()),
                    "zeroing": contrast(other["zeroing"], which),
                    "zeroing_rows": row_error(other["zeroing"], which, row),
                }
                for kind, which in by_kind.items()
            },
        }  # fmt: skip
    summary: dict[str, Any] = {}
    for kind in by_kind:
        x = np.array([h["contrast"][kind]["chi"] for h in heads.values()])
        y = np.array([h["contrast"][kind]["zeroing"] for h in heads.values()])
        draws = float(np.sqrt(np.mean([h["contrast"][kind]["draws"] ** 2 for h in heads.values()])))
        rank: Any = stats.spearmanr(x, y)
        summary[kind] = {"draws_rms": draws, "rank": float(rank.statistic), "p": float(rank.pvalue)}
    domains = data["probe"].values.tolist()
    chi_probe = data["chi_probe"].values
    zeroing = np.array(
        [
            [o["zeroing"][data["token_probe"].values == d].mean() for d in domains]
            for o in others.values()
        ]
    )
    one_sided = [a - a.mean(1, keepdims=True) for a in (chi_probe, zeroing)]
    scaled = [a / a.std(1, keepdims=True) for a in one_sided]
    result = {
        "heads": heads, "kinds": summary, "domains": domains,
        "chi_probe": chi_probe.tolist(),
        "standard_error_probe": data["standard_error_probe"].values.tolist(),
        "zeroing_probe": zeroing.tolist(),
        "r_domains": float(np.corrcoef(scaled[0].ravel(), scaled[1].ravel())[0, 1]),
        "pca": pca(data),
        "attrs": {k: data.attrs[k] for k in ("methods", "least_draws", "nbeta", "localization")},
    }  # fmt: skip
    (RESULTS / "bundled_susceptibility.json").write_text(json.dumps(result, indent=1) + "\n")
    text = markdown(result)
    (RESULTS / "bundled_susceptibility.md").write_text(text)
    print(text)


def contrast_noise(noise: np.ndarray, kind: np.ndarray, scale: float) -> float:
    """One realisation of what draws do to a contrast."""
    return float((noise[kind > 0].mean() - noise[kind < 0].mean()) / scale)


def pca(data: xr.Dataset) -> dict[str, Any]:
    """Explained variance, all heads and by layer, with what noise alone would give."""
    found = {"all": structure.pca(data), **structure.by_layer(data)}
    return {
        name: {
            "explained": each.explained.values[:4].tolist(), "noise": float(each.noise_limit),
            "above": each.num_significant,
            "loadings": each.loadings.values[0].round(2).tolist(),
        }
        for name, each in found.items()
    }  # fmt: skip


def markdown(result: dict[str, Any]) -> str:
    """Tables."""
    lines = ["# Heads of the bundled model: χ beside other measures", "", f"{result['attrs']}", ""]
    lines += [
        "r: correlation over tokens, the error of χ made good (÷ √reliability). First order: "
        "−∇L·∇ℓ/γ at w\\*. Zeroing: the head's weights set to 0, change of the token's loss. To "
        "line break: attention to the latest one 8 to 64 tokens back, over an even share.",
        "",
        "| head | refined λ̂ | sd of χ | reliability | zeroing, nats | r with zeroing | "
        "r of sizes | r with first order | slope | to line break |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, h in result["heads"].items():
        lines.append(
            f"| {name} | {h['llc']:.3f} ± {h['llc_error']:.3f} | {h['sd']:.2g} | "
            f"{h['reliability']:.2f} | {h['zeroing']:+.3f} | {h['r_zeroing']:+.3f} | "
            f"{h['r_size']:+.3f} | {h['r_first']:+.3f} | {h['slope_first']:.2f} | "
            f"{h['to_line_break']:.1f} × |"
        )
    lines += ["", f"Domains, within heads: r of χ and zeroing {result['r_domains']:+.2f}.", ""]
    for kind, s in result["kinds"].items():
        lines += [
            f"## {kind}",
            "",
            f"Contrasts in standard deviations over tokens; error over rows of text, draws' "
            f"{s['draws_rms']:.3f} (rms of one realisation a head). Rank correlation over heads of "
            f"χ's and zeroing's: {s['rank']:+.2f} (p = {s['p']:.2g}).",
            "",
            "| head | χ | zeroing |",
            "|---|---|---|",
        ]
        for name, h in result["heads"].items():
            c = h["contrast"][kind]
            lines.append(
                f"| {name} | {c['chi']:+.3f} ± {c['rows']:.3f} | "
                f"{c['zeroing']:+.3f} ± {c['zeroing_rows']:.3f} |"
            )
        lines.append("")
    lines += ["## Principal components", ""]
    for name, p in result["pca"].items():
        shares = ", ".join(f"{100 * x:.1f}%" for x in p["explained"])
        lines.append(
            f"- {name}: {shares}; the first that noise alone would give {100 * p['noise']:.1f}%; "
            f"{p['above']} above it."
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
