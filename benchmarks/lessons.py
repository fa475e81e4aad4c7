"""Lessons 1 to 5 of the design, measured: how wrong each way of sampling is, and what it costs.

    python -m benchmarks.lessons            all networks, about 20 minutes on one thread
    python -m benchmarks.lessons --quick    a smoke test; its numbers mean nothing

Deep linear networks, n = 10⁵, nβ = n/log n, γ = 100, batches of 500, four chains of 1,000 draws
after 500 steps of warmup, seed 0. Every method gets the same chains, draws and batches; none is
tuned to a network. Each is compared with the same local expectation, found by long full-batch runs.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import germ
from benchmarks.nets import NETS, Net
from benchmarks.reference import hessians, reference
from benchmarks.tables import environment, render
from germ import LocalPosterior, Status
from germ.calibrate import calibrate
from germ.diagnostics import average
from germ.samplers import SGLD, Diagonal, LeimkuhlerMatthews

RESULTS = Path(__file__).parent / "results"
FRACTIONS = (0.5, 0.1)
"""ε times the largest curvature of U at w*, without a metric; steps diverge at 4."""

DIMENSIONLESS = (0.2, 0.06, 0.02)
"""ε with a diagonal metric: the prototypes' 0.1, 0.03 and 0.01, which are drifts, ε/2."""


@dataclass(frozen=True)
class Method:
    """One way of sampling.

    Attributes:
        name: What the tables call it.
        sampler: The sampler, or "auto".
        gradient: "anchored" or "minibatch".
        full_batch: Whether every gradient is over all the data.
    """

    name: str
    sampler: Any
    gradient: str = "anchored"
    full_batch: bool = False


def methods(stiffest: float, metric: Diagonal) -> Iterator[Method]:
    """All that is compared.

    Args:
        stiffest: Largest curvature of U at w*.
        metric: The frozen diagonal one.
    """
    for fraction in FRACTIONS:
        step_size = fraction / stiffest
        yield Method("SGLD", SGLD(step_size), gradient="minibatch")
        yield Method("SGLD, anchored", SGLD(step_size))
        yield Method("Leimkuhler–Matthews, anchored", LeimkuhlerMatthews(step_size))
    step_size = FRACTIONS[0] / stiffest
    yield Method("SGLD, full batch", SGLD(step_size), full_batch=True)
    yield Method("Leimkuhler–Matthews, full batch", LeimkuhlerMatthews(step_size), full_batch=True)
    step_size = DIMENSIONLESS[1]
    yield Method("diagonal metric, SGLD", SGLD(step_size, metric), gradient="minibatch")
    for step_size in DIMENSIONLESS:
        sampler = LeimkuhlerMatthews(step_size, metric)
        yield Method("diagonal metric, Leimkuhler–Matthews, anchored", sampler)
    yield Method('sampler="auto"', "auto")


def rows(
    method: Method, samples: xr.Dataset, exact: float, seconds: float
) -> Iterator[dict[str, Any]]:
    """What a run says: one row; for plain SGLD another, of the same draws without pairing."""
    row: dict[str, Any] = {
        "method": method.name,
        "step_size": samples.attrs["step_size"],
        "statuses": sorted(set(samples.attrs["statuses"])),
        "num_gradients": samples.attrs["num_gradients"],
        "seconds": seconds,
    }
    if not all(Status[name].ok for name in samples.attrs["statuses"]):
        yield row
        return
    estimate = germ.llc(samples)
    row |= {
        "value": estimate.value,
        "error": estimate.standard_error,
        "off_by": abs(estimate.value - exact),
        "virial": estimate.virial,
        "ess": estimate.ess,
        "rhat": estimate.rhat,
        "warnings": list(estimate.warnings),
    }
    if method.gradient == "minibatch":
        losses = samples["loss"].values - samples.attrs["anchor_loss"]
        alone = average(estimate.nbeta * losses, shared_batches=samples.attrs["shared_batches"])
        yield row | {
            "method": f"{method.name}, unpaired",
            "value": alone.mean,
            "error": alone.standard_error,
            "off_by": abs(alone.mean - exact),
            "ess": alone.ess,
            "rhat": alone.rhat,
            "warnings": [],
        }
        row["method"] += ", paired"
    yield row


def check_reduction(every: LocalPosterior, reduced: LocalPosterior) -> float:
    """The largest relative difference of the two losses, at w* and at places around it."""
    torch.manual_seed(0)
    worst = 0.0
    for scale in (0.0, 0.01, 0.1):
        place = every.anchor + scale * torch.randn(every.num_coordinates)
        pair = [
            p.example_losses(place, p.batch(torch.arange(p.data.num_examples))).double().mean()
            for p in (every, reduced)
        ]
        worst = max(worst, abs(float(pair[0] / pair[1]) - 1))
    return worst


def measure(net: Net, *, quick: bool) -> dict[str, Any]:
    """All methods on one network."""
    draws, batch_size = (40 if quick else 1000), 500
    every, reduced = net.posteriors()
    difference = check_reduction(every, reduced)
    assert difference < 1e-5, f"the reduced data have another loss, by {difference:.1g}"
    found = reference(reduced, draws=40 if quick else 400)
    print(f"{net.name}: {found['value']:.2f} ± {found['error']:.2f} by HMC", flush=True)
    hessian = hessians(reduced, reduced.anchor[None])[0]
    stiffest = reduced.nbeta * float(torch.linalg.eigvalsh(hessian)[-1]) + reduced.localization
    # Row norms of the Hessian, not its diagonal: see `germ.calibrate`.
    metric = Diagonal((1 / (reduced.nbeta * hessian.norm(dim=1) + reduced.localization)).float())
    table = []
    for method in methods(stiffest, metric):
        # Processor time: it does not depend on what else the machine is doing.
        began = time.process_time()
        samples = germ.sample(
            reduced if method.full_batch else every,
            method.sampler,
            draws=draws,
            batch_size=batch_size,
            gradient=method.gradient,
            throw=False,
        )
        seconds = time.process_time() - began
        for row in rows(method, samples, found["value"], seconds):
            value = row.get("value", math.nan)
            print(f"  {row['method']:50s} {row['step_size']:9.3g} {value:9.2f}", flush=True)
            table.append(row)
    return {
        "name": net.name,
        "num_parameters": net.num_parameters,
        "true_coefficient": net.true_coefficient,
        "nbeta": net.nbeta,
        "localization": reduced.localization,
        "stiffest": stiffest,
        "reduction_difference": difference,
        "reference": found,
        "auto": calibrate(every, batch_size=batch_size, seed=0).reasons,
        "rows": table,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure lessons 1 to 5 of the design.")
    parser.add_argument("--quick", action="store_true", help="a smoke test on one network")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    parser.add_argument("--nets", type=int, nargs="*", help="numbers of networks, from 0")
    parser.add_argument("--out", type=Path, default=None, help="where lessons.json and .md go")
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    numbers = settings.nets or range(len(NETS))
    chosen = [NETS[2]] if settings.quick else [NETS[i] for i in numbers]
    report = {
        **environment(settings.threads),
        "quick": settings.quick,
        "nets": [measure(net, quick=settings.quick) for net in chosen],
    }
    folder = settings.out or (RESULTS / "quick" if settings.quick else RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lessons.json").write_text(json.dumps(_finite(report), indent=1) + "\n")
    (folder / "lessons.md").write_text(render(report))
    print(f"wrote {folder / 'lessons.json'} and {folder / 'lessons.md'}")


def _finite(value: Any) -> Any:
    """JSON has no NaN: None in its place."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


if __name__ == "__main__":
    main()
