"""Reduced-rank regression: the four cases, and the value at a point, by three other ways."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch

from germ.errors import GermError
from germ.exact import ideal, reduced_rank, reduced_rank_at
from germ.exact.deep_linear import deep_linear_at


def known(coefficient):
    return coefficient.value, coefficient.multiplicity


def canonical(m, h, n, a, b, r):
    """A, B of ranks a, b with rank(BA) = r: every pair is one of these in other bases."""
    first, second = np.zeros((h, m), dtype=int), np.zeros((n, h), dtype=int)
    first[range(a), range(a)] = 1
    seen = [*range(r), *range(a, a + b - r)]
    second[range(b), seen] = 1
    return first, second


def points(most):
    for m, h, n in itertools.product(range(1, most + 1), repeat=3):
        for a, b in itertools.product(range(min(m, h) + 1), range(min(n, h) + 1)):
            for r in range(max(0, a + b - h), min(a, b) + 1):
                yield m, h, n, a, b, r


def test_a_quarter_of_each_case_is_what_the_direct_computation_says():
    """H = 1, r = 0: K = ‖a‖²‖b‖², whose λ is the smaller of M/2 and N/2."""
    for m, n in itertools.product(range(1, 9), repeat=2):
        found = reduced_rank(m, n, 1, 0)
        assert known(found) == (Fraction(min(m, n), 2), 2 if m == n else 1)


def test_full_rank_is_regular_modulo_the_hidden_basis():
    for m, n in itertools.product(range(1, 6), repeat=2):
        for h in range(1, min(m, n) + 1):
            assert known(reduced_rank(m, n, h, h)) == (Fraction(h * (m + n - h), 2), 1)


def test_exchanging_inputs_and_outputs_changes_nothing():
    for m, n, h in itertools.product(range(1, 7), repeat=3):
        for r in range(min(m, n, h) + 1):
            assert known(reduced_rank(m, n, h, r)) == known(reduced_rank(n, m, h, r))


def test_ranks_a_b_r_all_equal_is_the_formula():
    for m, h, n, a, b, r in points(5):
        if a == b == r:
            assert known(reduced_rank_at(*canonical(m, h, n, a, b, r))) == known(
                reduced_rank(m, n, h, r)
            )


def test_two_routes_of_reduction_agree_at_every_kind_of_point():
    """The formula for (a, b, r), and stripping, merging and dropping layers."""
    for m, h, n, a, b, r in points(4):
        first, second = canonical(m, h, n, a, b, r)
        assert known(reduced_rank_at(first, second)) == known(deep_linear_at([first, second]))


def test_the_first_term_is_the_rank_of_the_differential():
    for m, h, n, a, b, r in points(3):
        first, second = canonical(m, h, n, a, b, r)
        columns = [
            *((second @ unit).ravel() for unit in np.eye(h * m, dtype=int).reshape(-1, h, m)),
            *((unit @ first).ravel() for unit in np.eye(n * h, dtype=int).reshape(-1, n, h)),
        ]
        rank = sympy.Matrix(np.stack(columns).tolist()).rank()
        assert rank == m * n - (n - b) * (m - a)
        found = reduced_rank_at(first, second)
        assert found.value >= Fraction(rank, 2)


def test_the_general_rules_for_polynomials_agree_wherever_they_decide():
    """`germ.exact.ideal` knows nothing of matrices: it eliminates variables and looks at faces."""
    decided = 0
    for m, h, n, a, b, r in points(2):
        first, second = canonical(m, h, n, a, b, r)
        one = sympy.Matrix(h, m, sympy.symbols(f"a1:{h * m + 1}"))
        two = sympy.Matrix(n, h, sympy.symbols(f"b1:{n * h + 1}"))
        target = sympy.Matrix((second @ first).tolist())
        at = dict(zip(map(str, [*one, *two]), [*first.ravel(), *second.ravel()], strict=True))
        try:
            found = ideal(
                [str(entry) for entry in two * one - target],
                at={name: int(value) for name, value in at.items()},
            )
        except GermError:
            continue
        decided += 1
        assert known(found) == known(reduced_rank_at(first, second)), (m, h, n, a, b, r)
    assert decided >= 25


def gibbs(first, second, nbeta, scale, num, seed):
    """E[nβ‖BA − B*A*‖²] under N(w*, s²): given one matrix, the other is normal: drawn exactly."""
    rng = np.random.default_rng(seed)
    target = second @ first
    a, b = first.astype(float), second.astype(float)
    h = len(first)
    kept = []

    def draw(design, values, center):
        # Columns x of: exp(−nβ‖values − design·x‖² − ‖x − center‖²/(2s²)).
        precision = 2 * nbeta * design.T @ design + np.eye(h) / scale**2
        root = np.linalg.cholesky(precision)
        mean = np.linalg.solve(precision, 2 * nbeta * design.T @ values + center / scale**2)
        return mean + np.linalg.solve(root.T, rng.normal(size=mean.shape))

    for step in range(num):
        a = draw(b, target, first)
        b = draw(a.T, target.T, second.T).T
        if step > num // 10:
            kept.append(nbeta * ((b @ a - target) ** 2).sum())
    parts = np.array_split(np.array(kept), 20)
    means = np.array([part.mean() for part in parts])
    return means.mean(), means.std(ddof=1) / 20**0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "point",
    [
        (2, 2, 2, 2, 0, 0),
        (2, 2, 2, 0, 0, 0),
        (2, 2, 2, 1, 0, 0),
        (2, 2, 2, 1, 1, 0),
        (3, 3, 2, 1, 1, 0),
    ],
)
def test_the_local_value_is_what_an_exact_sampler_finds(point):
    first, second = canonical(*point)
    truth = reduced_rank_at(first, second)
    assert truth.multiplicity == 1
    value, error = gibbs(first, second, nbeta=1e9, scale=0.1, num=8000, seed=1)
    # The neighbours in the table of local values are 1/2 away.
    assert error < 0.03 and abs(value - float(truth.value)) < 4 * error


def test_floats_and_tensors_are_read_by_their_singular_values():
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    for case in ((1, 1, 1), (2, 1, 1), (2, 1, 0), (1, 1, 0)):
        first, second = canonical(3, 3, 3, *case)
        truth = known(reduced_rank_at(first, second))
        one, two = left @ first, second @ left.T @ np.eye(3)
        assert known(reduced_rank_at(one @ right, two)) == truth
        tensors = [torch.tensor(part, dtype=torch.float32) for part in (one @ right, two)]
        assert known(reduced_rank_at(*tensors)) == truth


def test_exact_numbers_are_taken_exactly():
    tiny = Fraction(1, 10**30)
    assert known(reduced_rank_at([[tiny, 0], [0, 1]], [[0, 0], [0, 0]])) == (2, 1)
    symbols = [[sympy.Rational(1, 3), sympy.Integer(0)], [0, 1]]
    assert known(reduced_rank_at(symbols, [[0, 0], [0, 0]])) == (2, 1)


def test_a_rank_without_a_gap_is_refused():
    first = np.diag([1.0, 1e-13])
    with pytest.raises(GermError, match=r"rank of W_1.*1e-13.*Fraction"):
        reduced_rank_at(first, np.zeros((2, 2)))


def test_refusals_say_what_came():
    with pytest.raises(GermError, match=r"rank <= 2.*got 3"):
        reduced_rank(3, 2, 4, 3)
    with pytest.raises(GermError, match="at least 1"):
        reduced_rank(0, 2, 4, 0)
    with pytest.raises(GermError, match="finite real numbers; got <U1"):
        reduced_rank_at([["x", "y"]], [[1]])
