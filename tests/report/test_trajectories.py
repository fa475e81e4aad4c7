"""The curves over training: what is drawn where, and what is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from germ.errors import GermError
from germ.report.trajectories import MARKERS, leading, trajectories

STEPS = (0, 10, 100, 1000)
CHI = np.zeros((4, 3, 2))
CHI[:, 0, 0] = [0.0, 0.1, 0.2, 0.4]
CHI[:, 1, 1] = [0.0, -0.1, -0.3, -0.5]
ERROR = np.full_like(CHI, 0.06)


def draw(**changes: Any) -> Any:
    arguments = {"steps": STEPS, "chi": CHI, "error": ERROR, "components": ["a", "b", "c"],
                 "probes": ["x", "y"], **changes}  # fmt: skip
    return trajectories(**arguments)


def test_a_curve_for_each_component_in_the_panel_of_each_probe():
    left, right = draw().axes
    assert [axes.get_title(loc="left") for axes in (left, right)] == ["x", "y"]
    drawn = [
        line for line in left.lines if line.get_marker() == "None" and len(line.get_xdata()) == 4
    ]
    np.testing.assert_array_equal(np.array([line.get_ydata() for line in drawn]), CHI[:, :, 0].T)
    assert left.get_ylim() == right.get_ylim()


def test_noise_is_open_and_signal_is_filled():
    left = draw().axes[0]
    filled, hollow = left.containers[:2]
    assert np.asarray(filled.lines[0].get_ydata()).tolist() == [0.2, 0.4]
    assert np.asarray(hollow.lines[0].get_ydata()).tolist() == [0.0, 0.1]
    assert hollow.lines[0].get_markerfacecolor() == "white" != filled.lines[0].get_markerfacecolor()


def test_steps_are_logarithmic_and_zero_has_a_place():
    left = draw().axes[0]
    place = left.transData.transform(np.array([(step, 0.0) for step in STEPS]))[:, 0]
    gaps = np.diff(place)
    assert (gaps > 0).all() and gaps[1] == pytest.approx(gaps[2], rel=0.01)
    names = draw(steps=("a", "b", "c", "d")).axes[0]
    assert [t.get_text() for t in names.get_xticklabels()] == ["a", "b", "c", "d"]


def test_of_many_components_the_furthest_have_names():
    generator = np.random.default_rng(0)
    chi = generator.uniform(0.1, 1.0, (4, 30, 2))
    error = np.full_like(chi, 0.01)
    error[:, 7], chi[:, 7] = 100.0, 50.0  # large, and noise
    named = leading(chi, error)
    furthest = np.delete(chi.max(axis=(0, 2)), 7)
    assert len(named) == len(MARKERS) and 7 not in named
    assert chi[:, named].max(axis=(0, 2)).min() >= np.sort(furthest)[-len(MARKERS)]
    figure = draw(chi=chi, error=error, components=[f"c{i}" for i in range(30)])
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == [f"c{i}" for i in named]
    assert "the other 22" in figure.get_suptitle()


def test_one_checkpoint_makes_no_curve():
    with pytest.raises(GermError, match="at least two checkpoints"):
        draw(steps=(1,), chi=CHI[:1], error=ERROR[:1])
