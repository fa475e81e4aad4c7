"""A measured number with its error, and the two ways one comes of many examples.

Errors are over examples: they say how the number would differ on other data of the same kind. How
it would differ for a model trained anew, only models trained from other seeds can say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from germ.errors import GermError

MODEL = "model"
"""In place of a component: the model as a whole."""


@dataclass(frozen=True)
class Score:
    """A number that was measured on examples.

    Attributes:
        measure: What it is: `bigram cross-entropy`, `prefix matching`.
        component: Of which part of the model: `model`, or a component's name.
        value: The number.
        standard_error: Over examples; NaN of a single one.
        num_examples: How many there were.
        chance: What a model without the behaviour has; None where nothing is known of it.
    """

    measure: str
    component: str
    value: float
    standard_error: float
    num_examples: int
    chance: float | None = None

    def __str__(self) -> str:
        """Name, number and error."""
        beside = "" if self.chance is None else f" (chance {self.chance:.3g})"
        return (
            f"{self.component} {self.measure} {self.value:.4g} ± {self.standard_error:.2g}{beside}"
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON; a NaN is None."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def ratio(
    measure: str,
    sums: Float[np.ndarray, " examples"],
    weights: Float[np.ndarray, " examples"],
    component: str = MODEL,
    chance: float | None = None,
) -> Score:
    r"""$R = \sum_i s_i / \sum_i m_i$, as of losses over tokens where examples differ in tokens.

    Its error is that of a ratio of means, from the residuals $s_i - R\,m_i$.

    Args:
        measure: What it is.
        sums: Of each example, s.
        weights: Of each example, m, of 0 and more.
        component: Of what.
        chance: See `Score`.

    Raises:
        GermError: There is nothing to average.
    """
    total = float(weights.sum())
    if not total > 0:
        raise GermError(f"expected examples to measure {measure} on, got none that tell of it")
    value = float(sums.sum()) / total
    num = int((weights > 0).sum())
    residuals = (sums - value * weights)[weights > 0]
    error = math.sqrt(num / (num - 1) * float(residuals @ residuals)) / total if num > 1 else None
    return Score(measure, component, value, math.nan if error is None else error, num, chance)


def mean(
    measure: str,
    values: Float[np.ndarray, " examples"],
    component: str = MODEL,
    chance: float | None = None,
) -> Score:
    """The mean over examples and its standard error, sd/√n.

    Example:
        >>> print(mean("loss", np.array([1.0, 2.0, 3.0])))
        model loss 2 ± 0.58
    """
    return ratio(measure, values, np.ones_like(values), component, chance)


def of_components(
    measure: str,
    values: Float[np.ndarray, "examples components"],
    names: Sequence[str],
    chance: float | None = None,
) -> list[Score]:
    """The mean over examples of every component's number."""
    return [mean(measure, values[:, i], name, chance) for i, name in enumerate(names)]
