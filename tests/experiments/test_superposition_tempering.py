"""Sequential Monte Carlo: evidences and shares that are known, moves that leave a law alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from germ.experiments.superposition_pieces import draw_examples
from germ.experiments.superposition_tempering import (
    DataLeg,
    Effort,
    PopulationLeg,
    hamiltonian,
    temper,
)

DIM = 3
CENTERS = torch.tensor([[1.5, 0.0, 0.0], [-2.0, 1.0, 0.0]], dtype=torch.float64)
WIDTHS = torch.tensor([0.2, 0.4], dtype=torch.float64)


class TwoBumps:
    """exp(−S) = Σ exp(−‖w − m_k‖²/2s_k²): narrow bumps that no move goes between."""

    def at(self, t: float):
        def energy(points):
            away = points[:, None] - CENTERS
            logs = -(away**2).sum(2) / (2 * WIDTHS**2)
            shares = torch.softmax(logs, 1)
            gradient = (shares[:, :, None] * away / WIDTHS[:, None] ** 2).sum(1)
            return -t * torch.logsumexp(logs, 1), t * gradient

        return energy

    def gain(self, points):
        return self.at(1.0)(points)[0]


def evidences() -> np.ndarray:
    """∫ exp(−‖w − m‖²/2s²) N(w; 0, 1) dw of each bump."""
    s2 = WIDTHS.numpy() ** 2
    norms = (CENTERS.numpy() ** 2).sum(1)
    return (s2 / (1 + s2)) ** (DIM / 2) * np.exp(-norms / (2 * (1 + s2)))


def test_evidence_and_shares_of_two_bumps():
    truth = evidences()
    clouds = [list(temper([TwoBumps()], DIM, Effort(800, 3, 6), seed))[-1] for seed in range(10)]
    shares = [float((cloud.points[:, 0] > 0).double().mean()) for cloud in clouds]
    z = np.exp([cloud.log_evidence for cloud in clouds]) / truth.sum()
    for found, expected in ((shares, truth[0] / truth.sum()), (z, 1.0)):
        error = np.std(found, ddof=1) / math.sqrt(len(found))
        assert error < 0.1 * expected  # Or the next line would say nothing.
        assert abs(np.mean(found) - expected) < 4 * error
    assert 0.25 < truth[0] / truth.sum() < 0.35


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_legs_meet(scale):
    points = torch.randn(4, 18, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    examples = draw_examples(90, 0)
    one, two = DataLeg(examples, 0, 30, scale), DataLeg(examples, 30, 90, scale)
    torch.testing.assert_close(one.at(1.0)(points)[0], two.at(0.0)(points)[0])
    torch.testing.assert_close(two.at(1.0)(points)[0] - two.at(0.0)(points)[0], two.gain(points))
    x = torch.from_numpy(examples.dense())
    w, b = points[0, :12].view(2, 6), points[0, 12:]
    total = scale * ((torch.relu(x @ w.T @ w + b) - x) ** 2).sum()
    assert float(two.at(1.0)(points)[0][0]) == pytest.approx(float(total))
    exact = PopulationLeg(10.0, 40.0)
    torch.testing.assert_close(exact.gain(points), 30 / 40 * exact.at(1.0)(points)[0])


def test_moves_leave_a_normal_alone_and_a_border_is_kept():
    source = torch.Generator().manual_seed(0)
    center = torch.full((4000, 2), 3.0, dtype=torch.float64)

    def energy(points):
        return 1.5 * (points[:, 0] - 3) ** 2, torch.tensor([3.0, 0.0]) * (points - center)

    def above(points):
        return points[:, 1] >= 3

    points = center
    for _ in range(30):
        points, accepted = hamiltonian(
            energy, points, 0.6, 6, source, prior=1.0, center=center, allowed=above
        )
    assert 0.3 < accepted < 1
    # Precisions 4 and 1; the second half a normal, of mean √(2/π).
    first, second = points[:, 0] - 3, points[:, 1] - 3
    assert abs(float(first.var()) - 1 / 4) < 4 * math.sqrt(2 / 4000) / 4
    assert float(second.min()) >= 0
    assert abs(float(second.mean()) - math.sqrt(2 / math.pi)) < 4 * 0.603 / math.sqrt(4000)
