"""A calibration kept, to be used again at other checkpoints and components where it still holds.

Fitting a metric and sending a pilot is most of what calibration costs. Neighbouring checkpoints
have nearly the same metric, and a component's metric is the model's own on its coordinates. Whether
that is so is measured at the new w*, at a typical draw from N(w*, D), each time it is used:

    r = mean_i D_i·y_i²,  y = (∇U(w* + D^½ξ) − ∇U(w* − D^½ξ))/2      1 where D equilibrates
    λmax of D^½ ∇²U D^½                                              ε·λmax ≤ 1
    N = mean_i Var((√D ∇Û)_i)                                        heats by 5% at most

Where one of these fails the calibration is made anew, and the reasons say which.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from germ import calibrate, fingerprint, heat
from germ.curvature import Curvature
from germ.errors import GermError
from germ.plan import max_batch_size
from germ.posterior import LocalPosterior
from germ.recipes import Resolved
from germ.rotated import RotatedFit
from germ.samplers import BAOAB, GHMC, Diagonal, Kronecker, Rotation
from germ.store import files

FORM = "germ calibration 1"

NUM_PAIRS, NUM_ITERATIONS, NUM_NOISE_PAIRS = 2, 6, 2
"""Of the test: 4 gradients, 12 more, and up to 8 more."""

MISFIT = 4.0
"""r may be this far from 1, either way: a factor of two in the metric."""

SLACK = 1.5
"""ε·λmax, and the heat of gradient noise, may exceed their limits by this factor. Both are measured
within a factor of about that."""


@dataclass(frozen=True, eq=False)
class Kept:
    """A calibration and what it was made for.

    Attributes:
        sampler: What calibration chose.
        batch_size: Examples a batch.
        nbeta: nβ.
        localization: γ.
        places: For each parameter, its shape and the flat indices that moved; None is all.
    """

    sampler: BAOAB | GHMC
    batch_size: int
    nbeta: float
    localization: float
    places: dict[str, tuple[tuple[int, ...], Tensor | None]]

    @classmethod
    def of(cls, posterior: LocalPosterior, found: calibrate.Calibration) -> Kept:
        """What `germ.calibrate.calibrate` found for `posterior`."""
        return cls(
            found.sampler,
            found.batch_size,
            posterior.nbeta,
            posterior.localization,
            _places(posterior),
        )

    @property
    def metric(self) -> Diagonal | Kronecker:
        """D, where it was made."""
        metric = self.sampler.preconditioner
        assert isinstance(metric, Diagonal | Kronecker)
        return metric

    def save(self, path: str | Path) -> Path:
        """Write it to a file of tensors (.safetensors).

        Raises:
            GermError: It cannot be written.
        """
        path, sampler, metric = Path(path), self.sampler, self.metric
        tensors = {"scale": metric.scale.cpu().contiguous()}
        if isinstance(metric, Kronecker):
            for name, (_, left, right) in zip(self.places, metric.rotations, strict=True):
                for side, basis in (("left", left), ("right", right)):
                    if basis is not None:
                        tensors[f"{side}/{name}"] = basis.cpu().contiguous()
        for name, (_, moving) in self.places.items():
            if moving is not None:
                tensors[f"moving/{name}"] = moving.cpu().contiguous()
        about = {
            "form": FORM,
            "metric": type(metric).__name__,
            "sampler": type(sampler).__name__,
            "step_size": sampler.step_size,
            "friction": sampler.friction,
            "batch_size": self.batch_size,
            "nbeta": self.nbeta,
            "localization": self.localization,
            "shapes": {name: list(shape) for name, (shape, _) in self.places.items()},
        }
        with files.writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_durable(path, [serialize(tensors, {"germ": json.dumps(about)})])
        return path

    @classmethod
    def load(cls, path: str | Path) -> Kept:
        """Read a file that `save` wrote.

        Raises:
            GermError: There is none, or it is something else.
        """
        try:
            with safe_open(str(path), framework="pt") as held:
                about = json.loads((held.metadata() or {}).get("germ", "{}"))
                tensors = {name: held.get_tensor(name) for name in held.keys()}
        except (OSError, SafetensorError, ValueError) as error:
            raise GermError(f"cannot read a calibration from {path}: {error}") from error
        if about.get("form") != FORM or "scale" not in tensors:
            raise GermError(
                f"expected a calibration of germ in {path} (germ calibrate --save FILE); got "
                f"{about.get('form', 'another file of tensors')!r}"
            )
        places = {
            name: (tuple(shape), tensors.get(f"moving/{name}"))
            for name, shape in about["shapes"].items()
        }
        metric: Diagonal | Kronecker = Diagonal(tensors["scale"])
        if about["metric"] == "Kronecker":
            rotations = [
                Rotation(_matrix(*place), tensors.get(f"left/{name}"), tensors.get(f"right/{name}"))
                for name, place in places.items()
            ]
            metric = Kronecker(rotations, tensors["scale"])
        kind = GHMC if about["sampler"] == "GHMC" else BAOAB
        sampler = kind(about["step_size"], metric, about["friction"])
        return cls(sampler, about["batch_size"], about["nbeta"], about["localization"], places)

    def identity(self) -> dict[str, Any]:
        """What tells this calibration from another: JSON-able."""
        moving = {name: mask for name, (_, mask) in self.places.items() if mask is not None}
        return {
            "name": "kept",
            "sampler": type(self.sampler).__name__,
            "step_size": self.sampler.step_size,
            "friction": self.sampler.friction,
            "batch_size": self.batch_size,
            "nbeta": self.nbeta,
            "localization": self.localization,
            "places": {name: list(shape) for name, (shape, _) in self.places.items()},
            "moving": fingerprint.of_tensors(moving),
            "metric": dict(self.metric.identity()),
        }

    def metric_for(self, posterior: LocalPosterior) -> Diagonal | Kronecker | None:
        """The metric on the coordinates of `posterior`; None where it has none for some of them.

        A diagonal one serves any coordinates that moved. A rotated one serves whole parameters.
        """
        sizes = [_size(*place) for place in self.places.values()]
        parts = dict(zip(self.places, self.metric.scale.split(sizes), strict=True))
        scales, rotations = [], []
        for name, (shape, moving) in _places(posterior).items():
            if name not in self.places or self.places[name][0] != shape:
                return None
            then = self.places[name][1]
            if isinstance(self.metric, Kronecker):
                same = moving is then or (
                    moving is not None
                    and then is not None
                    and torch.equal(moving.cpu(), then.cpu())
                )
                if not same:
                    return None
                rotations.append(self.metric.rotations[list(self.places).index(name)])
                scales.append(parts[name])
                continue
            whole = parts[name].new_full((torch.Size(shape).numel(),), torch.nan)
            whole[slice(None) if then is None else then.to(whole.device)] = parts[name]
            scales.append(whole if moving is None else whole[moving.to(whole.device)])
        scale, device = torch.cat(scales), posterior.anchor.device
        if not bool(scale.isfinite().all()):
            return None
        scale = scale.to(posterior.anchor)
        if not rotations:
            return Diagonal(scale)
        moved = [
            Rotation(shape, *(None if side is None else side.to(device) for side in sides))
            for shape, *sides in rotations
        ]
        return Kronecker(moved, scale)


def _size(shape: tuple[int, ...], moving: Tensor | None) -> int:
    return torch.Size(shape).numel() if moving is None else len(moving)


def _matrix(shape: tuple[int, ...], moving: Tensor | None) -> tuple[int, int]:
    """Rows and columns, as `germ.rotated.matrices` has them."""
    size = _size(shape, moving)
    if moving is not None or len(shape) < 2:
        return 1, size
    rows, columns = shape[0], size // shape[0]
    return (rows, columns) if min(rows, columns) > 1 else (1, size)


def _places(posterior: LocalPosterior) -> dict[str, tuple[tuple[int, ...], Tensor | None]]:
    coordinates = posterior.coordinates
    return {
        name: (tuple(shape), mask)
        for name, shape, mask in zip(
            coordinates.names, coordinates.shapes, coordinates.masks, strict=True
        )
    }


@dataclass(frozen=True)
class Reused:
    """A recipe: a kept calibration where it holds, and else a new one.

    Attributes:
        kept: The calibration.
    """

    kept: Kept

    def resolve(
        self, posterior: LocalPosterior, *, batch_size: int, seed: int, anchored: bool
    ) -> Resolved:
        """Test the kept calibration at `posterior`; make a new one where it fails."""
        return reuse(self.kept, posterior, batch_size=batch_size, seed=seed, anchored=anchored)


def reuse(
    kept: Kept,
    posterior: LocalPosterior,
    *,
    batch_size: int,
    seed: int,
    anchored: bool = True,
    num_steps: int = 8 * calibrate.MAX_PILOT_STEPS,
) -> Resolved:
    """The kept calibration at another w*, tested there; where it fails, a new one.

    Args:
        kept: The calibration.
        posterior: Where it is to be used.
        batch_size: Examples a batch of a new calibration, to begin with.
        seed: The run's seed.
        anchored: Whether the run's gradients will be anchored.
        num_steps: Steps of the run, for a new calibration.

    Returns:
        The sampler, its batch, the cost of the test (and of a new calibration) and the reasons,
        `reused` among them.
    """
    why, sampler, spent = _test(kept, posterior, seed, anchored=anchored)
    if sampler is not None:
        return Resolved(sampler, kept.batch_size, spent, {"reused": why})
    found = calibrate.calibrate(
        posterior,
        batch_size=batch_size,
        seed=seed,
        max_batch_size=max_batch_size(posterior, batch_size),
        anchored=anchored,
        num_steps=num_steps,
    )
    spent = found.num_gradients + -(-spent * kept.batch_size // batch_size)
    reasons = {**found.reasons, "reused": f"no, calibrated anew: {why}"}
    return Resolved(found.sampler, found.batch_size, spent, reasons)


def _test(
    kept: Kept, posterior: LocalPosterior, seed: int, *, anchored: bool
) -> tuple[str, Any, int]:
    """What the test says, the sampler if it is passed, and the gradients it took."""
    for name, here, there in (
        ("nβ", posterior.nbeta, kept.nbeta),
        ("γ", posterior.localization, kept.localization),
    ):
        if abs(here - there) > 1e-6 * abs(there):
            return f"it was made at {name} = {there:g}, this is {here:g}", None, 0
    metric = kept.metric_for(posterior)
    if metric is None:
        return "other weights move here", None, 0
    num_examples = posterior.data.num_examples
    full = kept.batch_size >= num_examples
    if isinstance(kept.sampler, GHMC) and not full:
        return "it is for runs on all the data, which are more here", None, 0
    size = min(kept.batch_size, num_examples)
    fit = RotatedFit(posterior, size, seed)
    misfit = fit.misfit(metric, NUM_PAIRS)
    if not 1 / MISFIT <= misfit <= MISFIT:
        why = f"curvature in its metric is {misfit**0.5:.2g} times what it was made for"
        return why, None, fit.num_gradients
    curvature, place = Curvature(posterior, size, seed), fit.typical(metric)
    step = kept.sampler.step_size
    bend = step * curvature.largest(metric, NUM_ITERATIONS, None, place)
    spent = fit.num_gradients + curvature.num_gradients
    if bend > SLACK * calibrate.STABILITY and not isinstance(kept.sampler, GHMC):
        return f"ε times the largest curvature is {bend:.2g} here", None, spent
    said = f"tested at this w*: curvature ×{misfit**0.5:.2g}, ε·λmax {bend:.2g}"
    if full:
        return said, replace(kept.sampler, preconditioner=metric), spent
    noises, noise_gradients = heat.noise_at(
        posterior, place, metric, NUM_NOISE_PAIRS, batch_size=size, seed=seed, anchored=anchored
    )
    hot = heat.excess(step, kept.sampler.friction, float(noises.double().mean()))
    spent += noise_gradients
    if hot > SLACK * calibrate.HEAT:
        return f"gradient noise would add {hot:.0%} to the temperature here", None, spent
    sampler = replace(kept.sampler, preconditioner=metric, cooling=step * noises)
    return f"{said}, heat {hot:.1%}", sampler, spent
