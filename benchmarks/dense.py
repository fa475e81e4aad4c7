"""A dense metric from the exact Hessian, for the reference runs: the best one small nets can have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from germ import LocalPosterior
from germ.fingerprint import of_tensors


@dataclass(frozen=True, eq=False)
class Dense:
    """D = (root)², with a symmetric root.

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


def hessian_metric(posterior: LocalPosterior, positions: Tensor | None = None) -> Dense:
    """D = (nβ·mean|H| + γ)⁻¹ from all second derivatives over all the data.

    Args:
        posterior: The posterior.
        positions: Where to take H, (any, d); None is w* alone. Flat directions stiffen away from
            w*, so the mean over some draws of a pilot run makes the better metric.

    Returns:
        The metric.
    """
    batch = posterior.batch(torch.arange(posterior.data.num_examples))
    second = torch.func.hessian(lambda w: posterior.example_losses(w, batch).mean())
    positions = posterior.anchor[None] if positions is None else positions
    values, vectors = torch.linalg.eigh(torch.stack([second(w) for w in positions]).detach().double())
    mean = ((vectors * values.abs()[:, None]) @ vectors.mT).mean(0)
    values, vectors = torch.linalg.eigh(mean)
    stiffness = posterior.nbeta * values + posterior.localization
    root = (vectors * stiffness.rsqrt()) @ vectors.T
    return Dense(root.to(posterior.anchor.dtype))
