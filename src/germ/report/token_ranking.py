"""Which tokens a component answers to most: one by one, and by the kind of token.

Ranked by a bound, not by χ itself: χ − 2 SE from the top, χ + 2 SE from the bottom. So a noisy
token does not come first because its noise is large, and what noise may explain is not listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from germ.report.token_view import SIGNAL, TokenView

STRENGTH = 0.9
"""The quantile of |χ|/SE over tokens that says how much signal a component has."""


@dataclass(frozen=True)
class Kind:
    """All occurrences of one token.

    Attributes:
        token: Its id.
        count: How often it occurs.
        mean: The mean χ over the occurrences.
        error: The mean of their standard errors: the Monte Carlo error of `mean` is at most this,
            however the errors hang together (they share the chains).
        spread: Standard deviation of χ over the occurrences: how much depends on the context.
    """

    token: int
    count: int
    mean: float
    error: float
    spread: float


@dataclass(frozen=True)
class Summary:
    """A component in a line.

    Attributes:
        positive: Share of tokens with χ ≥ 2 SE.
        negative: Share with χ ≤ −2 SE.
        strength: The 90th percentile of |χ|/SE: what is left of noise is small and common, what
            matters may be rare.
        mean: Of χ over all tokens.
        spread: Standard deviation of χ over the tokens.
    """

    positive: float
    negative: float
    strength: float
    mean: float
    spread: float


@dataclass
class Rankings:
    """What stands out at one checkpoint.

    Attributes:
        view: The susceptibilities.
        checkpoint: Index of the checkpoint.
    """

    view: TokenView
    checkpoint: int = -1

    def tokens(self, component: int, sign: int, num: int) -> np.ndarray:
        """The tokens (indices) of the largest (sign 1) or lowest (−1) bounds that keep the sign."""
        chi, error = self._chi(component)
        return _best(sign * chi, error, num)

    def kinds(self, component: int, sign: int, num: int, at_least: int) -> list[Kind]:
        """The same of tokens by id, over their occurrences; those of few are left out.

        Args:
            component: Index of the component.
            sign: 1 for the top, −1 for the bottom.
            num: At most so many.
            at_least: Occurrences that a token needs.
        """
        chi, error = self._chi(component)
        ids, where, count = self._ids
        mean = np.bincount(where, chi) / count
        mean_error = np.bincount(where, error) / count
        spread = np.sqrt(np.bincount(where, (chi - mean[where]) ** 2) / np.maximum(count - 1, 1))
        usual = np.flatnonzero(count >= at_least)
        chosen = usual[_best(sign * mean[usual], mean_error[usual], num)]
        return [
            Kind(int(ids[i]), int(count[i]), float(mean[i]), float(mean_error[i]), float(spread[i]))
            for i in chosen
        ]

    @cached_property
    def summaries(self) -> list[Summary]:
        """How much of each component is signal."""
        return [self._summary(component) for component in range(len(self.view.components))]

    def by_strength(self) -> list[int]:
        """Components (indices), the one with most signal first."""
        strength = np.array([summary.strength for summary in self.summaries])
        return np.argsort(-strength, kind="stable").tolist()

    def _summary(self, component: int) -> Summary:
        chi, error = self._chi(component)
        signal = self.view.signal(self.checkpoint, component)
        known = error > 0
        z = np.abs(chi[known]) / error[known]
        return Summary(
            positive=float((signal & (chi > 0)).mean()),
            negative=float((signal & (chi < 0)).mean()),
            strength=float(np.quantile(z, STRENGTH)) if z.size else 0.0,
            mean=float(chi.mean()),
            spread=float(chi.std()),
        )

    def _chi(self, component: int) -> tuple[np.ndarray, np.ndarray]:
        view = self.view
        chi, error = view.chi[self.checkpoint, component], view.error[self.checkpoint, component]
        return chi.astype(float), error.astype(float)

    @cached_property
    def _ids(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ids, where, count = np.unique(self.view.token_id, return_inverse=True, return_counts=True)
        return ids, where.reshape(-1), count


def _best(value: np.ndarray, error: np.ndarray, num: int) -> np.ndarray:
    bound = value - SIGNAL * error
    order = np.argsort(-bound, kind="stable")[:num]
    return order[bound[order] > 0]
