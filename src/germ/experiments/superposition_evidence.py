r"""The evidence of each polygon to leading order in n, with every constant.

$$ Z_k(n) \simeq N_k\; e^{-nL_k} \left(\frac{2\pi}{n}\right)^{\lambda_k}
   (\det\nolimits' \nabla^2 L)^{-1/2} \int_{\text{level set}} \mathcal N(w; 0, 1)\,dw $$

(Laplace's method across the level set on which L is constant; λ is half the number of directions
across.) The level set of a polygon is the circle of its rotations, of length 2πℓ√k, times, where
one column is dead, all places of that column at which no unit answers. N_k counts copies: which
columns are corners, and in which order they go round.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import ndtr

from germ import crossover
from germ.exact.polygons import FLAT, Polygon, hessian
from germ.experiments.superposition_pieces import population
from germ.experiments.superposition_points import COUNTS, as_point, coefficient, critical_point


@dataclass(frozen=True)
class Evidence:
    """log Z ≈ −nL − λ log n + constant, and what the constant is made of.

    Attributes:
        loss: L.
        coefficient: λ.
        copies: log N.
        curvature: λ log 2π − ½ log det'.
        orbit: Log of the length of the circle of rotations.
        prior: Log of the prior density of the corners and of a column with a +.
        dead: Log of the prior probability that a dead column is where no unit answers.
    """

    loss: float
    coefficient: float
    copies: float
    curvature: float
    orbit: float
    prior: float
    dead: float

    @property
    def constant(self) -> float:
        """The terms of order one."""
        return self.copies + self.curvature + self.orbit + self.prior + self.dead

    def log(self, num: float) -> float:
        """Of n = `num`: log Z."""
        return -num * self.loss - self.coefficient * math.log(num) + self.constant


@cache
def evidence(kind: str) -> Evidence:
    """The evidence of one kind of minimum, all its copies together.

    Args:
        kind: Of `superposition_points.MINIMA`.
    """
    k, plus = COUNTS[kind]
    at = critical_point(kind)
    used = k + plus
    # Coordinates of the columns that are not dead; the others do not curve L.
    rows = [*range(used), *range(6, 6 + used), *range(12, 12 + used)]
    values = np.linalg.eigvalsh(hessian(at.weights, at.biases)[np.ix_(rows, rows)])
    across = values[np.abs(values) > FLAT]
    known = coefficient(kind)
    point = as_point(kind)[rows]
    return Evidence(
        loss=at.loss,
        coefficient=known,
        copies=math.log(math.comb(6, k) * math.factorial(k - 1)),
        curvature=known * math.log(2 * math.pi) - float(np.log(across).sum()) / 2,
        orbit=math.log(2 * math.pi * at.length * math.sqrt(k)),
        prior=-len(rows) / 2 * math.log(2 * math.pi) - float((point**2).sum()) / 2,
        dead=0.0 if used == 6 else math.log(dead_probability(at)),
    )


def dead_probability(at: Polygon, num: int = 400) -> float:
    """The prior probability that the last column is where it, and all others through it, are off.

    With a = max_j W_j·v over the corners that is: b ≤ −max(a, |v|²), and a ≤ −b_j, so that no
    corner answers to the dead input. L is constant there.

    Args:
        at: The polygon, its last column dead.
        num: Points of the quadrature in radius, and in angle.
    """
    corners = at.weights[:, np.linalg.norm(at.weights, axis=0) > 0]
    # Within half a corner's sector, by symmetry, from the corner to the middle between two.
    half = math.pi / corners.shape[1]
    nodes, weights = np.polynomial.legendre.leggauss(num)
    angle = half * (nodes + 1) / 2
    farthest = -at.bias / (at.length * np.cos(angle))  # (angle,)
    radius = farthest[:, None] * (nodes + 1) / 2  # (angle, radius)
    along = at.length * radius * np.cos(angle)[:, None]
    density = np.exp(-(radius**2) / 2) / (2 * math.pi) * radius
    inner = (density * ndtr(-np.maximum(along, radius**2)) * weights).sum(1) * farthest / 2
    return float((inner * weights).sum() * half / 2) * 2 * corners.shape[1]


def soft_evidence(num: float) -> float:
    """The log Z of 5 and 5+ together, the sixth column integrated over all its places.

    Leading order has the dead column in a region with hard walls, or at the point of the +. At the
    n in question the walls are soft and the two run into each other. Here the five corners are
    Laplace's as before, and L(sixth column | corners at rest) is integrated as it is.

    Args:
        num: n; up to some thousands, where the quadrature still sees the walls.
    """
    five = evidence("5")
    excess, measure = _sixth_column()
    return five.log(num) - five.dead + math.log(float((measure * np.exp(-num * excess)).sum()))


@cache
def _sixth_column(nodes: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """L less that of the 5-gon over places of the sixth column, and the prior mass of each."""
    at = critical_point("5")
    x, weight = np.polynomial.legendre.leggauss(nodes)
    unit, weight = (x + 1) / 2, weight / 2
    sector = math.pi / 5  # From a corner to the middle between two; ten of them.
    deep, high = 6.0, 1.5  # Of the bias, on either side of 0; the prior has nothing beyond.
    bias, by_bias = np.concatenate([-deep * unit, high * unit]), np.tile(weight, 2)
    by_bias[:nodes] *= deep
    by_bias[nodes:] *= high
    r, a, b = np.meshgrid(at.length * unit, sector * unit, bias, indexing="ij")
    points = np.tile(as_point("5"), (r.size, 1))
    points[:, 5], points[:, 11] = (r * np.cos(a)).ravel(), (r * np.sin(a)).ravel()
    points[:, 17] = b.ravel()
    excess = population(1.0)(torch.from_numpy(points))[0].numpy() - at.loss
    density = np.exp(-(r**2 + b**2) / 2) / (2 * math.pi) ** 1.5 * r
    widths = np.einsum("i,j,k->ijk", at.length * weight, sector * weight, by_bias)
    return excess, (10 * density * widths).ravel()


def crossings() -> dict[str, float]:
    """Where the 6-gon overtakes, by what is left out of the constants.

    Returns:
        n by `none`: λ log n and nL alone; `published`: and ½‖w‖² of the corners;
            `published_half`: the same, with ½L for L; `five`: all
        constants, against 5 alone; `both`: against 5 and 5+ together; `soft`: against both as
            `soft_evidence` has them.
    """
    five, plus, six = evidence("5"), evidence("5+"), evidence("6")

    def cross(constant: float, scale: float = 1.0) -> float:
        found = crossover(
            scale * five.loss, five.coefficient, scale * six.loss, six.coefficient,
            constant=constant,
        )  # fmt: skip
        assert found is not None  # At the constants of c = 6 there is always one.
        return found

    one, two = critical_point("5"), critical_point("6")
    energy = [k * (p.length**2 + p.bias**2) / 2 for p, k in ((one, 5), (two, 6))]

    def root(others: Callable[[float], float]) -> float:
        """The larger n at which Z of the 6-gon is that of the others."""
        return float(brentq(lambda n: six.log(n) - others(n), 60, 1e4))  # type: ignore[arg-type]

    return {
        "none": cross(0.0),
        "published": cross(energy[0] - energy[1]),
        "published_half": cross(energy[0] - energy[1], 0.5),
        "five": cross(six.constant - five.constant),
        "both": root(lambda n: float(np.logaddexp(five.log(n), plus.log(n)))),
        "soft": root(soft_evidence),
    }
