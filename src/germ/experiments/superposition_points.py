"""The critical points of six columns in the plane, by name; solved once a process."""

from __future__ import annotations

from functools import cache

import numpy as np

from germ.exact import polygon, superposition
from germ.exact.polygons import Polygon

COUNTS = {"4": (4, 0), "4+": (4, 1), "4++": (4, 2), "5": (5, 0), "5+": (5, 1), "6": (6, 0)}
"""Corners, and columns at zero with a positive bias."""

MINIMA = ("5", "5+", "6")
"""Those where L is analytic, whose λ is known."""


@cache
def critical_point(name: str) -> Polygon:
    """The polygon.

    Args:
        name: Of `COUNTS`.
    """
    return polygon(6, *COUNTS[name])


@cache
def coefficient(name: str) -> float:
    """The exact λ.

    Args:
        name: Of `MINIMA`.
    """
    return float(superposition(6, *COUNTS[name]).value)


def as_point(name: str) -> np.ndarray:
    """(W by rows, b) of a polygon.

    Args:
        name: Of `COUNTS`.
    """
    found = critical_point(name)
    return np.concatenate([found.weights.ravel(), found.biases])


def levels() -> dict[str, float]:
    """L of each."""
    return {name: critical_point(name).loss for name in COUNTS}
