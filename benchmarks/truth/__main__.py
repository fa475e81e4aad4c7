"""python -m benchmarks.truth: run the suite, or its references, and write the table."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.tables import environment
from benchmarks.truth import estimators, peer, references
from benchmarks.truth.case import Case
from benchmarks.truth.cases import CASES, QUICK
from benchmarks.truth.estimators import GERM, Estimator, Setting
from benchmarks.truth.peer import PEER
from benchmarks.truth.table import render
from germ import calibrate

RESULTS = Path(__file__).parent.parent / "results"
PARTS = Path("build") / "truth"
"""Where finished runs wait until the report is written; git ignores it."""

SAMPLING = (
    "calibrate", "curvature", "diagnostics", "gradients", "kernels", "metric", "plan", "posterior",
    "recording", "rng", "sampling", "setup", "estimate/llc", "estimate/budget", "estimate/doubts",
    "heat", "stopping",
)  # fmt: skip
"""Modules of germ that decide the numbers of a run."""

SEEDS, QUICK_SEEDS = 4, 1
WITHOUT_PEER = "devinterp is not installed, so its rows are left out (make .venv/.bench)."


def chosen(items: Mapping[str, Any], wanted: list[str] | None) -> list[str]:
    """Names that contain one of the words; all without words. A whole name is that one alone."""
    if not wanted:
        return list(items)
    whole = {word for word in wanted if word in items}
    return [n for n in items if n in whole or any(w in n for w in wanted if w not in whole)]


def part_path(folder: Path, case: Case, name: str, quick: bool, seed: int) -> Path:
    """Where a run of an estimator on a case is kept: by everything here that decides it.

    That is the case and the text of the estimators: for germ's rows also of those parts of germ
    that sample and judge. After a change of one of them an old run is not found.
    """
    if name in PEER:
        parts = [Path(str(peer.__file__))]
    else:
        germ = Path(str(calibrate.__file__)).parent
        parts = [germ / f"{name}.py" for name in SAMPLING if (germ / f"{name}.py").exists()]
        parts += sorted((germ / "samplers").glob("*.py"))
        parts += [Path(str(estimators.__file__))]
    code = "".join(part.read_text() for part in parts)
    posterior = [case.target(), case.full_batch, case.batch_size]
    text = json.dumps([posterior, name, quick, seed, code], sort_keys=True)
    return folder / f"{hashlib.blake2b(text.encode(), digest_size=10).hexdigest()}.json"


def run_case(
    case: Case,
    found: Mapping[str, Estimator],
    *,
    quick: bool,
    seeds: int,
    folder: Path,
    resume: bool,
    only_done: bool = False,
    tell: Callable[[str], None],
) -> dict[str, list[dict[str, Any]]]:
    """All estimators on one case; each run is kept as soon as it is done.

    Args:
        case: The case.
        found: Estimators by name.
        quick: Whether runs are cut short.
        seeds: Runs of each.
        folder: Where finished runs are kept.
        resume: Whether runs found there are taken instead of made again.
        only_done: Whether runs not found there are left out.
        tell: Told a line an estimator.

    Returns:
        Outcomes by estimator, one a seed.
    """
    setting = Setting(case, quick=quick)
    results: dict[str, list[dict[str, Any]]] = {}
    for name, estimator in found.items():
        outcomes, new = [], False
        for seed in range(seeds):
            path = part_path(folder, case, name, quick, seed)
            if resume and path.exists():
                outcomes.append(json.loads(path.read_text()))
            if only_done or (resume and path.exists()):
                continue
            new = True
            outcomes.append(finite(asdict(estimator(setting, seed))))
            folder.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_text(json.dumps(outcomes[-1], ensure_ascii=False))
            part.replace(path)  # whole or not at all
        if outcomes:
            results[name] = outcomes
        if not new:
            continue
        values = " ".join("—" if o["failed"] else f"{o['value']:.4g}" for o in outcomes)
        seconds = sum(outcome["seconds"] for outcome in outcomes)
        tell(f"  {name:40s} {values}  ({seconds:.0f} s)")
    return results


def describe(case: Case, known: references.Expectation) -> dict[str, Any]:
    """What the report says of a case beside its runs."""
    posterior = case.posterior()
    coefficient = case.coefficient()
    return {
        "name": case.name,
        "family": case.family,
        "split": case.split,
        "key": case.key,
        "target": case.target(),
        "full_batch": case.full_batch,
        "num_coordinates": posterior.num_coordinates,
        "num_examples": case.num_examples,
        "nbeta": posterior.nbeta,
        "localization": posterior.localization,
        "coefficient": None if coefficient is None else asdict(coefficient),
        "expectation": {
            "value": known.value, "error": known.error, "method": known.method,
        },
    }  # fmt: skip


def finite(value: Any) -> Any:
    """JSON has no NaN: None in its place."""
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def kept_rows(path: Path) -> dict[str, dict[str, Any]]:
    """Outcomes by the case's target and estimator, of the report that is there."""
    if not path.exists():
        return {}
    cases = json.loads(path.read_text())["cases"]
    return {f"{case['family']}: {case['name']} {case['key']}": case["estimators"] for case in cases}


def without_note(arguments: list[str]) -> list[str]:
    """The command line but for its note, which stands in the table itself."""
    if "--note" not in arguments:
        return arguments
    at = arguments.index("--note")
    return arguments[:at] + arguments[at + 2 :]


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test: short runs, few cases")
    parser.add_argument("--references", action="store_true", help="measure missing references")
    parser.add_argument("--again", action="store_true", help="with --references: all of them")
    parser.add_argument("--cases", nargs="*", help="words that a case's family: name contains")
    parser.add_argument("--estimators", nargs="*", help="words that an estimator's name contains")
    parser.add_argument("--seeds", type=int, default=None, help=f"runs of each ({SEEDS})")
    parser.add_argument(
        "--keep", action="store_true", help="rows not run are taken from the report that is there"
    )
    parser.add_argument("--resume", action="store_true", help="go on with what build/truth holds")
    parser.add_argument(
        "--only-done", action="store_true", help="with --resume: leave out what is not there"
    )
    parser.add_argument("--order", type=int, default=None, help="seed of a random order of cases")
    parser.add_argument("--note", default="", help="a sentence for the head of the table")
    parser.add_argument("--out", type=Path, default=None, help="where truth.json and .md go")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    settings = parse(sys.argv[1:] if arguments is None else arguments)
    torch.set_num_threads(1)
    by_name: dict[str, Case] = {f"{case.family}: {case.name}": case for case in CASES}
    names = chosen(by_name, settings.cases)
    if settings.quick and not settings.cases:
        names = [name for name in names if by_name[name].name in QUICK]
    if not names:
        print(f"expected --cases to name some; {settings.cases} is in none of {list(by_name)}")
        return 2
    if settings.order is not None:  # What is done after any time is then a fair sample.
        random.Random(settings.order).shuffle(names)
    cases = [by_name[name] for name in names]
    if settings.references:
        references.update(cases, again=settings.again)
        return 0
    with_peer = peer.available()
    every = {**GERM, **(PEER if with_peer else {})}
    found = {name: every[name] for name in chosen(every, settings.estimators)}
    seeds = settings.seeds or (QUICK_SEEDS if settings.quick else SEEDS)
    known, began, done = references.load(), time.time(), []
    folder = settings.out or (Path("build") / "truth-quick" if settings.quick else RESULTS)
    old = kept_rows(folder / "truth.json") if settings.keep else {}
    # Before anything long: whether there is a truth to judge by.
    expectations = [references.expectation(case, known) for case in cases]
    for number, (case, expected) in enumerate(zip(cases, expectations, strict=True)):
        minutes = (time.time() - began) / 60
        print(f"{case.family}: {case.name}, E = {expected.value:.4g} "
              f"({number + 1}/{len(cases)}, {minutes:.1f} min)", flush=True)  # fmt: skip
        outcomes = run_case(
            case, found, quick=settings.quick, seeds=seeds, folder=PARTS, resume=settings.resume,
            only_done=settings.only_done, tell=lambda line: print(line, flush=True),
        )  # fmt: skip
        about = describe(case, expected)
        kept = old.get(f"{case.family}: {case.name} {case.key}", {})
        kept = {name: rows for name, rows in kept.items() if name not in found}
        done.append({**about, "estimators": {**kept, **outcomes}})
    report = {
        **environment(1),
        "command": " ".join(["python -m benchmarks.truth", *without_note(sys.argv[1:])]),
        "peer": "devinterp 2.0.1." if with_peer else WITHOUT_PEER,
        "note": settings.note,
        "nuts": [
            {"case": case.name, **{k: check[k] for k in ("value", "error")}}
            for case in cases
            if not case.full_batch and (check := known.get(case.key, {}).get("nuts"))
        ],
        "cpu_minutes": sum(
            outcome["seconds"]
            for case in done
            for outcomes in case["estimators"].values()
            for outcome in outcomes
        )
        / 60,
        "quick": settings.quick,
        "seeds": max(
            (len(runs) for case in done for runs in case["estimators"].values()), default=seeds
        ),
        "estimators": [
            name for name in {**GERM, **PEER} if any(name in case["estimators"] for case in done)
        ],
        "cases": done,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "truth.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    (folder / "truth.md").write_text(render(report))
    print(f"wrote {folder / 'truth.json'} and {folder / 'truth.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
