"""`germ experiment scale`: the published LLC tables of Pythia, and the command to measure afresh.

The tables (gradientinstitute/lsoc-psych, "Psychometrics for Pythia", Carroll et al. 2025) give λ̂
and the loss of six Pythia models over training, λ̂ by subset of the Pile, and benchmark scores.
Asked here: is the loss a power law of λ̂; do subsets of the data share one factor, and does it
restate the loss; does λ̂ tell benchmark scores. Then the sweep that would measure Pythia's
checkpoints is run, on tiny models of its architecture with random weights.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from germ.experiments import (
    benchmark_scores,
    local_neox,
    power_law,
    published_tables,
    scale_page,
    subset_factors,
)
from germ.experiments.catalogue import Progress
from germ.experiments.published_tables import Series, Tables
from germ.report.page import Page

NAME = "scale"
SUMMARY = (
    "Pythia's published LLCs: power law, Pile subsets, benchmarks; and the sweep to measure it"
)

RANGES = {
    "14m": (2000, 20_000),
    "31m": (2000, 20_000),
    "70m": (2000, 20_000),
    "160m": (2000, 30_000),
    "410m": (2000, 80_000),
    "1b": (2000, 30_000),
}
"""First and last step that the authors' repository fits over; later the small models' λ̂ explodes at
nearly constant loss."""

FIRST_SCORED = 1000
"""Before, every benchmark is at chance."""

LAST_WITH_LOSS = 50_000
VOCABULARY = 50_304
GUESSED_NBETA = 30.0
"""nβ of the tables is not stated; a second set, said to be at nβ = 10, is 2.9 times smaller."""


@dataclass(frozen=True)
class Settings:
    """How much.

    Attributes:
        num_resamples: Of the bootstrap of the power law.
        sweep: Of the sweep over local models.
    """

    num_resamples: int
    sweep: local_neox.Size = local_neox.TINY


PRESETS = {
    "quick": Settings(200),
    "small": Settings(power_law.NUM_RESAMPLES),
    "paper": Settings(10 * power_law.NUM_RESAMPLES),
}
"""The tables are the published size already: `paper` has more resamples only."""

COST = {
    "quick": "1 minute, 1 GiB on 2 CPU cores (estimated)",
    "small": "3 minutes, 1 GiB on 2 CPU cores (estimated)",
    "paper": "about 15 minutes, 1 GiB on 2 CPU cores (estimated): more resamples",
}


def run(settings: Settings, out: Path, *, seed: int, progress: Progress) -> Page:
    """Analyse the tables, where they are to be found, and run the sweep.

    Args:
        settings: A preset.
        out: The sweep is kept in `out/fresh`, and gone on with.
        seed: Of resampling, and of the random weights.
        progress: Told (stage, done, total).

    Raises:
        GermError: A table that is not of its form, or a sweep that fails.
    """
    folder = published_tables.find(out)
    progress("the published tables", 0, 2)
    found = analysis(published_tables.read(folder), settings, seed) if folder else None
    progress("a sweep over local checkpoints", 1, 2)
    fresh = None
    if local_neox.available():
        fresh = local_neox.exercise(Path(out) / "fresh", seed=seed, size=settings.sweep)
    progress("done", 2, 2)
    data = {"seed": seed, "tables": found, "fresh": fresh, "command": local_neox.command()}
    return scale_page.page(data)


def analysis(tables: Tables, settings: Settings, seed: int) -> dict[str, Any]:
    """Everything about the tables, JSON-able.

    Args:
        tables: The tables.
        settings: How much.
        seed: Of resampling.
    """
    laws = {
        size: _law(series, RANGES[size], settings.num_resamples, seed)
        for size, series in tables.pile.items()
    }
    factors = {
        size: asdict(subset_factors.factors(series.between(*RANGES[size]), seed=seed))
        for size, series in tables.subsets.items()
    }
    scored = {size: (FIRST_SCORED, last) for size, (_, last) in RANGES.items()}
    scores = benchmark_scores.correlations(tables.pile, tables.scores, scored)
    return {
        "laws": laws,
        "factors": factors,
        "explained": asdict(_explained(tables.subset_losses, seed)),
        "scores": [
            {
                **vars(each),
                "mean": each.mean.to_dict(),
                "naive": each.naive if math.isfinite(each.naive) else None,
            }
            for each in scores
        ],
    }


def _law(series: Series, steps: tuple[int, int], num_resamples: int, seed: int) -> dict[str, Any]:
    """The power law over the stable part; how far it holds after; what λ̂ does at constant loss."""
    part, after = series.between(*steps), series.between(steps[1] + 1, 2 * steps[1])
    llc, loss = part.column("llc"), part.column("loss")
    law = power_law.fit(llc, loss, seed=seed, num_resamples=num_resamples)
    missed = law(after.column("llc")) - after.column("loss")
    every = series.column("llc"), series.column("loss")
    sampled = every[1] + every[0] / GUESSED_NBETA
    return {
        "steps": list(steps),
        "num": len(llc),
        "law": asdict(law),
        "correlation": float(np.corrcoef(llc, loss)[0, 1]),
        "change_correlation": float(np.corrcoef(np.diff(llc), np.diff(loss))[0, 1]),
        "after": {
            "num": len(missed),
            "rms": float(np.sqrt(np.mean(missed**2))) if len(missed) else None,
        },
        "late": {
            "step": int(series.steps[-1]),
            "llc_ratio": float(every[0][-1] / llc[-1]),
            "loss_change": float(every[1][-1] - loss[-1]),
        },
        "sampled_above_untrained_from": _first_above(series.steps, sampled),
        "curve": {
            "step": series.steps.tolist(),
            "llc": every[0].tolist(),
            "loss": every[1].tolist(),
        },
    }


def _first_above(steps: np.ndarray, sampled: np.ndarray) -> int | None:
    """The first trained step from which E[L], at the guessed nβ, stays above log(vocabulary)."""
    below = np.flatnonzero(sampled <= math.log(VOCABULARY))
    first = int(below[-1]) + 1 if len(below) else 0
    return int(steps[first]) if first < len(steps) else None


def _explained(series: Series, seed: int) -> subset_factors.Explained:
    part = series.between(FIRST_SCORED, LAST_WITH_LOSS)
    names = [name[4:] for name in part.names if name.startswith("llc/")]
    llc, loss = (
        np.stack([part.column(f"{what}/{name}") for name in names], axis=1)
        for what in ("llc", "loss")
    )
    return subset_factors.explained(llc, loss, seed=seed)
