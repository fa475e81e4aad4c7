r"""The toy model of superposition with one-hot inputs: polygons in the plane.

$$ L(W, b) = \frac1c \sum_{i=1}^c \int_0^1
   \bigl\lVert \mu e_i - \mathrm{ReLU}(W^\top W_i\,\mu + b) \bigr\rVert^2 d\mu,
   \qquad W \in \mathbb R^{2\times c},\ b \in \mathbb R^c $$

(Chen et al. 2023, arXiv 2310.06301). The integrand is piecewise quadratic in μ, so L and its
gradient are computed exactly, piece by piece.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float

from germ.errors import GermError
from germ.exact.coefficient import Coefficient

SOURCE = "Chen et al. 2023, arXiv 2310.06301; Hessian rank computed"

DEAD_BIAS = -1.0
"""Bias of a column that is not used: any strictly negative one."""

FLAT, CURVED = 1e-7, 1e-4
"""Eigenvalues of the Hessian below the first are 0 (it errs by 1e-9), above the second not."""


@dataclass(frozen=True)
class Polygon:
    """A critical point whose columns are the corners of a regular polygon, or zero.

    Attributes:
        weights: W, (2, columns).
        biases: b, (columns,).
        length: ℓ, the length of the columns that are corners.
        bias: Their bias.
        loss: L(W, b).
    """

    weights: np.ndarray
    biases: np.ndarray
    length: float
    bias: float
    loss: float


def superposition(columns: int = 6, corners: int = 5, positive: int = 0) -> Coefficient:
    r"""λ and m of the toy model of superposition at a polygon.

    Where L is analytic at the point and its Hessian has no null directions but those along which L
    is constant, L is a quadratic form in the others: λ is half their number and m = 1. L is
    constant along the rotation and along the three coordinates of each column that is zero with a
    negative bias. That the Hessian is positive on all others is checked by computing it.

    Args:
        columns: c, the number of inputs.
        corners: Columns that are corners of a regular polygon; from 5 on.
        positive: Columns that are zero with the bias 1/(2c): the "+" in "5+".

    Returns:
        λ and m.

    Raises:
        GermError: No such polygon, L is not analytic there (3 and 4 corners: their bias is 0, on
            the kink of the ReLU), or the point is a saddle.

    Example:
        >>> print(superposition(columns=6, corners=5))
        λ = 7, m = 1
        >>> print(superposition(columns=6, corners=5, positive=1))
        λ = 17/2, m = 1
    """
    found = polygon(columns, corners, positive)
    gram = found.weights.T @ found.weights
    # For no input i and output j may the kink of ReLU(G_ij μ + b_j) leave or enter [0, 1].
    if min(np.abs(found.biases).min(), np.abs(gram + found.biases).min()) < 1e-9:
        raise GermError(
            f"expected a point where the loss is analytic; the polygon of {corners} corners has "
            "a unit on the kink of its ReLU, where the local λ is not known to germ"
        )
    dead = columns - corners - positive
    flat = 1 + 3 * dead
    values = np.linalg.eigvalsh(hessian(found.weights, found.biases))
    num_zero = int((np.abs(values) < FLAT).sum())
    if num_zero != flat or values[num_zero] < CURVED or values[0] < -FLAT:
        raise GermError(
            f"expected a minimum with {flat} flat directions; the Hessian at the polygon of "
            f"{corners} corners has {num_zero} of them and the least eigenvalue {values[0]:.3g}: "
            "this point is a saddle, or more degenerate than germ can decide"
        )
    value = Fraction(3 * columns - flat, 2)
    return Coefficient(
        value,
        1,
        "Hessian without null directions across the level set",
        SOURCE,
        (
            f"ℓ = {found.length:.5f}, b = {found.bias:.5f}, L = {found.loss:.5f}",
            f"{3 * columns} parameters; L is constant along 1 rotation and the 3·{dead} "
            "coordinates of dead columns",
            f"the other eigenvalues are at least {values[num_zero]:.3g}: λ = {value}, m = 1",
        ),
    )


def polygon(columns: int, corners: int, positive: int = 0) -> Polygon:
    """The polygon with the least loss: its length and bias solved from ∂L = 0.

    Args:
        columns: c.
        corners: Corners of the polygon, from 3 to c.
        positive: Zero columns with bias 1/(2c); other zero columns have a negative bias.

    Returns:
        The critical point.

    Raises:
        GermError: Counts out of range, or no critical point with a negative bias.
    """
    if not (3 <= corners <= columns and 0 <= positive <= columns - corners):
        raise GermError(
            "expected 3 <= corners <= columns and 0 <= positive <= columns - corners; "
            f"got {corners} corners and {positive} positive of {columns} columns"
        )
    angles = 2 * math.pi * np.arange(corners) / corners
    directions = np.stack([np.cos(angles), np.sin(angles)])

    def place(length: float, bias: float) -> tuple[np.ndarray, np.ndarray]:
        weights, biases = np.zeros((2, columns)), np.full(columns, DEAD_BIAS)
        weights[:, :corners], biases[:corners] = length * directions, bias
        biases[corners : corners + positive] = 1 / (2 * columns)
        return weights, biases

    # No two of three or four corners have a positive product: they represent without interference.
    length, bias = (1.0, 0.0) if corners <= 4 else _solve(place, directions)
    weights, biases = place(length, bias)
    return Polygon(weights, biases, length, bias, superposition_loss(weights, biases))


def superposition_loss(weights: Float[np.ndarray, "2 c"], biases: Float[np.ndarray, " c"]) -> float:
    """L(W, b), exactly up to rounding."""
    return _loss_and_gradient(weights, biases)[0]


def hessian(
    weights: Float[np.ndarray, "2 c"], biases: Float[np.ndarray, " c"]
) -> Float[np.ndarray, "d d"]:
    """∇²L in the coordinates (W by rows, b), d = 3c: central differences of the exact gradient."""
    columns, step = len(biases), 1e-5
    at = np.concatenate([weights.ravel(), biases])

    def gradient(point: np.ndarray) -> np.ndarray:
        w, b = point[: 2 * columns].reshape(2, columns), point[2 * columns :]
        _, by_weights, by_biases = _loss_and_gradient(w, b)
        return np.concatenate([by_weights.ravel(), by_biases])

    rows = [
        (gradient(at + step * unit) - gradient(at - step * unit)) / (2 * step)
        for unit in np.eye(len(at))
    ]
    return (np.stack(rows) + np.stack(rows).T) / 2


def _loss_and_gradient(w: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """L, ∂L/∂W and ∂L/∂b."""
    gram = w.T @ w  # G_ij = W_i · W_j: input i, output j
    bias = np.broadcast_to(b, gram.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        kink = np.clip(np.where(gram == 0, 0.0, -bias / gram), 0.0, 1.0)
    # The unit is on for μ in [low, high].
    low = np.where(gram > 0, kink, 0.0)
    high = np.where(gram > 0, 1.0, np.where(gram < 0, kink, np.where(bias > 0, 1.0, 0.0)))
    one, mu, mu2 = (high - low), (high**2 - low**2) / 2, (high**3 - low**3) / 3
    squares = gram**2 * mu2 + 2 * gram * bias * mu + bias**2 * one  # ∫ ReLU²
    crossed = gram * mu2 + bias * mu  # ∫ μ·ReLU
    summed = gram * mu + bias * one  # ∫ ReLU
    own = np.eye(len(b))
    loss = (squares + own * (1 / 3 - 2 * crossed)).sum() / len(b)
    # The integrand vanishes at the kink (squares) or is continuous there (μ·ReLU): no end terms.
    by_gram = 2 * (crossed - own * mu2) / len(b)
    by_bias = 2 * (summed - own * mu).sum(axis=0) / len(b)
    return float(loss), w @ (by_gram + by_gram.T), by_bias


def _solve(place, directions: np.ndarray) -> tuple[float, float]:
    """ℓ and b < 0 with ∂L/∂ℓ = ∂L/∂b = 0, from the least loss on a grid."""
    from scipy.optimize import root

    corners = directions.shape[1]

    def slope(point: np.ndarray) -> np.ndarray:
        _, by_weights, by_biases = _loss_and_gradient(*place(point[0], point[1]))
        along = (by_weights[:, :corners] * directions).sum()
        return np.array([along, by_biases[:corners].sum()])

    grid = [(x, -y) for x in np.linspace(0.8, 2.4, 33) for y in np.linspace(0.05, 3, 60)]
    start = min(grid, key=lambda point: superposition_loss(*place(*point)))
    found = root(slope, start, tol=1e-14)
    length, bias = map(float, found.x)
    if np.abs(slope(found.x)).max() > 1e-12 or bias >= 0 or length <= 0:
        raise GermError(
            f"expected a polygon of {corners} corners that is a critical point with a negative "
            "bias; none was found"
        )
    return length, bias
