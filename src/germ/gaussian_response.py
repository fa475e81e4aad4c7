"""One component's susceptibilities from draws of the Gaussian, with the end in sight and on disk.

Draws go on until χ stands out from its errors; what is done is kept, and a run that was stopped
goes on with the next draw.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from germ.errors import GermError
from germ.estimate.interpolation import FORM, GROUPS, WORTH, Interpolation, worth
from germ.estimate.response import Baseline
from germ.gaussian import ALL_EXAMPLES, NUM_EXAMPLES, SIGNS, Gaussian
from germ.probes import ProbeLosses
from germ.store import datasets, files

FIRST, MOST = 8, 64
"""Draws after which it is first looked at, and at most."""

RELIABILITY = 0.9
"""Of the spread of χ over tokens, the share that is not error, at which draws end by themselves."""

STEP = 0.25
"""Of a difference quotient along a gradient, in units of the posterior's width 1/√γ. At a width of
1 the cubic part of a loss is a thousandth of its slope, and at this one a twentieth of that; what a
float32 of the loss leaves out is as small."""

KEEP_EVERY = 20.0
"""Seconds after which a draw is written down."""

Progress = Callable[[str, int, int], None]
"""Told (stage, done, total)."""


class NotGaussian(Exception):
    """The posterior is not near enough to the Gaussian of its localization."""


def respond(
    losses: ProbeLosses,
    gradient: Callable[[], Tensor],
    sizes: tuple[int, ...],
    *,
    seed: int,
    num_draws: int | None = None,
    baseline: Baseline | None = None,
    path: Path | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
) -> xr.Dataset:
    """χ of all probes for the component that a posterior lets move.

    Args:
        losses: The probes, prepared for the posterior.
        gradient: Gives ∇L_n(w*) on its coordinates, (d,).
        sizes: Tokens of each probe, in order.
        seed: Of all randomness.
        num_draws: How many; None goes on until `RELIABILITY`, at most `MOST`.
        baseline: For the full centring.
        path: Where the result is kept. One that is there is used again, and one begun goes on.
        fresh: Begin anew, whatever is there.
        progress: Told how it goes along.

    Returns:
        What `Interpolation.estimates` gives, and in attributes how it came.

    Raises:
        NotGaussian: Weighted draws are worth too little.
    """
    posterior, began = losses.posterior, time.monotonic()
    partial = None if path is None else path.with_name(f".{path.name}.partial.npz")
    if path is not None and not fresh:
        found = _kept(path)
        if found is not None:
            return found
    fold = Interpolation(
        sizes, posterior.nbeta, posterior.localization, device=losses.at_anchor.device
    )
    if partial is not None and not fresh:
        _resume(fold, partial)
    source = Gaussian(posterior, losses.excess, gradient, seed=seed)
    share = _share(source)
    goal = MOST if num_draws is None else rounded(num_draws)
    tell = progress or _silent
    written = time.monotonic()
    try:
        while fold.num_draws < goal:
            tell("draws", fold.num_draws, goal)
            _fold(fold, source, losses)
            if num_draws is None and _enough(fold, baseline):
                break
            if partial is not None and time.monotonic() - written > KEEP_EVERY:
                _keep(fold, partial)
                written = time.monotonic()
    except KeyboardInterrupt:
        if partial is not None:
            _keep(fold, partial)
        raise
    tell("draws", fold.num_draws, fold.num_draws)
    result = _dataset(fold, baseline, posterior, share, seed, time.monotonic() - began)
    if path is not None:
        with files.writing(path.parent):
            datasets.write(result, path)
        assert partial is not None
        partial.unlink(missing_ok=True)
    return result


def rounded(num_draws: int) -> int:
    """As many draws, or so many more that groups of them are of one size."""
    return num_draws if num_draws <= GROUPS else -(-num_draws // GROUPS) * GROUPS


def _fold(fold: Interpolation, source: Gaussian, losses: ProbeLosses) -> None:
    """One draw: along ∇φ at both its ends, how the losses of all tokens move."""
    draw = source.draw(fold.num_draws)
    if not bool(draw.phi.isfinite().all() and draw.along.isfinite().all()):
        raise NotGaussian("the loss is not finite at a draw of the Gaussian of its localization")
    width = STEP * source.posterior.localization**-0.5
    moved, level = [], torch.zeros_like(losses.at_anchor)
    for along, position in zip(draw.along, draw.position, strict=True):
        norm = float(along.norm())
        step = width / norm if norm > 0 else 1.0
        ends = [losses.token_losses(position + sign * step * along) for sign in SIGNS]
        moved.append((ends[0] - ends[1]) / (2 * step))
        # The mean of both ends is the loss between them, but for a part of one direction's
        # curvature in thousands: far below what any draw can see.
        level += (ends[0] + ends[1]) / 4
    fold.add(draw.phi, draw.halves, draw.own, torch.stack(moved), level - losses.at_anchor)


def _share(source: Gaussian) -> float:
    """What weighted draws are worth, by the first few; they cost next to nothing without probes."""
    phi = torch.cat([source.phi(number)[0] for number in range(FIRST)])
    share = worth(phi, source.posterior.nbeta)
    if not share >= WORTH:
        raise NotGaussian(
            f"draws of the Gaussian of its localization are worth {100 * share:.0f}% as much"
        )
    return share


def _enough(fold: Interpolation, baseline: Baseline | None) -> bool:
    num = fold.num_draws
    if num < FIRST or num % FIRST or (num > GROUPS and num % GROUPS):
        return False
    found = fold.estimates(baseline)
    return reliability(found["chi"], found["error"]) >= RELIABILITY


def reliability(chi: Tensor, error: Tensor) -> float:
    """The share of χ's mean square, about its mean where there are many, that is not error."""
    chi, error = chi.double(), error.double()
    centre = chi.mean() if len(chi) > 1 else torch.zeros((), dtype=chi.dtype)
    total = float((chi - centre).square().mean())
    return 1 - float(error.square().mean()) / total if total > 0 else 0.0


def _dataset(
    fold: Interpolation,
    baseline: Baseline | None,
    posterior: Any,
    share: float,
    seed: int,
    seconds: float,
) -> xr.Dataset:
    found = {name: part.cpu().numpy() for name, part in fold.estimates(baseline).items()}
    dims = {
        "chi": ("token",), "error": ("token",), "noise": ("token",), "chi_probe": ("probe",),
        "error_probe": ("probe",), "chi_probe_chain": ("group", "probe"),
    }  # fmt: skip
    variables = {f"response_{name}": (dims.get(name, ()), part) for name, part in found.items()}
    num = posterior.data.num_examples
    attrs = {
        "method": "gaussian",
        "nbeta": posterior.nbeta,
        "localization": posterior.localization,
        "num_draws": fold.num_draws,
        "groups": min(GROUPS, fold.num_draws),
        "share": share,
        "seconds": seconds,
        "seed": seed,
        "gradient_examples": num if num <= ALL_EXAMPLES else NUM_EXAMPLES,
        "form": FORM,
    }
    return xr.Dataset(variables, attrs=attrs)


def _kept(path: Path) -> xr.Dataset | None:
    """A finished result, or None where there is nothing."""
    if not path.exists():
        return None
    try:
        found = datasets.read(path)
    except (OSError, ValueError, KeyError) as error:
        raise GermError(
            f"{path} cannot be read ({error}); delete it, or give another folder"
        ) from error
    return found if found.attrs.get("form") == FORM else None


def _keep(fold: Interpolation, path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **fold.state())
    with files.writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_durable(path, [buffer.getvalue()])


def _resume(fold: Interpolation, path: Path) -> None:
    if path.exists():
        with np.load(path) as state:
            fold.resume(state)


def _silent(*_: Any) -> None:
    """No progress is shown."""
