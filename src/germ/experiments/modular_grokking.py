"""Training that memorises first and generalises later, with λ̂ on the train data along the way.

λ̂ is estimated twice: with the settings of devinterp's grokking notebook (nβ = 2, γ = 5, ε = 0.003,
500 steps), at every record, and by germ's own sampler at a larger nβ, at some. Whether either says
more than the train loss does is what `germ.restatement` is for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from germ.experiments import modular_measuring as measuring
from germ.experiments import modular_network as networks
from germ.experiments.modular_moduli import LOCAL, Row, losses
from germ.experiments.modular_published import Published, nbeta, sgld

NOTEBOOK_NBETA = 2.0


@dataclass(frozen=True)
class Grokking:
    """What to run.

    Attributes:
        modulus: p.
        fraction: Share of the pairs that is trained on.
        decay: Weight decay.
        num_seeds: Networks.
        num_records: Records, evenly over training from step 0.
        num_own: Records that germ's own sampler measures, from step 0 to the last, evenly over
            records.
        training: How they are trained.
        notebook: The notebook's sampler.
        draws: Draws of germ's own.
    """

    modulus: int = 53
    fraction: float = 0.4
    decay: float = 2e-4
    num_seeds: int = 3
    num_records: int = 81
    num_own: int = 17
    training: networks.Training = field(
        default_factory=lambda: networks.Training(12, 48, 0.005, 128, 40_000)
    )
    notebook: Published = field(
        default_factory=lambda: Published(
            3e-3, num_steps=500, batch_size=128, discarded=0.0, orthogonal=False
        )
    )
    draws: int = 150


def measure(settings: Grokking, seed: int, progress: Callable[[str, int, int], None]) -> Row:
    """One network's path; JSON-able.

    Args:
        settings: What to run.
        seed: The seed.
        progress: Told (stage, done, total).
    """
    stage = f"grokking, seed {seed}"
    progress(f"{stage}: training", 0, 1)
    network = networks.Network(
        settings.modulus, "addition", settings.fraction, settings.decay, seed
    )
    steps = np.linspace(0, settings.training.num_steps, settings.num_records).round().astype(int)
    records = networks.train([network], settings.training, steps.tolist())[0]
    progress(f"{stage}: the notebook's sampler", 0, 1)
    notebook = sgld(
        records, [network] * len(records), [NOTEBOOK_NBETA], settings.notebook, seed=seed
    )
    rows = [
        {**losses(record), "notebook": found[0], "own": None}
        for record, found in zip(records, notebook, strict=True)
    ]
    chosen = np.linspace(0, len(records) - 1, settings.num_own).round().astype(int)
    scale = nbeta(network.num_examples, LOCAL)
    for number, place in enumerate(chosen.tolist()):
        progress(f"{stage}: germ", number, len(chosen))
        rows[place]["own"] = measuring.own(
            records[place], network, nbeta=scale, draws=settings.draws, seed=seed
        )
    return {"seed": seed, "num_examples": network.num_examples, "records": rows}
