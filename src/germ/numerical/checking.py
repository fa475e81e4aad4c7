"""What a potential and a box must be: checked once, refused in one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from germ.errors import GermError

Potential = Callable[[np.ndarray], np.ndarray]
"""K, from points (num_points, dim) to values (num_points,), none of them negative."""

CHUNK = 1 << 18
"""Points handed to a potential at once: what it allocates inside stays in the tens of MB."""


def box(bounds: ArrayLike) -> np.ndarray:
    """A box as an array of (lower, upper), one row a coordinate.

    Args:
        bounds: The same, as nested sequences or an array (dim, 2).

    Returns:
        Float64, (dim, 2).

    Raises:
        GermError: Another shape, a bound that is not finite, or an interval without a length.
    """
    array = np.asarray(bounds, dtype=float)
    if array.ndim != 2 or array.shape[1] != 2 or not len(array):
        raise GermError(
            "expected bounds as (lower, upper) for each coordinate, shape (dim, 2); "
            f"got shape {array.shape}"
        )
    if not np.isfinite(array).all() or not (array[:, 0] < array[:, 1]).all():
        raise GermError(f"expected finite bounds with lower < upper; got {array.tolist()}")
    return array


def temperature(nbeta: float) -> float:
    """An nβ that can be used.

    Raises:
        GermError: It is negative, NaN or infinite.
    """
    if not 0 <= nbeta < np.inf:
        raise GermError(f"expected nbeta finite and not negative; got {nbeta}")
    return float(nbeta)


def evaluate(potential: Potential, points: np.ndarray) -> np.ndarray:
    """K at many points, checked.

    Args:
        potential: K.
        points: (num_points, dim).

    Returns:
        (num_points,), finite, none negative.

    Raises:
        GermError: Another shape comes back, a value that is not finite, or a negative one: a
            two-sided K has no posterior exp(−nβK) that concentrates on its zeros.
    """
    values = raw(potential, points, "the potential")
    if not np.isfinite(values).all():
        where = int(np.argmin(np.isfinite(values)))
        raise GermError(
            f"expected finite values of the potential; got {values[where]} "
            f"at {_point(points[where])}"
        )
    # Rounding may put an exact zero below zero by a few ulps of the terms that cancel.
    if values.size and values.min() < -1e-12:
        where = int(np.argmin(values))
        raise GermError(
            f"expected a potential K >= 0; got K = {values[where]:.6g} at "
            f"{_point(points[where])}: subtract its minimum, or take |K| if it is two-sided"
        )
    return np.maximum(values, 0.0)


def raw(function: Potential, points: np.ndarray, name: str) -> np.ndarray:
    """Values of a function at many points, with only their shape checked.

    Raises:
        GermError: It returns another shape than (num_points,).
    """
    pieces = []
    for start in range(0, len(points), CHUNK):
        chunk = points[start : start + CHUNK]
        values = np.asarray(function(chunk), dtype=float)
        if values.shape != (len(chunk),):
            raise GermError(
                f"expected {name} to map points of shape {chunk.shape} to values of shape "
                f"({len(chunk)},); got shape {values.shape}"
            )
        pieces.append(values)
    return np.concatenate(pieces) if pieces else np.empty(0)


def _point(point: Sequence[float] | np.ndarray) -> str:
    return "(" + ", ".join(f"{coordinate:.6g}" for coordinate in point) + ")"
