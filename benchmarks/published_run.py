"""The one published run that is printed in full, sampled again by `auto`.

    python -m benchmarks.published_run [--minutes 30] [--draws 1000] [--chains 2]

Deep linear network 455 → 395, 125, 350, 277, 261 → 297, d = 519,614, rank 28, n = 50,000, γ = 1,
nβ = n/log n: λ = 20546.5 and m = 3 (Aoyagi), and SGLD (ε = 2e-7, batches of 500, one chain) reached
λ̂ = 16304.3 after 30,000 steps (last tenth; 13450.9 over all), 79% of it, with nothing in its
printout to say so (hyperparam_tuning.ipynb of edmundlth/validating_lambdahat).

The printout has widths and total rank, and neither weights nor the ranks of the layers: here the
first draw of the published generator at these widths whose total rank is 28. The run is stored in
build/ and goes on where it was stopped; the page is written from what is there.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import germ
from benchmarks.tables import environment
from germ import LocalPosterior
from germ.errors import GermError
from germ.exact import deep_linear, deep_linear_at
from germ.zoo.deep_linear import DeepLinear

WIDTHS = (455, 395, 125, 350, 277, 261, 297)
RANK, NUM_EXAMPLES, LOCALIZATION = 28, 50_000, 1.0
REACH = 10.0
PUBLISHED, PUBLISHED_ALL = 16304.3, 13450.9
PUBLISHED_GRADIENTS, PUBLISHED_BATCH = 30_000, 500

FOLDER = Path("build") / "published_run"
PAGE = Path(__file__).parent / "results" / "published_run.md"


def layer_ranks() -> tuple[int, tuple[int, ...]]:
    """The first seed whose draw of ranks has the published total, and those ranks.

    Method `rand_rank`: with probability 1/2 a matrix's rank is lowered by u, uniform on
    {0, …, rank − 1}. Generic matrices of these ranks have a product of the least of them.
    """
    for seed in range(100_000):
        source = np.random.default_rng([seed, 519_614])
        ranks = [min(pair) for pair in pairwise(WIDTHS)]
        ranks = [r - int(source.integers(r)) if source.random() < 0.5 else r for r in ranks]
        if min(ranks) == RANK:
            return seed, tuple(ranks)
    raise GermError(f"expected a draw of rank {RANK}; none was found")


def truth_weights() -> tuple[list[torch.Tensor], tuple[int, ...]]:
    """The weights at w*, as Haiku draws them, in double precision; and the ranks of the layers."""
    seed, ranks = layer_ranks()
    source = np.random.default_rng([seed, 12108])
    weights = []
    for (into, out), rank in zip(pairwise(WIDTHS), ranks, strict=True):
        weight = source.standard_normal((out, into))
        while (outside := np.abs(weight) > 2).any():
            weight[outside] = source.standard_normal(int(outside.sum()))
        left, values, right = np.linalg.svd(weight / into**0.5, full_matrices=False)
        weights.append(torch.from_numpy((left[:, :rank] * values[:rank]) @ right[:rank]))
    return weights, ranks


def posterior() -> tuple[LocalPosterior, tuple[int, ...]]:
    """The published posterior: inputs uniform on [−10, 10]^455, targets without noise, MSE."""
    weights, ranks = truth_weights()
    model = DeepLinear(WIDTHS).eval()
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), weights, strict=True):
            parameter.copy_(weight)
    source = torch.Generator().manual_seed(0)
    inputs = REACH * (2 * torch.rand(NUM_EXAMPLES, WIDTHS[0], generator=source) - 1)
    with torch.no_grad():
        targets = model(inputs)
    found = LocalPosterior.from_model(
        model,
        (inputs, targets),
        loss="mse",
        nbeta=NUM_EXAMPLES / math.log(NUM_EXAMPLES),
        localization=LOCALIZATION,
    )
    return found, ranks


def local_coefficient() -> float:
    """λ at w* itself, which is above the least on the fibre, by the local reduction."""
    return float(deep_linear_at([matrix.numpy() for matrix in truth_weights()[0]]).value)


class OutOfTime(KeyboardInterrupt):
    """The minutes are spent: the run is stored as after Ctrl-C, and can be gone on with."""


def go(
    local: LocalPosterior, minutes: float, chains: int, draws: int, seed: int, batch: int | None
) -> xr.Dataset:
    """Sample, or go on sampling, until the run is done or the time is up."""
    began, told = time.monotonic(), 0.0

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal told
        spent = time.monotonic() - began
        if spent - told > 20:
            told = spent
            print(f"{spent / 60:5.1f} min  {stage} {done:,}/{total:,}", flush=True)
        if spent > 60 * minutes and stage in ("warmup", "draws"):
            raise OutOfTime

    path = FOLDER / f"{chains}-{draws}-{seed}-{batch or 'auto'}.zarr"
    try:
        return germ.sample(
            local, chains=chains, draws=draws, seed=seed, store=path, progress=progress,
            throw=False, batch_size=batch,
        )  # fmt: skip
    except OutOfTime:
        print(f"out of time; go on with the same command: {path}", flush=True)
        return germ.load(path)


def describe(samples: xr.Dataset) -> dict[str, Any]:
    """What the run says, finished or not: λ̂, virial and temperature by eighths of its steps."""
    nbeta = NUM_EXAMPLES / math.log(NUM_EXAMPLES)
    found: dict[str, Any] = {"status": samples.attrs["status"], "eighths": {}}
    for name, scale in (("loss_difference", nbeta), ("virial", 1.0), ("temperature", 1.0)):
        for phase in ("warmup_", ""):
            if phase + name in samples:
                values = scale * np.asarray(samples[phase + name].values, dtype=float)
                parts = np.array_split(values, min(8, values.shape[1]), axis=1)
                found["eighths"][phase + name] = [float(part.mean()) for part in parts]
    if samples.attrs["status"] == "complete":
        if any(name == "OK" for name in samples.attrs["statuses"]):
            found["estimate"] = germ.llc(samples, drop_failed=True).to_dict()
        found["attrs"] = {
            key: samples.attrs[key]
            for key in ("num_gradients", "batch_size", "seconds", "reasons", "step_size",
                        "sampler", "statuses")
        }  # fmt: skip
    return found


def render(found: dict[str, Any]) -> str:
    """The page."""
    lines = [
        "# The published run",
        "",
        *(__doc__ or "").strip().split("\n\n", 2)[2].split("\n"),
        "",
        f"`{found['command']}`, {found['date']}; torch {found['torch']}, {found['cpu']}, "
        f"{found['threads']} thread, load {found['load']:.1f}. Ranks of the layers: "
        f"{', '.join(map(str, found['ranks']))}. At w* itself λ is {found['local']:g}: "
        f"{found['known']:g} is the least on the fibre (Aoyagi), which is what the published "
        "figure is held against.",
        "",
        "| | λ̂ | of λ = 20546.5 | of λ at w* | gradients | batch | it says |",
        "|---|--:|--:|--:|--:|--:|---|",
        f"| published SGLD, last tenth | {PUBLISHED:.1f} | {PUBLISHED / found['known']:.0%} | "
        f"{PUBLISHED / found['local']:.0%} | {PUBLISHED_GRADIENTS:,} | {PUBLISHED_BATCH} | "
        "nothing |",
    ]
    estimate, attrs = found.get("estimate"), found.get("attrs", {})
    if estimate is not None:
        value = estimate["value"]
        lines.append(
            f"| germ auto | {value:.0f} ± {estimate['budget']['total']:.0f} | "
            f"{value / found['known']:.0%} | {value / found['local']:.0%} | "
            f"{attrs['num_gradients']:,} | {attrs['batch_size']} | "
            f"{len(estimate['warnings'])} warning(s) |"
        )
        lines += ["", *(f"- ⚠ {warning}" for warning in estimate["warnings"])]
        budget = {k: v for k, v in estimate["budget"].items() if k != "interval90"}
        lines += [
            "",
            f"ΔL = {estimate['loss_difference']:.3g} (the targets' mean square is "
            f"{found['scale']:.3g}), virial {estimate['virial']:.3f}, temperature "
            f"{estimate['temperature'] or float('nan'):.3f}. Budget: "
            + ", ".join(
                f"{k.replace('_', ' ')} {v:.4g}" for k, v in budget.items() if v is not None
            )
            + ".",
        ]
        if estimate["loss_difference"] > found["scale"]:
            lines += [
                "",
                "ΔL is above the mean square of the targets: the chains fit worse than a network "
                "that says 0. At γ = 1 this posterior is no neighbourhood of w*: no sampler reads "
                "λ off it, and the published value is a moment of the way out.",
            ]
    elif attrs:
        lines += ["", f"germ auto gave no number: {', '.join(attrs['statuses'])}, an error."]
    lines += ["", "By eighths of the steps:", ""]
    for name, values in found["eighths"].items():
        digits = 0 if "loss" in name else 3
        label = name.replace("loss_difference", "nβ ΔL").replace("_", " ")
        lines.append(f"- {label}: " + ", ".join(f"{value:.{digits}f}" for value in values))
    for name, reason in attrs.get("reasons", {}).items():
        lines.append(f"- chosen, {name}: {reason}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published_run")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--chains", type=int, default=2)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=None)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    local, ranks = posterior()
    targets = local.batch(torch.arange(2_000))[1]
    samples = go(local, settings.minutes, settings.chains, settings.draws, settings.seed,
                 settings.batch)  # fmt: skip
    found = {
        **environment(1),
        "command": " ".join(["python -m benchmarks.published_run", *sys.argv[1:]]),
        "ranks": ranks,
        "local": local_coefficient(),
        "known": float(deep_linear(WIDTHS, RANK).value),
        "scale": float(targets.square().mean()),
        **describe(samples),
    }
    PAGE.with_suffix(".json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(render(found))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
