"""Free energies of regions against error functions, and where they cross."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import erf, gammainc

from germ.errors import GermError
from germ.numerical import Region, crossings, free_energies

WHOLE = [(-1.0, 1.0)]
LEFT, RIGHT = Region([(-1.0, 0.0)]), Region([(0.0, 1.0)])
GAP = 0.01


def two_wells(w):
    """Left: worse by `GAP`, quartic. Right: best, parabola."""
    x = w[:, 0]
    return np.where(x < 0, GAP + (x + 0.5) ** 4, (x - 0.5) ** 2)


def left(n):
    """F_n of the left half, prior uniform on [−1, 1], exactly."""
    mass = math.gamma(0.25) * gammainc(0.25, n / 16) / 2 * n**-0.25
    return n * GAP - math.log(mass / 2)


def right(n):
    """F_n of the right half, exactly."""
    return -math.log(math.sqrt(math.pi / n) * erf(math.sqrt(n) / 2) / 2)


def test_two_wells_and_their_crossing():
    nums = [1.0, 1e2, 1e4]
    for region, exact in ((LEFT, left), (RIGHT, right)):
        found = free_energies(two_wells, region, nums, within=WHOLE)
        assert (found.errors < 1e-6).all()
        assert found.values == pytest.approx([exact(n) for n in nums], abs=1e-7)
    # They meet twice: early, where the better well is as good as the wider; and late.
    roots = crossings(two_wells, LEFT, RIGHT, 1.0, 1e6, within=WHOLE)
    truth = brentq(lambda n: left(n) - right(n), 20, 1e6)
    assert roots[-1] == pytest.approx(truth, rel=1e-6)
    for root in roots:
        assert left(root) == pytest.approx(right(root), abs=1e-6)


def test_regions_add_up_to_the_whole():
    parts = [free_energies(two_wells, each, [50.0], within=WHOLE) for each in (LEFT, RIGHT)]
    whole = free_energies(two_wells, Region(WHOLE), [50.0])
    total = -np.logaddexp(-parts[0].values[0], -parts[1].values[0])
    assert total == pytest.approx(whole.values[0], abs=1e-7)
    assert whole.means[0] > 0


def test_an_indicator_is_a_region_too():
    half = Region([(-1.0, 1.0)] * 2, inside=lambda w: w[:, 0] + w[:, 1] > 0)
    found = free_energies(lambda w: (w**2).sum(1), half, [100.0], num_points=200)
    # By symmetry half of the Gaussian.
    assert abs(found.values[0] + math.log(math.pi / 100 / 8)) < 4 * found.errors[0] < 0.4
    assert abs(found.means[0] - 1) < 0.1


def test_six_variables_by_splitting():
    within = [(-1.0, 1.0)] * 6
    region = Region([(0.0, 1.0), *within[1:]])
    found = free_energies(lambda w: (w**2).sum(1), region, [100.0], within=within, num_points=200)
    exact = -(3 * math.log(math.pi / 100) - 6 * math.log(2) - math.log(2))
    assert abs(found.values[0] - exact) < 4 * found.errors[0] < 1


def test_a_prior_is_normalized_over_the_whole():
    def log_prior(w):
        return -8 * w[:, 0] ** 2

    parts = [
        free_energies(two_wells, each, [30.0], within=WHOLE, log_prior=log_prior).values[0]
        for each in (LEFT, RIGHT)
    ]
    whole = free_energies(two_wells, Region(WHOLE), [30.0], log_prior=log_prior).values[0]
    assert -np.logaddexp(-parts[0], -parts[1]) == pytest.approx(whole, abs=1e-6)


def test_refusals():
    with pytest.raises(GermError, match="a region within"):
        free_energies(two_wells, Region([(-2.0, 0.0)]), [1.0], within=WHOLE)
    with pytest.raises(GermError, match="0 < lowest < highest"):
        crossings(two_wells, LEFT, RIGHT, 0.0, 10.0, within=WHOLE)
    four = Region([(-1.0, 1.0)] * 4, inside=lambda w: w[:, 0] > 0)
    with pytest.raises(GermError, match="a uniform prior where splitting"):
        free_energies(lambda w: (w**2).sum(1), four, [1.0], log_prior=lambda w: -w[:, 0])
    with pytest.raises(GermError, match="boxes of at most 3 variables to find a crossing"):
        crossings(lambda w: (w**2).sum(1), four, four, 1.0, 10.0)
