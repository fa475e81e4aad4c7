"""Shares of the critical points in the posterior against n, and where one overtakes another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor

from germ.experiments.superposition_phases import PHASES, classify, descend, nearest, shares
from germ.experiments.superposition_pieces import draw_examples, population
from germ.experiments.superposition_tempering import DataLeg, Effort, PopulationLeg, temper

DIM = 18

CHECKED, DESCENT = 200, 600
"""Particles that descent is started from to check the classification, and its steps."""


@dataclass(frozen=True)
class Case:
    """One run of the sampler.

    Attributes:
        grid: The n at which the particles are looked at.
        effort: How much sampling.
        data_seed: Of the data set; None for the population loss.
        scale: Of the squared error in −log p(x | w).
        seed: Of the sampler.
        check: Whether to hold the classification against descent, at each n.
    """

    grid: tuple[int, ...]
    effort: Effort
    data_seed: int | None
    scale: float
    seed: int
    check: bool = False


def follow(case: Case, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """The shares of `PHASES` at each n; JSON-able.

    Args:
        case: What.
        progress: Told (legs done, legs).
    """
    steps = list(pairwise((0, *case.grid)))
    if case.data_seed is None:
        legs = [PopulationLeg(case.scale * a, case.scale * b) for a, b in steps]
    else:
        examples = draw_examples(case.grid[-1], case.data_seed)
        legs = [DataLeg(examples, a, b, case.scale) for a, b in steps]
    rows: list[dict[str, Any]] = []
    for num, cloud in zip(case.grid, temper(legs, DIM, case.effort, case.seed), strict=True):
        phases = classify(cloud.points)
        rows.append({
            "n": num, "shares": shares(phases), "log_evidence": cloud.log_evidence,
            "acceptance": cloud.acceptance, "stages": cloud.num_stages,
            "agrees": _agreement(cloud.points[:CHECKED], phases) if case.check else None,
        })  # fmt: skip
        progress(len(rows), len(legs))
    return {"data_seed": case.data_seed, "scale": case.scale, "seed": case.seed, "rows": rows}


def share(row: dict[str, Any], *phases: str) -> float:
    """The share of these phases together, in one row of `follow`."""
    return float(sum(row["shares"][PHASES.index(each)] for each in phases))


def overtakes(rows: Sequence[dict[str, Any]], num_particles: int, after: str = "6") -> float:
    """The n at which a phase has as large a share as 5 and 5+ together; NaN if it never does.

    Between two n of the grid log-odds are taken to be linear in n; shares of no particle count as
    half a particle.

    Args:
        rows: Of `follow`.
        num_particles: Of the run.
        after: The phase.
    """
    least = 0.5 / num_particles
    # Where neither has a particle nothing is known of their odds.
    rows = [row for row in rows if share(row, after, "5", "5+") > 0]
    odds = [
        np.log(max(share(row, after), least)) - np.log(max(share(row, "5", "5+"), least))
        for row in rows
    ]
    return last_rise([row["n"] for row in rows], odds)


def last_rise(nums: Sequence[int], odds: Sequence[float]) -> float:
    """The last n at which log-odds, linear between these n, rise through 0; NaN if they never do.

    Args:
        nums: n, increasing.
        odds: Log-odds at them.
    """
    for i in range(len(nums) - 1, 0, -1):
        if odds[i - 1] < 0 <= odds[i]:
            part = -odds[i - 1] / (odds[i] - odds[i - 1])
            return float(nums[i - 1] + part * (nums[i] - nums[i - 1]))
    return float("nan")


def _agreement(points: Tensor, phases: np.ndarray) -> dict[str, float]:
    """Shares of points whose descent ends in their phase, and in one of as many corners."""
    ends = nearest(population(1.0)(descend(points, DESCENT))[0].numpy())
    mine = phases[: len(points)]
    corners = np.array([name[0] for name in PHASES])
    return {
        "phase": float((ends == mine).mean()),
        "corners": float((corners[ends] == corners[mine]).mean()),
    }
