"""Small models with known answers, and the one way in which tests judge an average.

An average over chains is judged by z standard errors, with z ≤ 4 and a fixed seed. The standard
error comes from the spread of the chains' own means, which assumes nothing about autocorrelation
(and uses nothing of germ's). Before that, a gate: a test whose error is too large to notice the
mistake it looks for fails as well, instead of passing because it is blind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

import germ

MAX_Z = 4.0

MIN_CHAINS = 16
"""Fewer chains do not say what the spread of their means is."""


def assert_mean(series: Any, truth: float, *, resolves: float, z: float = MAX_Z) -> None:
    """Assert that the mean of `series` (chain, draw) is `truth`, by z standard errors.

    Args:
        series: Values of independent chains.
        truth: What the mean should be.
        resolves: A difference that the test must be able to see: z standard errors of it at most.
        z: Standard errors allowed.
    """
    values = np.asarray(series, dtype=np.float64)
    assert z <= MAX_Z
    assert len(values) >= MIN_CHAINS, f"{len(values)} chains do not give a standard error"
    of_chains = values.reshape(len(values), -1).mean(axis=1)
    mean = of_chains.mean()
    error = of_chains.std(ddof=1) / len(of_chains) ** 0.5
    ess = values.var() / error**2
    assert z * error <= resolves, f"blind: {z}·{error:.2g} > {resolves} (ESS {ess:.0f})"
    distance = abs(mean - truth) / error
    assert distance <= z, f"{mean:.6g} ± {error:.2g} is {distance:.1f} errors from {truth:.6g}"


class Quadratic(nn.Module):
    """L_n(w) = ½ (w − c)ᵀ H (w − c): a weight, and the H and c of its loss."""

    hessian: Tensor
    center: Tensor

    def __init__(
        self,
        hessian: Sequence[float] | Tensor,
        *,
        center: Sequence[float] | None = None,
        weight: Sequence[float] | None = None,
        noise: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        matrix = torch.as_tensor(hessian, dtype=torch.float64)
        matrix = torch.diag(matrix) if matrix.dim() == 1 else matrix
        d = len(matrix)
        at = torch.zeros(d) if center is None else torch.tensor(center)
        start = at if weight is None else torch.tensor(weight)
        self.weight = nn.Parameter(start.to(dtype, copy=True))
        self.register_buffer("hessian", matrix.to(dtype))
        self.register_buffer("center", at.to(dtype, copy=True))
        self.noise = noise


def quadratic_loss(model: Any, batch: Tensor) -> Tensor:
    """½ (w − c)ᵀ H (w − c) + s·x·(w − c): the gradient of an example has noise s·x."""
    displacement = model.weight - model.center
    curved = 0.5 * displacement @ model.hessian @ displacement
    return curved + model.noise * batch @ displacement


def standardized(num_examples: int, dim: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Data of mean exactly 0 and variance exactly 1 in each column."""
    x = torch.randn(
        num_examples, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(7)
    )
    return ((x - x.mean(0)) / x.std(0, correction=0)).to(dtype)


def quadratic_posterior(
    hessian: Sequence[float] | Tensor,
    *,
    nbeta: float,
    localization: float,
    center: Sequence[float] | None = None,
    weight: Sequence[float] | None = None,
    noise: float = 0.0,
    num_examples: int = 1,
    dtype: torch.dtype = torch.float32,
) -> germ.LocalPosterior:
    """The local posterior of a `Quadratic`; one example, and so no noise, unless asked."""
    model = Quadratic(hessian, center=center, weight=weight, noise=noise, dtype=dtype)
    dim = len(model.center)
    x = (
        standardized(num_examples, dim, dtype)
        if num_examples > 1
        else torch.zeros(1, dim).to(dtype)
    )
    return germ.LocalPosterior.from_model(
        model, x, loss=quadratic_loss, nbeta=nbeta, localization=localization
    )


class Net(nn.Module):
    """A tanh network with what real models have: a buffer, and a tensor that is used twice."""

    offset: Tensor

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 3)
        self.outer = nn.Linear(3, 3)
        self.again = nn.Linear(3, 3)
        self.again.weight = self.outer.weight
        self.head = nn.Linear(3, 2)
        self.register_buffer("offset", torch.full((2,), 0.1))
        source = torch.Generator().manual_seed(3)
        for p in self.parameters():
            nn.init.normal_(p, std=0.5, generator=source)
        self.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.outer(torch.tanh(self.inner(x))))
        return self.head(torch.tanh(self.again(hidden))) + self.offset


def net_data(num_examples: int = 24, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Inputs and noisy targets for `Net`."""
    source = torch.Generator().manual_seed(11)
    x = torch.randn(num_examples, 2, generator=source)
    y = torch.sin(x) + 0.3 * torch.randn(num_examples, 2, generator=source)
    return x.to(dtype), y.to(dtype)


def net_posterior(
    dtype: torch.dtype = torch.float32, *, num_examples: int = 24, **changes: Any
) -> germ.LocalPosterior:
    """The local posterior of a `Net`."""
    settings = {"loss": "mse", "nbeta": 20.0, "localization": 10.0, **changes}
    return germ.LocalPosterior.from_model(Net(dtype), net_data(num_examples, dtype), **settings)


def flat_weights(model: nn.Module) -> Tensor:
    """An observable: all parameters, in one vector of at least float32."""
    parts = [p.reshape(-1) for p in model.parameters()]
    return torch.cat(parts).to(torch.promote_types(parts[0].dtype, torch.float32))


def same_bits(left: xr.Dataset, right: xr.Dataset) -> bool:
    """Whether two data sets hold the same variables, and every number of them is the same."""
    assert set(left.data_vars) == set(right.data_vars)
    return all(
        left[name].values.tobytes() == right[name].values.tobytes() for name in left.data_vars
    )


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    """Every tensor of a model, copied."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
