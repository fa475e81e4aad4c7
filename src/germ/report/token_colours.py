"""The colours of susceptibilities: how strong by lightness, the sign by hue and by a bar.

Both ladders have the CIELAB lightness 92, 84, 76, 68, 60: in greyscale a darker token is a stronger
one, whatever its sign. The sign is told by hue (green positive, red negative) and, for who does
not see it, by a bar: above the token where χ > 0, below it where χ < 0, thicker with |χ|.
"""

from __future__ import annotations

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from germ.report.token_view import is_signal

POSITIVE = ("#cbf2d1", "#a0e0ad", "#77ce8b", "#54b970", "#42a35e")
NEGATIVE = ("#ffe2de", "#fec4bd", "#ffa39a", "#fe8178", "#f2615c")
INK, PAPER = "#101010", "#ffffff"
NOISE = "#6a6a6a"
"""Of text that is within two standard errors of zero: paler than the ink, still readable."""

LEVELS = len(POSITIVE)
BOUNDS = (0.1, 0.25, 0.5, 0.8)
"""Shares of the reference |χ| at which a token goes up a level."""

REFERENCE_QUANTILE = 0.99

DIVERGING = LinearSegmentedColormap.from_list(
    "germ_diverging", [*reversed(NEGATIVE), PAPER, *POSITIVE]
)
"""For heat maps: the same ladders, white at zero."""


def reference(chi: np.ndarray, error: np.ndarray) -> float:
    """The |χ| that the colours are scaled by: the 99th percentile of what is signal.

    Args:
        chi: Susceptibilities of a component's tokens.
        error: Their standard errors.

    Returns:
        Above 0; 1 where nothing is signal.
    """
    strong = np.abs(chi[is_signal(chi, error)])
    return float(np.quantile(strong, REFERENCE_QUANTILE)) if strong.size else 1.0


def levels(chi: np.ndarray, error: np.ndarray, scale: float) -> np.ndarray:
    """−5 … 5: the sign of χ and how strong it is; 0 for what is not signal.

    Args:
        chi: Susceptibilities.
        error: Their standard errors.
        scale: What `reference` gave.

    Example:
        >>> chi = np.array([1.0, -1.0, -0.2, 0.01, 0.2])
        >>> levels(chi, np.array([0.1, 0.1, 0.05, 0.001, 0.2]), 1.0).tolist()
        [5, -5, -2, 1, 0]
    """
    strength = 1 + np.digitize(np.abs(chi) / scale, BOUNDS)
    return np.where(is_signal(chi, error), np.sign(chi) * strength, 0).astype(int)
