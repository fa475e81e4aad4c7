r"""The free energy by thermodynamic integration over a ladder of nβ.

$$ F(x) = -\log \int e^{-x L_n(w)}\, \varphi(w)\, dw, \qquad \frac{dF}{dx} = \mathbb E_x[L_n] $$
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from germ.diagnostics import average
from germ.errors import GermError
from germ.estimate.usable import combined_error, same_posterior, usable


@dataclass(frozen=True)
class FreeEnergy:
    """F(nβ_last) − F(nβ_first), in nats.

    Attributes:
        value: The difference; F(nβ_last) itself where the ladder begins at 0.
        standard_error: Monte Carlo standard error.
        discretization_error: What the ladder leaves open, estimated: the difference between
            Simpson's rule and the trapezoid's.
        bracket: What it leaves open at most, were the means exact: E[L] falls with nβ, so the
            integral lies between the sums of its values at the two ends of each rung.
        nbetas: The ladder.
        expected_losses: E[L_n] on each rung.
        localization: γ.
    """

    value: float
    standard_error: float
    discretization_error: float
    bracket: tuple[float, float]
    nbetas: tuple[float, ...]
    expected_losses: tuple[float, ...]
    localization: float

    def __str__(self) -> str:
        """One line: the value, both errors, the ladder."""
        return (
            f"F({self.nbetas[-1]:g}) − F({self.nbetas[0]:g}) = {self.value:.6g} "
            f"± {self.standard_error:.2g} (Monte Carlo) ± {self.discretization_error:.2g} "
            f"(ladder of {len(self.nbetas)})"
        )

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self)


def free_energy(runs: Sequence[xr.Dataset], *, drop_failed: bool = False) -> FreeEnergy:
    r"""The difference of free energies between the ends of a ladder of nβ.

    $$ F(b) - F(a) = (b - a)\,L_n(w^*) + \int_a^b \mathbb E_x[\Delta L]\, dx
       = (b - a)\,L_n(w^*) + \int (x + c)\, \mathbb E_x[\Delta L]\; d\log(x + c) $$

    It is the free energy of the local model: the prior φ is the *normalized* normal density
    N(w*, 1/γ) of the localization, over the coordinates that move. F(0) = 0, so a ladder that
    begins at nβ = 0 (the control, which sees no data) gives F itself; F(n) is then −log of the
    marginal likelihood where L_n is a mean negative log-likelihood in nats. The integral over
    log(x + c) is Simpson's, on rungs of any spacing; c = 0, or the least positive nβ where the
    ladder begins at 0. Rungs a factor of 2 to 4 apart are good, the first above 0 where the data
    begin to count: not above γ over the largest curvature of L_n.

    Args:
        runs: Samples of one posterior at different nβ, in any order, best with seeds of their own:
            with a seed in common the errors are added up, not combined.
        drop_failed: Leave out chains that failed.

    Returns:
        The difference with both of its errors.

    Raises:
        GermError: Fewer than three rungs, one nβ twice, runs of different posteriors, a γ of 0
            (no prior), or unusable samples.
    """
    if len(runs) < 3:
        raise GermError(f"expected a ladder of at least 3 runs at different nbeta; got {len(runs)}")
    used = [usable(run, "loss_difference", drop_failed=drop_failed) for run in runs]
    used.sort(key=lambda run: float(run.attrs["nbeta"]))
    same_posterior(used)
    nbetas = [float(run.attrs["nbeta"]) for run in used]
    if any(left == right for left, right in pairwise(nbetas)):
        raise GermError(f"expected each nbeta once; got {', '.join(f'{x:g}' for x in nbetas)}")
    localization = float(used[0].attrs["localization"])
    if localization <= 0:
        raise GermError(
            "expected localization > 0: it is the prior of the free energy, and at 0 there is none"
        )
    means = [
        average(run["loss_difference"].values, shared_batches=bool(run.attrs["shared_batches"]))
        for run in used
    ]
    x = np.array(nbetas)
    difference = np.array([mean.mean for mean in means])
    anchor = float(used[0].attrs["anchor_loss"])
    simpson, trapezoid = _rules(x)
    bracket = float(np.diff(x) @ difference[1:]), float(np.diff(x) @ difference[:-1])
    lift = float(x[-1] - x[0]) * anchor
    return FreeEnergy(
        value=lift + float(simpson @ difference),
        standard_error=combined_error(
            simpson.tolist(),
            [mean.standard_error for mean in means],
            [int(run.attrs["seed"]) for run in used],
        ),
        discretization_error=abs(float((simpson - trapezoid) @ difference)),
        bracket=(lift + bracket[0], lift + bracket[1]),
        nbetas=tuple(nbetas),
        expected_losses=tuple((anchor + difference).tolist()),
        localization=localization,
    )


def _rules(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of E_x[ΔL] in Simpson's and in the trapezoid rule over log(x + c)."""
    from scipy.integrate import simpson, trapezoid

    shift = x[1] if x[0] == 0 else 0.0
    u = np.log(x + shift)
    # Both rules are linear: their weights are their values at unit vectors.
    units = np.eye(len(x)) * (x + shift)
    return np.asarray(simpson(units, x=u)), np.asarray(trapezoid(units, x=u))
