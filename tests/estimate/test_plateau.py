"""Plateaus: found where λ̂ stands still in closed form, denied where it follows nβ."""

from __future__ import annotations

import numpy as np
import pytest

from germ.errors import GermError
from germ.estimate.plateau import FOUND, NONE, UNDECIDED, plateau, slopes

LADDER = np.geomspace(1e2, 1e6, 9)


def quadratic(nbetas, curvatures, localization=1.0):
    """E[nβK] of K = ½Σ h w² in closed form."""
    scaled = np.multiply.outer(nbetas, curvatures)
    return 0.5 * (scaled / (scaled + localization)).sum(axis=-1)


def noisy(values, share, seed=0):
    errors = share * np.abs(values) + 1e-12
    return values + errors * np.random.default_rng(seed).normal(size=len(values)), errors


def test_slopes_are_the_derivative():
    nbetas, curvatures = np.geomspace(1, 10, 41), np.array([0.1, 1.0, 3.0])
    found = slopes(nbetas, quadratic(nbetas, curvatures), np.full(41, 1e-3))
    scaled = np.multiply.outer(nbetas, curvatures)
    exact = 0.5 * (scaled / np.square(scaled + 1)).sum(axis=1)
    assert [slope for slope, _ in found[1:-1]] == pytest.approx(exact[1:-1], rel=2e-3)


def test_the_error_of_a_slope_is_that_of_many_repetitions():
    errors = np.array([0.3, 0.1, 0.2])
    rng = np.random.default_rng(0)
    every = [slopes([1, 3, 10], 5 + errors * rng.normal(size=3), errors)[1] for _ in range(1000)]
    drawn = np.array([slope for slope, _ in every])
    # The least of the stated errors: those of repetitions that do not look straight are enlarged.
    assert min(error for _, error in every) == pytest.approx(drawn.std(), rel=0.1)


@pytest.mark.parametrize("share", [0.003, 0.03])
def test_a_quadratic_has_a_plateau_at_half_its_dimension(share):
    values = quadratic(LADDER, np.geomspace(0.1, 10, 20))
    found = plateau(LADDER, *noisy(values, share))
    assert found.verdict == FOUND
    assert found.level == pytest.approx(10, rel=3 * share + 0.05)
    assert found.last == pytest.approx(1e6)


@pytest.mark.parametrize("elasticity", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("share", [0.01, 0.05])
def test_what_follows_nbeta_has_none(elasticity, share):
    # 1 is an E[L] that does not change with nβ; language models have 0.4 to 0.9.
    found = plateau(LADDER, *noisy(3 * LADDER**elasticity, share))
    assert found.verdict == NONE
    assert found.elasticity == pytest.approx(elasticity, abs=4 * found.elasticity_error + 0.02)


def test_the_prototypes_language_model_has_none():
    values = np.array([2.5, 22, 56, 142, 344, 928])  # design.md, lesson 11
    found = plateau([1, 10, 30, 100, 300, 1000], values, 0.03 * values)
    assert found.verdict == NONE and found.elasticity > 0.5


def test_a_slow_rise_over_many_decades_is_none():
    # Curvatures over seven decades: λ̂ gains the same at each decade of nβ.
    nbetas = np.geomspace(1, 1e5, 11)
    values = quadratic(nbetas, np.geomspace(1e-6, 10, 70))
    assert plateau(nbetas, *noisy(values, 0.003)).verdict != FOUND


def test_between_two_scales_the_lower_one_is_read_off():
    curvatures = np.array([1.0] * 10 + [1e-8] * 30)
    nbetas = np.geomspace(10, 1e9, 17)
    found = plateau(nbetas, *noisy(quadratic(nbetas, curvatures), 0.01))
    assert found.verdict == FOUND
    assert found.level == pytest.approx(5, rel=0.05) and found.last < 1e8


def test_a_maximum_is_none():
    logs = np.log(LADDER / 1e4)
    found = plateau(LADDER, *noisy(20 * np.exp(-np.square(logs) / 4), 0.01))
    assert found.verdict == NONE


def test_too_large_errors_leave_it_undecided():
    found = plateau(LADDER[:3], [10.0, 11.0, 10.5], [2.0, 2.0, 2.0])
    assert found.verdict == UNDECIDED and "draw more" in found.reason


def test_nothing_is_found_where_the_loss_constrains_nothing():
    found = plateau(LADDER, *noisy(np.full(9, 1e-3), 3.0))
    assert found.verdict == NONE and "0 within its error" in found.reason


def test_two_rungs_or_half_a_decade_are_too_few():
    assert plateau([10, 100], [5, 5], [0.1, 0.1]).verdict == UNDECIDED
    assert plateau([10, 20, 40], [5, 5, 5], [0.1, 0.1, 0.1]).verdict == UNDECIDED


@pytest.mark.parametrize(
    ("nbetas", "errors"), [([3, 2, 1], [1, 1, 1]), ([1, 2, 3], [1, 0, 1]), ([0, 1, 2], [1, 1, 1])]
)
def test_what_is_no_ladder_is_refused(nbetas, errors):
    with pytest.raises(GermError, match="expected"):
        plateau(nbetas, [1, 1, 1], errors)
