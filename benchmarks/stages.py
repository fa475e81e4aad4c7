"""Are planted stage boundaries found, false ones refused, and places as well known as stated?

    python -m benchmarks.stages                 table: benchmarks/results/stages.{json,md}
    python -m benchmarks.stages --figure        the figure of docs/stages.md alone

Curves over five decades whose boundaries are known (`germ.development.planted`): eight shapes,
three sets of checkpoints, three levels of noise in units of the largest step; one run without
errors, one with stated errors, four seeds that differ by 0.05 decades in place and a tenth in
height. A boundary counts as found where one of its kind lies between the same two steps of the
curve; every other one is false. Four minutes on a free core for --repeats 2.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from germ.development import planted, staging
from germ.development.curves import curves
from germ.development.smoothing import Kernel, matern, rbf, smooth
from germ.development.stage_table import Stages
from germ.development.turning import Ensemble, Mark, marks
from germ.report.figures import save
from germ.report.stages_figure import stages_figure

NOISES = (0.003, 0.02, 0.06)
POINTS = 251


def _logarithmic(num: int) -> np.ndarray:
    return np.unique(np.round(np.geomspace(1, 1e5, num)))


CHECKPOINTS = {
    "25, log": _logarithmic(25),
    "60, log": _logarithmic(60),
    "150, log + linear": np.union1d(_logarithmic(60), np.round(np.linspace(1000, 1e5, 90))),
}
"""Steps, but for step 0, which all have."""

SOURCES = ("one run", "one run, errors", "four seeds")
"""What is known of a run: its curve alone, with standard errors, or three more seeds."""


def cases(first: int, repeats: int) -> Iterator[dict[str, Any]]:
    """What is measured of every curve: its values, and where its boundaries are."""
    for place, (shape, heights) in enumerate(planted.SHAPES.items()):
        for repeat in range(first, first + repeats):
            for checkpoints, steps in CHECKPOINTS.items():
                for noise in NOISES:
                    generator = np.random.default_rng([place, repeat])
                    curve = planted.planted(heights, generator)
                    seeds = [planted.shifted(curve, generator) for _ in range(4)]
                    x = np.concatenate([[-0.5], np.log10(steps)])
                    own = curve(x) + noise * generator.standard_normal(len(x))
                    others = [s(x) + noise * generator.standard_normal(len(x)) for s in seeds]
                    yield {
                        "shape": shape, "checkpoints": checkpoints, "noise": noise, "x": x,
                        "curve": curve, "own": own, "seeds": others,
                    }  # fmt: skip


def search(case: dict[str, Any], source: str, kernel: Kernel) -> list[Mark]:
    """The marks of a case, with the settings of `germ.stages`."""
    x, noise = case["x"], case["noise"]
    grid = np.linspace(x[0], x[-1], POINTS)
    measured = np.zeros(POINTS, dtype=bool)
    measured[np.abs(grid - x[:, None]).argmin(1)] = True
    if source == "four seeds":
        found = [
            smooth(x, y, grid, num_paths=staging.NUM_PATHS_SEED, seed=k, kernel=kernel)
            for k, y in enumerate(case["seeds"])
        ]
        paths = np.stack([one.mean for one in found])
        draws = np.stack([one.paths for one in found])
        ensemble = Ensemble(grid, paths.mean(0), paths, draws, measured)
    else:
        errors = np.full(len(x), noise) if "errors" in source else None
        one = smooth(
            x, case["own"], grid, errors=errors, num_paths=staging.NUM_PATHS, kernel=kernel
        )
        ensemble = Ensemble(grid, one.mean, one.paths, measured=measured)
    kept, _ = marks(ensemble, level=staging.LEVEL, smallest=staging.SMALLEST)
    return kept


def judged(case: dict[str, Any], kept: list[Mark]) -> dict[str, int]:
    """How many were planted, found, covered by their interval, and how many are false."""
    curve, left = case["curve"], list(kept)
    truth = curve.boundaries()
    found = covered = 0
    for kind, at in truth:
        low = max(place for place in curve.places if place < at)
        high = min(place for place in curve.places if place > at)
        fitting = [m for m in left if m.kind == kind and low < m.place < high]
        if fitting:
            best = min(fitting, key=lambda m: abs(m.place - at))
            left.remove(best)
            found += 1
            covered += best.low <= at <= best.high
    return {"planted": len(truth), "found": found, "covered": int(covered), "false": len(left)}


def measure(first: int, repeats: int, kernels: list[Kernel]) -> list[dict[str, Any]]:
    """A row a curve, source and kernel."""
    rows = []
    for case in cases(first, repeats):
        for source in SOURCES:
            for kernel in kernels:
                kept = search(case, source, kernel)
                told = {k: case[k] for k in ("shape", "checkpoints", "noise")}
                rows.append(
                    {
                        **told,
                        "source": source,
                        "kernel": kernel.__name__,
                        **judged(case, kept),
                    }
                )
    return rows


def table(rows: list[dict[str, Any]], by: str, chosen: Callable[[dict[str, Any]], bool]) -> str:
    """Sums by source and another field, as Markdown."""
    lines = [f"| source | {by} | planted | found | in its 90% interval | false | curves |"]
    lines.append("|---|---|--:|--:|--:|--:|--:|")
    for source in SOURCES:
        values = list(dict.fromkeys(row[by] for row in rows if chosen(row)))
        for value in values:
            part = [r for r in rows if chosen(r) and r["source"] == source and r[by] == value]
            total = {k: sum(r[k] for r in part) for k in ("planted", "found", "covered", "false")}
            share = f"{total['covered']} of {total['found']}"
            lines.append(
                f"| {source} | {value} | {total['planted']} | {total['found']} | {share} | "
                f"{total['false']} | {len(part)} |"
            )
    return "\n".join(lines)


def example() -> Stages:
    """The run of the figure: boundaries at steps 70 (pause), 1,640 (maximum), 10,600 (minimum)."""
    places, widths = (1.2, 2.6, 3.6, 4.4), (0.2, 0.2, 0.15, 0.15)
    llc = planted.Planted(places, widths, (10.0, 30.0, -8.0, 4.0))
    loss = planted.Planted(places, widths, (-0.3, -2.0, -0.1, -0.05))
    steps = np.concatenate([[0.0], _logarithmic(60)])
    generator = np.random.default_rng(0)
    x = curves(steps, steps).x
    values, losses = [], []
    for _ in range(4):
        away = 0.05 * generator.standard_normal()
        values.append(5 + llc(x - away) + 0.3 * generator.standard_normal(len(x)))
        losses.append(5 + loss(x - away) + 0.002 * generator.standard_normal(len(x)))
    return staging.stages(steps, np.array(values), np.array(losses), nbeta=100.0)


def main() -> None:
    """Measure and write, or draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", action="store_true")
    parser.add_argument("--first", type=int, default=100, help="defaults were chosen on 0 to 2")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--kernels", action="store_true", help="RBF beside Matérn")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    given = parser.parse_args()
    if given.figure:
        found = example()
        print(found)
        print(save(stages_figure(found, "a planted run, four seeds"), given.images / "stages.png"))
        return
    start = time.time()
    rows = measure(given.first, given.repeats, [matern, rbf] if given.kernels else [matern])
    text = [
        "# Planted stages",
        f"`python -m benchmarks.stages --first {given.first} --repeats {given.repeats}"
        f"{' --kernels' * given.kernels}`, {time.time() - start:.0f} s.",
    ]
    for kernel in dict.fromkeys(row["kernel"] for row in rows):
        for by in ("noise", "checkpoints", "shape"):
            text.append(f"## {kernel}, by {by}")
            text.append(table(rows, by, lambda row, k=kernel: row["kernel"] == k))
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "stages.md").write_text("\n\n".join(text) + "\n")
    (given.out / "stages.json").write_text(json.dumps(rows, indent=0) + "\n")
    print("\n\n".join(text))


if __name__ == "__main__":
    main()
