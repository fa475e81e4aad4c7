"""Ranks of matrices and of their products, exact where the entries are, else with a gap test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Rational
from typing import Any

import numpy as np

from germ.errors import GermError

SLACK = 16.0
"""Rounding leaves singular values of up to about this, in units of ε times the largest width."""

GAP = 1e3
"""A singular value within this factor of the rounding is neither zero nor not."""

CLEAR = 1e-6
"""Nor is one below this, relative to the largest: float64 weights may have been float32 before."""


def rank_table(weights: Sequence[Any]) -> dict[tuple[int, int], int]:
    """Ranks of all products of consecutive matrices.

    Args:
        weights: W_1, …, W_L, in the order in which they act: W_j has H_j rows, H_{j−1} columns.

    Returns:
        By (i, j), i ≤ j: the rank of W_j ⋯ W_{i+1}; at (i, i) the width H_i.

    Raises:
        GermError: No matrices, shapes that do not chain, entries that are not finite numbers, or
            singular values that leave a rank open.
    """
    if len(weights) < 1:
        raise GermError("expected at least one matrix; got none")
    matrices = [_matrix(weight, f"W_{k}") for k, weight in enumerate(weights, 1)]
    for k, (lower, upper) in enumerate(pairwise(matrices), 1):
        if upper.shape[1] != len(lower):
            raise GermError(
                f"expected W_{k + 1} to have as many columns as W_{k} has rows; got shapes "
                f"{upper.shape} and {lower.shape} (matrices are (outputs, inputs), in the order "
                "in which they act)"
            )
    exact = all(matrix.dtype == object for matrix in matrices)
    rank = _exact_rank if exact else _gap_test(matrices)
    widths = [matrices[0].shape[1], *(len(matrix) for matrix in matrices)]
    table = {(i, i): width for i, width in enumerate(widths)}
    for i in range(len(matrices)):
        product, scale = matrices[i], 1.0
        for j in range(i + 1, len(widths)):
            if j > i + 1:
                product = matrices[j - 1] @ product
            if not exact:  # rounding in a product is relative to its factors, not to itself
                scale *= float(np.linalg.norm(matrices[j - 1].astype(float), 2))
            name = f"W_{j}" if j == i + 1 else f"W_{j}⋯W_{i + 1}"
            table[i, j] = rank(product, scale, name)
    return table


def _matrix(weight: Any, name: str) -> np.ndarray:
    """A matrix of Python's exact numbers (dtype object) or of floats."""
    if hasattr(weight, "detach"):  # a tensor, without importing PyTorch to know
        weight = weight.detach().cpu()
    try:
        array = np.asarray(weight)
    except (TypeError, ValueError) as err:
        raise GermError(f"expected {name} to be a matrix of numbers; {err}") from None
    if array.ndim != 2 or 0 in array.shape:
        raise GermError(f"expected {name} to be a matrix; got shape {array.shape}")
    if array.dtype.kind in "iub":
        return np.array([[int(x) for x in row] for row in array.tolist()], dtype=object)
    if array.dtype == object:
        # SymPy's rationals are no `numbers.Rational` until asked for p and q.
        pairs = [[(getattr(x, "p", None), getattr(x, "q", None)) for x in row] for row in array]
        if all(isinstance(x, Rational) for row in array for x in row) or all(
            isinstance(p, int) and isinstance(q, int) for row in pairs for p, q in row
        ):
            return array
        raise GermError(f"expected {name} to hold integers, fractions or floats only")
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise GermError(f"expected {name} to hold finite real numbers; got {array.dtype}")
    return array


def _exact_rank(matrix: np.ndarray, scale: float, name: str) -> int:
    """By elimination over the rationals."""
    from sympy import QQ, Matrix
    from sympy.polys.matrices import DomainMatrix

    rows = Matrix(matrix.tolist())
    return DomainMatrix.from_Matrix(rows).convert_to(QQ).rank()


def _gap_test(matrices: Sequence[np.ndarray]) -> Callable[[np.ndarray, float, str], int]:
    """Rank from singular values, or a refusal where there is no gap to read it from."""
    floats = [m.dtype for m in matrices if m.dtype != object]
    epsilon = max(float(np.finfo(dtype).eps) for dtype in floats)
    unit = SLACK * epsilon * max(max(matrix.shape) for matrix in matrices)

    def rank(matrix: np.ndarray, scale: float, name: str) -> int:
        values = np.linalg.svd(matrix.astype(float), compute_uv=False)
        floor = unit * scale
        clear = max(GAP * floor, CLEAR * scale)
        open_ones = values[(values > floor) & (values < clear)]
        if len(open_ones):
            raise GermError(
                f"expected the rank of {name} to be clear; its singular value {open_ones[0]:.2g} "
                f"is neither rounding (below {floor:.1g}) nor surely more (above {clear:.1g}): "
                "give exact numbers (integers or fractions.Fraction), or a wider precision"
            )
        return int((values > floor).sum())

    return rank
