r"""λ̂ of a modular-addition network by germ's own sampler, with or without one direction.

The published sampler does not move along $g = \nabla L_n(w^*)$. Germ's samplers do the same on a
network whose only parameters are the $d - 1$ coordinates of a hyperplane,

$$ w = w^* + R\,(0, v), \qquad R = 1 - 2\,\frac{m m^\top}{\lVert m\rVert^2}, \quad
   m = \frac{g}{\lVert g\rVert} \pm e_1 $$

where the reflection R turns the first axis into g, so that distances stay what they were.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
import xarray as xr
from torch import Tensor, nn

import germ
from germ import LocalPosterior, Status
from germ.experiments.modular_network import Adder, Network, Record, data, logits_of

LOCALIZATION = 5.0
"""γ of the published estimates. At γ = 1 chains of these networks go on drifting away."""


class Hyperplane(nn.Module):
    """A network that moves only at right angles to a direction; now it stands at w*.

    Attributes:
        offset: v, (d − 1,), all 0 at w*.
    """

    mirror: Tensor
    center: Tensor

    def __init__(self, weights: dict[str, Tensor], normal: Tensor) -> None:
        """At these weights, at right angles to `normal` (d,), in the order of the weights."""
        super().__init__()
        self.shapes = {name: weight.shape for name, weight in weights.items()}
        self.register_buffer("center", torch.cat([w.flatten() for w in weights.values()]))
        mirror = normal / normal.norm()
        # Of the two reflections the one that does not subtract nearly equal numbers.
        mirror[0] += 1.0 if mirror[0] > 0 else -1.0
        self.register_buffer("mirror", mirror / mirror.norm())
        self.offset = nn.Parameter(torch.zeros(len(normal) - 1))

    def forward(self, pairs: Tensor) -> Tensor:
        """Logits."""
        away = F.pad(self.offset, (1, 0))
        away = away - 2 * self.mirror * (self.mirror @ away)
        parts = (self.center + away).split([shape.numel() for shape in self.shapes.values()])
        weights = {
            name: part.view(shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }
        return logits_of(weights, pairs)


def own(
    record: Record,
    network: Network,
    *,
    nbeta: float,
    draws: int,
    seed: int,
    restricted: bool = False,
) -> dict[str, Any]:
    """λ̂ at γ = 5 by a calibrated sampler, with its error budget and its warnings; JSON-able.

    Args:
        record: w*.
        network: Whose data.
        nbeta: nβ.
        draws: Draws of each of 4 chains, after as many steps of warmup.
        seed: Of the chains.
        restricted: Leave out motion along ∇L_n(w*).
    """

    def posterior(model: nn.Module) -> LocalPosterior:
        return LocalPosterior.from_model(
            model, data(network), loss="cross_entropy", nbeta=nbeta, localization=LOCALIZATION
        )

    whole = posterior(Adder(record.weights))
    slope = gradient(whole)
    sampled = posterior(Hyperplane(record.weights, slope)) if restricted else whole
    samples = germ.sample(sampled, chains=4, draws=draws, warmup=draws, seed=seed, throw=False)
    cosine = float(F.cosine_similarity(slope, whole.anchor, dim=0))
    return {**estimate(samples), "slope": float(slope.norm()), "cosine": cosine}


def gradient(posterior: LocalPosterior) -> Tensor:
    """∇L_n(w*) over all examples, (d,)."""
    position = posterior.anchor.clone().requires_grad_()
    batch = posterior.batch(torch.arange(posterior.data.num_examples))
    loss = posterior.example_losses(position, batch).mean()
    return torch.autograd.grad(loss, position)[0]


def estimate(samples: xr.Dataset) -> dict[str, Any]:
    """λ̂ with its errors and warnings, or why there is none; NaN becomes None."""
    statuses = list(samples.attrs["statuses"])
    found: dict[str, Any] = {
        "value": None,
        "warnings": [],
        "statuses": sorted(set(statuses)),
        "nbeta": float(samples.attrs["nbeta"]),
    }
    if all(Status[name].ok for name in statuses):
        made = germ.llc(samples)
        low, high = made.interval
        found |= {
            "value": made.value,
            "error": made.standard_error,
            "low": low,
            "high": high,
            "virial": made.virial,
            "sampled": made.expected_loss,
            "not_a_minimum": made.budget.not_a_minimum,
            "warnings": list(made.warnings),
        }
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in found.items()
    }
