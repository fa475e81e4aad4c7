"""The independent chains, on quadratics whose expectations are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from germ.experiments.superposition_chains import Effort, expectations, langevin
from germ.experiments.superposition_local import nbeta
from germ.experiments.superposition_pieces import population
from germ.experiments.superposition_points import as_point

CURVATURES = torch.tensor([50.0, 10.0, 2.0, *[0.0] * 15], dtype=torch.float64)


def quadratic(anchors: torch.Tensor):
    """½ Σ h (w − w*)², for the nearest of the anchors."""

    def energy(points):
        away = points[:, None] - anchors
        nearest = (away**2).sum(2).argmin(1)
        apart = away[torch.arange(len(points)), nearest]
        return 3.0 + (CURVATURES * apart**2).sum(1) / 2, CURVATURES * apart

    return energy


def test_a_quadratic_at_two_anchors():
    anchors = torch.stack([torch.zeros(18), torch.full((18,), 100.0)]).double()
    found = expectations(quadratic(anchors), anchors, 1.0, Effort(40, 60, 120, 8), 0)
    truth = float((CURVATURES / (CURVATURES + 1)).sum()) / 2
    for each in found:
        assert each.error < 0.06 * truth
        assert abs(each.value - truth) < 4 * each.error
        assert abs(each.drift_z) < 4


def test_langevin_has_the_variance_of_its_step():
    anchors, step = torch.zeros(1, 18).double(), 0.02
    (values,) = langevin(quadratic(anchors), anchors, 1.0, step, 3000, 48, 0)
    a = CURVATURES + 1
    truth = float((CURVATURES / (a * (1 - step * a / 4))).sum()) / 2
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    assert error < 0.02 * truth and abs(np.mean(values) - truth) < 4 * error


@pytest.mark.slow
def test_chains_that_are_held_stay_and_others_leave():
    """At n = 5000 and γ = 0.1 chains find better polygons from 5: λ̂ falls unless they are held."""
    anchors = torch.from_numpy(as_point("5"))[None]
    energy, effort = population(nbeta(5000)), Effort(48, 80, 120, 12)
    (free,) = expectations(energy, anchors, 0.1, effort, 0)
    (held,) = expectations(energy, anchors, 0.1, effort, 0, held=True)
    assert held.value > free.value + 3 * math.hypot(held.error, free.error)
    assert held.value > 7 + 4 * held.error
