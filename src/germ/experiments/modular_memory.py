"""Networks that generalise beside networks that memorise, at equal loss on what they were shown.

Addition and random operations are trained alike, at several weight decays. The decay decides where
the loss comes to rest, so each operation gives a curve of λ̂ over train loss, and the two are
compared where they overlap. No test example enters; test accuracy only says afterwards which
networks generalised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from germ.experiments import modular_measuring as measuring
from germ.experiments import modular_network as networks
from germ.experiments.modular_moduli import LOCAL, Row, losses
from germ.experiments.modular_published import Published, nbeta, sgld


@dataclass(frozen=True)
class Memory:
    """What to run.

    Attributes:
        modulus: p.
        fraction: Share of the pairs that is trained on.
        decays: Weight decays.
        num_seeds: Seeds; each gives a network an operation and decay.
        training: How they are trained.
        published: The published sampler.
        draws: Draws of germ's own.
    """

    modulus: int = 23
    fraction: float = 0.8
    decays: tuple[float, ...] = (3e-5, 1e-4, 3e-4)
    num_seeds: int = 4
    training: networks.Training = field(
        default_factory=lambda: networks.Training(num_steps=10_000, anneal=True)
    )
    published: Published = field(default_factory=Published)
    draws: int = 200


def measure(settings: Memory, seed: int, progress: Callable[[str, int, int], None]) -> Row:
    """The networks of one seed, each with its losses and estimates; JSON-able.

    Args:
        settings: What to run.
        seed: The seed.
        progress: Told (stage, done, total).
    """
    progress(f"memorising, seed {seed}: training", 0, 1)
    which = [
        networks.Network(settings.modulus, operation, settings.fraction, decay, seed)
        for operation in networks.OPERATIONS
        for decay in settings.decays
    ]
    last = settings.training.num_steps
    records = [kept[-1] for kept in networks.train(which, settings.training, [last])]
    scales = [nbeta(which[0].num_examples, multiplier) for multiplier in (1.0, LOCAL)]
    progress(f"memorising, seed {seed}: published sampler", 0, 1)
    published = sgld(records, which, scales, settings.published, seed=seed)
    rows = []
    for i, (network, record) in enumerate(zip(which, records, strict=True)):
        progress(f"memorising, seed {seed}: germ", i, len(which))
        found = measuring.own(
            record, network, nbeta=scales[1], draws=settings.draws, seed=network.seed
        )
        rows.append(
            {
                **losses(record),
                "operation": network.operation,
                "decay": network.decay,
                "published": {"1": published[i][0], f"{LOCAL:g}": published[i][1]},
                "own": found,
            }
        )
    return {"seed": seed, "networks": rows}
