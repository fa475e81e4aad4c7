r"""WBIC: the free energy from one run at nβ = n/log n (Watanabe 2013).

$$ \mathrm{WBIC} = \mathbb E_{\beta = 1/\log n}[n L_n(w)] = F_n + O_p(\sqrt{\log n}) $$
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import xarray as xr

from germ.diagnostics import average
from germ.errors import GermError
from germ.estimate.usable import usable

TOLERANCE = 1e-3
"""Relative distance of nβ from n/log n that is rounding and not another temperature."""


@dataclass(frozen=True)
class WBIC:
    """WBIC = n·E[L_n], in nats where L_n is.

    Attributes:
        value: WBIC, an estimate of F_n = −log ∫ exp(−n·L_n(w)) φ(w) dw.
        standard_error: Its Monte Carlo standard error. The statistical error, of order √log n,
            is not in it.
        num_examples: n.
        nbeta: nβ = n/log n.
        anchor_loss: L_n(w*).
        llc: λ̂ = nβ(E[L_n] − L_n(w*)): WBIC = n·L_n(w*) + λ̂·log n.
    """

    value: float
    standard_error: float
    num_examples: int
    nbeta: float
    anchor_loss: float
    llc: float

    def __str__(self) -> str:
        """One line: the value, its error, n."""
        return f"WBIC {self.value:.6g} ± {self.standard_error:.2g} (n = {self.num_examples})"

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self)


def wbic(samples: xr.Dataset, *, drop_failed: bool = False) -> WBIC:
    r"""Watanabe's widely applicable Bayesian information criterion.

    $$ \mathrm{WBIC} = n\,(L_n(w^*) + \mathbb E[\Delta L]), \qquad n\beta = n/\log n $$

    It estimates the free energy F_n, −log of the marginal likelihood, where L_n is a mean negative
    log-likelihood in nats. The prior φ is what the chains were sampled with: the normal density
    N(w*, 1/γ) of the localization, so this is the free energy of a neighbourhood of w*, chosen
    after the data were seen, and comparable between models only at equal γ. The difference to F_n
    is random, of order √log n, and vanishes relative to the log n term only.

    Args:
        samples: What `germ.sample` returned, at nβ = n/log n (`nbeta="auto"` of models that are no
            language models).
        drop_failed: Leave out chains that failed.

    Returns:
        The criterion.

    Raises:
        GermError: nβ is not n/log n, or the samples cannot be used.

    References:
        Watanabe 2013, JMLR 14, 867-897, Theorems 3 and 4.
    """
    used = usable(samples, "loss_difference", drop_failed=drop_failed)
    n, nbeta = int(used.attrs["num_examples"]), float(used.attrs["nbeta"])
    if n < 3:
        raise GermError(f"expected at least 3 examples for WBIC; got n = {n}")
    right = n / math.log(n)
    if abs(nbeta - right) > TOLERANCE * right:
        raise GermError(
            f"expected samples at nbeta = n/log n = {right:.6g}; got nbeta = {nbeta:g} with "
            f"n = {n}: sample again (LocalPosterior.with_(nbeta=...)), or use two_temperatures"
        )
    differences = used["loss_difference"].values
    found = average(differences, shared_batches=bool(used.attrs["shared_batches"]))
    anchor = float(used.attrs["anchor_loss"])
    return WBIC(
        value=n * (anchor + found.mean),
        standard_error=n * found.standard_error,
        num_examples=n,
        nbeta=nbeta,
        anchor_loss=anchor,
        llc=nbeta * found.mean,
    )
