"""Which (nβ, γ) measures the basin of a language model, and which its loss? Checkpoints compared.

    python -m benchmarks.bundled_profile            figures and table of docs/profile.md

Runs are kept in build/bundled_profile and used again. Twenty minutes on two free cores.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from germ import LocalPosterior, hub
from germ.estimate.profile import Profile, Rung
from germ.profiling import Listener, profile
from germ.report.figures import save
from germ.report.profile_figure import profiles_figure

STEPS = (205, 3430, 12000)
NBETAS = (1.0, 30.0, 300.0, 1000.0)
LOCALIZATION = 300.0
CONTEXT, NUM_EXAMPLES = 64, 512

SETTINGS: dict[str, Any] = {"chains": 2, "draws": 80, "warmup": 60, "batch_size": 16, "seed": 0}


class _Printer(Listener):
    def finished(self, rung: Rung) -> None:
        found = rung.estimate
        said = rung.status if found is None else str(found)
        print(
            f"  nβ {rung.nbeta:g}, γ {rung.localization:g}: {said}  {rung.seconds:.0f} s",
            flush=True,
        )


def measured(step: int, folder: Path, localizations: tuple[float, ...]) -> Profile:
    """The profile of one checkpoint on all four domains."""
    print(f"step {step}", flush=True)
    loaded = hub.load(f"bundled@{step}")
    data = hub.load_data(loaded, "bundled:all", context=CONTEXT, max_examples=NUM_EXAMPLES)
    posterior = LocalPosterior.from_model(loaded.model, data, loss="causal_lm")
    return profile(
        posterior, NBETAS, localizations, model=f"bundled@{step}", data="bundled:all",
        folder=folder, drop_failed=True, listener=_Printer(), **SETTINGS,
    )  # fmt: skip


def main() -> None:
    """Measure, write the table, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="*", default=STEPS)
    parser.add_argument("--localization", type=float, nargs="*", default=(LOCALIZATION,))
    parser.add_argument("--runs", type=Path, default=Path("build/bundled_profile"))
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    named = []
    for step in given.steps:
        found = measured(step, given.runs, tuple(given.localization))
        print(found, flush=True)
        named.append((f"step {step:,}", found))
    table = {name: found.to_dict() for name, found in named}
    given.runs.mkdir(parents=True, exist_ok=True)
    (given.runs / "profiles.json").write_text(json.dumps(table, indent=1))
    title = f"bundled model on its four domains, γ = {given.localization[0]:g}"
    print(save(profiles_figure(named, title), given.out / "profile_bundled.png"))


if __name__ == "__main__":
    main()
