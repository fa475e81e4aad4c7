"""Potentials of few variables whose λ and m are known exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from germ import exact
from germ.exact import Coefficient


@dataclass(frozen=True)
class Case:
    """One potential.

    Attributes:
        row: Of facts.md §2, where it is one.
        name: As it is written.
        potential: K of points (num_points, dim).
        dim: Of a point.
        truth: λ and m by `germ.exact`.
        centre: Of the box of side 2, or of side 2·`radius`.
        radius: Half the side of the box.
        expected: E[nβK] at nβ = 10², 10⁴, 10⁶ as facts.md prints it.
        smallest: The t that splitting goes down to.
    """

    row: str
    name: str
    potential: Callable[[np.ndarray], np.ndarray]
    dim: int
    truth: Coefficient
    centre: tuple[float, ...] = ()
    radius: float = 1.0
    expected: tuple[float, ...] = ()
    smallest: float = 1e-20

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """The box of the uniform prior."""
        centre = self.centre or (0.0,) * self.dim
        return [(each - self.radius, each + self.radius) for each in centre]


def cases() -> list[Case]:
    """All of them."""
    return [*_polynomials(), *_products(), *_reduced_rank()]


def _polynomials() -> list[Case]:
    flat, seventh = (0.5,) * 3, (0.6667,) * 3
    table: list[tuple[str, str, int, tuple[float, ...]]] = [
        ("1", "x^2", 1, ()),
        ("2", "x^4", 1, ()),
        ("3", "x^6", 1, ()),
        ("4", "x^2+y^2", 2, (1.0, 1.0, 1.0)),
        ("5", "x^2*y^2", 2, (0.3478, 0.4105, 0.4366)),
        ("6", "x^2*y^4", 2, (0.2043, 0.2372, 0.2461)),
        ("7", "x^4*y^4", 2, (0.1368, 0.1756, 0.1946)),
        ("8", "x^2*y^6", 2, (0.1421, 0.1617, 0.1656)),
        ("9", "x^4*y^6", 2, ()),
        ("10", "x^6*y^6", 2, ()),
        ("11", "x^2+y^4", 2, (0.75,) * 3),
        ("12", "x^4+y^4", 2, flat),
        ("13", "x^2+y^6", 2, seventh),
        ("14", "x^6+y^6", 2, (0.3333,) * 3),
        ("15", "(x^2+y^2)^2", 2, ()),
        ("16", "(x^2+y^2+z^2)^3", 3, ()),
        ("17", "(x^2-y^3)^2", 2, (0.3717, 0.3912, 0.4012)),
        ("18", "(x^2-y^5)^2", 2, (0.3276, 0.3399, 0.3452)),
        ("19", "x^2*(x^2-y^3)^2", 2, (0.2368, 0.2649, 0.2733)),
        ("20", "x^2*y^2*(x+y)^2", 2, (0.2365, 0.3011, 0.32)),
        ("21", "(x^2-y^2)^2", 2, ()),
        ("22", "x^4+x^2*y^2", 2, (0.3753, 0.4204, 0.4417)),
        ("23", "x^2*y^2+x^6+y^6", 2, (0.3969, 0.4284, 0.4461)),
        ("24", "x^4+x^2*y^4", 2, (0.3239, 0.3505, 0.3623)),
        ("25", "(x+y^2)^2+y^6", 2, seventh),
        ("26", "x^2*y^2*z^2", 3, (0.2268, 0.3278, 0.3757)),
        ("27", "x^2*y^2*z^2*u^2", 4, (0.1371, 0.2532, 0.3177)),
    ]
    found = [
        Case(
            row, expression, _function(expression), dim, exact.polynomial(expression),
            expected=expected, smallest=1e-60 if expression in ("x^4*y^6", "x^6*y^6") else 1e-20,
        )
        for row, expression, dim, expected in table
    ]  # fmt: skip
    nested = "((x-1)*(x^2+y^2)^2)^2"
    for row, at in (("28", {"x": 0, "y": 0}), ("29", {"x": 1, "y": "3/10"})):
        centre = (float(at["x"]), 0.3 if at["y"] else 0.0)
        truth = exact.polynomial(nested, at=at)
        name = f"{nested} at {'(0, 0)' if row == '28' else '(1, 0.3)'}"
        found.append(Case(row, name, _function(nested), 2, truth, centre, 0.25))
    # Two-sided, of |K|; x² − y² cancels to 10⁻¹⁶.
    truth = exact.polynomial("x^2-y^2")
    potential = _function("abs(x^2-y^2)")
    found.append(Case("30", "|x^2-y^2|", potential, 2, truth, smallest=1e-12))
    return found


def _products() -> list[Case]:
    """‖a‖²‖b‖²: the smaller of the two halves, m = 2 where they tie."""
    found = []
    for first, second in ((1, 2), (2, 2), (2, 3), (3, 3)):

        def potential(w: np.ndarray, first: int = first) -> np.ndarray:
            return (w[:, :first] ** 2).sum(1) * (w[:, first:] ** 2).sum(1)

        truth = exact.reduced_rank(first, second, 1, 0)
        dim = first + second
        found.append(Case("44", f"‖a‖²‖b‖², {first} and {second} variables", potential, dim, truth))
    return found


def _reduced_rank() -> list[Case]:
    """‖BA − C‖² of rank r, in a box about the most singular point, (diag(1ʳ, 0), diag(1ʳ, 0))."""
    found = []
    for row, sizes in (("31", (2, 2, 2, 0)), ("32", (2, 2, 2, 1)), ("", (3, 3, 2, 0))):
        inputs, outputs, hidden, rank = sizes
        first, second = np.zeros((hidden, inputs)), np.zeros((outputs, hidden))
        for i in range(rank):
            first[i, i] = second[i, i] = 1.0

        def potential(
            w: np.ndarray, first: np.ndarray = first, second: np.ndarray = second
        ) -> np.ndarray:
            a = w[:, : first.size].reshape(-1, *first.shape)
            b = w[:, first.size :].reshape(-1, *second.shape)
            return ((b @ a - second @ first) ** 2).sum((1, 2))

        name = f"reduced rank, inputs, outputs, hidden, rank = {sizes}"
        centre = (*first.ravel().tolist(), *second.ravel().tolist())
        truth = exact.reduced_rank(*sizes)
        found.append(Case(row, name, potential, len(centre), truth, centre, smallest=1e-16))
    return found


def _function(expression: str) -> Callable[[np.ndarray], np.ndarray]:
    """Of the expressions above, and of nothing that comes from outside."""
    code = compile(expression.replace("^", "**"), expression, "eval")
    names = "xyzu"

    def potential(w: np.ndarray) -> np.ndarray:
        values = {names[i]: w[:, i] for i in range(w.shape[1])}
        return eval(code, {"__builtins__": {}, "abs": np.abs}, values)

    return potential
