"""Susceptibilities: time to the same standard error, germ beside the peer, devinterp 2.0.1.

    python -m benchmarks.susceptibility              everything (hours on one core; see --draws)
    python -m benchmarks.susceptibility --quick      few draws: does it run
    python -m benchmarks.susceptibility --report     tables from what was measured before

    --peer PYTHON    an interpreter that has devinterp 2.0.1 and what germ needs
                     (benchmarks/constraints-peer.txt); this one by default

Both compute χ of the same tokens, for the same components of the same model, on the same data, each
in a process of its own, on one thread, with sets-up, files and all. An error falls as 1/√time, so
that the time to a standard error s is (seconds of a run)·(its error/s)²: what is compared is
seconds × mean squared standard error, which no choice of the number of draws changes. germ has its
own settings beyond nβ and γ; the peer those published, and the best of some others whose χ agrees
with germ's. germ's chains are measured beside its default, draws of the Gaussian.

Writes `benchmarks/results/susceptibility.{json,md}` after every job.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.overhead import RESULTS, ROOT, machine, say
from benchmarks.susceptibility_cases import BATCH_SIZE, CASES, DEFAULT_SAMPLING_BATCHES, DRAWS
from benchmarks.susceptibility_report import CHAINED, FEW, markdown
from benchmarks.susceptibility_worker import Job

OTHERS = ((3e-3, 1), (3e-4, 1), (1e-3, 5), (1e-4, 20))
"""Step sizes of the peer, and steps between draws, that are tried beside the published ones."""

GERM_DRAWS = 16
"""Fewer than germ would take by itself, for time: what is compared does not depend on it."""

AGREEMENT = "layers.0.head.4,layers.1.head.6"
"""Components whose χ is compared with precision: both sides with φ over all of few examples, and
the peer with steps so short that its discretization does not show."""

AGREEMENT_EXAMPLES = 4 * BATCH_SIZE


def jobs(case: str, folder: Path) -> dict[str, Job]:
    """What is measured of a case, by name."""
    germ = Job(case, "germ", str(folder), str(folder / f"{case}-germ"),
               settings={"draws": GERM_DRAWS})  # fmt: skip
    peer = replace(germ, contender="peer", out=str(folder / f"{case}-peer"), settings={})
    found = {"germ": germ, "peer": peer}
    found[CHAINED] = replace(
        germ,
        components=CASES[case].tried,
        settings={"method": "chains", "draws": DRAWS},
        out=str(folder / f"{case}-germ-chains"),
    )
    for step_size, thin in OTHERS:
        name = f"peer ε={step_size:g} every {thin}"
        found[name] = replace(
            peer,
            step_size=step_size,
            thin=thin,
            components=CASES[case].tried,
            full=False,
            out=str(folder / f"{case}-peer-{step_size:g}-{thin}"),
        )
    found[FEW] = replace(
        peer,
        sampling_batches=DEFAULT_SAMPLING_BATCHES,
        components=CASES[case].tried,
        full=False,
        out=str(folder / f"{case}-peer-few"),
    )
    return found


def agreement(folder: Path) -> dict[str, Job]:
    """What is measured for agreement, by name."""
    out = str(folder / "agreement")
    germ = Job(
        "two-layer", "germ", str(folder), f"{out}-germ", AGREEMENT, AGREEMENT_EXAMPLES,
        settings={"draws": 400, "chains": 8},
    )  # fmt: skip
    peer = replace(
        germ, contender="peer", out=f"{out}-peer", settings={}, sampling_batches=4,
        step_size=3e-4, thin=6, burnin=80,
    )  # fmt: skip
    full = replace(germ, out=f"{out}-germ-full", settings={**germ.settings, "centring": "full"})
    return {"germ": germ, "peer": peer, "germ full": full}


def shortened(job: Job) -> Job:
    """The job with few draws, to see that it runs."""
    settings = {"draws": 8, "chains": 2, "warmup": 20} if job.contender == "germ" else {}
    components = job.components or CASES[job.case].tried
    return replace(
        job, draws=4, burnin=0, thin=1, components=components, settings=job.settings | settings
    )


def run(job: Job, python: str) -> dict[str, Any]:
    """Do a job in a process of its own."""
    quiet = {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    began = os.getloadavg()[0]
    done = subprocess.run(
        [python, "-m", "benchmarks.susceptibility_worker", json.dumps(asdict(job))],
        cwd=ROOT,
        env=os.environ | quiet | threads | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"benchmarks.susceptibility: {job.contender} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout) | {"load": [began, os.getloadavg()[0]], "out": job.out}


def masks(python: str) -> Any:
    """Whose heads are right where head_dim ≠ hidden/heads."""
    done = subprocess.run(
        [python, "-m", "benchmarks.susceptibility_masks"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"benchmarks.susceptibility: the masks failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout)


def main() -> None:
    """Measure, write down, print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.susceptibility", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--only", nargs="+", help="names of jobs (germ, peer, ...)")
    parser.add_argument("--parts", nargs="+", default=["cases", "agreement", "masks"])
    parser.add_argument("--quick", action="store_true", help="few draws")
    parser.add_argument("--draws", type=int, help="of the peer, a chain, instead of 100")
    parser.add_argument("--no-full", action="store_true", help="no run of all weights (peer)")
    parser.add_argument("--report", action="store_true", help="tables only")
    parser.add_argument("--peer", default=sys.executable, help="interpreter that has devinterp")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/germ-susceptibility"))
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    args = parser.parse_args()
    for folder in (args.folder, args.out):
        folder.mkdir(parents=True, exist_ok=True)
    path = args.out / "susceptibility.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    planned: list[tuple[str, str, Job]] = []
    if "cases" in args.parts:
        planned += [(c, n, j) for c in args.cases for n, j in jobs(c, args.folder).items()]
    if "agreement" in args.parts:
        planned += [("agreement", n, j) for n, j in agreement(args.folder).items()]
    for case, name, job in [] if args.report else planned:
        if args.only and name not in args.only:
            continue
        if args.draws and job.contender == "peer" and case != "agreement":
            job = replace(job, draws=args.draws)
        job = replace(job, full=job.full and not args.no_full)
        job = shortened(job) if args.quick else job
        say(f"{case}: {name}")
        began = time.perf_counter()
        # germ too runs under the peer's interpreter: the same torch for both.
        results.setdefault(case, {})[name] = run(job, args.peer)
        results["machine"] = machine()
        path.write_text(json.dumps(results, indent=1) + "\n")
        say(f"{case}: {name}: {time.perf_counter() - began:.0f} s")
    if "masks" in args.parts and not args.report:
        results["masks"] = masks(args.peer)
        path.write_text(json.dumps(results, indent=1) + "\n")
    text = markdown(results)
    (args.out / "susceptibility.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
