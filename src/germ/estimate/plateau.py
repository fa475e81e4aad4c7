r"""Is there a λ to be read off? Whether λ̂(nβ) stands still over a part of the ladder.

The test is on the elasticity

$$ \eta = \frac{d \log\hat\lambda}{d \log n\beta}, $$

0 on a plateau, 1 where E[L] does not change with nβ, so that λ̂ only restates the loss. It need not
be 0 exactly: multiplicity m leaves η = (m−1)/(λ̂·log² nβ), the localization ½Σ γ/(nβh+γ) a little
more. A window of at least three rungs and a factor of ten is a *plateau* where |η| is below 0.06
beyond doubt (and λ̂ changes by less than 30% over all of it), no plateau where it is above beyond
doubt, and undecided where the errors are too large for either.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from germ.errors import GermError

MIN_RUNGS, MIN_SPAN = 3, 9.0
"""A window has at least so many rungs, over which nβ rises by at least this factor."""

MAX_ELASTICITY = 0.06
"""λ̂ changes by less than 15% over a decade of nβ. x²y²z²u², the worst in `germ.exact`'s table
(λ = 1/2, m = 4), has 0.05 between nβ = 1e4 and 1e6; language models have 0.4 to 0.9."""

MAX_CHANGE = 0.3
"""Of log λ̂ over the whole window: a slow rise over many decades is no plateau."""

Z = 1.645
"""One-sided 95%."""

FOUND, NONE, UNDECIDED = "plateau", "no plateau", "undecided"


@dataclass(frozen=True)
class Plateau:
    """Whether λ̂ stands still, and where.

    Attributes:
        verdict: `"plateau"`, `"no plateau"` or `"undecided"`.
        reason: Why, in a sentence.
        first: Lowest nβ of the flattest window, NaN where there is none.
        last: Highest nβ of it.
        level: λ̂ there, a weighted mean.
        elasticity: η there.
        elasticity_error: Its standard error.
        members: Places of its rungs among those given.
    """

    verdict: str
    reason: str
    first: float = math.nan
    last: float = math.nan
    level: float = math.nan
    elasticity: float = math.nan
    elasticity_error: float = math.nan
    members: tuple[int, ...] = ()

    @property
    def found(self) -> bool:
        """Whether there is a plateau."""
        return self.verdict == FOUND

    def __str__(self) -> str:
        """The verdict and its reason."""
        return f"{self.verdict}: {self.reason}"

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self)


class _Line(NamedTuple):
    """A straight line: the mean, the slope and its standard error."""

    level: float
    slope: float
    error: float


def slopes(nbetas: ArrayLike, values: ArrayLike, errors: ArrayLike) -> list[tuple[float, float]]:
    """dλ̂/d log nβ at each rung with its standard error, from the rung and its neighbours.

    Args:
        nbetas: nβ > 0, increasing.
        values: λ̂.
        errors: Standard errors, independent.

    Returns:
        (slope, error) of each rung; NaN where there is only one.
    """
    x, y, sd = _checked(nbetas, values, errors)
    found = []
    for i in range(len(x)):
        near = slice(max(i - 1, 0), i + 2)
        if len(x[near]) < 2:
            found.append((math.nan, math.nan))
            continue
        line = _fit(x[near], y[near], sd[near])
        found.append((line.slope, line.error))
    return found


def plateau(nbetas: ArrayLike, values: ArrayLike, errors: ArrayLike) -> Plateau:
    """The longest window of rungs over which λ̂ stands still; of several the highest in nβ.

    Args:
        nbetas: nβ > 0 of each rung, increasing, at one γ.
        values: λ̂.
        errors: Standard errors, independent.

    Returns:
        The verdict.

    Raises:
        GermError: nβ that do not increase from above 0, or errors that are not positive.
    """
    x, y, sd = _checked(nbetas, values, errors)
    if len(x) < MIN_RUNGS or x[-1] - x[0] < math.log(MIN_SPAN):
        return Plateau(
            UNDECIDED,
            f"it takes {MIN_RUNGS} usable rungs and a factor of 10 in nβ; there are {len(x)}",
        )
    if (y < Z * sd).all():
        return Plateau(NONE, "λ̂ is 0 within its error: the loss constrains nothing here")
    windows = []
    for i in range(len(x)):
        for j in range(i + MIN_RUNGS, len(x) + 1):
            if x[j - 1] - x[i] >= math.log(MIN_SPAN) and (y[i:j] > 0).all():
                windows.append((i, j, _power(x[i:j], y[i:j], sd[i:j])))
    if not windows:
        return Plateau(NONE, "λ̂ is not positive over any three rungs")
    flat = [window for window in windows if _is_flat(window, x, y, sd)]
    if flat:
        i, j, line = max(flat, key=lambda w: (w[1] - w[0], w[1]))
        verdict = FOUND
        reason = (
            f"λ̂ = {line.level:.4g} for nβ from {math.exp(x[i]):.3g} to {math.exp(x[j - 1]):.3g}, "
            f"elasticity {line.slope:+.3f} ± {line.error:.3f}"
        )
    else:
        i, j, line = min(windows, key=lambda w: abs(w[2].slope) - Z * w[2].error)
        between = (
            f"from nβ = {math.exp(x[i]):.3g} to {math.exp(x[j - 1]):.3g}, where it is flattest, "
            f"λ̂ has an elasticity of {line.slope:+.3f} ± {line.error:.3f}"
        )
        if abs(line.slope) - Z * line.error > MAX_ELASTICITY:
            verdict = NONE
            reason = f"{between}: λ̂ follows nβ, and no λ can be read off"
        elif _steps_away(i, j, x, y, sd):
            verdict, reason = NONE, f"{between}, but it rises and falls within"
        else:
            verdict, reason = UNDECIDED, f"{between}: draw more, or add rungs"
    return Plateau(
        verdict, reason, math.exp(x[i]), math.exp(x[j - 1]), line.level, line.slope,
        line.error, tuple(range(i, j)),
    )  # fmt: skip


def _is_flat(window: tuple[int, int, _Line], x: np.ndarray, y: np.ndarray, sd: np.ndarray) -> bool:
    i, j, line = window
    allowed = min(MAX_ELASTICITY, MAX_CHANGE / (x[j - 1] - x[i]))
    if abs(line.slope) + Z * line.error > allowed:
        return False
    return not _steps_away(i, j, x, y, sd)


def _steps_away(i: int, j: int, x: np.ndarray, y: np.ndarray, sd: np.ndarray) -> bool:
    """Whether λ̂ moves more from one rung to the next than a plateau does: a maximum is none."""
    pairs = [slice(k, k + 2) for k in range(i, j - 1)]
    steps = [_power(x[pair], y[pair], sd[pair]) for pair in pairs]
    return any(abs(step.slope) - 2 * Z * step.error > MAX_ELASTICITY for step in steps)


def _power(x: np.ndarray, y: np.ndarray, sd: np.ndarray) -> _Line:
    """λ̂ ∝ nβ^η: the mean of λ̂, η and its error."""
    line = _fit(x, np.log(y), sd / y)
    return _Line(math.exp(line.level), line.slope, line.error)


def _fit(x: np.ndarray, y: np.ndarray, sd: np.ndarray) -> _Line:
    """Weighted least squares; where the line does not fit, its error is enlarged."""
    weight = 1 / np.square(sd)
    middle = float((weight * x).sum() / weight.sum())
    level = float((weight * y).sum() / weight.sum())
    spread = float((weight * np.square(x - middle)).sum())
    slope = float((weight * (x - middle) * (y - level)).sum()) / spread
    error = spread**-0.5
    if len(x) > 2:
        misfit = float((weight * np.square(y - level - slope * (x - middle))).sum()) / (len(x) - 2)
        error *= max(1.0, misfit) ** 0.5
    return _Line(level, slope, error)


def _checked(
    nbetas: ArrayLike, values: ArrayLike, errors: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log nβ, λ̂ and its error.

    Raises:
        GermError: They are not such.
    """
    x, y, sd = (np.asarray(v, dtype=float) for v in (nbetas, values, errors))
    if not (len(x) == len(y) == len(sd)):
        raise GermError(f"expected as many nbeta as values and errors; got {len(x)}, {len(y)}")
    if len(x) and not (x[0] > 0 and (np.diff(x) > 0).all()):
        raise GermError(f"expected nbeta to increase from above 0; got {x.tolist()}")
    if not (np.isfinite(y).all() and np.isfinite(sd).all() and (sd > 0).all()):
        raise GermError("expected finite values and positive, finite errors")
    return np.log(x), y, sd
