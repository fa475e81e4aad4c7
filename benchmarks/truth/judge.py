"""How wrong an estimator is, and whether it said so."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

WITHIN = 0.10
"""A run counts as good within this share of the local expectation."""

STATED = 2.0
"""Stated standard errors on each side of an interval that should cover 95 of 100 times."""

NORMAL_90 = 1.645
"""Standard errors of a 90% interval, for estimators that state an error and no interval."""

SILENT_ERRORS, SILENT_SHARE = 3.0, 0.05
"""Wrong but silent: off by more than both, and no warning."""


@dataclass(frozen=True)
class Run:
    """One run beside the truth.

    Attributes:
        value: λ̂; NaN where it failed.
        error: Its stated standard error.
        exact: The local expectation.
        exact_error: How well that is known.
        known: λ, or None.
        warned: Whether the estimator warned, or failed.
        failed: Whether there is no number.
        num_gradients: Gradients of a batch.
        seconds: Processor time.
        num_examples: Gradients times the examples of each.
        half_width: Half the stated 90% interval; None where only an error is stated.
        label: Case and seed, for lists.
    """

    value: float
    error: float
    exact: float
    exact_error: float
    known: float | None
    warned: bool
    failed: bool
    num_gradients: int
    seconds: float
    num_examples: int = 0
    half_width: float | None = None
    label: str = ""

    @property
    def relative(self) -> float:
        """(λ̂ − E)/E."""
        return (self.value - self.exact) / abs(self.exact)

    @property
    def to_known(self) -> float:
        """(λ̂ − λ)/λ; NaN where λ is not known."""
        return (self.value - self.known) / self.known if self.known else math.nan

    @property
    def covered(self) -> bool:
        """Whether λ̂ ± 2 errors holds the expectation, allowing for the reference's own error."""
        allowed = STATED * math.hypot(self.error, self.exact_error)
        return not self.failed and abs(self.value - self.exact) <= allowed

    @property
    def covered_90(self) -> bool:
        """Whether the stated 90% interval holds the expectation, known with its own error."""
        half = NORMAL_90 * self.error if self.half_width is None else self.half_width
        allowed = math.hypot(half, NORMAL_90 * self.exact_error)
        return not self.failed and abs(self.value - self.exact) <= allowed

    @property
    def silent(self) -> bool:
        """Whether it is wrong and did not say so."""
        if self.failed or self.warned:
            return False
        off = abs(self.value - self.exact)
        stated = SILENT_ERRORS * math.hypot(self.error, self.exact_error)
        return off > stated and off > SILENT_SHARE * abs(self.exact)


@dataclass(frozen=True)
class Verdict:
    """What many runs of one estimator come to.

    Attributes:
        runs: How many there were.
        failed: Without a number: NaN, diverged, stuck.
        warned: With a number and a warning.
        median_error: Median |relative error| over runs with a number; NaN without any.
        median_bias: Median relative error, with its sign.
        worst: Largest |relative error| of those.
        within: Share of all runs within 10%; one that failed is not.
        covered: How many intervals of ± 2 stated errors hold the truth.
        intervals: Of so many.
        silent: Runs wrong and silent about it.
        median_to_known: Median (λ̂ − λ)/λ where λ is known.
        num_gradients: Mean over runs.
        seconds: Mean over runs.
        num_examples: Example-gradients, mean over runs.
    """

    runs: int
    failed: int
    warned: int
    median_error: float
    median_bias: float
    worst: float
    within: float
    covered: int
    intervals: int
    silent: int
    median_to_known: float
    num_gradients: float
    seconds: float
    num_examples: float

    @property
    def coverage(self) -> tuple[float, float]:
        """The 95% interval of the probability to cover (Wilson 1927)."""
        return wilson(self.covered, self.intervals)


def wilson(hits: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """The score interval of a binomial probability (Wilson 1927); (0, 1) without trials.

    Example:
        >>> low, high = wilson(19, 20)
        >>> round(low, 3), round(high, 3)
        (0.764, 0.991)
    """
    if not trials:
        return 0.0, 1.0
    share, spread = hits / trials, z * z / trials
    center = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return max(0.0, center - half), min(1.0, center + half)


def verdict(runs: Iterable[Run]) -> Verdict:
    """Judge the runs of one estimator together."""
    runs = list(runs)
    good = [run for run in runs if not run.failed]
    errors = [abs(run.relative) for run in good]
    to_known = [run.to_known for run in good if run.known]
    return Verdict(
        runs=len(runs),
        failed=len(runs) - len(good),
        warned=sum(run.warned for run in good),
        median_error=median(errors) if errors else math.nan,
        median_bias=median(run.relative for run in good) if good else math.nan,
        worst=max(errors, default=math.nan),
        within=sum(error <= WITHIN for error in errors) / len(runs) if runs else math.nan,
        covered=sum(run.covered for run in good),
        intervals=len(good),
        silent=sum(run.silent for run in good),
        median_to_known=median(to_known) if to_known else math.nan,
        num_gradients=sum(run.num_gradients for run in runs) / max(len(runs), 1),
        seconds=sum(run.seconds for run in runs) / max(len(runs), 1),
        num_examples=sum(run.num_examples for run in runs) / max(len(runs), 1),
    )


def runs_of(report: dict[str, Any], estimator: str, **only: str) -> list[Run]:
    """All runs of an estimator in a report.

    Args:
        report: As `benchmarks.truth.__main__` writes it.
        estimator: Its name.
        **only: Values that a case's entries must have: `split`, `family`, `name`.
    """
    found = []
    for case in report["cases"]:
        if any(case[key] != wanted for key, wanted in only.items()):
            continue
        known = case["coefficient"]["value"] if case["coefficient"] else None
        for seed, outcome in enumerate(case["estimators"].get(estimator, [])):
            failed = bool(outcome["failed"])
            found.append(
                Run(
                    value=math.nan if failed else outcome["value"],
                    error=math.nan if failed else outcome["error"],
                    exact=case["expectation"]["value"],
                    exact_error=case["expectation"]["error"],
                    known=known,
                    warned=bool(outcome["warnings"]),
                    failed=failed,
                    num_gradients=outcome["num_gradients"],
                    seconds=outcome["seconds"],
                    num_examples=outcome["num_gradients"] * outcome["batch_size"],
                    half_width=outcome.get("half_width"),
                    label=f"{case['family']}: {case['name']}, seed {seed}",
                )
            )
    return found
