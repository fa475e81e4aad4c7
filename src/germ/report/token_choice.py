"""Which passages of text a page shows: as many as fit, half the strongest, half as they come.

Text chosen by its strength alone would make every component look busy; text as it comes alone
would hide what is rare. So each probe shows both, and every passage says which it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from germ.report.token_view import SIGNAL, TokenView

LONGEST = 192
"""Tokens in a passage: longer examples are cut into passages."""

MOST = 12
"""Passages of a probe."""


@dataclass(frozen=True)
class Passage:
    """A stretch of one example.

    Attributes:
        row: The example.
        start: Its first token.
        stop: Behind its last token.
        strongest: Whether it was chosen for its susceptibilities.
        scored: (tokens of the passage,): index of each token's susceptibility, or −1.
    """

    row: int
    start: int
    stop: int
    strongest: bool
    scored: np.ndarray


def passages(view: TokenView, most_tokens: int, checkpoint: int = -1) -> list[Passage]:
    """Choose passages, about equally many tokens of each probe.

    Passages of a probe are ordered by strength: over components, the mean of (|χ| − 2 SE)₊ in
    units of the component's own mean over all tokens, so that none of them decides alone.

    Args:
        view: The susceptibilities.
        most_tokens: Tokens of all passages together; one passage of each probe is always there.
        checkpoint: Where the strength is taken.

    Returns:
        Of each probe in turn, in the order of the data.
    """
    where = np.full(view.ids.shape, -1)
    where[view.row, view.position] = np.arange(len(view.row))
    strength = _strength(view, checkpoint)
    share = most_tokens // len(view.probes)
    chosen: list[Passage] = []
    for probe in range(len(view.probes)):
        windows = _windows(view, where, np.flatnonzero(view.row_probe == probe))
        if not windows:
            continue
        longest = max(stop - start for _, start, stop in windows)
        num = int(np.clip(share // longest, 1, min(MOST, len(windows))))
        value = [
            strength[scored[scored >= 0]].mean()
            for scored in (where[row, start:stop] for row, start, stop in windows)
        ]
        order = np.argsort(-np.array(value), kind="stable")
        strongest = set(order[: -(-num // 2)].tolist())
        rest = [i for i in range(len(windows)) if i not in strongest]
        spaced = np.linspace(0, len(rest) - 1, num // 2).round().astype(int) if rest else []
        keep = strongest | {rest[i] for i in spaced}
        for i in sorted(keep):
            row, start, stop = windows[i]
            scored = where[row, start:stop]
            chosen.append(Passage(row, start, stop, i in strongest, scored))
    return chosen


def _strength(view: TokenView, checkpoint: int) -> np.ndarray:
    total = np.zeros(len(view.row))
    for chi, error in zip(view.chi[checkpoint], view.error[checkpoint], strict=True):
        excess = np.maximum(np.abs(chi) - SIGNAL * error, 0)
        total += excess / max(float(excess.mean()), 1e-30)
    return total


def _windows(view: TokenView, where: np.ndarray, rows: np.ndarray) -> list[tuple[int, int, int]]:
    """Equal parts of each example that hold a token with a susceptibility."""
    found: list[tuple[int, int, int]] = []
    for row in rows.tolist():
        length = int((view.ids[row] >= 0).sum())
        parts = -(-length // LONGEST)
        bounds = np.linspace(0, length, parts + 1).round().astype(int)
        for start, stop in pairwise(bounds):
            if (where[row, start:stop] >= 0).any():
                found.append((row, int(start), int(stop)))
    return found
