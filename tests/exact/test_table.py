"""The table of known learning coefficients, in both directions.

From the question to λ and m, exactly; and from the function to E[nβK] at finite nβ, by
integration that knows nothing of germ.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.exact.table import NBETAS, ROWS

import germ.exact


def test_no_row_is_missing():
    assert sorted({row.number for row in ROWS}) == list(range(1, 58))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number}-{row.ask}-{row.arguments}")
def test_the_exact_value(row):
    found = getattr(germ.exact, row.ask)(*row.arguments)
    assert (found.value, found.multiplicity) == (row.value, row.multiplicity)
    assert found.method and found.source and found.steps


def gauss(edges, order):
    """Nodes and weights of a composite Gauss–Legendre rule."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    half = np.diff(edges) / 2
    x = (edges[:-1] + half)[:, None] + half[:, None] * nodes
    return x.ravel(), (half[:, None] * weights).ravel()


def plane_expectations(expression):
    """E[nβK] over [−1, 1]². The rule agrees to 6 digits with one of four times as many nodes.

    Fine in x, as narrow as any valley; y = ±e^−t, since K may be flat along y = 0 for long, and
    fine towards |y| = 1, where a valley may leave the square at a corner.
    """
    x, x_weights = gauss(np.linspace(-1, 1, 501), 12)
    edges = np.concatenate([[0], np.geomspace(1e-5, 0.3, 15), np.linspace(0.3, 18, 60)[1:]])
    t, t_weights = gauss(edges, 6)
    y = np.concatenate([np.exp(-t), -np.exp(-t)])
    y_weights = np.tile(t_weights * np.exp(-t), 2)
    code = compile(expression.replace("^", "**"), "table", "eval")
    potential = np.broadcast_to(eval(code, {"x": x[None, :], "y": y[:, None]}), (len(y), len(x)))
    found = []
    for nbeta in NBETAS:
        energy = nbeta * potential
        density = np.exp(-energy)
        inner = density @ x_weights, (energy * density) @ x_weights
        found.append(y_weights @ inner[1] / (y_weights @ inner[0]))
    return found


def product_expectation(dim, nbeta):
    """E[nβK] of K = Π x_i²: −log Π|x_i| is a sum of exponential variables, so a gamma variable."""
    middle = math.log(nbeta) / 2
    s, weights = gauss(np.linspace(0, middle + 40, 600), 12)
    energy = nbeta * np.exp(-2 * s)
    density = weights * s ** (dim - 1) * np.exp(middle - s - energy)
    return (energy * density).sum() / density.sum()


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.expected], ids=lambda row: row.arguments[0]
)
def test_the_value_at_finite_nbeta(row):
    expression = row.arguments[0]
    dim = len(set(expression) & set("xyzw"))
    found = (
        [product_expectation(dim, nbeta) for nbeta in NBETAS]
        if dim > 2
        else plane_expectations(expression)
    )
    for value, printed in zip(found, row.expected, strict=True):
        assert abs(value - printed) < 0.55e-4, f"{found} where {row.expected} is printed"
    # And it goes where the exact coefficient says.
    distances = [abs(value - float(row.value)) for value in found]
    assert distances[2] <= distances[0] + 1e-5


@pytest.mark.parametrize(("number", "dim"), [(5, 2), (26, 3), (27, 4)])
def test_the_multiplicity_is_seen_at_an_nbeta_that_is_large_enough(number, dim):
    """E = λ − (m−1)/log nβ + O(1/log² nβ); at 10²⁰⁰ little else is left."""
    row = next(row for row in ROWS if row.number == number)
    logs = np.array([100, 200]) * math.log(10)
    found = np.array([product_expectation(dim, math.exp(log)) for log in logs])
    slope = (found[1] - found[0]) / (1 / logs[0] - 1 / logs[1])
    assert slope == pytest.approx(row.multiplicity - 1, rel=0.03)
    assert found[1] + (row.multiplicity - 1) / logs[1] == pytest.approx(float(row.value), abs=1e-3)
