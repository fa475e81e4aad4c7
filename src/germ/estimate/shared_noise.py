r"""Chains that share batches share noise: their agreement is then no evidence.

A draw of chain c is its own fluctuation and what all chains saw in common, x_c(t) = o_c(t) + s(t).
With v the variance of a chain and v̄ that of the mean over C chains,

$$ E[\bar v] = v\,\frac{1 + (C-1)\rho}{C}, \qquad
   \rho = \frac{C\,\bar v / v - 1}{C - 1}, $$

where ρ is the share of the variance that is common. What is common moves all chains alike: it
widens no gap between them, and no number of chains averages it out. The stated error allows for it
(`germ.diagnostics.average`); the spread between chains, R̂, and every error bar made of chains do
not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from germ.diagnostics import average
from germ.estimate.usable import usable

COMMON = 0.5
"""Share in common from which it is said."""

WIDENED = 1.5
"""And how many times wider the error of λ̂ must be for it, or it does no harm."""


@dataclass(frozen=True)
class SharedNoise:
    """How much of the chains' fluctuation is common to all.

    Attributes:
        share: ρ, between about 0 and 1.
        widening: The stated error over the one that independent chains would have.
        warning: A sentence; None where chains are as good as independent.
    """

    share: float
    widening: float
    warning: str | None


def shared_noise(samples: xr.Dataset, *, drop_failed: bool = False) -> SharedNoise:
    """Split the fluctuation of the loss difference into the chains' own and the common part.

    Args:
        samples: What `germ.sample` or `germ.load` returned, of at least two chains.
        drop_failed: Leave out chains whose status is not ok, instead of refusing.

    Returns:
        The split; a share of 0 where chains have batches of their own, or there is only one.

    Raises:
        GermError: As for `germ.llc`.
    """
    used = usable(samples, "loss_difference", drop_failed=drop_failed)
    series = np.asarray(used["loss_difference"].values, dtype=np.float64)
    num = len(series)
    if num < 2 or not samples.attrs["shared_batches"] or np.ptp(series) == 0:
        return SharedNoise(0.0, 1.0, None)
    own = float(series.var(axis=1, ddof=1).mean())
    together = float(series.mean(axis=0).var(ddof=1))
    share = (num * together / own - 1) / (num - 1) if own > 0 else 0.0
    apart = average(series).standard_error
    stated = average(series, shared_batches=True).standard_error
    widening = stated / apart if apart > 0 else 1.0
    said = None
    if share > COMMON and widening > WIDENED:
        said = (
            f"{share:.0%} of the chains' fluctuation is the noise of batches that all of them "
            f"share: that chains agree shows nothing here, and the error is {widening:.1f} times "
            "what independent chains would have. Enlarge the batch, or give each chain its own "
            "(share_batches=False)"
        )
    return SharedNoise(share, widening, said)
