"""How local a result is: ΔL beside what it could be, and how the loss rises on the way out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import xarray as xr

from germ.diagnostics import average

MAX_SHARE = 0.5
"""Most of the loss between w* and an untrained predictor that chains may give up."""

MIN_DEGREE = 1.0
"""Least degree of the loss along rays from w*: below it, the loss flattens on the way out."""


@dataclass(frozen=True)
class Locality:
    r"""Where the chains were, in terms of the loss alone.

    $$ \text{share} = \frac{\mathbb E[\Delta L]}{L_0 - L_n(w^*)}, \qquad
       \text{degree} = \frac{\mathbb E[(w - w^*)\cdot\nabla L_n]}{\mathbb E[\Delta L]} $$

    L₀ is the loss of a predictor that knows nothing (log of the vocabulary). The degree is 2 for a
    quadratic, 2k where L rises as the 2k-th power of the distance, at least 1 wherever L is convex
    along rays from w*; less means that the loss flattens, as it does far outside a basin.

    Attributes:
        share: Share of L₀ − L_n(w*) that the chains gave up; NaN where L₀ is not known.
        degree: Degree of the loss; NaN where ΔL is zero within its error.
        degree_error: Its standard error, of its numerator.
    """

    share: float
    degree: float
    degree_error: float

    def __str__(self) -> str:
        """The degree of the loss, and the share where it is known."""
        said = [f"L ~ distance^{self.degree:.2g}"] if math.isfinite(self.degree) else []
        if math.isfinite(self.share):
            said.append(f"{self.share:.0%} of the way to knowing nothing")
        return ", ".join(said) or "how local: unknown"

    @property
    def warning(self) -> str | None:
        """A sentence where nothing local was measured."""
        advice = "λ̂ describes a wide neighbourhood, not the basin of w*: raise nβ or γ"
        if self.share > MAX_SHARE:
            return (
                f"ΔL is {self.share:.0%} of what separates w* from a predictor that knows nothing: "
                + advice
            )
        if self.degree + 3 * self.degree_error < MIN_DEGREE:
            return (
                f"the loss rises as the distance to the power {self.degree:.2g} only: the chains "
                f"are outside the basin, {advice}"
            )
        return None


def locality(used: xr.Dataset) -> Locality:
    """Where the chains were.

    Args:
        used: Samples as `germ.sample` returns them, chains that are ok only. The attribute
            `uniform_loss` is L₀, where there is one.

    Returns:
        The locality.
    """
    attrs = used.attrs
    shared = bool(attrs["shared_batches"])
    rise = average(used["loss_difference"].values, shared_batches=shared)
    room = float(attrs.get("uniform_loss", math.nan)) - float(attrs["anchor_loss"])
    share = rise.mean / room if room > 0 else math.nan
    nbeta = float(attrs["nbeta"])
    if "distance" not in used or nbeta == 0 or rise.mean <= 3 * rise.standard_error:
        return Locality(share, math.nan, math.nan)
    # (w − w*)·∇U = nβ(w − w*)·∇L + γ‖w − w*‖²; the last term is known without noise.
    pull = float(attrs["localization"]) * used["distance"].values ** 2
    slope = average(
        (int(attrs["num_coordinates"]) * used["virial"].values - pull) / nbeta,
        shared_batches=shared,
    )
    return Locality(share, slope.mean / rise.mean, slope.standard_error / rise.mean)
