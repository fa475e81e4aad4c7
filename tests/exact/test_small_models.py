"""Tanh networks, mixtures, factor analysis, modular addition: each against something else."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import integrate

from germ.errors import GermError
from germ.exact import (
    Coefficient,
    emerging_component,
    factor_analysis,
    factor_analysis_bound,
    idle_unit,
    mixture_bound,
    modular_addition_bound,
    split_component,
    tanh,
)


def known(coefficient):
    return coefficient.value, coefficient.multiplicity


def test_one_tanh_unit_is_a_product():
    """K ~ a²b²: λ = 1/2, m = 2."""
    assert known(tanh(1)) == (Fraction(1, 2), 2)


def test_tanh_grows_with_units_and_stays_below_half_of_them():
    """A unit more can only add; a unit at zero alone adds at most 1/2."""
    values = [tanh(h).value for h in range(1, 60)]
    for low, high in itertools.pairwise(values):
        assert low < high <= low + Fraction(1, 2)
    # m = 2 marks the corners of a piecewise linear function: the pieces meet there.
    for h in range(2, 58):
        bends = values[h] - values[h - 1] != values[h - 1] - values[h - 2]
        assert bends == (tanh(h).multiplicity == 2)


def test_two_tanh_units_by_integration():
    """K = Σ_k (Σ a_i b_i^(2k−1))², k = 1, 2: given b it is a normal integral in a ~ N(0, 1).

    −log Z grows as λ log nβ: 2/3, without a logarithm.
    """
    nodes, weights = np.polynomial.legendre.leggauss(8)

    def composite(edges):
        half = np.diff(edges) / 2
        points = (edges[:-1] + half)[:, None] + half[:, None] * nodes
        return points.ravel(), (half[:, None] * weights).ravel()

    s, s_weights = composite(np.linspace(0, 30, 100))
    # b = (r, rρ) with r = e^−s; fine in ρ towards 0 and 1, where the two are one unit.
    t, t_weights = composite(np.linspace(np.log(1e-9), np.log(0.5), 100))
    ratio = np.concatenate([np.exp(t), 1 - np.exp(t)])
    measure = np.tile(t_weights * np.exp(t), 2)
    r = np.exp(-s)[:, None]
    one, two = r, r * ratio

    def log_evidence(nbeta):
        trace = one**2 + two**2 + one**6 + two**6
        determinant = 1 + 2 * nbeta * trace + (2 * nbeta * (one * two**3 - two * one**3)) ** 2
        return np.log((s_weights * r[:, 0] ** 2) @ (determinant**-0.5 @ measure))

    slope = (log_evidence(1e12) - log_evidence(1e16)) / math.log(1e4)
    assert slope == pytest.approx(float(tanh(2).value), abs=2e-3)
    assert tanh(2).multiplicity == 1


def relative_entropy(density, truth):
    """∫ q log(q/p) on a grid that is wide and fine enough for unit normals."""
    x = np.linspace(-12, 12, 2401)
    return integrate.simpson(truth(x) * np.log(truth(x) / density(x)), x=x)


def normal(mean):
    return lambda x: np.exp(-((x - mean) ** 2) / 2) / math.sqrt(2 * math.pi)


def test_an_emerging_component_has_the_relative_entropy_of_a_product():
    """K/(a²b²) stays within constants on a neighbourhood of the origin: K ~ a²b²."""
    ratios = [
        relative_entropy(lambda x, a=a, b=b: (1 - a) * normal(0)(x) + a * normal(b)(x), normal(0))
        / (a * b) ** 2
        for a in (0.001, 0.01, 0.1)
        for b in (-0.3, 0.02, 0.3)
    ]
    assert min(ratios) > 0.4 and max(ratios) < 0.65
    assert known(emerging_component()) == (Fraction(1, 2), 2)


def test_a_split_component_has_the_relative_entropy_of_a_square_and_a_fourth_power():
    ratios = []
    for u in (-1e-2, 0.0, 1e-3, 1e-2):
        for b1 in (-0.2, 0.05, 0.2):
            b2 = (u - 0.3 * b1) / 0.7
            mixture = lambda x, b1=b1, b2=b2: 0.3 * normal(b1)(x) + 0.7 * normal(b2)(x)  # noqa: E731
            ratios.append(relative_entropy(mixture, normal(0)) / (u**2 + b1**4))
    assert min(ratios) > 0.03 and max(ratios) < 0.6
    assert known(split_component()) == (Fraction(3, 4), 1)


def test_the_bound_on_mixtures_holds_where_the_value_is_known():
    # Weight and one mean free, beside a component that is fixed: (i, j, r) = (2, 1, 1) has one
    # parameter more than the emerging component, the mean of the first.
    assert mixture_bound(2, 1, 1).value == min(Fraction(2), Fraction(2)) / 2
    # No spare component: half the number of parameters, the model is regular.
    for j, r in ((1, 2), (3, 2), (4, 5)):
        assert mixture_bound(j, j, r).value == Fraction(j * r + j - 1, 2)
    # A sparse prior of the weights empties components for less.
    values = [mixture_bound(4, 2, 3, phi).value for phi in (Fraction(1, 2), 1, 2, 3, 9)]
    assert values == sorted(values) and values[0] < values[-1] == values[-2]


def test_factor_analysis_has_the_values_of_sbic():
    """The table of the tests of R's sBIC 0.2.0, six covariates, where germ's conditions hold."""
    table = {(1, 0): "9/2", (1, 1): 6, (2, 1): "29/4", (2, 2): "17/2", (3, 3): "21/2"}
    for (factors, truth), value in table.items():
        assert known(factor_analysis(6, factors, truth)) == (Fraction(value), 1)
    assert factor_analysis_bound(6, 2, 0).value == 6
    assert factor_analysis_bound(6, 3, 2).value == Fraction(19, 2)


def covariance_rank(m, k, seed):
    """Rank of the differential of (D, Λ) ↦ D + ΛΛᵀ at generic loadings."""
    loadings = np.random.default_rng(seed).normal(size=(m, k))
    upper = np.triu_indices(m)
    rows = [np.diag(unit)[upper] for unit in np.eye(m)]
    for unit in np.eye(m * k).reshape(-1, m, k):
        rows.append((unit @ loadings.T + loadings @ unit.T)[upper])
    return np.linalg.matrix_rank(np.array(rows))


def test_factor_analysis_with_the_right_number_of_factors_is_regular():
    for m in range(3, 9):
        for k in range(1, m):
            try:
                found = factor_analysis(m, k, k)
            except GermError:
                # Refused where the factors are not identified: less is determined than counted.
                assert 2 * factor_analysis_bound(m, k, k).value > covariance_rank(m, k, 0)
            else:
                assert found.value == Fraction(int(covariance_rank(m, k, 0)), 2)


def test_one_factor_too_many_over_independent_covariates_is_a_newton_polyhedron():
    """Off the diagonal ΛΛᵀ is b_i b_j: λ of Σ_{i<j} b_i²b_j² is m/4 (weights 1/4 each), m = 1."""
    for m in (3, 4, 7):
        assert known(factor_analysis(m, 1, 0)) == (Fraction(m, 2) + Fraction(m, 4), 1)


def test_factor_analysis_refuses_what_is_not_proved():
    # Two covariates: K ~ b_1²b_2² has λ = 1/2 and m = 2, which the formula does not say.
    for case in ((2, 1, 0), (6, 3, 1), (4, 3, 3)):
        with pytest.raises(GermError, match=r"not proved.*factor_analysis_bound"):
            factor_analysis(*case)
    with pytest.raises(GermError, match="covariates >= 2"):
        factor_analysis_bound(6, 2, 3)


def jacobian_rank(p, hidden, seed):
    """Rank of the differential of the network's p³ outputs at random weights."""
    rng = np.random.default_rng(seed)
    u, v, outer = rng.normal(size=(3, hidden, p))
    rows = []
    for h in range(hidden):
        summed = u[h][:, None] + v[h][None, :]
        for k in range(p):
            moved = np.zeros((p, p, p))
            moved[k] = summed**2
            rows.append(moved.ravel())
        for a in range(p):
            by_u, by_v = np.zeros((2, p, p, p))
            by_u[:, a, :] = 2 * outer[h][:, None] * summed[a]
            by_v[:, :, a] = 2 * outer[h][:, None] * summed[:, a]
            rows += [by_u.ravel(), by_v.ravel()]
    return np.linalg.matrix_rank(np.array(rows))


@pytest.mark.parametrize(("p", "hidden"), [(3, 2), (3, 5), (5, 9), (5, 4)])
def test_random_quadratic_networks_are_as_regular_as_the_bound_allows(p, hidden):
    assert 2 * modular_addition_bound(p, hidden).value == jacobian_rank(p, hidden, 0)


def test_an_idle_unit_adds_less_than_a_busy_one():
    assert known(idle_unit(53)) == (Fraction(105, 4), 1)
    assert idle_unit(7).value < modular_addition_bound(7, 1).value


def test_bounds_are_told_from_values():
    bound = mixture_bound(2, 1, 2)
    assert str(bound) == "λ ≤ 3/2" and bound.to_dict()["lambda_at_most"] == "3/2"
    assert not isinstance(bound, Coefficient) and not hasattr(bound, "multiplicity")


@pytest.mark.parametrize(
    "call",
    [
        lambda: tanh(0),
        lambda: mixture_bound(1, 2, 1),
        lambda: mixture_bound(2, 1, 1, 0),
        lambda: modular_addition_bound(1, 4),
        lambda: idle_unit(1),
    ],
)
def test_refusals(call):
    with pytest.raises(GermError, match="expected"):
        call()
