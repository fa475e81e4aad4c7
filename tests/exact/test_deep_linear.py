"""Deep linear networks: Aoyagi's formula, and what the reduction at a point makes of it."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import sympy

from germ.errors import GermError
from germ.exact import deep_linear, deep_linear_at, ideal, reduced_rank, reduced_rank_at
from germ.zoo.deep_linear import singular_truth


def known(coefficient):
    return coefficient.value, coefficient.multiplicity


def test_the_published_worked_example():
    # A printed run of edmundlth/validating_lambdahat: true λ = 20546.5, m = 3.
    widths = [455, 395, 125, 350, 277, 261, 297]
    assert known(deep_linear(widths, 28)) == (Fraction(41093, 2), 3)


def test_two_layers_are_reduced_rank_regression():
    """Two formulas of two papers."""
    for m, n, h in itertools.product(range(1, 8), repeat=3):
        for r in range(min(m, n, h) + 1):
            assert known(deep_linear([m, h, n], r)) == known(reduced_rank(m, n, h, r))


def test_one_layer_is_regular():
    assert known(deep_linear([4, 7], 3)) == (Fraction(4 * 7, 2), 1)


def test_reversing_the_network_changes_nothing():
    assert known(deep_linear([9, 4, 6, 5], 2)) == known(deep_linear([5, 6, 4, 9], 2))


def ones(out, into, *places):
    """A matrix of zeros, with ones at some places."""
    matrix = np.zeros((out, into), dtype=int)
    for place in places:
        matrix[place] = 1
    return matrix


def gauge(weights, seed):
    """The same product: unimodular G_i between the layers, so that no coordinate is special."""
    rng = np.random.default_rng(seed)
    moved = [weight.copy() for weight in weights]
    for k in range(len(weights) - 1):
        width = len(weights[k])
        lower = np.tril(rng.integers(-2, 3, (width, width)), -1) + np.eye(width, dtype=int)
        inverse = np.round(np.linalg.inv(lower)).astype(int)
        assert (lower @ inverse == np.eye(width)).all()
        moved[k], moved[k + 1] = lower @ moved[k], moved[k + 1] @ inverse
    return moved


@pytest.mark.parametrize(
    ("widths", "rank"), [((4, 3, 5), 1), ((3, 4, 3, 4), 2), ((5, 5, 5, 5, 5), 0), ((4, 2, 3, 5), 2)]
)
def test_the_most_singular_point_has_the_formula(widths, rank):
    weights = [
        ones(out, into, *((i, i) for i in range(rank))) for into, out in itertools.pairwise(widths)
    ]
    expected = known(deep_linear(widths, rank))
    assert known(deep_linear_at(weights)) == expected
    assert known(deep_linear_at(gauge(weights, 1))) == expected


def test_a_network_of_the_zoo_in_floats():
    truth = singular_truth([6, 4, 5, 6], 2, seed=3, singular_values=(2.0, 0.5))
    assert known(deep_linear_at(list(truth.parameters()))) == known(deep_linear([6, 4, 5, 6], 2))
    # In float64 the rounding of float32 is no rounding any more, and no rank either.
    with pytest.raises(GermError, match="rank of W_1 to be clear"):
        deep_linear_at(list(truth.double().parameters()))


def test_a_random_network_is_regular():
    """Layers of full rank that widen and then narrow: the product moves freely."""
    rng = np.random.default_rng(0)
    widths = [3, 5, 6, 4]
    weights = [rng.normal(size=(o, i)) for i, o in itertools.pairwise(widths)]
    assert known(deep_linear_at(weights)) == (Fraction(3 * 4, 2), 1)


def test_a_random_network_with_a_bottleneck_has_the_dimension_of_its_image():
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(o, i)) for i, o in itertools.pairwise([5, 4, 2, 4, 6])]
    # Matrices of rank 2 in 6 × 5: 2·(5 + 6 − 2) dimensions.
    assert known(deep_linear_at(weights)) == (9, 1)


def test_a_scalar_between_two_vectors():
    """W_3 w W_1 with w = 0 and the others not: K ~ w², which no merging finds."""
    assert known(deep_linear_at([[[1, 0]], [[0]], [[1], [0]]])) == (Fraction(1, 2), 1)


def test_an_invertible_layer_can_be_absorbed_anywhere():
    a, b = ones(3, 4, (0, 0)), ones(2, 3, (0, 1))
    two = known(reduced_rank_at(a, b))
    square = np.array([[2, 1, 0], [1, 1, 0], [0, 3, 1]])
    assert (
        known(deep_linear_at([a, square, b @ np.round(np.linalg.inv(square)).astype(int)])) == two
    )
    assert known(deep_linear_at([np.eye(4, dtype=int), a, b])) == two
    assert known(deep_linear_at([a, b, np.eye(2, dtype=int)])) == two


def sparse_networks(num):
    """Integer weights with many zeros, at which layers and products have ranks of all kinds."""
    for seed in range(num):
        rng = np.random.default_rng(seed)
        widths = rng.integers(1, 4, size=4).tolist()
        weights = [
            rng.integers(-1, 2, (o, i)) * (rng.random((o, i)) < 0.4)
            for i, o in itertools.pairwise(widths)
        ]
        yield widths, weights


def local(weights):
    try:
        return known(deep_linear_at(weights))
    except GermError:
        return None


def test_transposing_the_network_and_changing_bases_change_nothing():
    for seed, (_, weights) in enumerate(sparse_networks(60)):
        reverse = [weight.T for weight in reversed(weights)]
        assert local(weights) == local(reverse) == local(gauge(weights, seed))


def test_the_local_value_is_never_below_the_least_on_the_fibre():
    decided = 0
    for widths, weights in sparse_networks(200):
        product = weights[2] @ weights[1] @ weights[0]
        rank = sympy.Matrix(product.tolist()).rank()
        found = local(weights)
        if found is not None:
            decided += 1
            assert deep_linear(widths, rank).value <= found[0] <= Fraction(product.size, 2)
    assert decided > 150


def test_the_general_rules_for_polynomials_agree_wherever_both_decide():
    """`germ.exact.ideal` of the entries of W_3 W_2 W_1 − C knows nothing of matrices."""
    both = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        widths = rng.integers(1, 3, size=4).tolist()
        weights = [
            rng.integers(-1, 2, (o, i)) * (rng.random((o, i)) < 0.5)
            for i, o in itertools.pairwise(widths)
        ]
        free = [
            sympy.Matrix(*weight.shape, sympy.symbols(f"{name}1:{weight.size + 1}"))
            for name, weight in zip("abc", weights, strict=True)
        ]
        entries = free[2] * free[1] * free[0]
        entries -= sympy.Matrix((weights[2] @ weights[1] @ weights[0]).tolist())
        names = [str(symbol) for matrix in free for symbol in matrix]
        values = [int(value) for weight in weights for value in weight.ravel()]
        try:
            found = known(
                ideal(
                    [str(sympy.expand(entry)) for entry in entries],
                    at=dict(zip(names, values, strict=True)),
                )
            )
        except GermError:
            continue
        if (direct := local(weights)) is not None:
            both += 1
            assert found == direct, weights
    assert both >= 25


def test_what_is_open_is_refused():
    weights = [ones(2, 2, (0, 0)), ones(2, 2, (1, 1)), ones(2, 2, (0, 0))]
    with pytest.raises(GermError, match=r"open problem.*2411.19920"):
        deep_linear_at(weights)


def test_refusals_say_what_came():
    with pytest.raises(GermError, match=r"two or more widths.*\[3\]"):
        deep_linear([3], 0)
    with pytest.raises(GermError, match=r"rank <= 2.*got 3"):
        deep_linear([4, 2, 4], 3)
    with pytest.raises(GermError, match="at least one matrix"):
        deep_linear_at([])
    with pytest.raises(GermError, match=r"W_2.*columns.*\(2, 2\) and \(3, 2\)"):
        deep_linear_at([ones(3, 2), ones(2, 2)])
    with pytest.raises(GermError, match="finite real numbers"):
        deep_linear_at([np.array([[np.nan]])])
    with pytest.raises(GermError, match="matrix; got shape"):
        deep_linear_at([np.zeros(3)])
