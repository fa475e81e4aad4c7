"""Reduced-rank regression and deep linear networks: λ from a theorem, the expectation from HMC.

The loss depends on the data through second moments alone, so the reference runs see all n examples
at the price of twenty (`benchmarks.nets.reduce_exactly`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from benchmarks.nets import NOISE, reduce_exactly, squared_error
from benchmarks.truth.case import Case, Known
from germ import LocalPosterior
from germ.exact.deep_linear import deep_linear, deep_linear_at
from germ.losses import supervised
from germ.zoo.deep_linear import DeepLinear, regression_data, singular_truth

SINGULAR, IDENTITY, GENERIC = "most singular point", "(I, 0)", "generic point"


@dataclass(frozen=True, kw_only=True)
class Linear(Case):
    """f(x) = W_L ⋯ W_1 x + noise, loss ‖f(x) − y‖².

    Attributes:
        widths: H_0 … H_L.
        rank: r of the truth.
        singular_values: Largest and smallest singular value of the truth.
        noise: σ of the targets; inputs are N(0, 1).
        place: `SINGULAR`, the most singular point of the fibre; `IDENTITY`, W_1 = I and all else 0,
            a point of the fibre over 0 with another λ; or `GENERIC`, weights at random with the
            last layer cut to rank r: a smooth point of the fibre.
    """

    widths: tuple[int, ...]
    rank: int
    singular_values: tuple[float, float] = (1.0, 1.0)
    noise: float = NOISE
    place: str = SINGULAR
    num_examples: int = 100_000
    localization: float = 100.0

    @property
    def family(self) -> str:
        """What the summary groups by."""
        return "reduced rank" if len(self.widths) == 3 else "deep linear"

    @property
    def nbeta(self) -> float:
        """n/log n."""
        return self.num_examples / math.log(self.num_examples)

    def truth(self) -> DeepLinear:
        """The network at w*."""
        if self.place == SINGULAR:
            return singular_truth(
                self.widths, self.rank, seed=self.seed, singular_values=self.singular_values
            )
        model = DeepLinear(self.widths)
        if self.place == GENERIC:
            with torch.no_grad():
                for parameter, weight in zip(model.parameters(), self._at_random(), strict=True):
                    parameter.copy_(weight)
            return model
        assert self.rank == 0 and self.place == IDENTITY
        with torch.no_grad():
            for number, layer in enumerate(model.layers):
                weight: Any = layer.weight
                weight.copy_(torch.eye(*weight.shape) if number == 0 else torch.zeros_like(weight))
        return model

    def _at_random(self) -> list[Tensor]:
        """Weights of the generic point, in double precision."""
        source = torch.Generator().manual_seed(self.seed)
        weights = [
            torch.randn(out, into, dtype=torch.float64, generator=source) / into**0.5
            for into, out in pairwise(self.widths)
        ]
        left, values, right = torch.linalg.svd(weights[-1], full_matrices=False)
        weights[-1] = (left[:, : self.rank] * values[: self.rank]) @ right[: self.rank]
        return weights

    def data(self) -> tuple[Tensor, Tensor]:
        """The n examples."""
        return regression_data(
            self.truth(), self.num_examples, seed=self.seed + 1, noise=self.noise
        )

    def posterior(self) -> LocalPosterior:
        """Over the n examples; in a full-batch case over as few as have the same loss."""
        return self.exact_posterior() if self.full_batch else self._over(self.data())

    def exact_posterior(self) -> LocalPosterior:
        """Over examples with the same second moments."""
        return self._over(reduce_exactly(*self.data()))

    def _over(self, data: tuple[Tensor, Tensor]) -> LocalPosterior:
        return LocalPosterior.from_model(
            self.truth().eval(),
            data,
            loss=supervised(squared_error),
            nbeta=self.nbeta,
            localization=self.localization,
        )

    def coefficient(self) -> Known:
        """Aoyagi's, or the local one where w* is not the most singular point."""
        found = deep_linear(self.widths, self.rank)
        if self.place == IDENTITY:
            found = deep_linear_at([p.detach().double().numpy() for p in self.truth().parameters()])
        elif self.place == GENERIC:  # Rounded to float32, the last layer would have full rank.
            found = deep_linear_at([weight.numpy() for weight in self._at_random()])
        return Known(float(found.value), found.multiplicity, found.source)
