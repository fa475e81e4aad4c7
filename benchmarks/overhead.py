"""What sampling costs beside a bare forward+backward loop, and beside the peer, devinterp 2.0.1.

    python -m benchmarks.overhead                the full measurement (about half an hour, one core)
    python -m benchmarks.overhead --quick        one small case, two rounds
    python -m benchmarks.overhead --vectorize    chains in a loop beside chains in one call

Every contender has its own process and one thread. Rounds are interleaved, bare, germ, devinterp,
bare, …, and each contender is compared with the bare loop of its own round: a machine that slows
down slows both. CPU time is reported beside wall-clock time; on a quiet machine they agree, on a
busy one believe the former.

Measured: seconds a gradient evaluation, from gradient to gradient, set-up left out; the most memory
a process has had; bytes on disk of a finished run. Writes `benchmarks/results/overhead.{json,md}`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, cast

from benchmarks.overhead_cases import CASES, CHAINS, CONTENDERS, NUM_STORED_DRAWS, PEER, STORED
from benchmarks.overhead_report import markdown, summarize

# Nothing here imports torch: a child's peak memory begins at that of the process it is born from.

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FEWEST_DRAWS = 4
BUSY = 0.7
"""A load average above which the machine is said to be busy."""

STORE_CASE = "0.17M-b32"
"""The case whose stored run is measured at the peer's default number of draws."""

NEEDS_HF = (
    "benchmarks.overhead: expected {} (the models are GPT-NeoX); install them with\n"
    '    python -m pip install -c constraints.txt -e ".[hf]"'
)
NEEDS_PEER = (
    "benchmarks.overhead: devinterp 2.0.1 is not installed: germ is measured beside the bare loop "
    "alone. To have the peer in the same environment (it brings nothing beyond germ's own pins):\n"
    "    python -m pip install -r benchmarks/constraints-peer.txt"
)


class Worker:
    """A contender in a process of its own."""

    def __init__(self, case: str, contender: str) -> None:
        """Start it and wait until it is ready."""
        self.contender = contender
        self.log = tempfile.TemporaryFile("w+")
        quiet = {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.overhead_worker", case, contender],
            cwd=ROOT,
            env=os.environ | quiet | threads,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self.ready = self._reply()

    def run(self, draws: int) -> dict[str, Any]:
        """One round."""
        stdin = cast(IO[str], self.process.stdin)
        print(draws, file=stdin, flush=True)
        return self._reply()

    def stop(self) -> None:
        """Let it end."""
        cast(IO[str], self.process.stdin).close()
        self.process.wait()
        self.log.close()

    def _reply(self) -> dict[str, Any]:
        line = cast(IO[str], self.process.stdout).readline()
        if not line:
            self.log.seek(0)
            sys.exit(f"benchmarks.overhead: {self.contender} failed:\n{self.log.read()[-3000:]}")
        return json.loads(line)


def measure(case: str, contenders: Sequence[str], rounds: int) -> dict[str, Any]:
    """All rounds of a case: by contender, what was said when it was ready and after each round."""
    workers = [Worker(case, name) for name in contenders]
    found: dict[str, Any] = {w.contender: {"ready": w.ready, "rounds": []} for w in workers}
    for round_ in range(-1, rounds):
        # Each round begins with another contender, so that none always follows the same one.
        shift = round_ % len(workers)
        for worker in workers[shift:] + workers[:shift]:
            result = worker.run(CASES[case].draws if round_ >= 0 else FEWEST_DRAWS)
            if round_ < 0:  # the first is not kept: files are read, allocators grow
                continue
            found[worker.contender]["rounds"].append(result)
            say(
                f"{case}  round {round_ + 1}/{rounds}  {worker.contender:21}"
                f"{1e3 * result['wall_per_gradient']:8.1f} ms a gradient"
                f"{1e3 * result['cpu_per_gradient']:8.1f} ms of CPU"
            )
    if case == STORE_CASE:
        for worker in workers:
            if worker.contender in STORED:
                say(f"{case}  a run of {NUM_STORED_DRAWS} draws  {worker.contender}")
                stored = worker.run(NUM_STORED_DRAWS)["stored_bytes"]
                found[worker.contender]["stored_bytes"] = stored
    for worker in workers:
        worker.stop()
    return found


def machine() -> dict[str, Any]:
    """Where and with what it was measured."""
    names = ("torch", "transformers", "datasets", "zarr", "devinterp")
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names if is_installed(name)},
        "chains": CHAINS,
    }


def processor() -> str:
    """The processor's name, or what kind it is."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def is_installed(module: str) -> bool:
    """Whether a module can be imported; it is not."""
    return importlib.util.find_spec(module) is not None


def say(text: str) -> None:
    """Tell how far things are."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, write down, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (one more is run)")
    parser.add_argument("--quick", action="store_true", help="one small case, two rounds")
    parser.add_argument("--vectorize", action="store_true", help="chains in a loop or in one call")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    args = parser.parse_args()
    if args.vectorize:
        from benchmarks.overhead_vectorize import vectorize

        vectorize(args.out, rounds=args.rounds)
        return
    missing = [name for name in ("transformers", "datasets") if not is_installed(name)]
    if missing:
        say(NEEDS_HF.format(" and ".join(missing)))
        sys.exit(2)
    contenders = ["bare", *(name for name in args.contenders if name != "bare")]
    if not is_installed("devinterp") and set(PEER) & set(contenders):
        say(NEEDS_PEER)
        contenders = [name for name in contenders if name not in PEER]
    if os.getloadavg()[0] > BUSY:
        say(f"benchmarks.overhead: the machine is busy (load {os.getloadavg()[0]:.1f})")
    cases, rounds = ([STORE_CASE], 2) if args.quick else (args.cases, args.rounds)
    results: dict[str, Any] = {"machine": machine(), "cases": {}}
    args.out.mkdir(parents=True, exist_ok=True)
    text = ""
    for case in cases:  # written after each: a case takes minutes
        results["cases"][case] = measure(case, contenders, rounds)
        results["summary"] = summarize(results)
        text = markdown(results)
        (args.out / "overhead.json").write_text(json.dumps(results, indent=1) + "\n")
        (args.out / "overhead.md").write_text(text)
    print(text)
    say(f"written to {args.out / 'overhead.json'} and .md")


if __name__ == "__main__":
    main()
