"""The nβ = 0 control: against closed forms, and on cases where it must speak or hold its tongue."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.report.support import estimate
from torch import nn

import germ
from germ import LocalPosterior
from germ.errors import GermError
from germ.estimate.control import Control, control, same_order, survives

CURVATURES = torch.tensor([4.0, 1.0, 0.25])


class Bowl(nn.Module):
    """L(w) = ½ Σ h_i w_i², the same for every example."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, inputs):
        return 0.5 * (CURVATURES * self.weight**2).sum() + 0 * inputs[:, 0]


def bowl_loss(model, batch):
    return model(batch[0])


def bowl(nbeta: float, localization: float) -> LocalPosterior:
    return LocalPosterior.from_model(
        Bowl(), (torch.zeros(50, 1), torch.zeros(50, 1)), loss=bowl_loss,
        nbeta=nbeta, localization=localization,
    )  # fmt: skip


def exact(nbeta: float, localization: float) -> float:
    """½ Σ nβh/(nβh + γ)."""
    return float(0.5 * (nbeta * CURVATURES / (nbeta * CURVATURES + localization)).sum())


def without(value: float, error: float = 0.1, **changes) -> Control:
    fields = {"expected_loss": 3.0, "anchor_loss": 2.0, "nbeta": 30.0, "localization": 300.0,
              "num_draws": 32}  # fmt: skip
    return Control(value, error, **{**fields, **changes})


def test_the_control_of_a_quadratic_is_half_the_trace_over_gamma():
    found = control(bowl(30.0, 20.0), draws=800)
    expected = 30.0 * float(CURVATURES.sum()) / (2 * 20.0)
    # Var = ½ Σ (nβh/γ)², so the error of 800 draws is known too.
    error = float(((30.0 * CURVATURES / 20.0).square().sum() / 2) ** 0.5) / 800**0.5
    assert abs(found.value - expected) < 4 * error
    assert found.standard_error == pytest.approx(error, rel=0.2)
    assert found.expected_loss == pytest.approx(found.anchor_loss + found.value / 30.0)


def test_only_weights_that_move_are_noised():
    model = nn.Linear(4, 1)
    data = torch.randn(64, 4), torch.randn(64, 1)
    posteriors = [
        LocalPosterior.from_model(model, data, loss="mse", restrict=r, localization=10.0)
        for r in ("bias", None)
    ]
    bias, every = (control(p, draws=200) for p in posteriors)
    # The loss is (f − y)², so its curvature in the bias is 2, and E[rise] = 1/γ.
    assert bias.value == pytest.approx(posteriors[0].nbeta / 10.0, rel=0.3)
    assert every.value > 2 * bias.value


def test_it_fires_where_localization_alone_holds_the_chains_and_not_where_the_loss_does():
    for nbeta, localization, fires in ((1.0, 300.0, True), (1000.0, 1.0, False)):
        posterior = bowl(nbeta, localization)
        found = estimate(exact(nbeta, localization), 1e-3, nbeta=nbeta, localization=localization)
        sentence = survives(found, control(posterior, draws=200))
        assert (sentence is not None) == fires, (nbeta, sentence)
        if fires:
            assert "survives the control" in str(sentence)


def test_a_value_above_its_control_is_no_equilibrium():
    sentence = survives(estimate(40.0, 0.5), without(20.0))
    assert sentence is not None and "not in equilibrium" in sentence
    assert survives(estimate(21.0, 0.5), without(20.0)) is not None, "as large as its control"
    assert survives(estimate(10.0, 0.5), without(20.0)) is None


def test_the_same_order_is_said_and_another_is_not():
    values = [1.0, 5.0, 9.0, 20.0, 40.0]
    rows = [estimate(v, 0.1) for v in values]
    same = [without(100 + 10 * v) for v in values]
    assert "rank correlation 1.00" in (same_order(rows, same) or "")
    turned = [without(500 - 10 * v) for v in values]
    assert same_order(rows, turned) is None
    mixed = [without(v) for v in (100.0, 500.0, 200.0, 150.0, 400.0)]
    assert same_order(rows, mixed) is None


def test_an_order_that_is_noise_is_none():
    rows = [estimate(v, 0.1) for v in (1.0, 5.0, 9.0, 20.0)]
    noise = [without(100.0 + k, error=2.0) for k in range(4)]
    assert same_order(rows, noise) is None, "the controls do not differ"
    assert same_order(rows[:3], [without(10.0 * k) for k in range(3)]) is None, "three are too few"


def test_a_loss_that_is_not_finite_that_far_out_says_nothing():
    class Log(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, inputs):
            return inputs[:, 0] - self.weight.log()

    posterior = LocalPosterior.from_model(
        Log(), (torch.zeros(8, 1), torch.zeros(8, 1)), loss=bowl_loss, localization=0.01
    )
    found = control(posterior)
    assert math.isinf(found.value) and "not finite" in str(found)
    assert found.to_dict()["value"] is None
    value = estimate(1.0, 0.1, nbeta=posterior.nbeta, localization=0.01)
    assert survives(value, found) is None


@pytest.mark.parametrize(
    ("nbeta", "localization", "draws", "told"),
    [(1.0, 0.0, 8, "localization"), (0.0, 1.0, 8, "nbeta"), (1.0, 1.0, 2, "draws")],
)
def test_settings_without_a_control_are_refused(nbeta, localization, draws, told):
    with pytest.raises(GermError, match=told):
        control(bowl(nbeta, localization), draws=draws)


def test_controls_of_other_settings_are_refused():
    with pytest.raises(GermError, match="nbeta"):
        survives(estimate(1.0, 0.1), without(2.0, nbeta=10.0))
    with pytest.raises(GermError, match="a control each"):
        same_order([estimate(1.0, 0.1)], [])


@pytest.mark.slow
def test_a_sampled_posterior_obeys_its_control():
    """λ̂ from chains, beside the control, is what the closed forms say of both."""
    posterior = bowl(40.0, 10.0)
    samples = germ.sample(posterior, draws=400, seed=1)
    found = germ.llc(samples)
    beside = control(posterior, draws=400)
    ratio = exact(40.0, 10.0) / (40.0 * float(CURVATURES.sum()) / 20.0)
    assert found.value / beside.value == pytest.approx(ratio, rel=0.25)
    assert survives(found, beside) is None
    assert np.isfinite(beside.standard_error)
