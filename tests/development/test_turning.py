"""Turns and pauses of curves drawn by hand, with paths whose statistics are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from germ.development.turning import Ensemble, marks

GRID = np.linspace(0, 4, 201)


def rise(at, width=0.2):
    return 0.5 * (1 + np.tanh((GRID - at) / width))


def around(mean, size, num=400):
    """Paths with independent errors of the heights of three broad bumps: smooth, and no turns."""
    generator = np.random.default_rng(0)
    bumps = np.stack([np.exp(-0.5 * ((GRID - at) / 1.0) ** 2) for at in (0, 2, 4)])
    return mean + size * generator.standard_normal((num, 3)) @ bumps


def found(mean, size=0.01, **changes):
    settings = {"level": 0.9, "smallest": 0.01, **changes}
    return marks(Ensemble(GRID, mean, around(mean, size)), **settings)


def test_turns_are_where_the_curve_turns():
    mean = rise(1) - 0.5 * rise(2) + 0.8 * rise(3)
    kept, dropped = found(mean)
    slope = np.gradient(mean)
    assert [mark.kind for mark in kept] == ["maximum", "minimum"] and dropped == []
    for mark in kept:
        assert slope[mark.index - 1] * slope[mark.index + 1] < 0
        assert mark.low <= mark.place <= mark.high and mark.support > 0.99


def test_a_pause_is_a_dip_of_the_slope_between_two_rises():
    kept, _ = found(rise(1) + rise(2.5))
    assert [mark.kind for mark in kept] == ["pause"]
    assert kept[0].place == pytest.approx(1.75, abs=0.1), "by symmetry"
    kept, _ = found(-(rise(1) + rise(2.5)))
    assert [mark.kind for mark in kept] == ["pause"], "a falling loss pauses too"


@pytest.mark.parametrize("apart", [0.2, 0.35])
def test_a_slope_that_hardly_dips_is_no_pause(apart):
    assert found(rise(2 - apart / 2) + rise(2 + apart / 2)) == ([], [])


def test_a_fall_smaller_than_the_paths_scatter_is_dropped():
    mean = rise(1) - 0.05 * rise(2) + 0.8 * rise(3)
    assert len(found(mean, 0.001)[0]) == 2
    kept, _ = found(mean, 0.2)
    assert "maximum" not in [mark.kind for mark in kept]


def test_a_fall_too_small_to_matter_is_no_stage_however_sure():
    mean = rise(1) - 0.05 * rise(2) + 0.8 * rise(3)
    kept, _ = found(mean, 1e-6, smallest=0.1)
    assert "maximum" not in [mark.kind for mark in kept]


def test_support_of_seeds_is_that_of_student():
    values = np.array([1.0, 2.0, 4.0, 3.0])
    paths = values[:, None] * np.linspace(0, 1, 5)
    ensemble = Ensemble(np.arange(5.0), paths.mean(0), paths, draws=paths[:, None])
    expected = stats.ttest_1samp(values, 0, alternative="greater").pvalue  # type: ignore[union-attr]
    assert ensemble.support(values) == pytest.approx(1 - expected)
    assert ensemble.support(values, values) == pytest.approx(1 - 2 * expected)
    assert ensemble.error(values) == pytest.approx(stats.sem(values))


def test_many_candidates_make_each_less_sure():
    values = np.concatenate([np.ones(980), -np.ones(20)])
    one = Ensemble(GRID, GRID, GRID[None], num_tried=1)
    ten = Ensemble(GRID, GRID, GRID[None], num_tried=10)
    assert one.support(values) == pytest.approx(0.98)
    assert ten.support(values) == pytest.approx(0.8)


def test_seeds_that_differ_in_place_give_the_interval_of_their_mean():
    places = np.array([1.8, 1.9, 2.0, 2.3])
    paths = np.stack([-((GRID - at) ** 2) for at in places])
    kept, _ = marks(
        Ensemble(GRID, paths.mean(0), paths, np.repeat(paths[:, None], 3, axis=1)),
        level=0.9, smallest=0.01,
    )  # fmt: skip
    (mark,) = kept
    half = stats.t.ppf(0.95, 3) * stats.sem(places)
    assert mark.places == pytest.approx(places, abs=0.011)
    assert mark.place == pytest.approx(places.mean(), abs=0.011)
    assert (mark.high - mark.low) / 2 == pytest.approx(half, rel=0.1)


def test_between_checkpoints_nothing_turns():
    """A dip of the mean in a gap without checkpoints is the smoother's, not the run's."""
    mean = rise(3) - 0.3 * np.exp(-0.5 * ((GRID - 0.5) / 0.15) ** 2)
    far = (GRID < 1e-9) | (GRID >= 1.2)
    assert [mark.kind for mark in found(mean)[0]][:1] == ["minimum"]
    kept, _ = marks(
        Ensemble(GRID, mean, around(mean, 0.001), measured=far), level=0.9, smallest=0.01
    )
    assert "minimum" not in [mark.kind for mark in kept]


def test_a_constant_has_no_marks():
    assert found(np.ones_like(GRID)) == ([], [])
