"""The toy model of superposition as a network, and germ's λ̂ at a critical point of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import germ
from germ import LocalPosterior, Status
from germ.experiments.superposition_pieces import Examples
from germ.losses import supervised


class Autoencoder(nn.Module):
    """x ↦ ReLU(WᵀW x + b).

    Args:
        point: (W by rows, b), W of two rows.
    """

    def __init__(self, point: np.ndarray) -> None:
        super().__init__()
        columns = len(point) // 3
        whole = torch.as_tensor(point, dtype=torch.float32)
        self.weight = nn.Parameter(whole[: 2 * columns].view(2, columns).clone())
        self.bias = nn.Parameter(whole[2 * columns :].clone())

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (examples, c) of inputs (examples, c)."""
        return torch.relu(x @ self.weight.mT @ self.weight + self.bias)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """‖x − x̂‖² of each example: the sum over outputs, without a factor ½."""
    return (outputs - targets).square().sum(1)


def nbeta(num: int) -> float:
    """nβ = n/log n."""
    return num / math.log(num)


def estimate(
    point: np.ndarray,
    examples: Examples,
    localization: float,
    draws: int,
    seed: int,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """What germ says of λ̂ at nβ = n/log n; JSON-able.

    Args:
        point: w*.
        examples: The n examples.
        localization: γ.
        draws: Draws of a chain.
        seed: Of the chains.
        batch_size: None leaves it to germ.
    """
    x = torch.as_tensor(examples.dense(), dtype=torch.float32)
    posterior = LocalPosterior.from_model(
        Autoencoder(point).eval(), (x, x), loss=supervised(squared_error),
        nbeta=nbeta(len(examples)), localization=localization,
    )  # fmt: skip
    samples = germ.sample(posterior, draws=draws, batch_size=batch_size, seed=seed, throw=False)
    statuses = list(samples.attrs["statuses"])
    found: dict[str, Any] = {"statuses": sorted(set(statuses)), "value": None, "warnings": []}
    if all(Status[name].ok for name in statuses):
        got = germ.llc(samples)
        low, high = got.interval
        found |= {
            "value": got.value, "error": got.standard_error, "total": got.budget.total,
            "low": low, "high": high, "virial": got.virial, "warnings": list(got.warnings),
            "chains": list(got.chain_values),
        }  # fmt: skip
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in found.items()
    }
