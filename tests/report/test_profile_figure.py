"""The figures of a profile: what is drawn, not how it looks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.estimate.test_profile import profile, regular, rung

from germ.errors import GermError
from germ.estimate.profile import Rung
from germ.report.profile_figure import profile_figure, profiles_figure


def labels(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_points_are_the_rungs_and_the_line_is_lambda():
    found = profile(regular())
    above, below = profile_figure(found, "a title").axes
    points = np.asarray(above.lines[0].get_xydata())
    assert points[:, 0].tolist() == [r.nbeta for r in found.rungs]
    assert points[:, 1].tolist() == [r.estimate.value for r in found.rungs if r.estimate]
    levels = [
        np.asarray(line.get_ydata())[0] for line in above.lines if line.get_linestyle() == "--"
    ]
    assert levels == [pytest.approx(found.value)]
    assert above.get_xscale() == "log" and above.get_yscale() == "linear"
    assert np.asarray(below.lines[0].get_ydata())[0] == found.rungs[0].estimate.expected_loss


def test_what_follows_nbeta_is_drawn_on_a_logarithmic_axis_with_a_guide():
    found = profile([rung(x, 3.0 * x, 0.03 * x) for x in (1.0, 10.0, 100.0)])
    above = profile_figure(found).axes[0]
    assert above.get_yscale() == "log"
    assert any("E[L] does not change" in label for label in labels(above))


def test_several_localizations_are_told_apart():
    above = profile_figure(profile([*regular(), *regular(gamma=300.0)])).axes[0]
    assert {"γ = 1", "γ = 300"} <= set(labels(above))


def test_profiles_side_by_side():
    figure = profiles_figure([("step 1", profile(regular())), ("step 2", profile(regular()))])
    left, middle, _ = figure.axes
    assert labels(left) == ["step 1", "step 2"]
    rungs = profile(regular()).rungs
    drawn = np.asarray(middle.lines[0].get_ydata()).tolist()
    assert drawn == pytest.approx([r.estimate.value / r.nbeta for r in rungs if r.estimate])


def test_nothing_to_draw_is_refused():
    with pytest.raises(GermError, match="all failed"):
        profile_figure(profile([Rung(1.0, 1.0, "failed: NaN")]))
    with pytest.raises(GermError, match="at least one"):
        profiles_figure([])
