"""`germ experiment superposition`: polygons of the toy model, as the posterior and as SGD see them.

Chen et al. (2023, arXiv 2310.06301): the critical points of the toy model of superposition are
polygons; with more data the posterior goes over from simpler ones to better ones, and SGD stays on
one after another. Here

- the losses and λ of the polygons are exact, and λ̂ is measured at 5, 5+ and 6, beside the local
  expectation by other chains (`superposition_chains`);
- the global posterior is sampled by sequential Monte Carlo (`superposition_tempering`), on the
  population loss and on data sets;
- networks are trained by SGD from a 4-gon, and λ̂ is measured where they stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from germ.experiments import superposition_chains as chains
from germ.experiments import superposition_local as local
from germ.experiments import superposition_tempering as tempering
from germ.experiments import superposition_training as training
from germ.experiments.catalogue import Progress
from germ.experiments.kept import kept
from germ.experiments.superposition_page import page
from germ.experiments.superposition_phases import PHASES
from germ.experiments.superposition_pieces import dataset, draw_examples, population
from germ.experiments.superposition_points import as_point
from germ.experiments.superposition_posterior import Case, follow
from germ.report.page import Page

NAME = "superposition"
SUMMARY = "the toy model's polygons: λ̂ beside λ, posterior shares against n, and SGD's plateaus"

Row = dict[str, Any]
HALF = 0.5
"""−log p(x | w) = ½‖x − x̂‖²: a normal of variance 1. The published theory has 1 for ½."""


@dataclass(frozen=True)
class Place:
    """Where λ̂ is measured.

    Attributes:
        num: n.
        localization: γ.
        num_seeds: Data sets.
        draws: Draws of a chain.
        sgld: ε and steps of a run as published, if there is to be one.
    """

    num: int
    localization: float
    num_seeds: int
    draws: int = 300
    sgld: tuple[float, int] | None = None


@dataclass(frozen=True)
class Settings:
    """What to run.

    Attributes:
        grid: n at which posteriors are looked at.
        effort: Of a sampler of the global posterior.
        check: Whether to hold the classification against descent, in one run.
        num_population: Its runs on the population loss.
        num_data: Data sets.
        places: Where λ̂ is measured.
        kinds: And at which polygons.
        chains: Of the independent chains.
        plan: Of SGD.
        num_networks: Networks trained.
        plateau_nbeta_of: n of nβ = n/log n on the plateaus of SGD.
        plateau_localizations: γ there.
        plateau_chains: Of the chains there.
        plateau_draws: Draws of germ's chains, along one network; 0 leaves them out.
    """

    grid: tuple[int, ...] = (
        50, 100, 150, 200, 250, 300, 350, 400, 450, 500, 600, 700, 800, 1000, 1200, 1600, 2000
    )  # fmt: skip
    effort: tempering.Effort = field(default_factory=lambda: tempering.Effort(1000))
    check: bool = True
    num_population: int = 6
    num_data: int = 10
    places: tuple[Place, ...] = (
        Place(5000, 0.1, 4, sgld=(1e-5, 50_000)), Place(5000, 10.0, 3), Place(500_000, 0.1, 3)
    )  # fmt: skip
    kinds: tuple[str, ...] = ("5", "5+", "6")
    chains: chains.Effort = field(default_factory=lambda: chains.Effort(32, 100, 200, 12))
    plan: training.Plan = field(default_factory=training.Plan)
    num_networks: int = 30
    plateau_nbeta_of: int = 5000
    plateau_localizations: tuple[float, ...] = (10.0, 100.0)
    plateau_chains: chains.Effort = field(default_factory=lambda: chains.Effort(24, 60, 100, 10))
    plateau_draws: int = 200


PRESETS = {
    "quick": Settings(
        grid=(100, 300, 800),
        check=False,
        effort=tempering.Effort(150, 2, 8),
        num_population=2,
        num_data=2,
        places=(Place(1000, 10.0, 1, 20, (1e-4, 50)),),
        kinds=("6",),
        chains=chains.Effort(8, 30, 30, 8),
        plan=training.Plan(200, 20, 0.02, 150, 0.05, 16),
        num_networks=3,
        plateau_chains=chains.Effort(8, 20, 20, 8),
        plateau_draws=0,
    ),
    "small": Settings(),
    "paper": Settings(
        effort=tempering.Effort(4000, 6, 16),
        num_population=16,
        num_data=40,
        places=(
            Place(5000, 0.1, 20, 1000, (1e-5, 50_000)), Place(5000, 10.0, 20, 1000),
            Place(50_000, 0.1, 10, 1000, (1e-6, 100_000)),
            Place(500_000, 0.1, 10, 1000, (1e-7, 200_000)),
        ),
        chains=chains.Effort(64, 300, 600, 16),
        num_networks=100,
    ),
}  # fmt: skip
"""`small` has the published sizes of SGD and of n; `paper` has more of every replicate."""

COST = {
    "quick": "a quarter of a minute, 0.8 GiB on 1 CPU core",
    "small": "10 minutes, 0.9 GiB on 1 CPU core",
    "paper": "about 5 hours, 2 GiB on 2 CPU cores (estimated)",
}


def run(settings: Settings, out: Path, *, seed: int, progress: Progress) -> Page:
    """Sample, measure, train.

    Args:
        settings: A preset.
        out: The result of each run is kept in `out/runs`, and taken from there.
        seed: Of data sets, samplers and networks; replicates count on from it.
        progress: Told (stage, done, total).

    Raises:
        GermError: `out/runs` holds results of other settings, or cannot be written.
    """
    folder = Path(out) / "runs"
    cases = {
        f"population-{i:03d}": Case(
            settings.grid,
            settings.effort,
            None,
            1.0,
            1000 * seed + i,
            check=settings.check and i == 0,
        )
        for i in range(settings.num_population)
    }
    for i in range(settings.num_data):
        # Twice under the published likelihood: what two runs differ by is the sampler's own error.
        for scale, again in ((1.0, 0), (1.0, 1), (HALF, 0)):
            name = f"data-{i:03d}-{'one' if scale == 1 else 'half'}-{again}"
            cases[name] = Case(
                settings.grid, settings.effort, seed + i, scale, 1000 * seed + 2 * i + again
            )
    found: dict[str, list[Row]] = {"posteriors": [], "estimates": []}
    for number, (name, case) in enumerate(cases.items()):
        progress("posteriors", number, len(cases))
        found["posteriors"].append(
            kept(folder / f"{name}.json", asdict(case), lambda c=case: follow(c, lambda *_: None))
        )
    progress("posteriors", len(cases), len(cases))
    wanted = [(p, seed + i) for p in settings.places for i in range(p.num_seeds)]
    for number, (place, each) in enumerate(wanted):
        progress("λ̂ of polygons", number, len(wanted))
        name = f"llc-{place.num}-{place.localization:g}-{each}"
        key = {
            "place": asdict(place) | {"num_seeds": None}, "seed": each, "kinds": settings.kinds,
            "chains": asdict(settings.chains),
        }  # fmt: skip
        found["estimates"].append(
            kept(
                folder / f"{name}.json", key,
                lambda p=place, s=each: measure(p, settings.kinds, settings.chains, s),
            )
        )  # fmt: skip
    progress("λ̂ of polygons", len(wanted), len(wanted))
    key = {
        "plan": asdict(settings.plan), "num": settings.num_networks, "seed": seed,
        "nbeta_of": settings.plateau_nbeta_of, "localizations": settings.plateau_localizations,
        "chains": asdict(settings.plateau_chains),
    }  # fmt: skip
    trained = kept(
        folder / "training.json", key,
        lambda: train(settings, seed, lambda done, total: progress("training", done, total)),
    )  # fmt: skip
    return page(found["posteriors"], found["estimates"], trained, asdict(settings), seed)


def measure(place: Place, kinds: tuple[str, ...], effort: chains.Effort, seed: int) -> Row:
    """λ̂ at polygons on one data set: germ's, and that of independent chains, free and held.

    Args:
        place: n, γ, draws.
        kinds: The polygons.
        effort: Of the independent chains.
        seed: Of the data and of all chains.
    """
    examples = draw_examples(place.num, seed)
    nbeta = local.nbeta(place.num)
    energy = dataset(examples, np.full(place.num, nbeta / place.num))
    points = [as_point(kind) for kind in kinds]
    anchors = torch.from_numpy(np.stack(points))
    free, held = (
        chains.expectations(energy, anchors, place.localization, effort, seed, held=each)
        for each in (False, True)
    )
    short = None
    if place.sgld is not None:
        short = chains.langevin(
            energy, anchors, place.localization, *place.sgld, effort.num_chains // 2, seed
        )
    rows = {}
    for i, (kind, point) in enumerate(zip(kinds, points, strict=True)):
        rows[kind] = {
            "germ": local.estimate(point, examples, place.localization, place.draws, seed),
            "free": asdict(free[i]),
            "held": asdict(held[i]),
            "sgld": None if short is None else short[i],
        }
    return {"n": place.num, "localization": place.localization, "seed": seed, "kinds": rows}


def train(settings: Settings, seed: int, progress: Callable[[int, int], None]) -> Row:
    """SGD, and λ̂ in the middle of every stay in a phase.

    Args:
        settings: Of the experiment.
        seed: The first network's.
        progress: Told (epochs done, epochs).
    """
    paths = training.train(settings.plan, range(seed, seed + settings.num_networks), progress)
    stays = [
        {"network": i, "phase": name, "first": first, "last": last, "at": (first + last) // 2}
        for i, phases in enumerate(paths.phases)
        for name, first, last in training.stays(phases.tolist(), 2)
    ]
    anchors = torch.from_numpy(np.stack([paths.points[s["network"], s["at"]] for s in stays]))
    nbeta = local.nbeta(settings.plateau_nbeta_of)
    localization = 0.0
    for localization in settings.plateau_localizations:
        values = chains.expectations(
            population(nbeta), anchors, localization, settings.plateau_chains, seed
        )
        for stay, value in zip(stays, values, strict=True):
            stay[f"at {localization:g}"] = asdict(value)
    for stay in stays:
        at = stay["network"], stay["at"]
        stay |= {"loss": float(paths.loss[at]), "point": paths.points[at].tolist()}
    # germ's own λ̂ where it costs too much to have it everywhere: along the network that moved most.
    moved = [stay["network"] for stay in stays]
    examples = draw_examples(settings.plateau_nbeta_of, seed)
    for stay in stays:
        if settings.plateau_draws and stay["network"] == max(moved, key=moved.count):
            stay["germ"] = local.estimate(
                np.array(stay["point"]), examples, localization, settings.plateau_draws, seed
            )
    return {
        "nbeta": nbeta,
        "epochs": paths.epochs.tolist(),
        "loss": paths.loss.tolist(),
        "phases": [[PHASES[p] for p in each] for each in paths.phases],
        "stays": stays,
    }


__all__ = ["COST", "NAME", "PRESETS", "SUMMARY", "Place", "Settings", "measure", "run"]
