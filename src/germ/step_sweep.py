"""The sweep of step size and nβ that people lay by hand, around what calibration chooses.

For each nβ calibration chooses an ε; the cells above and below are the same sampler at other steps.
Where the choice is good, λ̂ is the same a step or two to either side, and the thermometer reads 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from germ import calibrate
from germ.calibrating import propose
from germ.errors import GermError, Status
from germ.estimate.llc import llc
from germ.posterior import LocalPosterior
from germ.sampling import sample

STEP_FACTORS = (1 / 16, 1 / 4, 1.0, 4.0, 16.0)
"""Step sizes of the sweep, in units of the chosen one."""

NBETA_FACTORS = (1 / 10, 1 / 3, 1.0, 3.0)
"""nβ of the sweep, in units of the posterior's own."""

CELL_CHAINS, CELL_DRAWS = 4, 100
"""A cell of the sweep is a run of this size, after half as many steps of warmup."""


@dataclass(frozen=True)
class Cell:
    """One short run of the sweep.

    Attributes:
        step_size: ε.
        factor: The same in units of what calibration chooses at this nβ and γ.
        nbeta: nβ.
        localization: γ.
        value: λ̂; NaN where no chain was left.
        standard_error: Its Monte Carlo standard error.
        loss_difference: ΔL = λ̂/nβ.
        virial: 1 in equilibrium.
        temperature: Kinetic temperature, 1 in equilibrium; NaN for samplers that have none.
        acceptance: Of samplers that accept or reject, else NaN.
        status: `"ok"`, or what became of the chains.
        chosen: Whether this is what `"auto"` chooses here.
    """

    step_size: float
    factor: float
    nbeta: float
    localization: float
    value: float
    standard_error: float
    loss_difference: float
    virial: float
    temperature: float
    acceptance: float
    status: str
    chosen: bool

    def to_dict(self) -> dict[str, Any]:
        """For JSON; NaN becomes None."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def sweep(
    posterior: LocalPosterior,
    *,
    nbetas: Sequence[float] | None = None,
    localizations: Sequence[float] | None = None,
    factors: Sequence[float] = STEP_FACTORS,
    chains: int = CELL_CHAINS,
    draws: int = CELL_DRAWS,
    batch_size: int | None = None,
    seed: int = 0,
    on_cell: Callable[[Cell, int, int], None] | None = None,
) -> tuple[Cell, ...]:
    """Short runs over step size × nβ × γ, each nβ and γ calibrated on its own.

    For each (nβ, γ) calibration chooses a sampler with some ε; the column's cells are that sampler
    at ε times each factor. So a column shows whether the choice lies on a plateau: whether λ̂ is
    the same at smaller steps, and what becomes of it at larger ones. Chains start at w*, and short
    runs at small steps have not spread out yet: that is part of what the sweep shows.

    Args:
        posterior: The posterior; its nβ and γ are those of the chosen cell.
        nbetas: nβ of the columns; None is a tenth to three times the posterior's.
        localizations: γ; None is the posterior's alone.
        factors: Step sizes in units of the chosen one; 1 is always among them.
        chains: Chains of a cell.
        draws: Draws a chain.
        batch_size: Examples a batch, as for `germ.sample`.
        seed: The seed.
        on_cell: Told (cell, done, total).

    Returns:
        The cells, nβ by nβ, ε rising.

    Raises:
        GermError: An nβ or γ is not positive.
    """
    columns = [
        (nbeta, localization)
        for localization in localizations or [posterior.localization]
        for nbeta in nbetas or [factor * posterior.nbeta for factor in NBETA_FACTORS]
    ]
    for name, values in (("nbeta", nbetas), ("localization", localizations), ("factor", factors)):
        if any(not 0 < value < math.inf for value in values or ()):
            raise GermError(
                f"expected every {name} of the sweep to be > 0; got {list(values or ())}"
            )
    steps = sorted({1.0, *factors})
    cells: list[Cell] = []
    for nbeta, localization in columns:
        local = posterior.with_(nbeta=float(nbeta), localization=float(localization))
        found = propose(local, draws=draws, batch_size=batch_size, seed=seed).calibration
        own = (nbeta, localization) == (posterior.nbeta, posterior.localization)
        for factor in steps:
            cell = _cell(local, found, factor, chains, draws, seed, chosen=own and factor == 1.0)
            cells.append(cell)
            if on_cell is not None:
                on_cell(cell, len(cells), len(columns) * len(steps))
    return tuple(cells)


def _cell(
    posterior: LocalPosterior,
    found: calibrate.Calibration,
    factor: float,
    chains: int,
    draws: int,
    seed: int,
    *,
    chosen: bool,
) -> Cell:
    """One run, and what is left of it."""
    changes: dict[str, Any] = {"step_size": found.sampler.step_size * factor}
    cooling = getattr(found.sampler, "cooling", None)
    if cooling is not None:
        changes["cooling"] = cooling * factor  # κ̂ = ε times the variance of the noise
    samples = sample(
        posterior,
        replace(found.sampler, **changes),
        chains=chains,
        draws=draws,
        warmup=draws // 2,
        batch_size=found.batch_size,
        seed=seed,
        throw=False,
    )
    statuses = [str(name) for name in samples.attrs["statuses"]]
    ok = [Status[name].ok for name in statuses]
    nothing = dict.fromkeys(
        ("value", "standard_error", "loss_difference", "virial", "temperature", "acceptance"),
        math.nan,
    )
    if any(ok):
        # Steps that are nearly all refused leave chains that stand still: R̂ divides by their zero.
        with np.errstate(divide="ignore", invalid="ignore"):
            estimate = llc(samples, drop_failed=True)
        kept = samples.isel(chain=[i for i, fine in enumerate(ok) if fine])
        nothing = {
            "value": estimate.value,
            "standard_error": estimate.standard_error,
            "loss_difference": estimate.loss_difference,
            "virial": estimate.virial,
            "temperature": float(kept["temperature"].mean()) if "temperature" in kept else math.nan,
            "acceptance": estimate.acceptance,
        }
    failed = [name for name, fine in zip(statuses, ok, strict=True) if not fine]
    status = "ok" if not failed else f"{len(failed)} of {len(ok)} {failed[0]}"
    return Cell(
        step_size=changes["step_size"],
        factor=factor,
        nbeta=posterior.nbeta,
        localization=posterior.localization,
        status=status,
        chosen=chosen,
        **nothing,
    )
