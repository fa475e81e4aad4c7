"""The figure of the sweep: a number in each cell, what failed by name, one cell framed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from matplotlib.patches import Rectangle

from germ.errors import GermError
from germ.report.calibration_figure import calibration
from germ.step_sweep import Cell


def cell(factor: float, nbeta: float, value: float, gamma: float = 5.0, **changes) -> Cell:
    fields: Any = {
        "step_size": 0.5 * factor, "factor": factor, "nbeta": nbeta, "localization": gamma,
        "value": value, "standard_error": 0.1, "loss_difference": value / nbeta, "virial": 0.97,
        "temperature": 1.02, "acceptance": math.nan, "status": "ok",
        "chosen": factor == 1 and nbeta == 30, **changes,
    }  # fmt: skip
    return Cell(**fields)


CELLS = [
    cell(0.25, 3.0, 1.25), cell(1.0, 3.0, 1.5), cell(4.0, 3.0, math.nan, status="4 of 4 DIVERGED"),
    cell(0.25, 30.0, 4.5), cell(1.0, 30.0, 4.25), cell(4.0, 30.0, 8.5),
]  # fmt: skip


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_each_cell_shows_its_number_and_the_chosen_one_is_framed():
    left, right = calibration(CELLS, "a net").axes
    assert texts(left) == ["1.25", "1.5", "diverged", "4.5", "4.25", "8.5"]
    assert texts(right)[:2] == ["1.020", "1.020"] and "temperature" in right.get_title(loc="left")
    for axes in (left, right):
        (frame,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert frame.get_xy() == (1, 1) and not frame.get_fill()
        assert [t.get_text() for t in axes.get_yticklabels()] == ["0.25", "1", "4"]
    assert [t.get_text() for t in left.get_xticklabels()] == ["3\n(0.5)", "30\n(0.5)"]


def test_a_failed_cell_has_no_colour_and_a_far_one_the_darkest():
    left = calibration(CELLS).axes[0]
    mesh: Any = left.collections[0]
    colours = mesh.get_array().reshape(3, 2)
    assert colours.mask.tolist() == [[False] * 2, [False] * 2, [True, False]]
    assert colours[1].tolist() == [0.0, 0.0] and colours[2, 1] == pytest.approx(100.0)


def test_samplers_without_a_thermometer_show_the_virial():
    corrected = [cell(f, 30.0, 4.0, temperature=math.nan) for f in (0.5, 1.0)]
    right = calibration(corrected).axes[1]
    assert texts(right) == ["0.970", "0.970"] and "virial" in right.get_title(loc="left")


def test_a_row_of_panels_for_each_localization():
    both = CELLS + [cell(1.0, b, 2.0, gamma=50.0, chosen=False) for b in (3.0, 30.0)]
    assert len(calibration(both).axes) == 4


def test_nothing_to_draw():
    with pytest.raises(GermError, match="at least one cell"):
        calibration([])
