"""Do stated 90% intervals hold the exact local expectation, and is every bad result flagged?

`python -m benchmarks.budget [--cases 40] [--out benchmarks/results/budget.md]`. Posteriors of
`benchmarks.budget_posteriors`, none of which is in `benchmarks.truth`, in three sets: `auto` as it
comes, on few draws; samplers set by hand on all the data, with steps and warmups good and bad; and
the same on minibatches, anchored or not. germ's budget was chosen on other draws from this family.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import germ
from benchmarks.budget_posteriors import Blocks, random_blocks
from benchmarks.truth.judge import wilson
from germ.errors import GermError
from germ.samplers import BAOAB, SGLD, LeimkuhlerMatthews

SETS = ("auto", "by hand, all the data", "by hand, minibatches")
FIRST_SEED = {"auto": 1000, "by hand, all the data": 2000, "by hand, minibatches": 3000}


@dataclass(frozen=True)
class Outcome:
    """One run beside the truth."""

    exact: float
    value: float
    standard_error: float
    half_width: float
    warned: bool

    @property
    def relative(self) -> float:
        """|λ̂ − E|/E."""
        return abs(self.value - self.exact) / self.exact

    @property
    def covered(self) -> bool:
        """Whether the stated interval holds E."""
        return abs(self.value - self.exact) <= self.half_width

    @property
    def covered_by_monte_carlo(self) -> bool:
        """Whether one made of the Monte Carlo error alone would."""
        return abs(self.value - self.exact) <= 1.645 * self.standard_error


def settings(name: str, seed: int) -> tuple[Blocks, dict[str, Any]]:
    """A posterior and how it is sampled."""
    rng = np.random.default_rng(100_000 + seed)
    if name == "auto":
        plans = ({"draws": 300}, {"draws": 200}, {"draws": 100, "warmup": 20})
        return random_blocks(seed), {"precision": None, **plans[seed % 3]}
    noisy = name == "by hand, minibatches"
    blocks = random_blocks(seed, num_examples=2_000 if noisy else 4)
    blocks = replace(blocks, nbeta=float(10 ** rng.uniform(1.5, 3.2)))
    stable = float(rng.choice([0.03, 0.1, 0.3] if noisy else [0.03, 0.1, 0.3, 1.0, 2.0]))
    step = stable / blocks.stiffest
    samplers = (BAOAB(step, None, blocks.stiffest**0.5), LeimkuhlerMatthews(step), SGLD(step))
    draws = int(rng.choice([60, 200, 600]))
    chosen: dict[str, Any] = {
        "sampler": samplers[seed % 3],
        "draws": draws,
        "warmup": int(rng.choice([0, draws // 4, draws // 2, 2 * draws])),
        "batch_size": 4,
    }
    if noisy:
        chosen |= {
            "batch_size": int(rng.choice([4, 20, 100])),
            "gradient": str(rng.choice(["anchored", "minibatch"])),
        }
    return blocks, chosen


def outcomes(name: str, cases: int) -> Iterator[Outcome | None]:
    """Every run of a set; None where chains failed, which germ raises as an error."""
    for seed in range(FIRST_SEED[name], FIRST_SEED[name] + cases):
        blocks, chosen = settings(name, seed)
        try:
            found = germ.llc(germ.sample(blocks.posterior(), **chosen, seed=seed))
        except GermError:
            yield None
            continue
        yield Outcome(
            blocks.exact, found.value, found.standard_error, found.budget.half_width,
            bool(found.warnings),
        )  # fmt: skip


def line(name: str, runs: list[Outcome | None]) -> str:
    """A row of the table."""
    good = [run for run in runs if run is not None]
    held = sum(run.covered for run in good)
    low, high = wilson(held, len(good))
    bare = sum(run.covered_by_monte_carlo for run in good)
    bad = [run for run in good if run.relative > 0.15]
    near = [run for run in good if run.relative < 0.05]
    width = float(np.median([run.half_width / abs(run.value) for run in good]))
    cells = [
        name, len(good), len(runs) - len(good), f"{held}/{len(good)} ({low:.2f}–{high:.2f})",
        f"{bare}/{len(good)}", f"{width:.0%}", f"{sum(run.warned for run in bad)}/{len(bad)}",
        f"{sum(run.warned for run in near)}/{len(near)}",
    ]  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=40, help="posteriors a set")
    parser.add_argument("--out", type=Path, help="where to write the table")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    rows = [
        "| set | runs | failed | 90% interval holds E | Monte Carlo alone | median half-width "
        "| off by > 15% and warned | right to 5% and warned |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    everything: list[Outcome | None] = []
    for name in SETS:
        runs = list(outcomes(name, chosen.cases))
        everything += runs
        rows.append(line(name, runs))
        print(rows[-1], flush=True)
    rows.append(line("all", everything))
    seconds = time.process_time() - began
    page = [
        "# The error budget, judged",
        "",
        (__doc__ or "").split("\n\n", 1)[1].strip(),
        "",
        *rows,
        "",
        f"`python -m benchmarks.budget --cases {chosen.cases}`, {math.ceil(seconds / 60)} minutes "
        f"of processor time, torch {torch.__version__}.",
    ]
    text = "\n".join(page) + "\n"
    if chosen.out is None:
        print(text)
    else:
        chosen.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
