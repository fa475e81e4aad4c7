"""What the samplers are judged by: long full-batch runs, exact or nearly so, that must agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import germ
from germ import LocalPosterior
from germ.fingerprint import of_tensors
from germ.samplers import HMC, LeimkuhlerMatthews

CHAINS = 16
STEP_SIZE = 0.05
STEP_SIZES = (0.1, 0.05)
"""Of the Leimkuhler–Matthews runs: their bias is of second order, so these differ by 4 : 1."""


@dataclass(frozen=True, eq=False)
class Dense:
    """A dense metric D = (root)², with a symmetric root: affordable where d is a few hundred.

    Attributes:
        root: D^(1/2), shape (d, d).
    """

    root: Tensor

    def apply(self, vector: Tensor) -> Tensor:
        """D·v."""
        return vector @ self.root @ self.root

    def sqrt(self, vector: Tensor) -> Tensor:
        """D^(1/2)·v."""
        return vector @ self.root

    def identity(self) -> Mapping[str, Any]:
        """Name and content hash."""
        return {"name": "dense", "root": of_tensors({"root": self.root})}


def hessians(posterior: LocalPosterior, positions: Tensor) -> Tensor:
    """∇²L_n at positions (any, d), shape (any, d, d), in double precision."""
    batch = posterior.batch(torch.arange(posterior.data.num_examples))
    second = torch.func.hessian(lambda w: posterior.example_losses(w, batch).mean())
    return torch.stack([second(position) for position in positions]).detach().double()


def mean_metric(posterior: LocalPosterior, positions: Tensor) -> Dense:
    """D = (nβ·mean|∇²L_n| + γ)⁻¹ over `positions`, where |·| takes eigenvalues' moduli.

    Flat directions stiffen away from w*, so draws of a pilot run make a better metric than w*.
    """
    values, vectors = torch.linalg.eigh(hessians(posterior, positions))
    mean = ((vectors * values.abs()[:, None]) @ vectors.mT).mean(0)
    values, vectors = torch.linalg.eigh(mean)
    stiffness = posterior.nbeta * values + posterior.localization
    root = (vectors * stiffness.rsqrt()) @ vectors.T
    return Dense(root.to(posterior.anchor.dtype))


def position(model: nn.Module) -> Tensor:
    """All weights, flat: an observable."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def pilot_metric(posterior: LocalPosterior, steps: int) -> Dense:
    """The metric after two rounds of short pilot runs."""
    metric = mean_metric(posterior, posterior.anchor[None])
    for step_size in (0.02, 0.05):
        pilot = germ.sample(
            posterior,
            LeimkuhlerMatthews(step_size, metric),
            chains=CHAINS,
            draws=4,
            warmup=steps,
            seed=100,
            observables={"position": position},
        )
        metric = mean_metric(posterior, torch.from_numpy(pilot["position"].values[:, -1]))
    return metric


def reference(posterior: LocalPosterior, draws: int) -> dict[str, Any]:
    """λ̂ by HMC, and by full-batch Leimkuhler–Matthews at two step sizes, as a check.

    Args:
        posterior: Over the reduced data, so that a full batch is cheap.
        draws: Trajectories of eight leapfrog steps, of each of 16 chains.

    Returns:
        `value`, `error`, `rhat`, `virial`, `acceptance` of HMC; `checks`, the same of the others.
    """
    metric = pilot_metric(posterior, steps=min(200, draws))
    runs = [HMC(STEP_SIZE, num_leapfrog_steps=8, preconditioner=metric)]
    runs += [LeimkuhlerMatthews(step_size, metric) for step_size in STEP_SIZES]
    found = []
    for number, sampler in enumerate(runs):
        exact = isinstance(sampler, HMC)
        samples = germ.sample(
            posterior,
            sampler,
            chains=CHAINS,
            draws=draws,
            warmup=draws // 6 if exact else draws,
            thin=1 if exact else 5,
            seed=200 + number,
        )
        estimate = germ.llc(samples)
        found.append(
            {
                "sampler": type(sampler).__name__,
                "step_size": sampler.step_size,
                "value": estimate.value,
                "error": estimate.standard_error,
                "rhat": estimate.rhat,
                "virial": estimate.virial,
                "acceptance": estimate.acceptance if exact else None,
                "seconds": samples.attrs.get("seconds"),
            }
        )
    return {**found[0], "checks": found[1:]}
