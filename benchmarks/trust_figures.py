"""The figures of docs/trust.md.

    python -m benchmarks.trust_figures

Traces of one posterior whose local expectation is known, sampled well and in three ways that go
wrong: what a trace shows, and what it does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import germ
from benchmarks.truth import references
from benchmarks.truth.cases import CASES
from benchmarks.truth.estimators import Setting
from germ.report import figures
from germ.samplers import SGLD, LeimkuhlerMatthews

IMAGES = Path(__file__).parent.parent / "docs" / "images"
CASE = "10-10-10-10, rank 5"


def runs() -> tuple[list[tuple[Any, Any, str]], float]:
    """The four runs, each with its estimate and a title, and the exact value."""
    case = next(case for case in CASES if case.name == CASE)
    setting = Setting(case)
    exact = references.expectation(case, references.load()).value
    plain = {"batch_size": 500, "gradient": "minibatch", "seed": 0}
    stiffest = setting.stiffest
    ways = (
        ("good: auto", "auto", {"draws": 600, "warmup": 300, "chains": 4}),
        (
            "still rising: SGLD, a small step",
            SGLD(0.003 / stiffest),
            {"draws": 600, "warmup": 300, "chains": 4, **plain},
        ),
        (
            "settled, and wrong: SGLD, heated by its batches",
            SGLD(0.3 / stiffest),
            {"draws": 600, "warmup": 300, "chains": 4, **plain},
        ),
        (
            "spikes: too large a step for what lies around w*",
            LeimkuhlerMatthews(0.5, setting.metric),
            {"draws": 600, "warmup": 300, "chains": 4, "batch_size": 500, "seed": 0},
        ),
    )
    panels = []
    for title, sampler, options in ways:
        samples = germ.sample(setting.posterior, sampler, throw=False, **options)  # type: ignore[arg-type]
        bad = [name for name in samples.attrs["statuses"] if name != "OK"]
        estimate = None if bad else germ.llc(samples)
        print(title, "|", bad or estimate, "|", () if estimate is None else estimate.warnings)
        said = (
            f"{len(bad)} of {len(samples.attrs['statuses'])} chains {bad[0].lower()}"
            if estimate is None
            else f"λ̂ {estimate.value:.3g} ± {estimate.budget.total:.3g}, "
            f"virial {estimate.virial:.2f}, R̂ {estimate.rhat:.2f}"
        )
        panels.append((samples, estimate, f"{title}\n{said}"))
    return panels, exact


def main() -> None:
    torch.set_num_threads(1)
    panels, exact = runs()
    print(f"exact: {exact:.4g}")
    print(figures.save(figures.traces(panels, exact, window=10), IMAGES / "trust-traces.png"))


if __name__ == "__main__":
    main()
