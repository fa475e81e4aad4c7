"""The profile λ̂(nβ) of one posterior: its slope, its plateau, and what lies beyond it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from germ.errors import GermError
from germ.estimate.extrapolate import Extrapolation, extrapolate
from germ.estimate.llc import LLC
from germ.estimate.plateau import MIN_RUNGS, Plateau, plateau, slopes
from germ.estimate.thermodynamic import FreeEnergy

MAX_TEMPERATURE = 1.05
"""Kinetic temperature, or virial, above which a rung is heated and takes no part."""

UNSPREAD_ERROR, MAX_UNSPREAD = 0.02, 2.0
"""What a γ larger by a factor e can take from λ̂, as a share, and the most such factors counted: on
a plateau little, for λ̂ depends on γ as it does on nβ. It bounds the drift in a rung's error, whose
budget knows of no other rung."""

COMMON_UNSPREAD = 0.03
"""The same of λ, one-sided and for as many factors as there are: all rungs miss it together, and
no number of them averages it away."""

MAX_HELD = 0.9
"""Share of the directions held by the loss above which `Rung.spread` says nothing."""

MAX_ERROR = 0.5
"""Share of λ̂: a rung known no better takes no part."""

FROZEN_LOSS = 0.02
"""E[L] that changes by less than this share of ΔL over the ladder is constant."""


@dataclass(frozen=True)
class Rung:
    """λ̂ at one (nβ, γ).

    Attributes:
        nbeta: nβ.
        localization: γ.
        status: `"ok"`, `"suspect"`, or what went wrong.
        estimate: The LLC; None if something went wrong.
        slope: dλ̂/d log nβ, from this rung and its neighbours.
        slope_error: Its standard error.
        excluded: Why the rung takes no part in what is read off the profile; empty if it does.
        run: The folder of the run, or None.
        stored: Whether the run was found complete.
        seconds: Wall-clock time of its sampling.
    """

    nbeta: float
    localization: float
    status: str
    estimate: LLC | None = None
    slope: float = math.nan
    slope_error: float = math.nan
    excluded: str = ""
    run: str | None = None
    stored: bool = False
    seconds: float = 0.0

    @property
    def degree(self) -> float:
        """The loss rises as the distance to this power; 2 where that was not measured."""
        assert self.estimate is not None
        found = self.estimate.locality.degree
        return max(found, 1.0) if math.isfinite(found) else 2.0

    @property
    def spread(self) -> float:
        """γ over the γ that the chains feel: 1 once flat directions are filled.

        It is γE‖w − w*‖² beside what that is in equilibrium, d less what the loss holds.
        """
        assert self.estimate is not None
        held = self.degree * self.estimate.value / self.estimate.num_coordinates
        if not held < MAX_HELD:  # Where the loss holds nearly all directions nothing is to fill.
            return 1.0
        return min(max((self.estimate.virial - held) / (1 - held), 1e-6), 1.0)

    @property
    def resolution(self) -> float:
        """The nβ at which chains that are spread out would see as much: nβ·spread^(degree/2)."""
        return self.nbeta * self.spread ** (self.degree / 2)

    @property
    def error(self) -> float:
        """The error that weighs this rung: its budget, but no more drift than a plateau allows."""
        assert self.estimate is not None
        budget = self.estimate.budget
        factors = min(-math.log(self.spread), MAX_UNSPREAD)
        drift = min(abs(budget.drift), UNSPREAD_ERROR * factors * abs(self.estimate.value))
        return math.hypot(budget.monte_carlo, budget.heating, budget.step_size, drift)

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        found["estimate"] = None if self.estimate is None else self.estimate.to_dict()
        return found


@dataclass(frozen=True)
class Reading:
    """What the rungs of one γ say.

    Attributes:
        localization: γ.
        plateau: Whether λ̂ stands still, and where.
        extrapolation: λ and m as nβ → ∞; None without a plateau.
        free_energy: F(nβ_last) − F(nβ_first) by thermodynamic integration; None where it has no
            meaning (γ = 0) or too few rungs.
        warnings: What a reader must know.
    """

    localization: float
    plateau: Plateau
    extrapolation: Extrapolation | None = None
    free_energy: FreeEnergy | None = None
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The verdict, and λ where there is one."""
        text = f"γ = {self.localization:g}: {self.plateau}"
        return text if self.extrapolation is None else f"{text}; {self.extrapolation}"

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        free = self.free_energy
        return {
            "localization": self.localization,
            "plateau": self.plateau.to_dict(),
            "extrapolation": None if self.extrapolation is None else self.extrapolation.to_dict(),
            "free_energy": None if free is None else asdict(free),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Profile:
    """λ̂ over a ladder of nβ, at one or more γ.

    Attributes:
        rungs: By γ, then by nβ.
        readings: One a γ.
        num_examples: n.
        num_coordinates: d.
    """

    rungs: tuple[Rung, ...]
    readings: tuple[Reading, ...]
    num_examples: int
    num_coordinates: int

    @property
    def reading(self) -> Reading:
        """The reading with a plateau and the narrowest interval; else the first."""
        good = [r for r in self.readings if r.extrapolation is not None]

        def width(reading: Reading) -> float:
            assert reading.extrapolation is not None
            low, high = reading.extrapolation.interval
            return high - low

        return min(good, key=width) if good else self.readings[0]

    @property
    def value(self) -> float:
        """λ, NaN where no plateau was found."""
        found = self.reading.extrapolation
        return math.nan if found is None else found.value

    def at(self, localization: float) -> tuple[Rung, ...]:
        """The rungs of one γ."""
        return tuple(rung for rung in self.rungs if rung.localization == localization)

    def __str__(self) -> str:
        """What each γ says, one line each."""
        return "\n".join(map(str, self.readings))

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON; NaN becomes None."""
        return _finite(
            {
                "num_examples": self.num_examples,
                "num_coordinates": self.num_coordinates,
                "rungs": [rung.to_dict() for rung in self.rungs],
                "readings": [reading.to_dict() for reading in self.readings],
            }
        )


def assemble(
    rungs: Sequence[Rung],
    *,
    num_examples: int,
    num_coordinates: int,
    free_energies: dict[float, FreeEnergy] | None = None,
    lowest_loss: float | None = 0.0,
) -> Profile:
    """Read a profile off its rungs: slopes, plateaus, λ and m.

    Args:
        rungs: In any order, each (nβ, γ) once.
        num_examples: n.
        num_coordinates: d.
        free_energies: By γ.
        lowest_loss: What the loss cannot fall below, so that nβ·(L(w*) − it) bounds what λ̂ loses
            where w* is no minimum; None where nothing is known.

    Returns:
        The profile.

    Raises:
        GermError: No rung, or one (nβ, γ) twice.
    """
    if not rungs:
        raise GermError("expected at least one rung; got none")
    places = {(rung.localization, rung.nbeta) for rung in rungs}
    if len(places) < len(rungs):
        raise GermError("expected each (nbeta, localization) once")
    ordered: list[Rung] = []
    readings = []
    for localization in dict.fromkeys(rung.localization for rung in rungs):
        own = sorted((r for r in rungs if r.localization == localization), key=lambda r: r.nbeta)
        own = _with_slopes(_without_coarser([replace(r, excluded=_why_not(r)) for r in own]))
        ordered += own
        free = (free_energies or {}).get(localization)
        readings.append(_read(own, free, num_examples, num_coordinates, lowest_loss))
    return Profile(tuple(ordered), tuple(readings), num_examples, num_coordinates)


def _why_not(rung: Rung) -> str:
    """Why a rung takes no part in plateau and extrapolation."""
    found = rung.estimate
    if found is None:
        return rung.status
    if rung.nbeta <= 0:
        return "control: nβ = 0"
    if not (math.isfinite(found.value) and rung.error > 0):
        return "λ̂ is not finite"
    heat = max(found.virial - 3 * found.virial_error, found.temperature)  # NaN is never the larger
    if not heat < MAX_TEMPERATURE:
        return f"heated: virial {found.virial:.3g}, temperature {found.temperature:.3g}"
    if found.value > 0 and rung.error > MAX_ERROR * found.value:
        return f"known to {rung.error / found.value:.0%} only"
    return ""


def _without_coarser(rungs: list[Rung]) -> list[Rung]:
    """Exclude rungs that see less than a lower one, for their chains did not get as far."""
    found, finest, at = [], 0.0, 0.0
    for rung in rungs:
        if not rung.excluded:
            if rung.resolution < finest:
                felt = rung.localization / rung.spread
                reason = f"not spread out: it feels γ = {felt:.2g} and sees less than nβ = {at:.4g}"
                rung = replace(rung, excluded=reason)
            else:
                finest, at = rung.resolution, rung.nbeta
        found.append(rung)
    return found


def _with_slopes(rungs: list[Rung]) -> list[Rung]:
    usable = [rung for rung in rungs if not rung.excluded]
    found = slopes(*_series(usable))
    by_nbeta = {rung.nbeta: pair for rung, pair in zip(usable, found, strict=True)}
    unknown = (math.nan, math.nan)
    return [
        replace(rung, slope=slope, slope_error=error)
        for rung in rungs
        for slope, error in [by_nbeta.get(rung.nbeta, unknown)]
    ]


def _series(rungs: Sequence[Rung]) -> tuple[list[float], list[float], list[float]]:
    values = [rung.estimate.value for rung in rungs if rung.estimate is not None]
    return [rung.nbeta for rung in rungs], values, [rung.error for rung in rungs]


def _read(
    rungs: list[Rung],
    free_energy: FreeEnergy | None,
    num_examples: int,
    num_coordinates: int,
    lowest_loss: float | None,
) -> Reading:
    usable = [rung for rung in rungs if not rung.excluded]
    where = plateau(*_series(usable))
    extrapolation = None
    if where.found:
        # Up to the end of the plateau: what comes above it is another scale.
        below = [rung for rung in usable[: where.members[-1] + 1] if rung.nbeta > 1]
        if len(below) >= MIN_RUNGS:
            extrapolation = extrapolate(
                *_series(below),
                dimension=num_coordinates,
                exact_minimum=_is_minimum(below[-1], where.level, lowest_loss),
            )
            extrapolation = _widened(extrapolation, below, num_coordinates)
    warnings = _warnings(rungs, usable, where, num_examples, lowest_loss)
    return Reading(rungs[0].localization, where, extrapolation, free_energy, warnings)


def _widened(found: Extrapolation, rungs: Sequence[Rung], num_coordinates: int) -> Extrapolation:
    """What chains that did not fill their directions may be missing, put on top of the interval."""
    low, high = found.interval
    factors = -sum(math.log(rung.spread) for rung in rungs) / len(rungs)
    return replace(
        found, interval=(low, min(high * (1 + COMMON_UNSPREAD * factors), num_coordinates / 2))
    )


def _is_minimum(rung: Rung, level: float, lowest_loss: float | None) -> bool:
    """Whether descending from w* could not take a hundredth of λ̂ at the highest nβ."""
    assert rung.estimate is not None
    if lowest_loss is None:
        return False
    return rung.nbeta * (rung.estimate.anchor_loss - lowest_loss) < 0.01 * level


def _warnings(
    rungs: list[Rung],
    usable: list[Rung],
    where: Plateau,
    num_examples: int,
    lowest_loss: float | None,
) -> tuple[str, ...]:
    said = [f"nβ = {r.nbeta:.4g} left out: {r.excluded}" for r in rungs if r.excluded]
    estimates = [rung.estimate for rung in usable if rung.estimate is not None]
    if not estimates:
        return tuple(said)
    top = usable[-1]
    exact = _is_minimum(top, max(abs(estimates[-1].value), 1e-12), lowest_loss)
    above = [rung for rung in usable if rung.nbeta > num_examples]
    if above and not exact:
        said.append(
            f"nβ = {above[0].nbeta:.4g} and more exceed n = {num_examples:,}: the posterior "
            "resolves the noise of the data, and can find fits better than w*"
        )
    if len(estimates) > 1:
        losses = [estimate.expected_loss for estimate in estimates]
        differences = [abs(estimate.loss_difference) for estimate in estimates]
        if max(losses) - min(losses) < FROZEN_LOSS * max(differences):
            said.append(
                f"E[L] is {min(losses):.4g} at every nβ: λ̂ is nβ·(E[L] − L(w*)), and says no more "
                "than L(w*) does"
            )
    wide = [rung for rung in usable if rung.estimate is not None and rung.estimate.locality.warning]
    if wide:
        found = wide[-1].estimate
        assert found is not None
        said.append(
            f"up to nβ = {wide[-1].nbeta:.4g} nothing local is measured: {found.locality.warning}"
        )
    if where.found and where.members[-1] < len(usable) - 1:
        said.append(
            f"λ̂ leaves the plateau above nβ = {where.last:.3g}: λ is read off at the scale of the "
            "plateau, and a finer scale has another"
        )
    return tuple(said)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
