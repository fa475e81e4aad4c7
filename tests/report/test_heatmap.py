"""The heat map: every number with its sign, noise hatched and without colour."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from germ.errors import GermError
from germ.report.heatmap import heatmap
from germ.report.token_colours import DIVERGING

CHI = np.array([[0.5, -0.25], [0.01, -1.0], [0.0, 0.125]])
ERROR = np.array([[0.1, 0.1], [0.1, 0.1], [0.1, 0.1]])
NOISE = [(0, 1), (0, 2), (1, 2)]
"""Corners (x, y) of the cells within two errors of zero."""


def draw(**changes: Any) -> list[Any]:
    arguments: dict[str, Any] = {
        "chi": CHI, "error": ERROR, "components": ["a", "b", "c"], "probes": ["x", "y"], **changes
    }  # fmt: skip
    return list(heatmap(**arguments).axes)


def test_every_cell_has_its_number_and_noise_is_hatched():
    (axes,) = draw()
    numbers = [text.get_text() for text in axes.texts]
    assert numbers == ["+0.500", "−0.250", "+0.0100", "−1.00", "0", "+0.125"]
    hatched = [p.get_xy() for p in axes.patches if isinstance(p, Rectangle) and p.get_hatch()]
    assert sorted(hatched) == NOISE
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b", "c"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["x", "y"]
    top, bottom = axes.get_ylim()
    assert top > bottom  # the first component is on top


def test_colour_is_by_size_on_a_scale_that_is_even_about_zero():
    (axes,) = draw()
    mesh = axes.collections[0]
    assert mesh.get_cmap() is DIVERGING
    assert (mesh.norm.vmin, mesh.norm.vmax) == (-1.0, 1.0)
    np.testing.assert_array_equal(
        np.asarray(mesh.get_array()).reshape(3, 2), [[0.5, -0.25], [0, -1], [0, 0]]
    )


def test_the_second_panel_is_in_units_of_each_components_spread():
    left, right = draw(spread=np.array([0.5, 2.0, 0.0]))
    assert [text.get_text() for text in right.texts][:4] == [
        "+1.00",
        "−0.500",
        "+0.00500",
        "−0.500",
    ]
    assert left.texts[0].get_text() == "+0.500"


def test_names_from_data_are_drawn_as_they_are():
    figure = heatmap(CHI, ERROR, ["$\\frac{a", "b\u202e", "c" * 90], ["x", "y"])
    figure.canvas.draw()
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == [r"\$\frac{a", "b⟨U+202E⟩", "c" * 27 + "…"]


def test_too_much_or_nothing_is_refused():
    with pytest.raises(GermError, match="got none"):
        heatmap(np.empty((0, 2)), np.empty((0, 2)), [], ["x", "y"])
    many = np.ones((100, 1))
    with pytest.raises(GermError, match="at most 64 components"):
        heatmap(many, many, [str(i) for i in range(100)], ["x"])
