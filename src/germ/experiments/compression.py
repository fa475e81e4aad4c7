"""`germ experiment compression`: λ̂ against the bits a checkpoint of the bundled model survives.

*MDL meets SLT* (arXiv 2510.12077) reports that the critical number of bits at a loss tolerance is
nearly linear in λ̂ over Pythia's checkpoints. Here the same on the checkpoints of the model that
comes with germ: one run, so that what is found is about it alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from germ.errors import GermError
from germ.experiments import quantized
from germ.experiments.benchmark_scores import correlation
from germ.experiments.catalogue import Progress
from germ.experiments.compression_page import page
from germ.experiments.kept import kept
from germ.experiments.side_by_side import Report, run_all
from germ.experiments.sweep_in_parts import sweep_in_parts
from germ.report.page import Page
from germ.zoo import bundled

NAME = "compression"
SUMMARY = "λ̂ against the bits a checkpoint survives, on the bundled model"

TOLERANCES = (0.1, 0.2, 0.5, 1.0)
"""In nats per token."""

BATCH = 16
"""Contexts a gradient."""

BLOCK = 3
NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class Settings:
    """How much.

    Attributes:
        steps: Checkpoints; None is all.
        contexts: Contexts of 128 tokens that both λ̂ and the losses are taken on.
        chains: Chains.
        draws: Draws a chain.
    """

    steps: tuple[int, ...] | None
    contexts: int
    chains: int
    draws: int


PRESETS = {
    "quick": Settings((0, 110, 717, 12_000), 16, 2, 20),
    "small": Settings(None, 64, 4, 60),
    "paper": Settings(None, 1024, 4, 400),
}
"""The published models are Pythia's: `paper` has the bundled model with more data and draws."""

COST = {
    "quick": "1 minute, 1 GiB on 2 CPU cores (estimated)",
    "small": "14 minutes of CPU time, 2 GiB on 2 CPU cores (on a shared machine)",
    "paper": "about 8 hours, 2 GiB on 2 CPU cores (estimated)",
}


def run(settings: Settings, out: Path, *, seed: int, progress: Progress) -> Page:
    """Measure λ̂ and the bits of every checkpoint, and compare.

    Args:
        settings: A preset.
        out: Runs are kept in `out/sweep`, bits in `out/bits`, and gone on with.
        seed: Of the chains and of resampling.
        progress: Told (stage, done, total).

    Raises:
        GermError: `out` holds results of other settings, or a checkpoint's chains fail.
    """
    steps = list(settings.steps or bundled.steps())
    tokens = bundled.tokens("all", "train")
    tokens = tokens[: settings.contexts]
    found = sweep_in_parts(
        [(step, functools.partial(bundled.model, step)) for step in steps], tokens,
        Path(out) / "sweep", progress, loss="causal_lm", chains=settings.chains,
        # On all contexts at once a step would cost four times as much.
        draws=settings.draws, batch_size=min(BATCH, settings.contexts), seed=seed,
    )  # fmt: skip
    quantizing = [functools.partial(_bits, Path(out), step, tokens) for step in steps]
    run_all(quantizing, "quantizing", progress)
    rows = []
    for step, row, bits in zip(steps, found.rows, quantizing, strict=True):
        if row.estimate is None:
            raise GermError(f"expected λ̂ of bundled@{step}; {row.status}")
        rows.append(
            {
                "step": step,
                "llc": row.estimate.value,
                "error": row.estimate.budget.total,
                "loss": row.estimate.anchor_loss,
                "warnings": list(row.estimate.warnings),
                **bits(),
            }
        )
    data = {
        "seed": seed,
        "settings": asdict(settings),
        "rows": rows,
        "restatement": list(found.warnings),
        "tolerances": {str(t): compare(rows, t, seed=seed) for t in TOLERANCES},
    }
    return page(data)


def _bits(
    out: Path, step: int, tokens: torch.Tensor, report: Report = lambda *_: None
) -> dict[str, Any]:
    found = kept(
        out / "bits" / f"step{step:06d}.json",
        {"contexts": len(tokens), "levels": quantized.LEVELS},
        functools.partial(measure, step, tokens),
    )
    report(1, 1)
    return found


def compare(rows: Sequence[dict[str, Any]], tolerance: float, *, seed: int = 0) -> dict[str, Any]:
    """λ̂ and critical bits at one tolerance, over checkpoints.

    Intervals: blocks of three neighbouring checkpoints are resampled, and λ̂ moved by its own error.
    They are about this run.

    Args:
        rows: With `step`, `llc`, `error`, `loss` and `excess` by grid.
        tolerance: In nats.
        seed: Of resampling.

    Returns:
        `bits` of each checkpoint, `rank` (Spearman) with `interval`, `linear` (R² of a line),
        `given_loss` and `given_step`: the correlation left when these are known.
    """
    bits = np.array([quantized.critical_bits(r["excess"], tolerance, r["levels"]) for r in rows])
    good = np.isfinite(bits)
    mine = [row for row, fine in zip(rows, good, strict=True) if fine]
    llc, error, loss, step = (
        np.array([float(row[name]) for row in mine]) for name in ("llc", "error", "loss", "step")
    )
    y = bits[good]
    found: dict[str, Any] = {
        "bits": [float(b) if math.isfinite(b) else None for b in bits],
        "num": len(y),
        "rank": None, "interval": None, "linear": None, "given_loss": None, "given_step": None,
    }  # fmt: skip
    if len(y) < 4 or np.ptp(y) == 0:
        return found
    source = np.random.default_rng([seed, 2510])
    drawn = []
    for _ in range(NUM_RESAMPLES):
        starts = source.integers(len(y), size=-(-len(y) // BLOCK))
        places = ((starts[:, None] + np.arange(BLOCK)).ravel() % len(y))[: len(y)]
        moved = llc[places] + error[places] * source.standard_normal(len(y))
        drawn.append(_spearman(moved, y[places]))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    columns = [llc, y, loss, step]
    found |= {
        "rank": _spearman(llc, y),
        "interval": [float(low), float(high)],
        "linear": float(np.corrcoef(llc, y)[0, 1] ** 2),
        "given_loss": correlation(columns, "given the loss"),
        "given_step": correlation(columns, "given the step"),
    }
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in found.items()
    }


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def measure(step: int, tokens: torch.Tensor) -> dict[str, Any]:
    """Excess losses of a bundled checkpoint on every grid.

    Args:
        step: The checkpoint.
        tokens: Contexts, (example, token).
    """
    model = bundled.model(step)
    loss = functools.partial(_loss, model, tokens)
    before = loss()
    excess = [after - before for after in quantized.curve(model, loss)]
    return {"levels": list(quantized.LEVELS), "excess": excess}


@torch.no_grad()
def _loss(model: torch.nn.Module, tokens: torch.Tensor) -> float:
    from germ.losses import causal_lm

    parts = [causal_lm(model, {"input_ids": part}).flatten() for part in tokens.split(16)]
    return float(torch.cat(parts).mean())
