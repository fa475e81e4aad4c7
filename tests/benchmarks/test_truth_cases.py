"""The answers that estimators are judged by, each against another way to compute it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from benchmarks.truth import references
from benchmarks.truth.case import DEVELOPMENT, UNSEEN
from benchmarks.truth.cases import CASES
from benchmarks.truth.linear import Linear
from benchmarks.truth.polynomial import Polynomial
from benchmarks.truth.quadratic import Quadratic
from benchmarks.truth.quadrature import by_product_rule, on_a_grid
from scipy.integrate import quad

import germ
from germ.errors import GermError

POLYNOMIALS = [case for case in CASES if isinstance(case, Polynomial)]


def mean_loss(posterior: germ.LocalPosterior, place: torch.Tensor) -> float:
    batch = posterior.batch(torch.arange(posterior.data.num_examples))
    with torch.no_grad():
        return float(posterior.example_losses(place, batch).double().mean())


def test_the_suite_is_what_it_says():
    assert len(CASES) >= 40
    assert len({(case.family, case.name) for case in CASES}) == len(CASES)
    developed = [case for case in CASES if case.split == DEVELOPMENT]
    assert len(developed) == 5 and {case.split for case in CASES} == {DEVELOPMENT, UNSEEN}
    families = {case.family for case in CASES}
    assert families == {"quadratic", "polynomial", "reduced rank", "deep linear", "network"}


def test_every_case_has_an_answer_that_is_known_well():
    known = references.load()
    for case in CASES:
        if isinstance(case, Quadratic | Polynomial):
            continue  # the slow ones of these are computed in the tests below
        found = references.expectation(case, known)
        assert found.value > 0
        assert found.error < 0.05 * found.value, f"{case.name}: {found}"
        assert found.details["rhat"] < 1.05, case.name
        # Beside the Leimkuhler–Matthews run at the smaller step, whose bias is of second order.
        check = found.details["checks"][-1]
        allowed = 4 * math.hypot(found.error, check["error"]) + 0.1 * found.value
        assert abs(check["value"] - found.value) < allowed, case.name


def test_a_case_without_a_reference_says_what_to_do():
    case = Linear(name="none", widths=(2, 2), rank=1, seed=99)
    with pytest.raises(GermError, match="--references"):
        references.expectation(case, {})


@pytest.mark.parametrize("offset", [0.0, 0.7])
def test_a_quadratic_against_a_sum_over_a_grid(offset):
    case = Quadratic(name="t", dim=2, condition=30.0, rotated=True, offset=offset, num_examples=300)
    posterior = case.posterior()
    inputs, targets = (x.double() for x in posterior.batch(torch.arange(300)))
    anchor = posterior.anchor.double()
    axis = torch.linspace(-6, 6, 241, dtype=torch.float64)
    # The softest direction has a posterior deviation of about (nβ/30 + γ)^(-1/2).
    reach = (posterior.nbeta / 40 + posterior.localization) ** -0.5
    away = reach * torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    losses = 0.5 * ((anchor + away) @ inputs.T - targets[:, 0]).square().mean(1)
    base = 0.5 * (anchor @ inputs.T - targets[:, 0]).square().mean()
    energy = posterior.nbeta * (losses - base)
    weight = (-energy - 0.5 * posterior.localization * away.square().sum(1)).softmax(0)
    assert float((energy * weight).sum()) == pytest.approx(case.expectation().value, rel=1e-5)


@pytest.mark.parametrize("case", POLYNOMIALS, ids=lambda case: case.name)
def test_the_loss_of_a_polynomial_case_is_the_polynomial(case):
    posterior = case.posterior()
    base = mean_loss(posterior, posterior.anchor)
    source = torch.Generator().manual_seed(3)
    for place in posterior.anchor + 0.7 * torch.randn(4, len(case.at), generator=source):
        rise = mean_loss(posterior, place) - base
        assert rise == pytest.approx(float(case.potential(place)), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("case", POLYNOMIALS, ids=lambda case: case.name)
def test_the_coefficient_of_a_polynomial_case_is_that_of_germ_exact(case):
    names = "xyzu"[: len(case.at)]

    def text(form):
        return " + ".join(
            f"({factor:g})*" + "*".join(f"{n}^{p}" for n, p in zip(names, powers, strict=True))
            for factor, powers in form
        )

    polynomial = " + ".join(f"({text(form)})^2" for form in case.forms)
    at = dict(zip(names, (int(x) for x in case.at), strict=True))
    found = germ.exact.polynomial(polynomial, at=at)
    assert (str(found.value), found.multiplicity) == (case.value, case.multiplicity)


@pytest.mark.parametrize("power", [2, 4, 6])
def test_quadrature_in_one_variable_against_scipy(power):
    nbeta, localization = 700.0, 2.0

    def moment(k: int) -> float:
        def density(w: float) -> float:
            energy = nbeta * w**power
            return energy**k * math.exp(-energy - 0.5 * localization * w * w)

        return quad(density, -4, 4, points=[0], limit=400, epsabs=1e-13)[0]

    exact = moment(1) / moment(0)
    grid = on_a_grid(lambda w: w[..., 0] ** power, (0.0,), nbeta, localization)
    assert grid.value == pytest.approx(exact, rel=1e-7)
    assert by_product_rule((power,), nbeta, localization).value == pytest.approx(exact, rel=1e-4)


def test_two_rules_of_quadrature_agree_in_two_variables():
    grid = on_a_grid(lambda w: (w[..., 0] * w[..., 1] ** 2) ** 2, (0.0, 0.0), 900.0, 1.0)
    product = by_product_rule((2, 4), 900.0, 1.0)
    assert product.value == pytest.approx(grid.value, rel=1e-4)
    assert product.error < 1e-4


def test_three_variables_against_plain_monte_carlo():
    source = np.random.default_rng(0)
    energy = 40.0 * np.prod(source.standard_normal((400_000, 3)) ** 2, axis=1)
    weight = np.exp(-energy)
    value = (energy * weight).mean() / weight.mean()
    influence = (energy - value) * weight / weight.mean()
    error = influence.std() / len(influence) ** 0.5
    assert error < 0.002
    assert abs(by_product_rule((2, 2, 2), 40.0, 1.0).value - value) < 4 * error


def test_the_reduced_data_have_the_same_loss():
    case = Linear(name="t", widths=(4, 2, 4), rank=1, num_examples=5_000)
    every, few = case.posterior(), case.exact_posterior()
    assert few.data.num_examples < 10
    source = torch.Generator().manual_seed(0)
    for scale in (0.0, 0.1, 1.0):
        place = every.anchor + scale * torch.randn(len(every.anchor), generator=source)
        assert mean_loss(few, place) == pytest.approx(mean_loss(every, place), rel=1e-5)


def test_a_reference_belongs_to_the_posterior_and_not_to_the_name():
    one = Linear(name="a", widths=(3, 3), rank=1)
    assert one.key == Linear(name="b", widths=(3, 3), rank=1, full_batch=True).key
    assert one.key != Linear(name="a", widths=(3, 3), rank=1, localization=1.0).key
    assert one.key != Linear(name="a", widths=(3, 3), rank=1, num_examples=50_000).key
