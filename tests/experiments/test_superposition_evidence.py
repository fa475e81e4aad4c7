"""Evidence of the polygons with every constant: parts by other means, and the whole by sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from germ.experiments.superposition_evidence import (
    crossings,
    dead_probability,
    evidence,
    soft_evidence,
)
from germ.experiments.superposition_phases import classify
from germ.experiments.superposition_pieces import population
from germ.experiments.superposition_points import critical_point
from germ.experiments.superposition_tempering import Effort, PopulationLeg, temper


def test_a_dead_column_is_dead_where_the_loss_does_not_feel_it():
    """The region's probability, from the loss alone."""
    at, num = critical_point("5"), 60_000
    rng = np.random.default_rng(0)
    points = np.tile(np.concatenate([at.weights.ravel(), at.biases]), (num, 1))
    points[:, [5, 11, 17]] = rng.normal(size=(num, 3))
    loss = population(1.0)(torch.from_numpy(points))[0].numpy()
    same = np.abs(loss - at.loss) < 1e-14
    error = math.sqrt(same.mean() * (1 - same.mean()) / num)
    assert abs(same.mean() - dead_probability(at)) < 4 * error < 0.003


def test_the_published_crossing_is_that_of_its_terms():
    found = crossings()
    assert found["published"] == pytest.approx(601.05, abs=0.1)
    six, five = evidence("6"), evidence("5")
    n = found["five"]
    assert six.log(n) == pytest.approx(five.log(n))
    assert found["soft"] < found["published"] and found["both"] < found["soft"]


def test_the_walls_harden_with_n():
    def gap(num: float) -> float:
        hard = np.logaddexp(evidence("5").log(num), evidence("5+").log(num))
        return abs(soft_evidence(num) - float(hard))

    assert gap(2000.0) < 0.1 < gap(300.0)


@pytest.mark.slow
def test_laplace_against_sampling():
    logs = []
    for seed in range(4):
        (cloud,) = temper([PopulationLeg(0.0, 3000.0)], 18, Effort(1000, 4, 12), seed)
        assert (classify(cloud.points) == 5).mean() > 0.99  # All at 6.
        logs.append(cloud.log_evidence)
    error = np.std(logs, ddof=1) / 2
    assert error < 0.2
    # Terms of order 1/n are left out: they halve with every doubling of n, and are 0.05 here.
    assert abs(np.mean(logs) - evidence("6").log(3000.0)) < 3 * error + 0.1
