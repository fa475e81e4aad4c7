"""What the project promises of its default, beside what was measured.

Of runs on unseen cases, every one counted: the median and the 90th percentile of |λ̂ − E|/|E|, a run
without a number being infinitely wrong; how often the stated 90% interval holds E; and whether
those off by more than 15% said so, against how many said so needlessly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.truth.case import UNSEEN
from benchmarks.truth.judge import Run, runs_of, wilson

MEDIAN, NINETIETH = 0.03, 0.10
COVERAGE = 0.85
BAD, FINE = 0.15, 0.05
"""Off by more must be flagged; flagged within this is a false alarm."""

JUDGED = "germ auto"


@dataclass(frozen=True)
class Promise:
    """What runs come to, by the measures that were promised.

    Attributes:
        runs: How many there were.
        failed: Without a number; each of them raised an error.
        median: Median |relative error|, failures infinite.
        ninetieth: 90th percentile of it, likewise.
        ninetieth_of_numbers: The same over runs with a number.
        covered: Stated 90% intervals that hold E.
        intervals: Of so many.
        bad: Runs with a number off by more than 15%.
        bad_flagged: Of these, with a warning.
        fine: Runs within 5%.
        false_alarms: Of these, with a warning.
        unflagged: Labels of the bad ones without a warning.
    """

    runs: int
    failed: int
    median: float
    ninetieth: float
    ninetieth_of_numbers: float
    covered: int
    intervals: int
    bad: int
    bad_flagged: int
    fine: int
    false_alarms: int
    unflagged: tuple[str, ...]


def quantile(values: list[float], share: float) -> float:
    """The least value that at least this share of all do not exceed; NaN without any."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def promise(runs: list[Run]) -> Promise:
    """Count."""
    good = [run for run in runs if not run.failed]
    numbers = [abs(run.relative) for run in good]
    errors = numbers + [math.inf] * (len(runs) - len(good))
    bad = [run for run in good if abs(run.relative) > BAD]
    fine = [run for run in good if abs(run.relative) <= FINE]
    return Promise(
        runs=len(runs),
        failed=len(runs) - len(good),
        median=quantile(errors, 0.5),
        ninetieth=quantile(errors, 0.9),
        ninetieth_of_numbers=quantile(numbers, 0.9),
        covered=sum(run.covered_90 for run in good),
        intervals=len(good),
        bad=len(bad),
        bad_flagged=sum(run.warned for run in bad),
        fine=len(fine),
        false_alarms=sum(run.warned for run in fine),
        unflagged=tuple(run.label for run in bad if not run.warned),
    )


def render(report: dict[str, Any]) -> Iterator[str]:
    """The table of promises, on all unseen cases and on each family of them."""
    whole = runs_of(report, JUDGED, split=UNSEEN)
    if not whole:
        return
    found = promise(whole)
    low, high = wilson(found.covered, found.intervals)
    share = found.covered / max(found.intervals, 1)
    num = len({run.label.rsplit(", seed", 1)[0] for run in whole})
    yield f"## What was promised of `{JUDGED}`: {num} unseen cases, {found.runs} runs"
    yield ""
    yield "| | promised | measured | |"
    yield "|---|--:|--:|---|"
    yield _row("median error", "≤ 3%", _percent(found.median), found.median <= MEDIAN)
    yield _row(
        "90th percentile of the error (a run without a number is infinitely wrong)", "≤ 10%",
        f"{_percent(found.ninetieth)} ({_percent(found.ninetieth_of_numbers)} of those with one)",
        found.ninetieth <= NINETIETH,
    )  # fmt: skip
    yield _row(
        "stated 90% intervals that hold E", "≥ 85%",
        f"{found.covered}/{found.intervals} = {share:.0%} ({low:.2f}–{high:.2f})",
        share >= COVERAGE,
    )  # fmt: skip
    yield _row(
        "off by more than 15%, and flagged", "all",
        f"{found.bad_flagged}/{found.bad}", found.bad_flagged == found.bad,
    )  # fmt: skip
    yield _row("within 5%, and flagged all the same", "—", f"{found.false_alarms}/{found.fine}")
    yield _row("no number (raised as an error)", "—", f"{found.failed}/{found.runs}")
    yield ""
    if found.unflagged:
        yield "Off by more than 15% without a word: " + "; ".join(found.unflagged) + "."
        yield ""
    yield "| family | runs | median | 90% | covered | bad, flagged | false alarms | failed |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for family in dict.fromkeys(case["family"] for case in report["cases"]):
        part = promise(runs_of(report, JUDGED, split=UNSEEN, family=family))
        if part.runs:
            yield (
                f"| {family} | {part.runs} | {_percent(part.median)} | "
                f"{_percent(part.ninetieth)} | {part.covered}/{part.intervals} | "
                f"{part.bad_flagged}/{part.bad} | {part.false_alarms}/{part.fine} | "
                f"{part.failed} |"
            )
    yield ""


def _row(name: str, promised: str, measured: str, kept: bool | None = None) -> str:
    mark = "" if kept is None else "kept" if kept else "**not kept**"
    return f"| {name} | {promised} | {measured} | {mark} |"


def _percent(share: float) -> str:
    if math.isinf(share):
        return "∞"
    return "—" if math.isnan(share) else f"{100 * share:.1f}%"
