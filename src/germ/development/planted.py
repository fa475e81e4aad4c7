"""Curves over log step whose stage boundaries are known: what the search for them is tried on.

A curve is a sum of smooth steps, each with a place, a width and a height: turns are where its slope
changes sign, pauses where the slope dips between two peaks. Both are read off the formula on a fine
grid, not searched for with what is to be tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from germ.errors import GermError

CLEAR, NONE = 0.25, 0.75
"""A dip to at most `CLEAR` of the smaller peak is a pause; one above `NONE` is none."""

SHAPES: Mapping[str, tuple[float, ...]] = {
    "rise": (1.0,),
    "fall": (-1.0,),
    "rise, rise": (0.4, 1.0),
    "rise, rise, rise": (0.5, 1.0, 0.6),
    "rise, fall": (1.0, -0.4),
    "rise, fall, rise": (1.0, -0.5, 0.4),
    "rise, rise, fall, rise": (0.6, 1.0, -0.4, 0.5),
    "flat": (),
}
"""Heights of the steps, in order of training."""


@dataclass(frozen=True)
class Planted:
    """A curve with known boundaries.

    Attributes:
        places: log₁₀(step) of the middles of the steps.
        widths: Of the steps, in decades.
        heights: Of the steps.
    """

    places: tuple[float, ...]
    widths: tuple[float, ...]
    heights: tuple[float, ...]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The curve at log₁₀(step) x."""
        total = np.zeros_like(x)
        for place, width, height in zip(self.places, self.widths, self.heights, strict=True):
            total += height * 0.5 * (1 + np.tanh((x - place) / width))
        return total

    def slope(self, x: np.ndarray) -> np.ndarray:
        """Its derivative."""
        total = np.zeros_like(x)
        for place, width, height in zip(self.places, self.widths, self.heights, strict=True):
            total += 0.5 * height / width / np.cosh((x - place) / width) ** 2
        return total

    def boundaries(self) -> tuple[tuple[str, float], ...]:
        """(kind, log₁₀(step)) of each: the extremum of the slope's size between two steps.

        Raises:
            GermError: A dip is neither clear nor none: the curve tries nothing.
        """
        found = []
        for k, (low, high) in enumerate(zip(self.places, self.places[1:], strict=False)):
            x = np.linspace(low, high, 4001)
            slope = self.slope(x)
            if self.heights[k] * self.heights[k + 1] < 0:
                kind = "maximum" if self.heights[k] > 0 else "minimum"
                crossing = np.flatnonzero(np.sign(slope[1:]) != np.sign(slope[:-1]))
                found.append((kind, float(x[crossing[0]])))
                continue
            size = np.abs(slope)
            share = size.min() / min(size[0], size[-1])
            if CLEAR < share < NONE:
                raise GermError(f"expected a clear pause, or none; the slope dips to {share:.2f}")
            if share <= CLEAR:
                found.append(("pause", float(x[size.argmin()])))
        return tuple(found)


def planted(heights: Sequence[float], generator: np.random.Generator) -> Planted:
    """A curve with these steps over 0 … 5 decades, at random places and with random widths.

    Every pair of steps is far enough apart for what is between them to be there.
    """
    while True:
        num = len(heights)
        places = np.sort(generator.uniform(0.8, 4.3, num))
        widths = generator.uniform(0.1, 0.35, num)
        sizes = np.array(heights) * np.exp(generator.normal(0, 0.15, num))
        gaps = np.diff(places)
        if (gaps < 1.8 * (widths[1:] + widths[:-1])).any():
            continue
        curve = Planted(tuple(places.tolist()), tuple(widths.tolist()), tuple(sizes.tolist()))
        try:
            curve.boundaries()
        except GermError:
            continue
        return curve


def shifted(curve: Planted, generator: np.random.Generator, *, scatter: float = 0.05) -> Planted:
    """The curve of another seed: steps elsewhere by `scatter` decades, heights by a tenth."""
    num = len(curve.heights)
    return Planted(
        tuple((np.array(curve.places) + scatter * generator.standard_normal(num)).tolist()),
        curve.widths,
        tuple((np.array(curve.heights) * np.exp(0.1 * generator.standard_normal(num))).tolist()),
    )
