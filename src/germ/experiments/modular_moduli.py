"""λ̂ against p, for addition and for random operations, and the published temperature sweep.

One unit of work is one operation at one p: its networks, which differ by seed alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from germ.experiments import modular_measuring as measuring
from germ.experiments import modular_network as networks
from germ.experiments.modular_published import Published, nbeta, sgld

Row = dict[str, Any]

LOCAL = 10.0
"""Multiplier of the estimates that are compared.

At 1, the published λ̂ = 111 of p = 17 is an E[L] of 2.4 nats, where guessing costs log 17 = 2.8:
those chains have forgotten the network. At 10 the published E[L] is 0.3, on the same plateau of λ̂.
"""


KINDS = ((LOCAL, False), (1.0, False), (LOCAL, True), (1.0, True))
"""Multiplier, and whether motion along ∇L(w*) is left out, of germ's own estimates."""


@dataclass(frozen=True)
class Moduli:
    """What to run.

    Attributes:
        moduli: p.
        swept: Those of them whose addition is measured at every multiplier, with and without motion
            along ∇L(w*); the first also by germ's own sampler.
        multipliers: Of the temperature sweep; the others are measured at 1 and at `LOCAL`.
        num_seeds: Networks an operation and p.
        num_own: How many of them germ measures with its own sampler as well.
        fraction: Share of the pairs that is trained on.
        decay: Weight decay.
        training: How they are trained.
        published: The published sampler.
        draws: Draws of germ's own.
    """

    moduli: tuple[int, ...] = (11, 17, 23, 31, 41)
    swept: tuple[int, ...] = (17, 41)
    multipliers: tuple[float, ...] = (0.01, 0.1, 0.464, 1.0, 2.154, 4.64, 10.0, 46.4, 100.0)
    num_seeds: int = 5
    num_own: int = 3
    fraction: float = 0.9
    decay: float = 2e-4
    training: networks.Training = field(default_factory=networks.Training)
    published: Published = field(default_factory=Published)
    draws: int = 200


def measure(
    settings: Moduli,
    operation: str,
    modulus: int,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> Row:
    """The networks of one operation and p, each with its losses and estimates; JSON-able.

    Args:
        settings: What to run.
        operation: `"addition"` or `"random"`.
        modulus: p.
        seed: Of the first network.
        progress: Told (stage, done, total).
    """
    stage = f"{operation} modulo {modulus}"
    progress(f"{stage}: training", 0, 1)
    which = [
        networks.Network(modulus, operation, settings.fraction, settings.decay, seed + i)
        for i in range(settings.num_seeds)
    ]
    last = settings.training.num_steps
    records = [kept[-1] for kept in networks.train(which, settings.training, [last])]
    progress(f"{stage}: published sampler", 0, 1)
    swept = operation == "addition" and modulus in settings.swept
    multipliers = settings.multipliers if swept else (1.0, LOCAL)
    n = which[0].num_examples
    scales = [nbeta(n, multiplier) for multiplier in multipliers]
    published = sgld(records, which, scales, settings.published, seed=seed)
    free = published
    if swept:
        unrestricted = replace(settings.published, orthogonal=False)
        free = sgld(records, which, scales, unrestricted, seed=seed)
    rows = []
    for i, (network, record) in enumerate(zip(which, records, strict=True)):
        progress(f"{stage}: germ", i, len(which))
        found = {}
        if i < settings.num_own:
            # All directions at the multiplier that is compared; of the first that is swept, more.
            first = swept and modulus == settings.swept[0]
            for multiplier, restricted in KINDS if first else KINDS[:1]:
                found[germ_kind(multiplier, restricted)] = measuring.own(
                    record, network, nbeta=nbeta(n, multiplier), draws=settings.draws,
                    seed=network.seed, restricted=restricted,
                )  # fmt: skip
        rows.append(
            {
                **losses(record),
                "seed": network.seed,
                "published": {
                    f"{multiplier:g}": each
                    for multiplier, each in zip(multipliers, published[i], strict=True)
                },
                "free": {
                    f"{multiplier:g}": each
                    for multiplier, each in zip(multipliers, free[i], strict=True)
                }
                if swept
                else {},
                "germ": found,
                "own": found.get(germ_kind(*KINDS[0])),
            }
        )
    return {"operation": operation, "modulus": modulus, "num_examples": n, "networks": rows}


def germ_kind(multiplier: float, restricted: bool) -> str:
    """What an estimate of `KINDS` is kept under."""
    return f"{multiplier:g}" + (" restricted" if restricted else "")


def losses(record: networks.Record) -> Row:
    """Losses and accuracies of a record."""
    return {
        "step": record.step,
        "train_loss": record.train_loss,
        "test_loss": record.test_loss,
        "train_accuracy": record.train_accuracy,
        "test_accuracy": record.test_accuracy,
    }
