"""`germ experiment toy-posteriors`: the theory in pictures, in one and two variables.

After the introductions of Carroll (*Distilling Singular Learning Theory*, 2023) and Hoogland
(*Neural networks generalize because of this one weird trick*, 2023). Every number is integrated or
counted here, and stands beside what the theory predicts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from germ.experiments import toy_basins, toy_competition, toy_hessian, toy_jump, toy_landscapes
from germ.experiments.catalogue import Progress
from germ.experiments.toy_section import Effort, Section
from germ.report.page import Page

NAME = "toy-posteriors"
SUMMARY = "singular learning theory in pictures: basins, volumes, λ, and posteriors that jump"

INTRODUCTION = """\
A trained model is one point of a *loss landscape*, and many others are often as good. Singular
learning theory (Watanabe) says that how many there are decides what a model learns: not the depth
of a basin alone, but how its volume shrinks towards the bottom. That is the *learning coefficient*
λ, which germ estimates for neural networks. On this page the landscapes have one or two parameters
(and once twenty more), so that nothing needs to be estimated: the integrals are computed, and the
predictions of the theory stand beside them.

"""


@dataclass(frozen=True)
class Settings:
    """How finely to compute.

    Attributes:
        effort: Of the Monte Carlo volumes.
        num_curve: Points of the curves over n.
    """

    effort: Effort
    num_curve: int


PRESETS = {
    "small": Settings(Effort(), 25),
    "fine": Settings(Effort(num_points=2000, num_replicas=32, smallest=1e-20), 81),
}

COST = {
    "small": "half a minute, 1 GiB on 2 CPU cores",
    "fine": "about 5 minutes, 1 GiB on 2 CPU cores (estimated)",
}


def run(settings: Settings, out: Path, *, seed: int, progress: Progress) -> Page:
    """Compute the five sections.

    Args:
        settings: How finely.
        out: Not used: nothing here takes long enough to be kept.
        seed: Of the Monte Carlo volumes.
        progress: Told which section is being computed.
    """
    parts: list[tuple[str, Callable[[], Section]]] = [
        ("a posterior that jumps", lambda: toy_jump.section(2 * settings.num_curve)),
        ("basins", lambda: toy_basins.section(settings.effort, seed)),
        ("landscapes", lambda: toy_landscapes.section(settings.effort, seed)),
        ("free energies", lambda: toy_competition.section(settings.num_curve)),
        ("Hessians", lambda: toy_hessian.section(settings.num_curve)),
    ]
    sections = []
    for done, (title, compute) in enumerate(parts):
        progress(title, done, len(parts))
        sections.append(compute())
    progress("done", len(parts), len(parts))
    return Page(
        title="Toy posteriors: singular learning theory in pictures",
        text=INTRODUCTION + "\n\n".join(section.text.strip() for section in sections),
        figures={section.name: section.figure for section in sections},
        data={"seed": seed, **{section.name: section.data for section in sections}},
    )
