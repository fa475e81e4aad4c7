"""`germ experiment data-shift`: exact losses and λ, predicted odds, planted groups, a run."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from germ.errors import GermError
from germ.experiments import data_shift as experiment
from germ.experiments import data_shift_model as models
from germ.experiments import data_shift_posterior as posterior
from germ.experiments.superposition_tempering import Effort


def weights(cue: bool, dim: int) -> torch.Tensor:
    """One of the two solutions, (1, weights)."""
    factors = torch.zeros(3, dim + 2, dtype=torch.float64)
    if cue:
        factors[0, 1], factors[1, 0], factors[2, 0] = 2.0, 0.5, 1.0
    else:
        factors[0, 2], factors[1, 3], factors[2, 0] = 1.0, -2.0, -0.5
    return factors.flatten()[None]


@pytest.mark.parametrize("disagree", [0.0, 0.3])
def test_the_loss_without_sampling_error_is_that_of_many_examples(disagree):
    model = models.Product(3, 0.6, seed=2)
    x, sign = models.inputs(400_000, 3, disagree, seed=1)
    assert float((sign < 0).double().mean()) == pytest.approx(disagree, abs=0.01)
    with torch.no_grad():
        squares = (model(x) - models.targets(x, "product")).square()
    flat = model.factors.detach().double().flatten()[None]
    exact = float(models.Monomials(3).loss(flat, disagree))
    assert exact == pytest.approx(
        float(squares.mean()), abs=5 * float(squares.std()) / 400_000**0.5
    )


def test_both_solutions_have_no_loss_where_they_agree_and_say_what_they_use():
    monomials = models.Monomials(4)
    for cue in (True, False):
        flat = weights(cue, 4)
        assert float(monomials.loss(flat)) < 1e-20
        assert monomials.uses(flat)[0].tolist() == pytest.approx([float(cue), float(not cue)])
    assert float(monomials.loss(weights(False, 4), 0.2)) < 1e-20
    # The cue is wrong by 2u there, and E u² = 1; shrunk to (1 − 2ε)u it costs least.
    assert float(monomials.loss(weights(True, 4), 0.2)) == pytest.approx(0.8)
    shrunk = weights(True, 4)
    shrunk[0, :6] *= 0.6
    assert float(monomials.loss(shrunk, 0.2)) == pytest.approx(posterior.cue_loss(0.2))


@pytest.mark.parametrize("cue", [True, False])
def test_lambda_counts_directions_of_second_and_of_fourth_order(cue):
    """The Hessian's rank is 2λ less what fourth order adds; along its kernel the loss is t⁴."""
    dim = 3
    monomials = models.Monomials(dim)
    at = weights(cue, dim)[0]

    def loss(w: torch.Tensor) -> torch.Tensor:
        return monomials.loss(w[None])[0]

    hessian = torch.autograd.functional.hessian(loss, at)
    rank = int((torch.linalg.eigvalsh(hessian) > 1e-8).sum())
    known = models.known(dim)
    fourth = 4 * ((known.cue if cue else known.product) - rank / 2)
    # Scales of the factors keep the loss at 0: two directions are of no order at all.
    assert rank + fourth + 2 == models.NUM_FACTORS * (dim + 2)
    assert rank == (2 * dim + 3 if cue else 3 * dim + 2)


def test_lambda_by_the_volume_of_low_losses():
    """d log P(L < t)/d log t near each solution, by sampling that knows no theory."""
    nums = (300.0, 1000.0, 3000.0, 10_000.0)
    slopes: dict[str, list[float]] = {"cue": [], "product": []}
    for seed in range(3):
        row = posterior.follow(2, nums, 0.0, Effort(1500, 3, 10), seed)
        share = np.array(row["product"])
        for name, part in (("cue", 1 - share), ("product", share)):
            z = np.array(row["log_evidence"]) + np.log(part)
            slopes[name].append(float(-np.polyfit(np.log(nums), z, 1)[0]))
    known = models.known(2)
    for name, exact in (("cue", known.cue), ("product", known.product)):
        error = float(np.std(slopes[name], ddof=1)) / 3**0.5
        assert np.mean(slopes[name]) == pytest.approx(exact, abs=4 * error + 0.1), name


def test_what_theory_predicts():
    nums = [100.0, 1000.0, 10_000.0]
    exponent = models.known(4).product - models.known(4).cue
    assert exponent == 0.75
    found = posterior.predicted(4, nums, 0.0, 100.0, 1.0)
    assert np.diff(found) == pytest.approx([exponent * math.log(10)] * 2)
    apart = posterior.predicted(4, nums, 0.001, 100.0, 1.0)
    lost = np.subtract(found, apart)
    assert lost == pytest.approx([n * 4 * 0.001 * 0.999 for n in nums])
    assert posterior.crossing([1.0, 10.0, 100.0], [2.0, 1.0, -1.0]) == pytest.approx(10**1.5)
    assert math.isnan(posterior.crossing([1.0, 10.0], [2.0, 1.0]))
    assert posterior.log_odds(0.0, 100) == pytest.approx(math.log(199))
    with pytest.raises(GermError, match="2 or more"):
        models.known(1)
    with pytest.raises(GermError, match="cue or the product"):
        models.targets(torch.zeros(1, 3), "both")


def test_planted_groups_are_told_apart_and_equal_ones_are_not():
    source = np.random.default_rng(0)

    def network(follow: str, value: float) -> dict:
        chi = {"a": source.normal(), "b": source.normal() + 9 * (follow == "cue")}
        return {"follow": follow, "value": value + 0.1 * source.normal(), "chi": chi}

    networks = [network("cue", 6.0) for _ in range(8)] + [network("product", 7.0) for _ in range(8)]
    rows = {row["of"]: row for row in experiment.compared(networks)}
    assert rows["λ̂"]["auc"] == 1 and rows["λ̂"]["low"] < 1.0 < rows["λ̂"]["high"]
    assert rows["b"]["auc"] == 0 and rows["b"]["p"] < 0.001
    assert rows["a"]["p"] > 0.01
    failed = [{**n, "value": None} for n in networks]
    assert all(row["cue"]["num"] == 0 for row in experiment.compared(failed))


def test_it_runs_goes_on_and_shows_everything(tmp_path, monkeypatch):
    settings = experiment.Settings(
        2, 48, 1500, 1, 128, 10, 40, (10.0, 100.0, 400.0, 1600.0), (0.0, 0.01), 2, Effort(100, 2, 6)
    )
    first = experiment.run(settings, tmp_path, seed=0, progress=lambda *_: None)
    first.write(tmp_path / "page")
    for row in first.data["networks"]:
        assert row["loss"] < experiment.SOLVED
    monkeypatch.setattr(experiment, "measure", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(experiment, "train", lambda *_: pytest.fail("trained again"))
    again = experiment.run(settings, tmp_path, seed=0, progress=lambda *_: None)
    assert again.data == first.data
