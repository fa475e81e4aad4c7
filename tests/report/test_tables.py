from __future__ import annotations

import pytest
from tests.report.support import estimate, measurement

from germ.report import tables


@pytest.mark.parametrize("step", [0, 15_000, "a name"])
def test_lines_stand_under_their_header(step):
    head = tables.header("step")
    good = tables.line(measurement(step, estimate(45.87, 0.76)), step)
    bad = tables.line(measurement(step, None), step)
    ends = [tables.cell_width(text.split("status")[0].split("ok")[0].split("error")[0])
            for text in (head, good, bad)]  # fmt: skip
    assert len(set(ends)) == 1
    assert "45.87 ± 0.76" in good
    assert bad.endswith("error: NaN")


def test_warnings_and_stored_runs_are_marked():
    row = measurement(1, estimate(1.0, 0.1, warnings=("a", "b")), stored=True)
    assert tables.line(row, 1).endswith("suspect ⚠ 2 (stored)")


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (45.8712, 0.7612, "45.87 ± 0.76"),
        (1234.5, 88.0, "1234 ± 88"),
        (-0.00123, 0.00045, "-0.00123 ± 0.00045"),
        (2.0, float("nan"), "2 ± nan"),
    ],
)
def test_the_error_has_two_digits_and_the_value_as_many_places(value, error, text):
    assert tables.plus_minus(value, error) == text
