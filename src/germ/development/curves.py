"""λ̂ and the loss over the checkpoints of a training run, or of several with other seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from germ.errors import GermError

if TYPE_CHECKING:
    from germ.sweeping import Sweep

BEFORE_FIRST = 0.5
"""Decades from step 0, for which a logarithm has no place, to the first step after it."""


@dataclass(frozen=True)
class Curves:
    """What stages are read off. Where a seed has no value for a checkpoint, it is NaN.

    Attributes:
        steps: Increasing, (checkpoint,).
        llc: λ̂, (seed, checkpoint).
        loss: L(w*), (seed, checkpoint), or None.
        errors: Standard errors of λ̂, (seed, checkpoint), or None.
        nbeta: nβ of all of them; None where it is not known.
        untrained_loss: Loss of an untrained model, where it is known.
        seeds: A name for each seed.
    """

    steps: np.ndarray
    llc: np.ndarray
    loss: np.ndarray | None
    errors: np.ndarray | None
    nbeta: float | None
    untrained_loss: float | None
    seeds: tuple[str, ...]

    @property
    def x(self) -> np.ndarray:
        """log₁₀(step); step 0 is half a decade before the first."""
        first = float(self.steps[self.steps > 0][0])
        return np.log10(np.where(self.steps > 0, self.steps, first / 10**BEFORE_FIRST))

    def step_at(self, x: float) -> float:
        """The step at a place of `x`."""
        early = self.steps[0] == 0 and x <= self.x[0] + 1e-9
        return 0.0 if early else float(10**x)


def curves(
    steps: Any,
    llc: Any,
    loss: Any = None,
    *,
    errors: Any = None,
    nbeta: float | None = None,
    untrained_loss: float | None = None,
    seeds: Sequence[str] | None = None,
) -> Curves:
    """Arrays as curves, in order of training.

    Args:
        steps: (checkpoint,).
        llc: λ̂, (checkpoint,) or (seed, checkpoint).
        loss: L(w*), of one shape with `llc`.
        errors: Standard errors of λ̂, of one shape with `llc`.
        nbeta: nβ, for the check that λ̂ does not restate the loss.
        untrained_loss: For the same check.
        seeds: Names of the seeds.

    Raises:
        GermError: Shapes differ, or a step comes twice, is negative or not finite.
    """
    at = np.asarray(steps, dtype=float)
    order = np.argsort(at, kind="stable")
    values = np.atleast_2d(np.asarray(llc, dtype=float))
    given: dict[str, np.ndarray | None] = {"llc": values, "loss": None, "errors": None}
    for name, one in (("loss", loss), ("errors", errors)):
        given[name] = None if one is None else np.atleast_2d(np.asarray(one, dtype=float))
    for name, one in given.items():
        if one is not None and (at.ndim != 1 or one.shape != (len(values), len(at))):
            raise GermError(
                f"expected {name} of shape (checkpoint,) or (seed, checkpoint) for {at.size} "
                f"steps and {len(values)} seeds; got {one.shape}"
            )
    at = at[order]
    if not (np.isfinite(at).all() and (at >= 0).all()) or (np.diff(at) <= 0).any():
        raise GermError("expected steps that are numbers from 0 up, each once; got others")
    if not (at > 0).any():
        raise GermError("expected checkpoints after step 0; got none")
    if nbeta is not None and not nbeta > 0:
        raise GermError(f"expected nbeta > 0; got {nbeta:g}")
    sorted_by_step = {n: None if one is None else one[:, order] for n, one in given.items()}
    names = tuple(seeds) if seeds is not None else tuple(str(k) for k in range(len(values)))
    return Curves(
        steps=at,
        llc=values[:, order],
        loss=sorted_by_step["loss"],
        errors=sorted_by_step["errors"],
        nbeta=nbeta,
        untrained_loss=untrained_loss,
        seeds=names,
    )


def of_sweeps(*sweeps: Sweep) -> Curves:
    """The curves of a sweep, or of several: one for each training seed, at equal nβ and γ.

    Checkpoints without an estimate are left out.

    Raises:
        GermError: A step is not a number, settings differ, or nothing was measured.
    """
    rows = []
    for k, found in enumerate(sweeps):
        for row in found.rows:
            if row.estimate is not None:
                rows.append({"seed": str(k), "step": row.step, **row.estimate.to_dict()})
    known = [found.untrained_loss for found in sweeps if found.untrained_loss is not None]
    return of_rows(rows, untrained_loss=min(known, default=None))


def of_rows(
    rows: Sequence[dict[str, Any]],
    *,
    nbeta: float | None = None,
    untrained_loss: float | None = None,
) -> Curves:
    """Curves of rows with the fields seed, step, value and, where they have them, more.

    Args:
        rows: One a seed and checkpoint: `anchor_loss` is L(w*), `expected_loss` E[L], from which
            and nβ comes L(w*) where it is missing; `standard_error`; `nbeta`; `localization`.
        nbeta: nβ, where rows do not say.
        untrained_loss: As for `curves`.

    Raises:
        GermError: As `of_sweeps`.
    """
    if not rows:
        raise GermError("expected at least one checkpoint with an estimate; got none")
    for name in ("nbeta", "localization"):
        said = {row[name] for row in rows if row.get(name) is not None}
        if len(said) > 1:
            raise GermError(
                f"expected checkpoints at one {name}; got {', '.join(f'{s:g}' for s in said)}"
            )
        if name == "nbeta" and said:
            nbeta = float(said.pop())
    try:
        steps = sorted({float(row["step"]) for row in rows})
    except (TypeError, ValueError) as error:
        raise GermError(
            "expected steps that are numbers; name checkpoints so that germ sweep finds their step"
        ) from error
    seeds = list(dict.fromkeys(str(row["seed"]) for row in rows))
    tables = {name: np.full((len(seeds), len(steps)), np.nan) for name in ("llc", "loss", "error")}
    for row in rows:
        place = seeds.index(str(row["seed"])), steps.index(float(row["step"]))
        if not np.isnan(tables["llc"][place]):
            raise GermError(
                f"expected step {row['step']} once a seed; got it twice: name the seeds"
            )
        value, loss, sampled = row["value"], row.get("anchor_loss"), row.get("expected_loss")
        if loss is None and sampled is not None and nbeta is not None:
            loss = sampled - value / nbeta
        tables["llc"][place] = value
        for name, one in (("loss", loss), ("error", row.get("standard_error"))):
            tables[name][place] = np.nan if one is None else one
    complete = {
        name: table if (np.isfinite(table) == np.isfinite(tables["llc"])).all() else None
        for name, table in tables.items()
    }
    return curves(
        steps, tables["llc"], complete["loss"], errors=complete["error"], nbeta=nbeta,
        untrained_loss=untrained_loss, seeds=seeds,
    )  # fmt: skip
