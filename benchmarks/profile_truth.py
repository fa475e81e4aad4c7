"""λ itself, by `germ.profile` at default settings, on deep linear nets and reduced rank.

    python -m benchmarks.profile_truth                     development nets, then others
    python -m benchmarks.profile_truth --only 5-3-5        some

Teachers without noise (L_n(w*) = 0) stand at the most singular point of their fibre, where λ and m
are Aoyagi's. Data are reduced to as few examples as have the same loss (`benchmarks.nets`). The
tolerances of `germ.estimate.plateau` and `extrapolate` were chosen on polynomials and the five
development nets; the others only judge.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.nets import NETS, Net, reduce_exactly, squared_error
from germ import LocalPosterior
from germ.estimate.profile import Profile, Rung
from germ.exact import deep_linear
from germ.losses import supervised
from germ.profiling import Listener, profile

RESULTS = Path(__file__).parent / "results" / "profile_truth.json"

DEVELOPED = tuple(
    Net(net.name, net.widths, net.rank, net.singular_values, noise=0.0) for net in NETS
)
UNSEEN = (
    Net("5-3-5, rank 1", (5, 3, 5), 1, noise=0.0),
    Net("4-4-4, rank 0", (4, 4, 4), 0, noise=0.0),
    Net("7-5-9, rank 3", (7, 5, 9), 3, (3.0, 0.5), noise=0.0),
    Net("12-6-8, rank 2", (12, 6, 8), 2, (2.0, 1.0), noise=0.0),
    Net("6-6-6-6, rank 3", (6, 6, 6, 6), 3, noise=0.0),
    Net("4-2-3-5, rank 1", (4, 2, 3, 5), 1, noise=0.0),
    Net("5-7-4-6, rank 2", (5, 7, 4, 6), 2, (2.0, 1.0), noise=0.0),
    Net("6-4-6, rank 2, noise 0.5", (6, 4, 6), 2, noise=0.5),
    Net("7-5-9, rank 3, noise 0.25", (7, 5, 9), 3, (3.0, 0.5), noise=0.25),
)


@dataclass
class _Printer(Listener):
    def finished(self, rung: Rung) -> None:
        found = rung.estimate
        print(
            f"  nβ {rung.nbeta:9.4g}  {rung.status if found is None else found}  "
            f"± {0 if found is None else rung.error:.3g}  {rung.seconds:.0f} s",
            flush=True,
        )


def judge(net: Net, split: str) -> dict[str, object]:
    """One net: what came out beside what is true."""
    known = deep_linear(net.widths, net.rank)
    truth, data = net.data()
    posterior = LocalPosterior.from_model(
        truth, reduce_exactly(*data), loss=supervised(squared_error), nbeta=net.nbeta
    )
    print(f"{net.name} (d = {net.num_parameters}): {known}", flush=True)
    start = time.process_time()
    found: Profile = profile(posterior, listener=_Printer())
    seconds = time.process_time() - start
    read = found.reading.extrapolation
    print(f"  {found}\n  {found.reading.warnings}", flush=True)
    estimates = [rung.estimate for rung in found.rungs if rung.estimate is not None]
    gradients = sum(estimate.num_gradients for estimate in estimates)
    return {
        "name": net.name, "split": split, "lambda": float(known.value), "m": known.multiplicity,
        "verdict": found.reading.plateau.verdict,
        "value": None if read is None else read.value,
        "interval": None if read is None else read.interval,
        "found_m": None if read is None else read.multiplicity,
        "probabilities": None if read is None else read.probabilities,
        "at_default": next((e.value for e in estimates if 0.99 < e.nbeta / net.nbeta < 1.01), None),
        "gradients": gradients, "cpu_seconds": round(seconds, 1),
    }  # fmt: skip


def table(rows: list[dict]) -> str:
    """As Markdown, with a line of summary a split."""
    lines = [
        "| net | λ | m | λ̂ at n/log n | plateau | λ found | 90% interval | error | m | CPU s |",
        "|---|--:|--:|--:|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        found, low_high = row["value"], row["interval"]
        error = "–" if found is None else f"{found / row['lambda'] - 1:+.1%}"
        interval = "–" if low_high is None else f"{low_high[0]:.2f} … {low_high[1]:.2f}"
        value = "–" if found is None else f"{found:.2f}"
        at_default = "–" if row["at_default"] is None else f"{row['at_default']:.2f}"
        multiplicity = row["found_m"] or "undecided"
        lines.append(
            f"| {row['name']} ({row['split']}) | {row['lambda']:g} | {row['m']} | {at_default} | "
            f"{row['verdict']} | {value} | {interval} | {error} | {multiplicity} | "
            f"{row['cpu_seconds']:.0f} |"
        )
    for split in ("development", "unseen"):
        own = [row for row in rows if row["split"] == split]
        read = [row for row in own if row["value"] is not None]
        if not read:
            continue
        errors = [abs(row["value"] / row["lambda"] - 1) for row in read]
        held = sum(row["interval"][0] <= row["lambda"] <= row["interval"][1] for row in read)
        wrong = sum(row["found_m"] not in (None, row["m"]) for row in read)
        lines.append(
            f"\n{split}: read off in {len(read)} of {len(own)}; median error "
            f"{statistics.median(errors):.1%}, worst {max(errors):.1%}; interval holds λ in {held}"
            f"; m stated in {sum(row['found_m'] is not None for row in read)}, wrong in {wrong}."
        )
    return "\n".join(lines)


def main() -> None:
    """Judge, keep the rows, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[""])
    parser.add_argument("--rows", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = json.loads(given.rows.read_text()) if given.rows.exists() else []
    for split, nets in (("development", DEVELOPED), ("unseen", UNSEEN)):
        for net in nets:
            if any(name in net.name for name in given.only):
                rows = [row for row in rows if row["name"] != net.name]
                rows.append(judge(net, split))
                given.rows.write_text(json.dumps(rows, indent=1))
    print(table(rows))


if __name__ == "__main__":
    main()
