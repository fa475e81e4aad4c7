"""Random deep linear networks with matrices of reduced rank: the generator of Lau et al.

The published benchmark (arXiv 2308.12108; code edmundlth/validating_lambdahat) draws

- the number of layers, every width and the input width uniformly from half-open ranges,
- weights as Haiku initializes them: normal with deviation 1/√(inputs), cut off at two deviations,
- with probability 1/2 for each matrix a new rank: rank − u, u uniform on {0, …, rank − 1}, by
  leaving out the smallest singular values (method `rand_rank`),
- inputs uniform on [−10, 10]^d and targets without noise.

The published code uses one random key for the ranks of all matrices of a network; here every matrix
has its own draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from germ.errors import GermError
from germ.exact import Coefficient, deep_linear, deep_linear_at
from germ.zoo.deep_linear import DeepLinear

PROBABILITY = 0.5
"""Of a matrix to have its rank reduced."""

REACH = 10.0
"""Inputs are uniform on [−10, 10]^d."""

MOST_PARAMETERS = 300_000
"""Of a network whose local λ is looked for: it takes the ranks of all products of its layers."""


@dataclass(frozen=True)
class SizeClass:
    """A class of networks and how the published runs sampled them.

    Attributes:
        name: About how many parameters they have.
        widths: Least width, and one more than the greatest.
        layers: Least number of layers, and one more than the greatest.
        num_examples: n.
        step_size: ε of the published SGLD.
        num_steps: Its steps.
        num_nets: Networks drawn.
    """

    name: str
    widths: tuple[int, int]
    layers: tuple[int, int]
    num_examples: int
    step_size: float
    num_steps: int
    num_nets: int = 100


@dataclass(frozen=True)
class Network:
    """One network of the benchmark.

    Attributes:
        model: The truth, where chains start.
        widths: H_0 … H_L.
        rank: Rank of the product of all layers.
        layer_ranks: Rank of each layer.
        least: λ and m of the most singular point over the same product (Aoyagi): what the
            published benchmark compares with.
        local: λ and m at the weights themselves, or None where no rule decides.
        undecided: Why there is no local one; empty where there is.
    """

    model: DeepLinear
    widths: tuple[int, ...]
    rank: int
    layer_ranks: tuple[int, ...]
    least: Coefficient
    local: Coefficient | None
    undecided: str

    @property
    def num_parameters(self) -> int:
        """D."""
        return sum(a * b for a, b in pairwise(self.widths))


def draw(size: SizeClass, seed: int) -> Network:
    """A network of a class.

    Args:
        size: The class.
        seed: Of widths, weights and ranks.
    """
    source = np.random.default_rng([seed, 2308, 12108])
    num_layers = int(source.integers(*size.layers))
    widths = tuple(int(width) for width in source.integers(*size.widths, size=num_layers + 1))
    weights, ranks = [], []
    for into, out in pairwise(widths):
        weight, rank = _truncated_normal(source, out, into) / into**0.5, min(into, out)
        if source.random() < PROBABILITY:
            rank -= int(source.integers(rank))
            left, values, right = np.linalg.svd(weight, full_matrices=False)
            weight = (left[:, :rank] * values[:rank]) @ right[:rank]
        weights.append(weight)
        ranks.append(rank)
    model = DeepLinear(widths)
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(weight))
    product = weights[0]
    for weight in weights[1:]:
        product = weight @ product
    # Generic matrices of these ranks, in this order: their product has the least of them.
    rank = min(ranks)
    least = deep_linear(widths, rank)
    network = Network(model.eval(), widths, rank, tuple(ranks), least, None, "")
    if network.num_parameters > MOST_PARAMETERS:
        reason = f"not looked for above {MOST_PARAMETERS:,} parameters"
        return Network(model.eval(), widths, rank, tuple(ranks), least, None, reason)
    try:
        local = deep_linear_at(weights)
    except GermError as error:
        return Network(model.eval(), widths, rank, tuple(ranks), least, None, str(error))
    return Network(model.eval(), widths, rank, tuple(ranks), least, local, "")


def _truncated_normal(source: np.random.Generator, *shape: int) -> np.ndarray:
    """Standard normal numbers, those beyond two deviations drawn again."""
    values = source.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = source.standard_normal(int(outside.sum()))
    return values


def examples(network: Network, num_examples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Inputs (n, H_0), uniform on [−10, 10]^d, and targets (n, H_L) without noise."""
    source = torch.Generator().manual_seed(seed)
    inputs = REACH * (2 * torch.rand(num_examples, network.widths[0], generator=source) - 1)
    with torch.no_grad():
        return inputs, network.model(inputs)
