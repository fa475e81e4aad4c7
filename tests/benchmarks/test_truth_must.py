"""What was promised beside what was measured; and gradients to reach 5%: on made-up runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from benchmarks.truth import must, reach
from benchmarks.truth.judge import Run


def run(value: float, half: float | None = 0.5, *, warned=False, failed=False, exact=10.0) -> Run:
    return Run(
        value, 0.1, exact, 0.0, None, warned or failed, failed, 5, 1.0,
        num_examples=5 * 64, half_width=half, label=f"{value}",
    )  # fmt: skip


FAILED = run(math.nan, failed=True)


def test_the_stated_interval_is_judged_and_where_there_is_none_the_error():
    assert run(10.5).covered_90 and not run(10.51).covered_90
    assert run(10.16, None).covered_90 and not run(10.17, None).covered_90
    assert not FAILED.covered_90


def test_a_run_without_a_number_is_infinitely_wrong():
    found = must.promise([run(10.1)] * 9 + [FAILED])
    assert found.median == pytest.approx(0.01) and found.ninetieth == pytest.approx(0.01)
    found = must.promise([run(10.1)] * 8 + [FAILED] * 2)
    assert math.isinf(found.ninetieth) and found.ninetieth_of_numbers == pytest.approx(0.01)
    assert (found.failed, found.intervals, found.covered) == (2, 8, 8)


def test_flags_and_false_alarms_are_counted_apart():
    runs = [run(12.0, warned=True), run(8.0), run(10.2, warned=True), run(10.1), run(11.0)]
    found = must.promise(runs)
    assert (found.bad, found.bad_flagged, found.unflagged) == (2, 1, ("8.0",))
    assert (found.fine, found.false_alarms) == (2, 1), "11.0 is neither"


@pytest.mark.parametrize(("share", "value"), [(0.5, 2.0), (0.9, 4.0), (0.2, 1.0), (1.0, 4.0)])
def test_quantiles_are_values_that_were_seen(share, value):
    assert must.quantile([3.0, 1.0, 4.0, 2.0], share) == value


def test_the_table_says_what_was_kept():
    report = {
        "cases": [
            {
                "name": "a", "family": "f", "split": "unseen", "coefficient": None,
                "expectation": {"value": 10.0, "error": 0.0},
                "estimators": {
                    must.JUDGED: [
                        {"value": v, "error": 0.1, "half_width": 0.5, "warnings": [],
                         "failed": False, "num_gradients": 5, "batch_size": 64, "seconds": 1.0}
                        for v in (10.1, 10.2, 13.0)
                    ]
                },
            }
        ]
    }  # fmt: skip
    text = "\n".join(must.render(report))
    assert "| median error | ≤ 3% | 2.0% | kept |" in text
    assert "| 0/1 | **not kept** |" in text
    assert "without a word: f: a, seed 2." in text


def test_reached_means_from_there_on():
    assert reach.least_budget({100: 0.2, 200: 0.04, 400: 0.03}) == 200
    assert reach.least_budget({100: 0.01, 200: 0.2, 400: 0.03}) == 400, "100 was passing through"
    assert reach.least_budget({100: 0.01, 200: 0.2}) is None
    assert reach.least_budget({100: math.nan, 200: 0.01}) == 200


def test_errors_of_traces_know_burn_in_and_chains():
    """A trace that climbs and then stands at the truth, with opposite errors in two chains."""
    steps = 4_000
    climb = np.minimum(np.arange(steps) / 500, 1.0) * 10.0
    errors = reach.errors_of(np.stack([climb + 0.4, climb - 0.4]), 10.0)
    late = errors[1, 0.5][steps]
    assert late == pytest.approx(0.04, abs=1e-3), "a chain is off by its own 0.4"
    assert errors[2, 0.5][2 * steps] == pytest.approx(0.0, abs=1e-3), "and costs half as much"
    assert errors[1, 0.0][steps] > late, "without burn-in the climb counts"
    broken = reach.errors_of(np.full((2, steps), np.nan), 10.0)
    assert all(math.isinf(e) for of in broken.values() for e in of.values())
