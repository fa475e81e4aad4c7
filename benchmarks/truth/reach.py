"""Gradients to reach 5% error: germ as it comes, against the peer's samplers tuned with hindsight.

    python -m benchmarks.truth.reach [--cases WORDS …] [--resume]     (where devinterp is installed)

*Reached* is the least budget from which on, at every larger budget that was run, the median over
seeds of |λ̂ − E|/|E| is at most 5%, E being known. The two sides are not treated alike:

- **germ** is `germ.sample(posterior, chains=4, draws=N)` for N of a ladder, and nothing else;
  set-up, calibration and warmup are counted. (Left to itself it takes more chains where they cost
  little, and stops at a precision.)
- **devinterp** (2.0.1: SGLD and RMSprop-SGLD, its own classes in its own loop) gets every step
  size of a grid, batches of 64 and 512, one chain or the mean of three, the best share of its steps
  left out as burn-in, and stopping at the best moment; the choice is made *knowing E*, and the
  search costs it nothing. Its first loss L(w*) is over all the data, free of charge, in place of 32
  batches, whose noise alone is often beyond 5%.

A chain of the peer is run for 1,000 steps at each setting; the two settings that end nearest to E
are run for 20,000, three chains each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.tables import environment
from benchmarks.truth import peer, references
from benchmarks.truth.case import Case
from benchmarks.truth.cases import CASES
from benchmarks.truth.estimators import Setting, measured

RESULTS = Path(__file__).parent.parent / "results"
PARTS = Path("build") / "reach"

REACHED = (
    "quadratic: d 10, condition 10³",
    "reduced rank: 5-3-5, rank 0",
    "deep linear: 7-9-5-8, rank 2, singular values 3 … 0.2",
    "network: ReLU 6-10-4",
    "network: GELU classifier 5-8-8-3",
    "network: block transformer, nβ 30",
)
"""One unseen case of each kind; the last is what the peer was made for."""

WITHIN = 0.05
SEEDS, PEER_SEEDS = 3, 3
DRAWS = (25, 50, 100, 200, 400)

METHODS = ("sgld", "rmsprop_sgld")
STEP_SIZES = (1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
BATCHES = (64, 512)
SHORT, LONG, FINALISTS = 1_000, 20_000, 2
BURN_INS = (0.0, 0.1, 1 / 3, 0.5, 0.8)


def moments(steps: int) -> list[int]:
    """Numbers of steps at which a run is looked at: six a factor of two, from 50."""
    points = np.geomspace(50, steps, 1 + round(6 * math.log2(steps / 50)))
    return sorted({round(point) for point in points})


def least_budget(errors: dict[int, float]) -> int | None:
    """The least budget from which on every error is within 5%; None where there is none."""
    found = None
    for budget in sorted(errors, reverse=True):
        if not errors[budget] <= WITHIN:
            break
        found = budget
    return found


def germ_side(setting: Setting, exact: float) -> dict[str, Any]:
    """The ladder of germ's draws: budget, error, and batch of each rung."""
    rungs = []
    for draws in DRAWS:
        runs = [
            measured(setting, "auto", seed=seed, draws=draws, warmup=None, batch_size=None)
            for seed in range(SEEDS)
        ]
        errors = [math.inf if r.failed else abs(r.value - exact) / abs(exact) for r in runs]
        rungs.append(
            {
                "draws": draws,
                "error": median(errors),
                "gradients": round(sum(r.num_gradients for r in runs) / SEEDS),
                "examples": round(sum(r.num_gradients * r.batch_size for r in runs) / SEEDS),
                "batch": runs[0].batch_size,
                "seconds": sum(r.seconds for r in runs) / SEEDS,
            }
        )
    return {"rungs": rungs}


def peer_traces(
    setting: Setting, method: str, lr: float, batch: int, steps: int, num_chains: int
) -> np.ndarray:
    """nβ·(batch loss − L_n(w*)) of some chains, (chains, steps); NaN after a chain breaks."""
    posterior = setting.posterior
    everything = posterior.batch(torch.arange(posterior.data.num_examples))
    with torch.no_grad():
        start = float(posterior.example_losses(posterior.anchor, everything).double().mean())
    batch = min(batch, posterior.data.num_examples)
    traces = [
        peer.chain(setting, method, lr, steps, peer.Feed(setting, batch, seed), 100 + 1000 * seed)
        for seed in range(num_chains)
    ]
    return posterior.nbeta * (np.stack(traces) - start)


def errors_of(traces: np.ndarray, exact: float) -> dict[tuple[int, float], dict[int, float]]:
    """Error by budget in gradients, for one chain or all and each burn-in.

    Returns:
        By (chains, burn-in): by gradients, the median over seeds of the relative error; of all
        chains together there is one mean.
    """
    found: dict[tuple[int, float], dict[int, float]] = {}
    for burn_in in BURN_INS:
        for moment in moments(traces.shape[1]):
            means = traces[:, int(burn_in * moment) : moment].mean(1)
            apart = np.abs(means - exact) / abs(exact)
            alone = float(np.median(apart)) if np.isfinite(apart).all() else math.inf
            found.setdefault((1, burn_in), {})[moment] = alone
            if len(traces) > 1:
                joint = abs(float(means.mean()) - exact) / abs(exact)
                joint = joint if math.isfinite(joint) else math.inf
                found.setdefault((len(traces), burn_in), {})[len(traces) * moment] = joint
    return found


def peer_side(setting: Setting, exact: float) -> dict[str, Any]:
    """The sweep, its finalists, and the best that any setting of them reaches."""
    tried = []
    for method in METHODS:
        for batch in BATCHES:
            for lr in STEP_SIZES:
                traces = peer_traces(setting, method, lr, batch, SHORT, 1)
                nearest = min(min(errors.values()) for errors in errors_of(traces, exact).values())
                end = float(traces[0, SHORT // 2 :].mean()) / exact
                tried.append(
                    {
                        "method": method, "batch": batch, "lr": lr,
                        "end": end if math.isfinite(end) else None,
                        "nearest": nearest if math.isfinite(nearest) else None,
                    }
                )  # fmt: skip
    # Near at the end of the short run: passing through the value on the way up is not reaching it.
    alive = [t for t in tried if t["end"] is not None]
    alive.sort(key=lambda t: abs(math.log(max(t["end"], 1e-3))) if exact > 0 else t["nearest"])
    settings = []
    for chosen in alive[:FINALISTS]:
        batch = min(chosen["batch"], setting.posterior.data.num_examples)
        traces = peer_traces(setting, chosen["method"], chosen["lr"], batch, LONG, PEER_SEEDS)
        for (chains, burn_in), errors in errors_of(traces, exact).items():
            last = errors[max(errors)]
            settings.append(
                {
                    **chosen, "batch": batch, "chains": chains, "burn_in": burn_in,
                    "gradients": least_budget(errors), "last_error": finite(last),
                }
            )  # fmt: skip
    return {"tried": tried, "finalists": settings}


def finite(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if math.isfinite(value) else None


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """What each side needs, and the ratios; None where a side never gets there."""
    rungs = found["germ"]["rungs"]
    gradients = least_budget({rung["gradients"]: rung["error"] for rung in rungs})
    examples = least_budget({rung["examples"]: rung["error"] for rung in rungs})
    reached = [s for s in found["peer"]["finalists"] if s["gradients"] is not None]
    by_gradients = min(reached, key=lambda s: s["gradients"], default=None)
    by_examples = min(reached, key=lambda s: s["gradients"] * s["batch"], default=None)
    return {
        "germ": gradients,
        "germ_examples": examples,
        "peer": by_gradients,
        "peer_examples": by_examples,
    }


def render(report: dict[str, Any]) -> Iterator[str]:
    """The table as Markdown."""
    yield "# Gradients to reach 5% error"
    yield ""
    yield (__doc__ or "").split("\n\n", 2)[2].strip()
    yield ""
    yield f"`{report['command']}`, {report['date']}; torch {report['torch']}, {report['cpu']}."
    yield ""
    yield (
        "| case | E | germ auto: gradients (examples) | devinterp, its best: gradients (examples) "
        "| ratio | by examples | devinterp's best setting |"
    )
    yield "|---|--:|--:|--:|--:|--:|---|"
    for case in report["cases"]:
        found = summary(case)
        mine = "not reached"
        if found["germ"] is not None:
            mine = f"{found['germ']:,} ({found['germ_examples']:.1e})"
        best, other = found["peer"], found["peer_examples"]
        if best is None:
            finalists = case["peer"]["finalists"]
            nearest = min(
                (s for s in finalists if s["last_error"] is not None),
                key=lambda s: s["last_error"], default=None,
            )  # fmt: skip
            theirs = f"not by {LONG:,} a chain"
            ratio = "—" if found["germ"] is None else f"> {LONG / found['germ']:.0f}"
            by_examples = "—"
            how = "every chain ran away" if nearest is None else (
                f"{_setting(nearest)}: off by {100 * nearest['last_error']:.0f}% at the end"
            )  # fmt: skip
            if nearest is not None and found["germ_examples"]:
                by_examples = f"> {LONG * nearest['batch'] / found['germ_examples']:.1f}"
        else:
            cost = other["gradients"] * other["batch"]
            theirs = f"{best['gradients']:,} ({cost:.1e})"
            ratio = "—" if found["germ"] is None else f"{best['gradients'] / found['germ']:.1f}"
            by_examples = "—" if found["germ"] is None else f"{cost / found['germ_examples']:.2g}"
            how = _setting(best)
        yield (
            f"| {case['name']} | {case['exact']:.4g} | {mine} | {theirs} | {ratio} | "
            f"{by_examples} | {how} |"
        )
    yield ""
    yield from _ladders(report)


def _setting(found: dict[str, Any]) -> str:
    return (
        f"{found['method']}, lr {found['lr']:g}, batch {found['batch']}, {found['chains']} "
        f"chain{'s' if found['chains'] > 1 else ''}, first {found['burn_in']:.0%} left out"
    )


def _ladders(report: dict[str, Any]) -> Iterator[str]:
    yield "Germ's ladder: median error over three seeds (gradients)."
    yield ""
    yield "| case | batch | " + " | ".join(f"{draws} draws" for draws in DRAWS) + " |"
    yield "|---|--:|" + "--:|" * len(DRAWS)
    for case in report["cases"]:
        rungs = case["germ"]["rungs"]
        cells = [f"{100 * rung['error']:.1f}% ({rung['gradients']:,})" for rung in rungs]
        yield f"| {case['name']} | {rungs[-1]['batch']} | {' | '.join(cells)} |"
    yield ""


SIDES = {"germ": germ_side, "peer": peer_side}
"""What is measured of each case."""


def run_case(case: Case, known: dict[str, Any], sides: list[str], resume: bool) -> dict[str, Any]:
    """The sides of a case that were asked for; each is kept as soon as it is done."""
    exact = references.expectation(case, known).value
    found: dict[str, Any] = {"name": f"{case.family}: {case.name}", "exact": exact}
    for side, measure in SIDES.items():
        name = hashlib.blake2b(f"{case.key} {side}".encode(), digest_size=8).hexdigest()
        path = PARTS / f"{side}-{name}.json"
        if path.exists() and (resume or side not in sides):
            found[side] = json.loads(path.read_text())
        if side in found or side not in sides:
            continue
        found[side] = measure(Setting(case), exact)
        PARTS.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found[side]))
        print(f"{case.name}: {side} done", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth.reach")
    parser.add_argument("--cases", nargs="*", help="words that a case's family: name contains")
    parser.add_argument("--sides", nargs="*", default=list(SIDES), help="germ, peer, or both")
    parser.add_argument("--resume", action="store_true", help="go on with what build/reach holds")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    by_name = {f"{case.family}: {case.name}": case for case in CASES}
    known = references.load()
    names = [n for n in REACHED if not settings.cases or any(w in n for w in settings.cases)]
    cases = [run_case(by_name[name], known, settings.sides, settings.resume) for name in names]
    cases = [case for case in cases if all(side in case for side in SIDES)]
    if not cases:
        print("no case has both sides yet: run the other one too")
        return
    report = {**environment(1), "command": "python -m benchmarks.truth.reach", "cases": cases}
    (RESULTS / "truth_reach.json").write_text(json.dumps(report, indent=1, ensure_ascii=False))
    text = "\n".join(render(report))
    (RESULTS / "truth_reach.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
