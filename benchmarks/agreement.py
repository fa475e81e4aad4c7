"""Three ways to the learning coefficient of one potential: do they agree?

    python -m benchmarks.agreement            all cases, about 5 minutes on one thread
    python -m benchmarks.agreement --only 17  one row

Exact λ and m (`germ.exact`); E[nβK] by quadrature, extrapolated to nβ = ∞; the volume of sublevel
sets by multilevel splitting, fitted. The last two know nothing of the first but, for the
extrapolation, m. Settings are the same for every case, and the defaults.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

from benchmarks.agreement_cases import Case, cases
from benchmarks.tables import environment
from germ.numerical import fit_exponent, quadratures, split

RESULTS = Path(__file__).parent / "results"
NBETAS = (1e2, 1e4, 1e6, 1e8)
TOLERANCE = {1: 1e-9, 2: 1e-5, 3: 1e-5}
NUM_POINTS = 1000


def measure(case: Case, seed: int) -> dict[str, Any]:
    """All that is known of one case."""
    row: dict[str, Any] = {
        "row": case.row,
        "name": case.name,
        "dim": case.dim,
        "exact": case.truth.to_dict(),
        "expected": list(case.expected),
    }
    start = time.process_time()
    if case.dim <= 3:
        row["quadrature"] = _quadrature(case)
        row["quadrature"]["seconds"] = time.process_time() - start
    start = time.process_time()
    run = split(case.potential, case.bounds, case.smallest, num_points=NUM_POINTS, seed=seed)
    found = fit_exponent(run)
    integrals = [run.integral(nbeta) for nbeta in NBETAS if nbeta * case.smallest <= 1]
    row["volume"] = {
        "value": found.value,
        "noise": found.error,
        "form": found.systematic,
        "multiplicity": found.multiplicity,
        "decided": found.decided,
        "runner_up": str(found.runner_up) if found.runner_up else None,
        "largest": found.largest,
        "smallest": found.smallest,
        "inflation": found.inflation,
        "z": (found.value - float(case.truth.value)) / found.total_error,
        "means": [each.mean for each in integrals],
        "mean_errors": [each.mean_error for each in integrals],
        "num_evaluations": run.num_evaluations,
        "seconds": time.process_time() - start,
    }
    return row


def _quadrature(case: Case) -> dict[str, Any]:
    found = quadratures(case.potential, case.bounds, NBETAS, tolerance=TOLERANCE[case.dim])
    measured: dict[str, Any] = {
        "means": [each.mean for each in found],
        "mean_errors": [each.mean_error if each.converged else None for each in found],
        "converged": [each.converged for each in found],
        "num_evaluations": found[-1].num_evaluations,
    }
    if all(measured["converged"]):
        means, m = measured["means"], case.truth.multiplicity
        value = _limit(means, m)
        # What the same extrapolation says two decades earlier: how far it is from settled.
        error = abs(value - _limit(means[:-1], m)) + 3 * max(measured["mean_errors"])
        difference = value - float(case.truth.value)
        measured |= {"value": value, "error": error, "difference": difference}
    return measured


def _limit(means: list[float], multiplicity: int) -> float:
    """E at nβ = ∞ from evenly spaced log nβ.

    m = 1: E = λ + b·nβ^{−δ}, solved by three values (Aitken). m > 1: E = λ − (m − 1)/(log nβ + a),
    by the last two.
    """
    if multiplicity == 1:
        first, second, third = means[-3:]
        bend = third - 2 * second + first
        return third if abs(bend) < 1e-7 else third - (third - second) ** 2 / bend
    step = 2 * math.log(10)
    rise, order = means[-1] - means[-2], multiplicity - 1
    # order/u − order/(u + step) = rise, for u = log nβ + a at the first of the two.
    u = (-step + math.sqrt(step**2 + 4 * order * step / rise)) / 2
    return means[-1] + order / (u + step)


HEAD = """\
# Exact, quadrature, volume: λ three ways

`{command}` · germ {germ}, numpy {numpy}, {cpu}, one thread, {date}

- **exact** – `germ.exact`.
- **quadrature** – E[nβK] under the uniform prior at nβ = 10², 10⁴, 10⁶, 10⁸, extrapolated to ∞ with
  m taken from the exact answer. ± is what the last two decades changed. *Not converged*: the
  quadrature says so itself, of one nβ or more: the cells it may use ran out.
- **volume** – V(t) by multilevel splitting from where V = 1/8 down to t, {points} points × 16
  replicas, fitted without knowing λ or m. ± is noise and ± form: what fits that the data cannot
  tell apart say. A *?* after m: another m fits as well. z = (volume − exact)/(both errors).
- **E[nβK]**, largest |z| over nβ = 10², 10⁴, 10⁶, 10⁸ between splitting and quadrature; *facts* is
  the largest difference between quadrature and the four digits printed in facts.md.

"""


def render(rows: list[dict[str, Any]], environment: dict[str, Any]) -> str:
    """The page."""
    lines = [
        "| row | K | d | exact λ, m | quadrature | off by | volume λ, m | z | E: z | facts |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        volume, exact, quadrature = row["volume"], row["exact"], row.get("quadrature")
        doubt = "" if volume["decided"] else "?"
        cells = [
            row["row"] or "–",
            "`" + row["name"] + "`" if "^" in row["name"] else row["name"],
            str(row["dim"]),
            f"{exact['lambda']}, {exact['multiplicity']}",
            _plus_minus(quadrature),
            f"{quadrature['difference']:+.4f}" if quadrature and "value" in quadrature else "–",
            f"{volume['value']:.4f} ± {volume['noise']:.4f} ± {volume['form']:.4f}, "
            f"{volume['multiplicity']}{doubt}",
            f"{volume['z']:+.1f}",
            f"{_worst_z(row):.1f}" if quadrature else "–",
            f"{_against_facts(row):.4f}" if row["expected"] else "–",
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return (
        HEAD.format(points=NUM_POINTS, **environment) + "\n".join(lines) + "\n\n" + _summary(rows)
    )


def _plus_minus(quadrature: dict[str, Any] | None) -> str:
    if quadrature is None:
        return "–"
    if "value" not in quadrature:
        return "not converged"
    return f"{quadrature['value']:.4f} ± {quadrature['error']:.4f}"


def _worst_z(row: dict[str, Any]) -> float:
    volume, quadrature = row["volume"], row["quadrature"]
    return max(
        abs(one - other) / math.hypot(error, other_error)
        for one, error, other, other_error in zip(
            volume["means"], volume["mean_errors"],
            quadrature["means"], quadrature["mean_errors"], strict=False,
        )
        if other_error is not None
    )  # fmt: skip


def _against_facts(row: dict[str, Any]) -> float:
    means = row.get("quadrature", row["volume"])["means"]
    return max(abs(a - b) for a, b in zip(means, row["expected"], strict=False))


def _summary(rows: list[dict[str, Any]]) -> str:
    scores = [row["volume"]["z"] for row in rows]
    noise = [
        (row["volume"]["value"] - row["exact"]["lambda_float"]) / row["volume"]["noise"]
        for row in rows
        if row["volume"]["multiplicity"] == row["exact"]["multiplicity"]
    ]
    near, twice = (sum(abs(z) < limit for z in scores) for limit in (1, 2))
    right = sum(row["volume"]["multiplicity"] == row["exact"]["multiplicity"] for row in rows)
    wrong = [
        row["name"]
        for row in rows
        if row["volume"]["decided"]
        and row["volume"]["multiplicity"] != row["exact"]["multiplicity"]
    ]
    held = [row for row in rows if "value" in row.get("quadrature", {})]
    within = sum(abs(row["quadrature"]["difference"]) <= row["quadrature"]["error"] for row in held)
    sentences = [
        f"Of {len(rows)} volume fits {near} lie within one stated error, {twice} within two; the "
        f"worst is at {max(map(abs, scores)):.1f}.",
        f"m was found in {right}; it was wrong and called certain in {len(wrong)}"
        + (f" ({', '.join(wrong)})." if wrong else "."),
        f"Where m was right, the noise alone explains {sum(abs(z) < 2 for z in noise)} of "
        f"{len(noise)} to two standard errors.",
        f"Extrapolated quadrature is within its stated error in {within} of {len(held)}.",
    ]
    return "\n".join(f"- {each}" for each in sentences) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--only", help="a row of facts.md, or part of a name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    said = environment(threads=1)
    said["command"] = "python -m benchmarks.agreement"
    rows = []
    for place, case in enumerate(cases()):
        if options.only and options.only != case.row and options.only not in case.name:
            continue
        # A seed of its own for each case: the scores of the table are then independent.
        rows.append(measure(case, 1000 * options.seed + place))
        volume = rows[-1]["volume"]
        print(
            f"{case.row:>3} {case.name:40} {case.truth!s:18} "
            f"{rows[-1].get('quadrature', {}).get('value', math.nan):.4f}  "
            f"{volume['value']:.4f} ± {volume['noise']:.4f} ± {volume['form']:.4f} "
            f"m = {volume['multiplicity']}  z = {volume['z']:+.1f}  {volume['seconds']:.0f} s",
            flush=True,
        )
    if options.only:
        print(render(rows, said))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"environment": said, "rows": rows}, indent=1, ensure_ascii=False)
    (options.out / "agreement.json").write_text(text + "\n", encoding="utf-8")
    (options.out / "agreement.md").write_text(render(rows, said), encoding="utf-8")


if __name__ == "__main__":
    main()
