"""The stages of a training run: boundaries, and what changes from one to the next."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from germ.estimate.restatement import Restatement
from germ.report import tables
from germ.report.tables import cell_width, plus_minus

if TYPE_CHECKING:
    from germ.development.curves import Curves
    from germ.development.turning import Ensemble

UNDECIDED = "undecided"

TYPES = {("falls", "rises"): "A", ("falls", "falls"): "B"}
"""By what the loss does and what λ̂ does (Hoogland et al. 2402.02364, section 3)."""


@dataclass(frozen=True)
class Boundary:
    """Where one stage ends and the next begins.

    Attributes:
        step: Where.
        interval: 90% interval of the place: of the mean of the seeds, or of this run's own curve;
            empty where it was dropped.
        kind: `"maximum"`, `"minimum"` (the slope changes sign) or `"pause"` (it does not).
        of: The curve that says so: `"llc"`, `"loss"` or `"both"`.
        support: Probability that there is one, the search included.
        seed_steps: Where each seed's own curve has it; empty for one seed.
    """

    step: float
    interval: tuple[float, float]
    kind: str
    of: str
    support: float
    seed_steps: tuple[float, ...] = ()

    def __str__(self) -> str:
        """One line."""
        low, high = (_step(end) for end in self.interval)
        between = "" if low == high else f" (90%: {low} … {high})"
        of = {"llc": "λ̂", "loss": "the loss", "both": "λ̂, and a boundary of the loss too"}
        return (
            f"{_step(self.step)}{between}, {self.kind} of {of[self.of]}, support {self.support:.2f}"
        )


@dataclass(frozen=True)
class Stage:
    """From one boundary to the next.

    Attributes:
        start: Step.
        end: Step.
        kind: `"A"`, `"B"`, or what the loss and λ̂ do in words.
        llc_change: λ̂(end) − λ̂(start), both smoothed.
        llc_error: Its standard error: between seeds, or of this run's own curve.
        loss_change: L(w*)(end) − L(w*)(start); NaN where there is no loss.
        loss_error: Its standard error.
        restated: Whether λ̂ only restates the loss over nine tenths of it.
    """

    start: float
    end: float
    kind: str
    llc_change: float
    llc_error: float
    loss_change: float
    loss_error: float
    restated: bool


@dataclass(frozen=True)
class Stages:
    """What `germ.stages` found.

    Attributes:
        stages: In order.
        boundaries: Between them.
        dropped: Candidates that had too little support to be boundaries.
        level: The support that was asked for.
        num_seeds: Training runs; one where there are no replicates.
        restatement: How far λ̂ is the loss over again; None where nβ or the loss is not known.
        warnings: What a reader must know.
        curves: What was smoothed.
        llc: The smoothed λ̂.
        loss: The smoothed loss, or None.
    """

    stages: tuple[Stage, ...]
    boundaries: tuple[Boundary, ...]
    dropped: tuple[Boundary, ...]
    level: float
    num_seeds: int
    restatement: Restatement | None
    warnings: tuple[str, ...]
    curves: Curves
    llc: Ensemble
    loss: Ensemble | None

    def to_dict(self) -> dict[str, Any]:
        """All but the curves, for JSON; NaN becomes None."""
        found = {
            "stages": [asdict(one) for one in self.stages],
            "boundaries": [asdict(one) for one in self.boundaries],
            "dropped": [asdict(one) for one in self.dropped],
            "level": self.level,
            "num_seeds": self.num_seeds,
            "restatement": None if self.restatement is None else asdict(self.restatement),
            "warnings": list(self.warnings),
        }
        return _finite(found)

    def to_csv(self) -> str:
        """One line a stage, with the boundary at its end."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(
            [
                "stage", "start", "end", "type", "llc_change", "llc_error", "loss_change",
                "loss_error", "restated", "end_low", "end_high", "end_kind", "end_of",
                "end_support",
            ]
        )  # fmt: skip
        for number, stage in enumerate(self.stages, 1):
            row = [
                number, f"{stage.start:.6g}", f"{stage.end:.6g}", stage.kind,
                *(
                    "" if math.isnan(value) else f"{value:.6g}"
                    for value in (
                        stage.llc_change, stage.llc_error, stage.loss_change, stage.loss_error
                    )
                ),
                int(stage.restated),
            ]  # fmt: skip
            if number <= len(self.boundaries):
                at = self.boundaries[number - 1]
                row += [*(f"{end:.6g}" for end in at.interval), at.kind, at.of, f"{at.support:.3f}"]
            else:
                row += [""] * 5
            writer.writerow(row)
        return text.getvalue()

    def write(self, folder: str | Path, name: str = "stages") -> tuple[Path, Path]:
        """Write `NAME.csv` and `NAME.json`, each in one piece.

        Raises:
            GermError: If they cannot be written.
        """
        return tables.write(folder, name, self.to_csv(), self.to_dict())

    def __str__(self) -> str:
        """The table, one line a stage, and the boundaries."""
        rows = [("stage", "from", "to", "Δλ̂", "ΔL(w*)", "type")]
        for number, one in enumerate(self.stages, 1):
            loss = "–" if math.isnan(one.loss_change) else _change(one.loss_change, one.loss_error)
            kind = one.kind + (", restates the loss" if one.restated else "")
            change = _change(one.llc_change, one.llc_error)
            rows.append((str(number), _step(one.start), _step(one.end), change, loss, kind))
        widths = [max(cell_width(row[k]) for row in rows) for k in range(5)]
        lines = [
            "  ".join(" " * (w - cell_width(c)) + c for w, c in zip(widths, row[:5], strict=True))
            + f"  {row[5]}"
            for row in rows
        ]
        lines += [f"boundary at {at}" for at in self.boundaries]
        return "\n".join(lines)


def kind_of(loss: str | None, llc: str) -> str:
    """The type of a stage.

    Args:
        loss: What the loss does: `"falls"`, `"rises"`, `"undecided"`; None where it is not known.
        llc: What λ̂ does.

    Example:
        >>> kind_of("falls", "rises"), kind_of("falls", "falls"), kind_of(None, "rises")
        ('A', 'B', 'λ̂ rises')
        >>> kind_of("falls", "undecided")
        'loss falls, λ̂ undecided'
    """
    if loss is None:
        return f"λ̂ {llc}"
    return TYPES.get((loss, llc), f"loss {loss}, λ̂ {llc}")


def _change(value: float, error: float) -> str:
    return ("+" if value > 0 else "") + plus_minus(value, error)


def _step(step: float) -> str:
    """A step to three digits: no boundary is known better.

    Example:
        >>> _step(126262.0), _step(0.0), _step(17.24)
        ('126,000', '0', '17')
    """
    if step <= 0:
        return "0"
    digits = 2 - math.floor(math.log10(step))
    return f"{round(step, min(digits, 0)):,.0f}"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
