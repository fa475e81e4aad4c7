r"""The control that sees no data: what λ̂ would be if the loss did not pull.

At nβ = 0 the local posterior is N(w*, 1/γ) on the moving coordinates, whatever the sampler, its
metric or its chains. Its draws are made directly, without error but Monte Carlo's, and read off as
an estimate would be:

$$ \hat\lambda_0 = n\beta\,(E_0[L(w)] - L(w^*)), \qquad w \sim N(w^*, 1/\gamma). $$

E[L] falls as nβ grows (its derivative is −Var[L]), so in equilibrium λ̂ ≤ λ̂₀. Where λ̂ is *near* λ̂₀,
localization alone decides how far chains go, and λ̂ is the loss of isotropic noise. Where λ̂ is above
λ̂₀, the chains are not in equilibrium. And where checkpoints have the same order without data, that
order is not what the posterior found (the nβ = 0 control of the field's sampling guide).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from germ import rng
from germ.errors import GermError
from germ.estimate.llc import LLC
from germ.plan import auto_batch_size
from germ.posterior import LocalPosterior

NUM_DRAWS = 32
SURVIVES = 0.8
"""λ̂/λ̂₀ from which λ̂ counts as the localization's: a direction of curvature h has the ratio
γ/(nβh + γ), so that the loss is then at most a quarter of what holds the chains."""

SAME_ORDER = 0.9
"""Rank correlation from which the order of checkpoints counts as the same."""

MIN_CHECKPOINTS = 4
ERRORS = 3.0
SEED = 0x5EED
"""Added to the seed: the control's noise is not the chains'."""


@dataclass(frozen=True)
class Control:
    """What isotropic noise of the localization's width does to the loss.

    Attributes:
        value: λ̂₀ = nβ·(E_0[L] − L(w*)); infinite where a draw's loss is not finite.
        standard_error: Of it, over draws.
        expected_loss: E_0[L].
        anchor_loss: L(w*), on the same batches.
        nbeta: nβ of the estimates it is set beside.
        localization: γ.
        num_draws: Draws.
    """

    value: float
    standard_error: float
    expected_loss: float
    anchor_loss: float
    nbeta: float
    localization: float
    num_draws: int

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON; what is not finite becomes None."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }

    def __str__(self) -> str:
        """One line."""
        if not math.isfinite(self.value):
            return "control (nβ = 0): the loss is not finite that far from w*"
        return f"control (nβ = 0): λ̂₀ = {self.value:.4g} ± {self.standard_error:.2g}"


def control(
    posterior: LocalPosterior,
    *,
    draws: int = NUM_DRAWS,
    batch_size: int | None = None,
    seed: int = 0,
) -> Control:
    """Sample the posterior without its data: w ~ N(w*, 1/γ) on the moving coordinates.

    Args:
        posterior: What was, or will be, sampled.
        draws: Draws, each a forward pass of one batch; no gradients.
        batch_size: Examples a draw's loss is over; None is as many as `germ.sample`
            begins with: the spread over draws outweighs that over examples.
        seed: Of draws and batches.

    Returns:
        The control.

    Raises:
        GermError: γ = 0 or nβ = 0, or fewer than four draws.
    """
    if posterior.localization == 0:
        raise GermError("expected localization > 0; without it and without data nothing is held")
    if posterior.nbeta == 0:
        raise GermError("expected nbeta > 0; at 0 the estimate is its own control")
    if draws < 4:
        raise GermError(f"expected draws >= 4; got {draws}")
    num, anchor = posterior.data.num_examples, posterior.anchor
    size = min(num, batch_size or auto_batch_size(posterior))
    rises, bases = np.empty(draws), np.empty(draws)
    seed = (seed + SEED) % 2**63
    for draw in range(draws):
        noise = rng.normal(seed, range(1), draw, anchor[None])[0]
        place = anchor + noise * posterior.localization**-0.5
        indices = rng.batch_indices(num, size, seed, draw) if size < num else torch.arange(num)
        batch = posterior.batch(indices)
        with torch.no_grad():
            base = posterior.example_losses(anchor, batch).double()
            # Paired on the batch, as every estimate is.
            rises[draw] = float((posterior.example_losses(place, batch).double() - base).mean())
        bases[draw] = float(base.mean())
    if not np.isfinite(rises).all():
        rises[:] = math.inf
    rise, base = float(rises.mean()), float(bases.mean())
    error = float(rises.std(ddof=1)) / draws**0.5 if math.isfinite(rise) else math.inf
    return Control(
        value=posterior.nbeta * rise,
        standard_error=posterior.nbeta * error,
        expected_loss=base + rise,
        anchor_loss=base,
        nbeta=posterior.nbeta,
        localization=posterior.localization,
        num_draws=draws,
    )


def survives(estimate: LLC, without: Control) -> str | None:
    """A sentence where λ̂ is what it would be without data, or more; else None.

    Raises:
        GermError: The control is of another nβ or γ.
    """
    _same_settings(estimate, without)
    if not math.isfinite(without.value):
        return None
    error = ERRORS * math.hypot(estimate.standard_error, without.standard_error)
    beside = (
        f"λ̂ = {estimate.value:.4g}, and {without.value:.4g} at nβ = 0 (pure noise of width 1/√γ)"
    )
    if estimate.value - without.value > max(error, 0.05 * abs(without.value)):
        return (
            f"{beside}: above its control, which no posterior can be: the chains are not in "
            "equilibrium (heated, or not yet settled)"
        )
    if estimate.value > SURVIVES * without.value and without.value > 0:
        return (
            f"{beside}: it survives the control: the localization γ = {estimate.localization:g} "
            "holds the chains, not the loss, and λ̂ is no learning coefficient. Raise nβ or lower γ"
        )
    return None


def same_order(estimates: Sequence[LLC], controls: Sequence[Control]) -> str | None:
    """A sentence where checkpoints have the order without data that they have with them.

    The test is Spearman's rank correlation; fewer than four checkpoints, or controls that do not
    differ beyond their errors, say nothing.

    Args:
        estimates: Of the checkpoints.
        controls: Theirs, in the same order.

    Raises:
        GermError: Their numbers differ, or a control is of another nβ or γ.
    """
    if len(estimates) != len(controls):
        raise GermError(f"expected a control each; got {len(estimates)} and {len(controls)}")
    for estimate, without in zip(estimates, controls, strict=True):
        _same_settings(estimate, without)
    pairs = [
        (estimate.value, without.value, estimate.standard_error, without.standard_error)
        for estimate, without in zip(estimates, controls, strict=True)
        if math.isfinite(without.value)
    ]
    if len(pairs) < MIN_CHECKPOINTS:
        return None
    values, without, error, control_error = np.array(pairs).T
    for series, errors in ((values, error), (without, control_error)):
        if np.ptp(series) <= ERRORS * float(np.sqrt((errors**2).mean())):
            return None
    correlation = _rank_correlation(values, without)
    if correlation < SAME_ORDER:
        return None
    return (
        f"the order of the {len(pairs)} checkpoints survives the control: λ̂ and λ̂₀ (nβ = 0, no "
        f"data in the drift) have rank correlation {correlation:.2f}. The order alone does not "
        "show that the posterior found anything; quote λ̂/λ̂₀ too, or another nβ"
    )


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def _same_settings(estimate: LLC, without: Control) -> None:
    for name in ("nbeta", "localization"):
        one, other = getattr(estimate, name), getattr(without, name)
        if not math.isclose(one, other, rel_tol=1e-6):
            raise GermError(
                f"expected a control at the estimate's own {name}; got {one:g} and {other:g}"
            )
