"""Moves that keep a point uniform on {K < t} inside the unit cube: slice sampling along lines.

A line through the point is chosen, then an interval of it, and points of the interval are tried,
cutting off what was tried, until one lies in {K < t} (Neal 2003, *Slice Sampling*, §4: shrinkage,
without stepping out). Lines along the difference of two points of {K < t} know how it is stretched
and how large it is; lines along an axis run down the arms of sets such as {(xy)² < t}; lines in any
direction cover the rest. Whole chords of the cube can jump between parts that are not connected.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

MAX_SHRINKS = 200
"""Each shrink takes off a third of the interval on average: far beyond the last digit."""

SCALES = 4.0
"""Decades below the side of the cube that intervals of no known scale are spread over."""


def move(
    points: np.ndarray,
    values: np.ndarray,
    level: float,
    reference: np.ndarray,
    potential: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> int:
    """One slice move of every point, in place.

    Args:
        points: In the unit cube, (num_points, dim), each with K < t.
        values: K of each, (num_points,).
        level: t.
        reference: Points whose differences serve as directions, (num_references, dim). Others
            than `points`, or the law is kept only up to 1/num_references.
        potential: K on the unit cube, from (count, dim) to (count,).
        rng: Of every choice.

    Returns:
        How often K was evaluated.
    """
    direction, length = _lines(len(points), reference, rng)
    low, high = _intervals(points, direction, length, rng)
    active = np.flatnonzero(high > low)
    num_evaluations = 0
    for _ in range(MAX_SHRINKS):
        if not active.size:
            break
        step = low[active] + (high[active] - low[active]) * rng.random(active.size)
        tried = np.clip(points[active] + step[:, None] * direction[active], 0.0, 1.0)
        found = potential(tried)
        num_evaluations += active.size
        inside = found < level
        accepted = active[inside]
        points[accepted], values[accepted] = tried[inside], found[inside]
        active, step = active[~inside], step[~inside]
        low[active] = np.where(step < 0, step, low[active])
        high[active] = np.where(step < 0, high[active], step)
    # A point still active stays where it is, which keeps the law too.
    return num_evaluations


def _lines(
    count: int, reference: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A direction for each point, and the length of the interval along it, in units of it.

    Three in five run between two points of the reference, and their distance is the scale; one in
    five along an axis; one in five anywhere. Of the last two, half take the whole chord: ∞.
    """
    dim = reference.shape[1]
    kind = rng.integers(5, size=count)
    axis = np.eye(dim)[rng.integers(dim, size=count)]
    first, second = rng.integers(len(reference), size=(2, count))
    between = reference[first] - reference[second]
    anywhere = rng.standard_normal((count, dim))
    direction = np.where((kind == 0)[:, None], axis, anywhere)
    direction = np.where((kind >= 2)[:, None], between, direction)
    whole = rng.random(count) < 0.5
    on_any_scale = np.where(whole, np.inf, 10.0 ** (-SCALES * rng.random(count)))
    near = 10.0 ** (1 - 2 * rng.random(count))
    return direction, np.where(kind >= 2, near, on_any_scale)


def _intervals(
    x: np.ndarray, direction: np.ndarray, length: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Where each interval begins and ends, in steps from x, cut to the unit cube.

    Its length does not depend on where x is along the line, and x lies anywhere in it: so that
    the way back is as likely.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        to_zero, to_one = -x / direction, (1 - x) / direction
    still = direction == 0
    back = np.where(still, -np.inf, np.minimum(to_zero, to_one)).max(1)
    forth = np.where(still, np.inf, np.maximum(to_zero, to_one)).min(1)
    start = -np.where(np.isinf(length), 0, length) * rng.random(len(x))
    low = np.where(np.isinf(length), back, np.maximum(back, start))
    high = np.where(np.isinf(length), forth, np.minimum(forth, start + length))
    nowhere = still.all(1)  # between a point and its copy
    return np.where(nowhere, 0.0, low), np.where(nowhere, 0.0, high)
