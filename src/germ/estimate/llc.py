"""The local learning coefficient of a posterior, from its samples."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from germ.diagnostics import average, drift
from germ.errors import Status
from germ.estimate.budget import ErrorBudget, error_budget
from germ.estimate.doubts import doubts
from germ.estimate.locality import Locality, locality
from germ.estimate.usable import usable


@dataclass(frozen=True)
class LLC:
    """λ̂ = nβ·(E[L_n(w)] − L_n(w*)), with what is needed to judge it.

    Attributes:
        value: λ̂, without unit.
        standard_error: Its Monte Carlo standard error alone: it says nothing of bias.
        budget: What λ̂ is wrong by, cause by cause, the total, and the 90% interval.
        chain_values: λ̂ of each chain that is ok, in the order of `chains`.
        chains: The chains used.
        statuses: Status of every chain, used or not.
        ess: Effective number of independent draws of the loss difference.
        rhat: R̂ of it; NaN for one chain.
        virial: Mean of (w − w*)·∇U(w)/d: 1 in equilibrium; above, the chain is heated; below, it
            has not spread out yet.
        virial_error: Monte Carlo standard error of the virial.
        temperature: Mean kinetic temperature, 1 in equilibrium; NaN for samplers without momentum.
        drift: λ̂ of the last half of the draws less λ̂ of the first half.
        drift_z: The drift in units of its standard error.
        expected_loss: E[L_n(w)] = L_n(w*) + λ̂/nβ.
        anchor_loss: L_n(w*).
        loss_difference: ΔL = E[L_n(w)] − L_n(w*), in the loss's unit (nats).
        locality: How local that is.
        nbeta: nβ.
        localization: γ.
        num_coordinates: d, the coordinates that moved.
        num_draws: Draws used, over all chains.
        num_gradients: Gradients of a batch spent, set-up and warmup included.
        acceptance: Mean acceptance probability of a Metropolis sampler, else NaN.
        warnings: What a reader must know, one sentence each.
    """

    value: float
    standard_error: float
    budget: ErrorBudget
    chain_values: tuple[float, ...]
    chains: tuple[int, ...]
    statuses: tuple[str, ...]
    ess: float
    rhat: float
    virial: float
    virial_error: float
    temperature: float
    drift: float
    drift_z: float
    expected_loss: float
    anchor_loss: float
    loss_difference: float
    locality: Locality
    nbeta: float
    localization: float
    num_coordinates: int
    num_draws: int
    num_gradients: int
    acceptance: float
    warnings: tuple[str, ...]

    @property
    def status(self) -> str:
        """`"ok"`, or `"suspect"` where a warning was raised."""
        return "suspect" if self.warnings else "ok"

    @property
    def interval(self) -> tuple[float, float]:
        """The stated 90% interval of the local expectation at (nβ, γ), biases included."""
        return self.budget.interval90

    def to_dict(self) -> dict[str, Any]:
        """All fields and the status, for JSON; NaN becomes None."""
        locality = _finite(asdict(self.locality))
        found = {**asdict(self), "locality": locality, "budget": self.budget.to_dict()}
        return _finite({**found, "status": self.status})

    def __str__(self) -> str:
        """One line: value ± total, the interval, the resolution, and what to judge it by.

        Where there is one bias or more, ± holds it.
        """
        num = len(self.chains)
        mark = "" if not self.warnings else f" ⚠ {len(self.warnings)}"
        value, error, low, high = _rounded(self.value, self.budget.total, *self.interval)
        return (
            f"LLC {value} ± {error} (90%: {low} … {high}) at nβ {self.nbeta:.4g}, "
            f"γ {self.localization:.4g}, ΔL {self.loss_difference:.3g} "
            f"({num} chain{'s' if num != 1 else ''}, ESS {self.ess:.0f}, R̂ {self.rhat:.2f}, "
            f"virial {self.virial:.3f}){mark}"
        )

    __repr__ = __str__


def llc(samples: xr.Dataset, *, drop_failed: bool = False) -> LLC:
    """Estimate λ̂ = nβ·(E[L_n(w)] − L_n(w*)) (Lau et al., arXiv 2308.12108, eq. 6 ff.).

    The difference is averaged as it was sampled, paired on each batch; warmup is not in it.

    Args:
        samples: What `germ.sample` or `germ.load` returned.
        drop_failed: Leave out chains whose status is not ok, and say so, instead of refusing.

    Returns:
        The estimate.

    Raises:
        GermError: A chain failed and `drop_failed` is false, none is left, or there are fewer
            than four draws.
    """
    used = usable(samples, "loss_difference", "virial", drop_failed=drop_failed)
    attrs = samples.attrs
    # By label, not by place: a selection of chains keeps its own statuses.
    labels = samples["chain"].values.tolist() if "chain" in samples.coords else []
    statuses = {i: name for i, name in enumerate(attrs["statuses"]) if i in labels or not labels}
    chains = tuple(i for i, name in statuses.items() if Status[name].ok)
    shared, nbeta = bool(attrs["shared_batches"]), float(attrs["nbeta"])
    differences = nbeta * used["loss_difference"].values
    estimate = average(differences, shared_batches=shared)
    virial = average(used["virial"].values, shared_batches=shared)
    moving = drift(differences, shared_batches=shared)
    loss_difference = float(used["loss_difference"].values.mean())
    found = LLC(
        value=estimate.mean,
        standard_error=estimate.standard_error,
        budget=error_budget(used, estimate),
        chain_values=tuple(differences.mean(axis=1).tolist()),
        chains=chains,
        statuses=tuple(statuses.values()),
        ess=estimate.ess,
        rhat=estimate.rhat,
        virial=virial.mean,
        virial_error=virial.standard_error,
        temperature=_mean(used, "temperature"),
        drift=moving.change,
        drift_z=moving.z,
        expected_loss=float(attrs["anchor_loss"]) + loss_difference,
        anchor_loss=float(attrs["anchor_loss"]),
        loss_difference=loss_difference,
        locality=locality(used),
        nbeta=nbeta,
        localization=float(attrs["localization"]),
        num_coordinates=int(attrs["num_coordinates"]),
        num_draws=differences.size,
        num_gradients=int(attrs["num_gradients"]),
        acceptance=_mean(used, "acceptance"),
        warnings=(),
    )
    num_examples = int(attrs["num_examples"])
    said = doubts(
        found,
        failed=[i for i in statuses if i not in chains],
        num_examples=num_examples,
        unpaired=_looks_unpaired(used, estimate.ess),
    )
    return replace(found, warnings=said)


def _mean(used: xr.Dataset, name: str) -> float:
    return float(used[name].mean()) if name in used else math.nan


def _looks_unpaired(used: xr.Dataset, ess: float) -> bool:
    """Whether loss differences scatter as freely as the losses of their batches.

    Paired, most of the noise of a batch is gone, and what is left moves as slowly as the chains.
    """
    differences, losses = used["loss_difference"].values, used["loss"].values
    scatter = float(differences.std(axis=1).mean()), float(losses.std(axis=1).mean())
    return ess > differences.size / 2 and scatter[0] > 0.9 * scatter[1] > 0


def _finite(found: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in found.items()
    }


def _rounded(value: float, error: float, *others: float) -> list[str]:
    """`45.9`, `0.8`, …: the error to two digits, the others to the same place."""
    if not (math.isfinite(error) and error > 0):
        return [f"{value:.4g}", f"{error:.2g}", *(f"{other:.4g}" for other in others)]
    places = max(0, 1 - math.floor(math.log10(error)))
    return [f"{np.round(number, places):.{places}f}" for number in (value, error, *others)]
