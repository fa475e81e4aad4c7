from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from tests.report.support import estimate, measurement

import germ
from germ.errors import GermError
from germ.report import figures
from germ.samplers import SGLD


def axes_of(figure: Figure) -> list[Any]:
    """The axes of a figure; what is drawn in them has types that Matplotlib does not tell."""
    return list(figure.axes)


def points(axes: Any) -> np.ndarray:
    """Where the error bars of λ̂ are, in order of drawing."""
    return np.concatenate([bar.lines[0].get_xydata() for bar in axes.containers])


def test_the_trajectory_draws_losses_above_and_estimates_below_in_order():
    values = {0: 1.0, 1: 5.0, 100: 20.0, 10_000: 40.0}
    rows = [measurement(step, estimate(value, 0.5)) for step, value in values.items()]
    rows.insert(2, measurement(10, None))
    above, below = axes_of(figures.trajectory(rows, "a title"))
    x, y = points(below).T
    assert y.tolist() == list(values.values())
    assert (np.diff(x) > 0).all()
    assert np.isclose(x[3] - x[2], x[2] - x[1])  # 1, 100 and 10,000 are equally far apart
    labels = [label.get_text() for label in below.get_xticklabels()]
    assert labels[0] == "0" and "10,000" in labels
    for line, name in zip(above.lines, ("expected_loss", "anchor_loss"), strict=True):
        drawn = [getattr(row.estimate, name) for row in rows if row.estimate]
        assert line.get_ydata().tolist() == drawn
    assert "nβ = 30, γ = 300" in below.get_xlabel()


def test_estimates_with_warnings_look_different():
    rows = [
        measurement("a", estimate(1.0, 0.1)),
        measurement("b", estimate(2.0, 0.1, warnings=("w",))),
    ]
    (axes,) = axes_of(figures.dots(rows, ["a", "b"]))
    good, suspect = (bar.lines[0] for bar in axes.containers)
    assert good.get_markerfacecolor() != suspect.get_markerfacecolor()
    assert [good.get_xdata()[0], suspect.get_xdata()[0]] == [1.0, 2.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert good.get_ydata()[0] > suspect.get_ydata()[0]  # the first is on top


def test_the_trace_is_the_run_with_its_warmup_shaded():
    model = torch.nn.Linear(2, 1)
    posterior = germ.LocalPosterior.from_model(
        model, (torch.randn(20, 2), torch.randn(20, 1)), loss="mse", nbeta=5.0
    )
    samples = germ.sample(posterior, SGLD(1e-3), chains=2, draws=6, warmup=4, thin=3)
    (axes,) = axes_of(figures.trace(samples, germ.llc(samples)))
    warmup, draws, mean = axes.lines[:3]
    expected = 5.0 * samples.loss_difference.values[0]
    assert draws.get_xdata().tolist() == [4, 7, 10, 13, 16, 19]
    np.testing.assert_allclose(draws.get_ydata(), expected)
    np.testing.assert_allclose(mean.get_ydata()[-1], expected.mean())
    assert warmup.get_xdata().tolist() == [0, 1, 2, 3]
    assert axes.patches[0].get_x() == 0 and axes.patches[0].get_width() == 4


def test_nothing_to_draw_and_nowhere_to_draw_it_are_said(tmp_path):
    with pytest.raises(GermError, match="all failed"):
        figures.trajectory([measurement(1, None)])
    with pytest.raises(GermError, match="all failed"):
        figures.dots([measurement(1, None)], ["a"])
    figure = figures.trajectory([measurement(1, estimate(1.0, 0.1))])
    assert figures.save(figure, tmp_path / "new" / "a.svg").read_text().startswith("<?xml")
    for path in ("/dev/null/a.png", tmp_path / "a.nonsense"):
        with pytest.raises(GermError, match="cannot write the figure"):
            figures.save(figure, path)


def test_traces_stand_side_by_side_on_one_scale_with_the_truth():
    model = torch.nn.Linear(2, 1)
    posterior = germ.LocalPosterior.from_model(
        model, (torch.randn(20, 2), torch.randn(20, 1)), loss="mse", nbeta=5.0
    )
    samples = germ.sample(posterior, SGLD(1e-3), chains=2, draws=10, warmup=4)
    panels = [(samples, germ.llc(samples), "a"), (samples, None, "b"), (samples, None, "c")]
    drawn = axes_of(figures.traces(panels, truth=0.7, window=5))
    assert [axes.get_title(loc="left") for axes in drawn[:3]] == ["a", "b", "c"]
    assert not drawn[3].get_visible()
    assert len({axes.get_ylim() for axes in drawn[:3]}) == 1
    for axes in drawn[:3]:
        assert any(set(np.atleast_1d(line.get_ydata())) == {0.7} for line in axes.lines)
    # A point of a thin line is the mean of five draws.
    thin = drawn[1].lines[1]
    values = 5.0 * samples.loss_difference.values[0].reshape(2, 5).mean(1)
    np.testing.assert_allclose(thin.get_ydata(), values)
    with pytest.raises(GermError, match="at least one run"):
        figures.traces([])
