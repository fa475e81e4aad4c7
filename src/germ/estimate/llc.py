"""The local learning coefficient of a posterior, from its samples."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from germ.diagnostics import MIN_DRAWS, average, drift
from germ.errors import GermError, Status

MAX_RHAT = 1.05
"""Vehtari et al. 2021 ask for 1.01 of a posterior summary; a mean is known well before that."""

MIN_ESS = 50.0
MAX_DRIFT_Z = 3.0

SIGNIFICANT_HEAT = 0.02
"""Share of λ̂ that heating may make up, judged by |virial − 1|·d/2, before it is named."""


@dataclass(frozen=True)
class LLC:
    """λ̂ = nβ·(E[L_n(w)] − L_n(w*)), with what is needed to judge it.

    Attributes:
        value: λ̂, without unit.
        standard_error: Its Monte Carlo standard error. It says nothing of bias: read the virial,
            the drift and the warnings for that.
        chain_values: λ̂ of each chain that is ok, in the order of `chains`.
        chains: The chains used.
        statuses: Status of every chain, used or not.
        ess: Effective number of independent draws of the loss difference.
        rhat: R̂ of it; NaN for one chain.
        virial: Mean of (w − w*)·∇U(w)/d: 1 in equilibrium; above, the chain is heated; below, it
            has not spread out yet.
        virial_error: Monte Carlo standard error of the virial.
        drift: λ̂ of the last half of the draws less λ̂ of the first half.
        drift_z: The drift in units of its standard error.
        expected_loss: E[L_n(w)] = L_n(w*) + λ̂/nβ.
        anchor_loss: L_n(w*).
        loss_difference: ΔL = E[L_n(w)] − L_n(w*), in the loss's unit (nats).
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
    chain_values: tuple[float, ...]
    chains: tuple[int, ...]
    statuses: tuple[str, ...]
    ess: float
    rhat: float
    virial: float
    virial_error: float
    drift: float
    drift_z: float
    expected_loss: float
    anchor_loss: float
    loss_difference: float
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

    def to_dict(self) -> dict[str, Any]:
        """All fields and the status, for JSON; NaN becomes None."""
        found = {**asdict(self), "status": self.status}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in found.items()
        }

    def __str__(self) -> str:
        """One line: value, error, and what to judge it by."""
        num = len(self.chains)
        mark = "" if not self.warnings else f" ⚠ {len(self.warnings)}"
        return (
            f"LLC {_rounded(self.value, self.standard_error)} "
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
    attrs = samples.attrs
    if "statuses" not in attrs:
        raise GermError("expected samples as germ.sample returns them; their attributes are gone")
    # By label, not by place: a selection of chains keeps its own statuses.
    labels = samples["chain"].values.tolist() if "chain" in samples.coords else []
    statuses = {i: name for i, name in enumerate(attrs["statuses"]) if i in labels or not labels}
    chains = tuple(i for i, name in statuses.items() if Status[name].ok)
    failed = [i for i in statuses if i not in chains]
    if failed and not (drop_failed and chains):
        names = ", ".join(f"{i}: {statuses[i]}" for i in failed)
        raise GermError(
            f"expected every chain to be ok; got {names}. Sample again with a smaller step"
            + (", or leave these chains out (drop_failed=True)" if chains else "")
        )
    for needed in ("loss_difference", "virial"):
        if needed not in samples:
            raise GermError(
                f"expected samples with a variable {needed!r}, as germ.sample returns them; "
                f"got {sorted(map(str, samples.data_vars))}"
            )
    if samples.sizes["draw"] < MIN_DRAWS:
        raise GermError(f"expected at least {MIN_DRAWS} draws; got {samples.sizes['draw']}")

    used = samples.sel(chain=list(chains))
    shared = bool(attrs["shared_batches"])
    nbeta, d = float(attrs["nbeta"]), int(attrs["num_coordinates"])
    differences = nbeta * used["loss_difference"].values
    estimate = average(differences, shared_batches=shared)
    virial = average(used["virial"].values, shared_batches=shared)
    moving = drift(differences, shared_batches=shared)
    loss_difference = float(used["loss_difference"].values.mean())
    acceptance = float(used["acceptance"].mean()) if "acceptance" in used else math.nan
    found = LLC(
        value=estimate.mean,
        standard_error=estimate.standard_error,
        chain_values=tuple(differences.mean(axis=1).tolist()),
        chains=chains,
        statuses=tuple(statuses.values()),
        ess=estimate.ess,
        rhat=estimate.rhat,
        virial=virial.mean,
        virial_error=virial.standard_error,
        drift=moving.change,
        drift_z=moving.z,
        expected_loss=float(attrs["anchor_loss"]) + loss_difference,
        anchor_loss=float(attrs["anchor_loss"]),
        loss_difference=loss_difference,
        nbeta=nbeta,
        localization=float(attrs["localization"]),
        num_coordinates=d,
        num_draws=differences.size,
        num_gradients=int(attrs["num_gradients"]),
        acceptance=acceptance,
        warnings=(),
    )
    return replace(found, warnings=_warnings(found, failed, int(attrs["num_examples"])))


def _warnings(found: LLC, failed: list[int], num_examples: int) -> tuple[str, ...]:
    """Sentences for what makes the number doubtful."""
    said: list[str] = []
    if failed:
        said.append(f"chains {', '.join(map(str, failed))} failed and were left out")
    if found.rhat > MAX_RHAT:
        said.append(f"R̂ {found.rhat:.2f} > {MAX_RHAT}: chains disagree; sample longer")
    if found.ess < MIN_ESS:
        said.append(f"ESS {found.ess:.0f} < {MIN_ESS:.0f}: too few independent draws; draw more")
    # In units of λ the temperature error is about |virial − 1|·d/2 (design.md, lesson 4).
    heat = (found.virial - 1) * found.num_coordinates / 2
    heat_error = 3 * found.virial_error * found.num_coordinates / 2
    if abs(heat) > max(heat_error, SIGNIFICANT_HEAT * abs(found.value)):
        if heat > 0:
            said.append(
                f"virial {found.virial:.3f} > 1 (about {heat:+.3g} in λ̂): the chain is heated; use "
                "a smaller step size or a larger batch"
            )
        else:
            # Much of what is missing lies along directions that the loss does not feel.
            said.append(
                f"virial {found.virial:.3f} < 1 (at most {-heat:.3g} missing from λ̂): the chain "
                "has not spread out yet; warm up longer, or raise the localization"
            )
    if abs(found.drift_z) > MAX_DRIFT_Z:
        said.append(
            f"λ̂ drifts by {found.drift:+.3g} from the first to the last half of the draws "
            f"({found.drift_z:+.1f} standard errors): warm up longer"
        )
    if found.value < -3 * found.standard_error and found.value < 0:
        cause = (
            f"nβ = {found.nbeta:g} exceeds n = {num_examples}, so the posterior finds better fits"
            if found.nbeta > num_examples
            else "w* is not a minimum of the loss: the sampler descends"
        )
        said.append(f"λ̂ is negative: {cause}")
    return tuple(said)


def _rounded(value: float, error: float) -> str:
    """`45.9 ± 0.8`: the error to two digits, the value to the same place."""
    if not (math.isfinite(error) and error > 0):
        return f"{value:.4g} ± {error:.2g}"
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{np.round(value, places):.{places}f} ± {error:.{places}f}"
