r"""Linear regression: the local expectation in closed form, at any w*.

With A = nβ·∇²L_n, c the least-squares solution, and Σ = (A + γ)⁻¹, the posterior is
N(μ, Σ) with μ − c = Σ γ (w* − c), so that

$$ E[n\beta(L_n(w) - L_n(w^*))] = \tfrac12 \operatorname{tr}(A\Sigma)
   + \tfrac12 (\mu-c)^\top A (\mu-c) - \tfrac12 (w^*-c)^\top A (w^*-c). $$
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from benchmarks.truth.case import Case, Expectation, Known
from germ import LocalPosterior
from germ.losses import supervised

NOISE = 1.0
"""σ of the targets."""


def half_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """½(f(x) − y)², the negative log-likelihood of unit noise."""
    return 0.5 * (outputs - targets).square().sum(-1)


@dataclass(frozen=True, kw_only=True)
class Quadratic(Case):
    """y = w·x + noise, with inputs of covariance about Q diag(h) Qᵀ.

    Attributes:
        dim: d.
        condition: h falls evenly in the logarithm from 1 to 1/condition.
        num_flat: So many of the h are 0: directions that the data do not see at all.
        rotated: Whether Q is a random rotation; else the identity.
        tail: Degrees of freedom of Student's t, which inputs are drawn from: few examples then make
            most of a batch's gradient. 0 is the normal law.
        offset: w* stands so many posterior standard deviations off the minimum, in each direction.
    """

    added: ClassVar[dict[str, Any]] = {"tail": 0}

    num_examples: int = 10_000
    dim: int
    condition: float = 1.0
    num_flat: int = 0
    rotated: bool = False
    tail: int = 0
    offset: float = 0.0

    @property
    def family(self) -> str:
        """What the summary groups by."""
        return "quadratic"

    @property
    def nbeta(self) -> float:
        """n/log n."""
        return self.num_examples / math.log(self.num_examples)

    def data(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs, targets, least-squares solution c and w*, in double precision."""
        source = torch.Generator().manual_seed(self.seed)
        sees = self.dim - self.num_flat
        spectrum = torch.zeros(self.dim, dtype=torch.float64)
        spectrum[:sees] = torch.logspace(0, -math.log10(self.condition), sees, dtype=torch.float64)
        draw = torch.randn(self.num_examples, self.dim, dtype=torch.float64, generator=source)
        if self.tail:
            ones = torch.randn(self.num_examples, self.tail, dtype=torch.float64, generator=source)
            draw = draw / ones.square().mean(1, keepdim=True).sqrt()
        inputs = draw * spectrum.sqrt()
        if self.rotated:
            square = torch.randn(self.dim, self.dim, dtype=torch.float64, generator=source)
            inputs = inputs @ torch.linalg.qr(square)[0].T
        truth = torch.randn(self.dim, dtype=torch.float64, generator=source)
        noise = torch.randn(self.num_examples, dtype=torch.float64, generator=source)
        # Rounded first: the posterior's data are float32, and c must be their minimum.
        inputs, targets = inputs.float().double(), (inputs @ truth + NOISE * noise).float().double()
        center = torch.linalg.lstsq(inputs, targets[:, None], driver="gelsd").solution[:, 0]
        hessian = inputs.T @ inputs / self.num_examples
        values, vectors = torch.linalg.eigh(self.nbeta * hessian)
        deviations = (values + self.localization).rsqrt()
        signs = torch.randn(self.dim, dtype=torch.float64, generator=source).sign()
        anchor = center + self.offset * (vectors @ (deviations * signs))
        return inputs, targets, center, anchor.float().double()

    def posterior(self) -> LocalPosterior:
        """The regression, at w*."""
        inputs, targets, _, anchor = self.data()
        model = nn.Linear(self.dim, 1, bias=False)
        with torch.no_grad():
            model.weight.copy_(anchor[None].float())
        return LocalPosterior.from_model(
            model.eval(),
            (inputs.float(), targets[:, None].float()),
            loss=supervised(half_squared_error),
            nbeta=self.nbeta,
            localization=self.localization,
        )

    def expectation(self) -> Expectation:
        """The closed form above."""
        inputs, _, center, anchor = self.data()
        curvature = self.nbeta * (inputs.T @ inputs) / self.num_examples
        covariance = torch.linalg.inv(curvature + self.localization * torch.eye(self.dim).double())
        away = anchor - center
        shift = self.localization * (covariance @ away)
        value = 0.5 * (
            (curvature * covariance).sum() + shift @ curvature @ shift - away @ curvature @ away
        )
        return Expectation(float(value), 0.0, "closed form", {})

    def coefficient(self) -> Known | None:
        """Half the number of directions seen; none at a w* that is no minimum."""
        if self.offset:
            return None
        return Known((self.dim - self.num_flat) / 2, 1, "regular: half the rank of the Hessian")
