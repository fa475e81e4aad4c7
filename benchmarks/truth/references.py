"""Long Hamiltonian Monte Carlo for the cases without a closed form, kept in a file.

    python -m benchmarks.truth --references [--cases …]

A reference belongs to what decides it (`Case.target`), not to a case's name: minibatch and
full-batch cases of the same posterior share one. It is full-batch HMC in a dense metric fitted on
pilot runs, checked by full-batch Leimkuhler–Matthews at two step sizes (bias of second order).
"""

from __future__ import annotations

import json
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

import germ
from benchmarks.reference import STEP_SIZE, STEP_SIZES, Dense, mean_metric
from benchmarks.truth.case import Case, Expectation
from germ import LocalPosterior
from germ.errors import GermError
from germ.samplers import HMC, LeimkuhlerMatthews

PATH = Path(__file__).parent.parent / "results" / "truth_references.json"

CHAINS, FEW_CHAINS = 16, 8
DRAWS, FEW_DRAWS = 500, 150
"""Chains, and trajectories kept of each; fewer for networks, whose gradients cost more."""

NUM_LEAPFROG_STEPS = 8
LADDER = (1, 3, 10)
"""The step size is divided by these until HMC accepts; trajectories keep their length."""

MIN_ACCEPTANCE, MAX_RHAT = 0.6, 1.02
PILOT_STEP_SIZES = (0.02, 0.02, 0.05)
NUM_PLACES, FEW_PLACES = 4, 2
"""Draws at which the metric's Hessians are taken."""


def load(path: Path = PATH) -> dict[str, Any]:
    """All references by key; none where there is no file."""
    return json.loads(path.read_text()) if path.exists() else {}


def expectation(case: Case, references: dict[str, Any]) -> Expectation:
    """The local expectation of a case, in closed form or from its reference.

    Raises:
        GermError: It has neither.
    """
    known = case.expectation()
    if known is not None:
        return known
    if case.key not in references:
        raise GermError(
            f"expected a reference for {case.name!r}; there is none for its settings: run "
            "python -m benchmarks.truth --references"
        )
    found = references[case.key]
    return Expectation(found["value"], found["error"], "HMC", found)


def _pilot_metric(posterior: LocalPosterior, steps: int, places: int) -> Dense:
    """The metric after three rounds of pilot runs: flat directions stiffen away from w*."""
    metric = mean_metric(posterior, posterior.anchor[None])
    for step_size in PILOT_STEP_SIZES:
        pilot = _pilot(posterior, metric, step_size, steps, places)
        metric = mean_metric(posterior, torch.from_numpy(pilot["position"].values[:, -1]))
    return metric


def _moving(posterior: LocalPosterior, model: nn.Module) -> Tensor:
    """The weights that move, flat."""
    return posterior.coordinates.flatten(dict(model.named_parameters())).detach()


def _pilot(
    posterior: LocalPosterior, metric: Dense, step_size: float, steps: int, places: int
) -> xr.Dataset:
    """A short run; one that runs away, where w* is flatter than all around it, is made finer."""
    for finer in (1, 8, 64, 512):
        pilot = germ.sample(
            posterior,
            LeimkuhlerMatthews(step_size / finer, metric),
            chains=places,
            draws=4,
            warmup=steps,
            batch_size=posterior.data.num_examples,
            seed=100,
            observables={"position": partial(_moving, posterior)},
            throw=False,
        )
        if all(name == "OK" for name in pilot.attrs["statuses"]):
            return pilot
    raise GermError(f"no pilot run of the reference stays near w*: {pilot.attrs['statuses']}")


def measure(posterior: LocalPosterior, *, costly: bool = False) -> dict[str, Any]:
    """The reference and its checks.

    The step is the largest of a ladder at which HMC accepts 60% and its chains agree (R̂ < 1.02),
    its trajectories as long as ever; on the last rung it stands as it is.

    Args:
        posterior: The posterior, on as few examples as have its loss.
        costly: Whether to make do with fewer chains, trajectories and Hessians.
    """
    chains, draws, places = (
        (FEW_CHAINS, FEW_DRAWS, FEW_PLACES) if costly else (CHAINS, DRAWS, NUM_PLACES)
    )
    began = time.process_time()
    metric = _pilot_metric(posterior, 200, places)
    for finer in LADDER:
        sampler = HMC(STEP_SIZE / finer, round(NUM_LEAPFROG_STEPS * finer**0.5), metric)
        if finer < LADDER[-1]:
            probe = _run(posterior, sampler, chains, draws // 5)
            if probe["acceptance"] < MIN_ACCEPTANCE:
                continue
        found = _run(posterior, sampler, chains, draws)
        if found["acceptance"] > MIN_ACCEPTANCE and found["rhat"] < MAX_RHAT:
            break
    checks = [
        _run(posterior, LeimkuhlerMatthews(step_size / finer, metric), chains, draws)
        for step_size in STEP_SIZES
    ]
    return {
        **found,
        "chains": chains,
        "draws": draws,
        "num_leapfrog_steps": sampler.num_leapfrog_steps,
        "checks": checks,
        "seconds": time.process_time() - began,
    }


def _run(
    posterior: LocalPosterior, sampler: HMC | LeimkuhlerMatthews, chains: int, draws: int
) -> dict[str, Any]:
    """One full-batch run and what it says; Leimkuhler–Matthews takes five steps a draw."""
    exact = isinstance(sampler, HMC)
    samples = germ.sample(
        posterior,
        sampler,
        chains=chains,
        draws=draws if exact else draws // 2,
        warmup=draws // 3 if exact else draws,
        thin=1 if exact else 5,
        batch_size=posterior.data.num_examples,
        seed=200 if exact else 201,
        throw=False,
    )
    about: dict[str, Any] = {
        "sampler": type(sampler).__name__,
        "step_size": sampler.step_size,
        "acceptance": float(samples["acceptance"].mean()) if exact else None,
    }
    statuses = sorted({name for name in samples.attrs["statuses"] if name != "OK"})
    if statuses:
        return {**about, "value": None, "rhat": math.inf, "statuses": statuses}
    estimate = germ.llc(samples)
    return {
        **about,
        "value": estimate.value,
        "error": estimate.standard_error,
        "ess": estimate.ess,
        "rhat": estimate.rhat,
        "virial": estimate.virial,
        "warnings": list(estimate.warnings),
    }


def update(cases: list[Case], path: Path = PATH, *, again: bool = False) -> None:
    """Measure what is missing and write it down, one case after the other.

    Args:
        cases: The cases; those with a closed form are passed over.
        path: The file.
        again: Measure also what is there.
    """
    for case in cases:
        known = load(path)
        if (case.key in known and not again) or case.expectation() is not None:
            continue
        found = measure(case.exact_posterior(), costly=case.family == "network")
        if found["value"] is None:
            print(f"{case.name}: no reference, HMC ends {found['statuses']}", flush=True)
            continue
        entry = {"case": case.name, "target": case.target(), **found}
        # Read again: another process may have written its own meanwhile.
        path.write_text(json.dumps({**load(path), case.key: entry}, indent=1, ensure_ascii=False))
        checks = ", ".join(f"{c['value'] or math.nan:.3f}" for c in found["checks"])
        print(
            f"{case.name}: {found['value']:.3f} ± {found['error']:.3f}, R̂ {found['rhat']:.3f}, "
            f"acceptance {found['acceptance']:.2f}, virial {found['virial']:.3f}; {checks}; "
            f"{found['seconds']:.0f} s",
            flush=True,
        )
