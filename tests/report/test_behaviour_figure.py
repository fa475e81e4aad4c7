"""The figure of behaviour: a panel for what changes, none for what is of the data."""

from __future__ import annotations

import numpy as np
import pytest

from germ.development.behaving import Behaviour, Row
from germ.development.scores import Score
from germ.errors import GermError
from germ.report.behaviour_figure import behaviour_figure


def row(step: int, measure: str, value: float, component: str = "model", chance=None) -> Row:
    return Row(step, str(step), Score(measure, component, value, 0.1, 8, chance))


ROWS = [
    row(step, measure, value, component, chance)
    for number, step in enumerate((0, 10, 1000))
    for measure, value, component, chance in (
        ("loss", 7.0 - number, "model", None),
        ("bigram entropy", 3.9, "model", None),
        ("prefix matching", 0.01 * number, "layers.0.head.0", 0.014),
        ("prefix matching", 0.02, "layers.0.head.1", 0.014),
        ("prefix matching", 0.03, "layers.1.head.0", 0.014),
    )
]


def test_a_panel_for_each_measure_that_changes():
    figure = behaviour_figure(Behaviour(tuple(ROWS)), "a run")
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == ["loss", "prefix matching"]
    loss = panels[0].lines[0]
    assert np.array_equal(loss.get_ydata(), [7.0, 6.0, 5.0])
    x = np.asarray(loss.get_xdata())
    assert x[0] < x[1] < x[2]
    assert panels[1].get_legend_handles_labels()[1] == ["layers.0", "layers.1"]
    chance = [line for line in panels[1].lines if line.get_linestyle() == ":"]
    assert [set(np.asarray(line.get_ydata())) for line in chance] == [{0.014}]


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(GermError, match=r"two checkpoints .* got 1"):
        behaviour_figure(Behaviour(tuple(ROWS[:5])))
    with pytest.raises(GermError, match="none does"):
        behaviour_figure(Behaviour(tuple(r for r in ROWS if r.score.measure == "bigram entropy")))
