"""What makes an estimate doubtful: one sentence each, with the cause, its size, and what to do."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from germ.estimate.llc import LLC

MAX_RHAT = 1.05
"""Vehtari et al. 2021 ask for 1.01 of a posterior summary; a mean is known well before that."""

MAX_SPREAD = 0.05
"""Share of |λ̂| that the chains' own means may put into its error before R̂ is read at all.

R̂ is in units of the spread of draws: where λ̂ is known to a per cent, 1.1 is no harm.
"""

MIN_ESS = 50.0

MAX_BIAS = 0.075
"""Share of |λ̂| that one bias term may make up before it is named."""

MAX_HALF_WIDTH = 0.15
"""Share of |λ̂| that half the 90% interval may make up before that is said."""

MAX_DESCENT = 0.25
"""Share of |λ̂| that descending from w* may gain before w* is called no minimum.

The truth itself is no minimum of the loss of n examples: a model with λ̂ felt directions gains about
λ·nβ/n from it, a tenth of λ̂ at nβ = n/log n.
"""


def doubts(found: LLC, *, failed: list[int], num_examples: int, unpaired: bool) -> tuple[str, ...]:
    """Sentences for what makes the number doubtful, the weightiest first.

    Args:
        found: The estimate, with its budget and its locality.
        failed: Chains that were left out.
        num_examples: n.
        unpaired: Whether the loss differences look unpaired.
    """
    said: list[str] = []
    if failed:
        said.append(f"chains {', '.join(map(str, failed))} failed and were left out")
    if found.rhat > MAX_RHAT and _spread(found) > MAX_SPREAD * abs(found.value):
        said.append(f"R̂ {found.rhat:.2f} > {MAX_RHAT}: chains disagree; sample longer")
    if found.ess < MIN_ESS:
        said.append(f"ESS {found.ess:.0f} < {MIN_ESS:.0f}: too few independent draws; draw more")
    biases = _biases(found)
    said += biases
    half = found.budget.half_width
    if not biases and half > MAX_HALF_WIDTH * abs(found.value) and found.nbeta > 0:
        said.append(
            f"the 90% interval is λ̂ ± {half:.3g}, wide for λ̂ = {found.value:.3g}: draw more, or "
            "over more chains"
        )
    if found.value < -3 * found.standard_error and found.value < 0:
        said.append(f"λ̂ is negative: {_cause(found, num_examples, unpaired)}")
    elif found.budget.not_a_minimum > MAX_DESCENT * abs(found.value):
        said.append(
            f"w* is not a minimum: a quadratic model gains {found.budget.not_a_minimum:.3g}, in "
            "units of λ̂, by descending from it; λ̂ is of the neighbourhood of w*, not of a minimum"
        )
    if found.locality.warning is not None:
        said.append(found.locality.warning)
    return tuple(said)


def _spread(found: LLC) -> float:
    """The error of λ̂ that the scatter of its chains alone would give it."""
    num = len(found.chain_values)
    return statistics.stdev(found.chain_values) / num**0.5 if num > 1 else math.nan


def _biases(found: LLC) -> list[str]:
    """A sentence for each bias that is not small."""
    budget, virial = found.budget, f"virial {found.virial:.3f}"
    size = abs(found.value)

    def matters(term: float) -> bool:
        # Below the Monte Carlo error it may be one, whatever its own error bar said.
        return abs(term) > max(MAX_BIAS * size, budget.monte_carlo)

    said = []
    if matters(budget.heating):
        change = f"about {budget.heating:+.2g} in λ̂"
        if math.isfinite(found.temperature):
            said.append(
                f"the chains are heated by gradient noise ({change}; temperature "
                f"{found.temperature:.3f}): use a larger batch or a smaller step size"
            )
        elif found.virial >= 1:
            said.append(
                f"the chains are heated, by gradient noise or too large a step ({change}; "
                f"{virial}): use a larger batch or a smaller step size"
            )
        else:
            said.append(
                f"heat may hide behind spread that is missing ({change}; {virial}), and this "
                "sampler has no other thermometer: use all the data, or one with momentum"
            )
    if matters(budget.step_size):
        said.append(
            f"the step is too large (about {budget.step_size:+.2g} in λ̂; {virial}): use a smaller "
            "step size"
        )
    if matters(budget.drift):
        seen = f"{virial}, halves differ by {found.drift:+.2g}"
        said.append(
            f"the chains are not stationary yet (about {budget.drift:+.2g} in λ̂; {seen}): warm up "
            "and sample longer" + (", or raise γ" if budget.drift < 0 else "")
        )
    return said


def _cause(found: LLC, num_examples: int, unpaired: bool) -> str:
    """Why λ̂ is negative."""
    if found.nbeta > num_examples:
        return (
            f"nβ = {found.nbeta:g} exceeds n = {num_examples}, so the posterior finds better fits"
        )
    if unpaired:
        return (
            "the loss differences look unpaired, as noisy as the losses themselves: compare L(w) "
            "with L(w*) on the same batch"
        )
    descent = found.budget.not_a_minimum
    gain = f" (a quadratic model gains {descent:.3g})" if descent > 0 else ""
    return f"w* is not a minimum of the loss: the sampler descends{gain}"
