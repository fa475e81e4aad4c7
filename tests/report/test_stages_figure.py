"""The figure of stages: what is drawn, not how it looks."""

from __future__ import annotations

import numpy as np
import pytest
from tests.development.test_staging import STEPS, run

from germ.development.staging import stages
from germ.report.stages_figure import stages_figure


def upright(axes):
    xs = [np.asarray(line.get_xdata(), dtype=float) for line in axes.lines]
    return [float(x[0]) for x in xs if len(x) == 2 and x[0] == x[1]]


def test_boundaries_and_curves_are_drawn_in_both_panels():
    found = stages(STEPS, *run(3), nbeta=30.0)
    figure = stages_figure(found, "a title")
    assert len(figure.axes) == 2
    for axes, ensemble in zip(figure.axes, (found.llc, found.loss), strict=True):
        assert upright(axes) == pytest.approx([np.log10(at.step) for at in found.boundaries])
        smooth = np.asarray(axes.lines[-1].get_ydata())
        np.testing.assert_array_equal(smooth, ensemble.mean)  # type: ignore[union-attr]
    said = [text.get_text() for text in figure.axes[0].texts]
    assert said[:4] == ["1: A", "2: A", "3: B", "4: A"]


def test_without_a_loss_there_is_one_panel():
    llc, _ = run()
    assert len(stages_figure(stages(STEPS, llc)).axes) == 1
