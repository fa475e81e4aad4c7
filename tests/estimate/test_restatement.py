"""Made-up trajectories: where λ̂ is the loss over again, and where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from tests.report.support import estimate

from germ.errors import GermError
from germ.estimate.restatement import restatement

NBETA = 30.0
LOSSES = np.array([5.0, 4.6, 4.0, 3.3, 2.8, 2.4, 2.2, 2.1])


def checkpoints(losses, sampled, error=0.3, **changes):
    """Estimates with these L(w*) and E[L]."""
    return [
        estimate(NBETA * (e - at), error, anchor_loss=float(at), expected_loss=float(e), **changes)
        for at, e in zip(losses, sampled, strict=True)
    ]


def noise(seed, size=8):
    return np.random.default_rng(seed).standard_normal(size)


@pytest.mark.parametrize("seed", range(5))
def test_a_constant_sampled_loss_is_said(seed):
    sampled = 5.2 + 0.01 * noise(seed)
    found = restatement(checkpoints(LOSSES, sampled), names=[10 * k for k in range(8)])
    assert found.restates and (found.first, found.last) == (0, 7)
    assert found.slope == pytest.approx(0, abs=0.05) and found.correlation < -0.99
    assert "restates the loss: E[L] stays at 5.2" in found.warnings[0]


@pytest.mark.parametrize("seed", range(5))
def test_a_sampled_loss_that_follows_is_not(seed):
    """λ̂ rises as the loss falls, with correlation −1, and yet says something of its own."""
    sampled = LOSSES + (5 + 4 * (5 - LOSSES)) / NBETA + 0.01 * noise(seed)
    found = restatement(checkpoints(LOSSES, sampled))
    assert found.correlation < -0.98, "which is why the correlation proves nothing"
    assert found.slope == pytest.approx(1 - 4 / NBETA, abs=0.02)
    assert not found.restates and found.warnings == ()


def test_half_way_is_not_constant():
    assert not restatement(checkpoints(LOSSES, 3.0 + 0.5 * LOSSES)).restates


def test_only_the_part_that_is_constant_is_named():
    sampled = np.where(np.arange(8) < 5, 5.2, LOSSES + 0.4)
    steps = [0, 10, 100, 1000, 2000, 3000, 4000, 5000]
    found = restatement(checkpoints(LOSSES, sampled), names=steps)
    assert (found.first, found.last) == (0, 4)
    assert "from 0 to 2000" in found.warnings[0]


def test_where_nothing_can_be_seen_nothing_is_said():
    flat = np.full(8, 3.0) + 1e-3 * noise(0)
    assert not restatement(checkpoints(flat, flat + 1.0)).restates, "the loss does not move"
    coarse = checkpoints(LOSSES, 5.2 + 1.0 * noise(1), error=NBETA)
    assert not restatement(coarse).restates, "E[L] is known no better than the loss moves"


def test_the_estimates_own_errors_are_no_movement_of_the_sampled_loss():
    """Scatter of 0.2, a fifth of the loss's, but all of it explained by the stated errors."""
    sampled = 5.2 + 0.2 * noise(2)
    assert restatement(checkpoints(LOSSES, sampled, error=0.2 * NBETA)).restates
    assert not restatement(checkpoints(LOSSES, sampled, error=0.02 * NBETA)).restates


def test_near_the_untrained_loss_is_said():
    sampled = np.full(8, 5.4)
    near = restatement(checkpoints(LOSSES, sampled), untrained_loss=5.5)
    assert near.untrained == pytest.approx(
        np.median((sampled - LOSSES) / (5.5 - LOSSES)), abs=1e-12
    )
    assert "of the way from L(w*) to the untrained loss 5.5" in near.warnings[-1]
    local = restatement(checkpoints(LOSSES, LOSSES + 0.1), untrained_loss=5.5)
    assert local.untrained < 0.1 and local.warnings == ()


def test_too_few_or_unequal_checkpoints_are_refused():
    rows = checkpoints(LOSSES, LOSSES + 0.1)
    with pytest.raises(GermError, match="at least 4 checkpoints; got 3"):
        restatement(rows[:3])
    with pytest.raises(GermError, match="one nbeta; got 30, 300"):
        restatement([*rows[:4], estimate(1.0, 0.1, nbeta=300.0)])
