"""The networks of the benchmark, their data, and the data reduced to what a linear net sees of it.

The squared error of a linear map W depends on the data only through the second moments of
z = (x, y). A data set of H_0 + H_L examples with the same second moments has *exactly* the loss of
all n examples, at every W. So a full-batch reference costs what a batch of twenty examples costs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from germ import LocalPosterior
from germ.exact import deep_linear
from germ.losses import supervised
from germ.zoo.deep_linear import DeepLinear, regression_data, singular_truth

NUM_EXAMPLES = 100_000
LOCALIZATION = 100.0

NOISE = 0.75
"""σ of the targets. With it, and singular values of 0.5, the first network gives the figures of
the prototypes (design.md §5: 34.7 exact; 105 and 46.9 heated), which did not say theirs."""


@dataclass(frozen=True)
class Net:
    """A network, its truth and its data.

    Attributes:
        name: What the tables call it.
        widths: H_0 … H_L.
        rank: r of the truth, which stands at the most singular point of its fibre.
        singular_values: Largest and smallest singular value of the truth.
        noise: σ of the targets; inputs are N(0, 1).
    """

    name: str
    widths: tuple[int, ...]
    rank: int
    singular_values: tuple[float, float] = (1.0, 1.0)
    noise: float = NOISE

    @property
    def nbeta(self) -> float:
        """n/log n."""
        return NUM_EXAMPLES / math.log(NUM_EXAMPLES)

    @property
    def num_parameters(self) -> int:
        """The dimension d."""
        return sum(a * b for a, b in zip(self.widths, self.widths[1:], strict=False))

    @property
    def true_coefficient(self) -> float:
        """λ (Aoyagi)."""
        return float(deep_linear(self.widths, self.rank).value)

    def data(self) -> tuple[DeepLinear, tuple[Tensor, Tensor]]:
        """The truth and its n examples."""
        truth = singular_truth(self.widths, self.rank, seed=0, singular_values=self.singular_values)
        return truth.eval(), regression_data(truth, NUM_EXAMPLES, seed=1, noise=self.noise)

    def posteriors(
        self, localization: float = LOCALIZATION
    ) -> tuple[LocalPosterior, LocalPosterior]:
        """The posterior over all n examples, and the same over the reduced ones."""
        truth, examples = self.data()
        every, reduced = (
            LocalPosterior.from_model(
                truth,
                data,
                loss=supervised(squared_error),
                nbeta=self.nbeta,
                localization=localization,
            )
            for data in (examples, reduce_exactly(*examples))
        )
        return every, reduced


NETS = (
    Net("10-10-10-10, rank 5", (10, 10, 10, 10), 5, (0.5, 0.5)),
    Net("10-10-10, rank 5, singular values 10 … 0.1", (10, 10, 10), 5, (10.0, 0.1)),
    Net("6-4-6, rank 2", (6, 4, 6), 2),
    Net("16-8-12, rank 4, singular values 2 … 0.5", (16, 8, 12), 4, (2.0, 0.5)),
    Net("8-7-6-7-8, rank 3, singular values 2 … 0.5", (8, 7, 6, 7, 8), 3, (2.0, 0.5)),
)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """‖f(x) − y‖², summed over outputs, without 1/2: the convention of the prototypes."""
    return (outputs - targets).square().sum(-1)


def reduce_exactly(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """H_0 + H_L examples with the same second moments, hence the same loss for any linear map."""
    both = torch.cat([inputs, targets], dim=1).double()
    moments = both.T @ both / len(both)
    # Without noise y is a function of x: singular, so a square root by eigenvalues, not Cholesky.
    values, vectors = torch.linalg.eigh(moments)
    rows = (len(values) * values.clamp(min=0)).sqrt()[:, None] * vectors.T
    rows = rows.to(inputs.dtype)
    return rows[:, : inputs.shape[1]], rows[:, inputs.shape[1] :]
