"""`germ experiment modular-addition`: what λ̂ says of networks that add modulo p.

Four questions, after Panickssery & Vaintrob (2023): does λ̂ have a plateau over temperatures, and
is it theirs; how does it grow with p, for addition and for an operation of random labels; does it
tell networks that generalise from networks that memorise, without a look at test data; and what
does it do while a network groks. Each is a module of its own: `modular_moduli` (the first two),
`modular_memory`, `modular_grokking`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from germ.experiments import modular_grokking as grokking
from germ.experiments import modular_memory as memory
from germ.experiments import modular_moduli as moduli
from germ.experiments.catalogue import Progress
from germ.experiments.kept import kept
from germ.experiments.modular_network import OPERATIONS, Training
from germ.experiments.modular_page import page
from germ.experiments.modular_published import Published
from germ.report.page import Page

NAME = "modular-addition"
SUMMARY = "networks that add modulo p: λ̂ over temperature and p, of memorising, while grokking"


@dataclass(frozen=True)
class Settings:
    """What to run.

    Attributes:
        moduli: The temperature sweep, and λ̂ against p.
        memory: Memorising against generalising.
        grokking: λ̂ through a grokking run.
    """

    moduli: moduli.Moduli = field(default_factory=moduli.Moduli)
    memory: memory.Memory = field(default_factory=memory.Memory)
    grokking: grokking.Grokking = field(default_factory=grokking.Grokking)


PRESETS = {
    "quick": Settings(
        moduli.Moduli(
            (5, 7), (7,), (0.1, 1.0, 10.0), 2, 1,
            training=Training(6, 12, num_steps=300), published=Published(num_steps=60), draws=20,
        ),
        memory.Memory(
            7, decays=(2e-4, 1e-3), num_seeds=1, training=Training(6, 12, num_steps=300),
            published=Published(num_steps=60), draws=20,
        ),
        grokking.Grokking(
            7, num_seeds=1, num_records=6, num_own=2, training=Training(6, 12, num_steps=300),
            notebook=Published(3e-3, num_steps=40, discarded=0.0, orthogonal=False), draws=20,
        ),
    ),
    "small": Settings(),
    "paper": Settings(
        moduli.Moduli(
            (7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43), num_own=5, draws=1000
        ),
        memory.Memory(num_seeds=10, draws=1000),
        grokking.Grokking(num_seeds=10, num_records=161, num_own=41, draws=1000),
    ),
}  # fmt: skip
"""`paper`: the moduli of the script, records as often as in the notebook, more seeds and draws."""

COST: dict[str, str] = {
    "quick": "half a minute, 0.5 GiB on 1 CPU core",
    "small": "18 minutes, 2.6 GiB on 1 CPU core (CPU time, on a shared machine)",
    "paper": "about 5 hours, 4 GiB on 1 CPU core (estimated)",
}


def run(settings: Settings, out: Path, *, seed: int, progress: Progress) -> Page:
    """Train, measure, and write the page.

    Args:
        settings: A preset.
        out: What each unit of work found is kept in `out/runs`, and taken from there.
        seed: The first network's; the others count on from it.
        progress: Told (stage, done, total).

    Raises:
        GermError: `out/runs` holds results of other settings, or cannot be written.
    """
    folder = Path(out) / "runs"
    by_modulus = [
        kept(
            folder / f"{operation}-{p:03d}.json",
            {**asdict(settings.moduli), "moduli": None, "operation": operation, "p": p,
             "seed": seed},
            lambda operation=operation, p=p: moduli.measure(
                settings.moduli, operation, p, seed, progress
            ),
        )
        for operation in OPERATIONS
        for p in settings.moduli.moduli
    ]  # fmt: skip
    memorising = [
        kept(
            folder / f"memory-{each:03d}.json",
            {**asdict(settings.memory), "num_seeds": None, "seed": each},
            lambda each=each: memory.measure(settings.memory, each, progress),
        )
        for each in range(seed, seed + settings.memory.num_seeds)
    ]
    paths = [
        kept(
            folder / f"grokking-{each:03d}.json",
            {**asdict(settings.grokking), "num_seeds": None, "seed": each},
            lambda each=each: grokking.measure(settings.grokking, each, progress),
        )
        for each in range(seed, seed + settings.grokking.num_seeds)
    ]
    return page(by_modulus, memorising, paths, asdict(settings), seed)
