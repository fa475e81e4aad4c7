"""The part of a page that shows stages of training: their table, and an axis of steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from germ.experiments.toy_section import table

ZERO = -0.7
"""Where step 0 stands on a logarithmic axis, in decades."""

PUBLISHED_HEAD = ("stage", "steps", "what", "type", "Δ loss", "Δ λ̂")


def stages_table(stages: Sequence[dict[str, Any]]) -> str:
    """A row a stage.

    Args:
        stages: Of `germ.development.stage_table.Stages.to_dict`.
    """
    return table(
        ["from", "to", "type", "Δ loss", "Δ λ̂", "restates the loss"],
        [
            [
                f"{s['start']:,.0f}", f"{s['end']:,.0f}", s["kind"],
                _change(s["loss_change"], s["loss_error"]),
                _change(s["llc_change"], s["llc_error"]), "yes" if s["restated"] else "no",
            ]
            for s in stages
        ],
    )  # fmt: skip


def log_steps(steps: Sequence[int | float]) -> np.ndarray:
    """log₁₀ of steps; step 0 stands some way before step 1."""
    array = np.array(steps, dtype=float)
    return np.where(array > 0, np.log10(np.maximum(array, 1)), ZERO)


def step_ticks(axes: Axes, steps: Sequence[int | float]) -> None:
    """Ticks for `log_steps`."""
    powers = range(int(math.log10(max(steps))) + 1)
    axes.set_xticks([ZERO, *powers], ["0", *(f"$10^{p}$" for p in powers)])
    axes.set_xlabel("step")


def _change(value: float | None, error: float | None) -> str:
    if value is None:
        return "—"
    return f"{value:+.3g}" + ("" if error is None else f" ± {error:.2g}")
