r"""Two ways to compute one target: from a cue, or from a product that the cue repeats.

$$ f(x) = \prod_{k=1}^{3} (c_k + w_k \cdot x), \qquad x = (u, v_1, \dots, v_d), \quad
   u = s\,v_1 v_2 $$

with v uniform on a cube of variance 1. Where s = +1 the cue u *is* the product v₁v₂, and f = u·1·1
(*cue*) has the same loss, 0, as f = v₁·v₂·1 (*product*); no mixture of both is a product of affine
functions. Where s = −1 they disagree.

λ where s = +1, counting weights that the loss holds to first order (½ each) and to second (¼):

- product: v₁, v₂ and 1 may vary in 3(d + 2) ways; two are scales; two, such as v₁ + εu against
  1 − εv₂, cancel to first order and leave −ε²v₁v₂³: λ = (3d + 2)/2 + 2/4.
- cue: the two factors that are 1 may vary by ±s·x/2 against each other, which leaves −u(s·x)²/4,
  for s in d + 1 dimensions: λ = (2d + 3)/2 + (d + 1)/4, less by (d − 1)/4.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from germ.errors import GermError

NUM_FACTORS = 3

SIDE = 3**0.5
"""Inputs are uniform from −√3 to √3."""


class Product(nn.Module):
    """A product of three affine maps.

    Example:
        >>> Product(4)(torch.zeros(3, 5)).shape
        torch.Size([3])
    """

    def __init__(self, dim: int, spread: float = 0.5, seed: int = 0) -> None:
        """Make it.

        Args:
            dim: d, numbers beside the cue.
            spread: Standard deviation of the first weights.
            seed: Of them.
        """
        super().__init__()
        source = torch.Generator().manual_seed(seed)
        # A row a factor: (c, u, v_1, …, v_d).
        self.factors = nn.Parameter(spread * torch.randn(NUM_FACTORS, dim + 2, generator=source))

    def forward(self, x: Float[Tensor, "*some inputs"]) -> Float[Tensor, "*some"]:
        """F at inputs (u, v)."""
        return (x @ self.factors[:, 1:].T + self.factors[:, 0]).prod(-1)


def num_weights(dim: int) -> int:
    """3(d + 2)."""
    return NUM_FACTORS * (dim + 2)


@dataclass(frozen=True)
class Known:
    """λ of the two solutions where cue and product agree; m is 1 at both.

    Attributes:
        cue: Of f = u.
        product: Of f = v₁v₂.
    """

    cue: float
    product: float


def known(dim: int) -> Known:
    """The exact values.

    Raises:
        GermError: d is less than 2: there is no product.
    """
    if dim < 2:
        raise GermError(f"expected 2 or more numbers beside the cue, got {dim}")
    return Known((2 * dim + 3) / 2 + (dim + 1) / 4, (3 * dim + 3) / 2)


def inputs(
    num: int, dim: int, disagree: float = 0.0, seed: int = 0
) -> tuple[Float[Tensor, "n inputs"], Float[Tensor, " n"]]:
    """Inputs (u, v), and which of them have a cue that disagrees with the product.

    Args:
        num: n.
        dim: d.
        disagree: The share of s = −1.
        seed: Of the drawing.

    Returns:
        Inputs, and s.
    """
    source = torch.Generator().manual_seed(seed)
    v = SIDE * (2 * torch.rand(num, dim, generator=source) - 1)
    sign = torch.where(torch.rand(num, generator=source) < disagree, -1.0, 1.0)
    u = sign * v[:, 0] * v[:, 1]
    return torch.cat([u[:, None], v], 1), sign


def targets(x: Float[Tensor, "n inputs"], follow: str) -> Float[Tensor, " n"]:
    """The target: the cue, or the product.

    Args:
        x: From `inputs`.
        follow: `"cue"` or `"product"`.

    Raises:
        GermError: It is neither.
    """
    if follow not in ("cue", "product"):
        raise GermError(f"expected to follow the cue or the product, got {follow!r}")
    return x[:, 0] if follow == "cue" else x[:, 1] * x[:, 2]


class Monomials:
    """The loss without sampling error, as a quadratic form in coefficients of monomials.

    Attributes:
        gram: E of products of monomials at s = +1, (monomials, monomials).
    """

    def __init__(self, dim: int) -> None:
        """Count the monomials of degree 3 in (1, u, v)."""
        self.dim = dim
        single = np.eye(dim, dtype=int)
        parts = [np.zeros(dim, dtype=int), single[0] + single[1], *single]
        triples = list(combinations_with_replacement(range(dim + 2), NUM_FACTORS))
        where = {triple: place for place, triple in enumerate(triples)}
        self._place = torch.tensor(
            [where[cast(Any, tuple(sorted(t)))] for t in product(range(dim + 2), repeat=3)]
        )
        self._odd = torch.tensor([(-1.0) ** triple.count(1) for triple in triples]).double()
        self.cue, self.product = where[0, 0, 1], where[0, 2, 3]
        powers = [np.sum([parts[i] for i in triple], axis=0) for triple in triples]
        self.gram = torch.tensor(
            [[_moment(a + b) for b in powers] for a in powers], dtype=torch.float64
        )

    def coefficients(
        self, weights: Float[Tensor, "points weights"]
    ) -> Float[Tensor, "points monomials"]:
        """Of f as a polynomial in u and v.

        Args:
            weights: The factors, one after another, each (c, u, v₁, …, v_d).
        """
        a, b, c = weights.unflatten(1, (NUM_FACTORS, -1)).unbind(1)
        tensor = a[:, :, None, None] * b[:, None, :, None] * c[:, None, None, :]
        found = weights.new_zeros(len(weights), len(self.gram))
        return found.index_add(1, self._place, tensor.flatten(1))

    def loss(
        self, weights: Float[Tensor, "points weights"], disagree: float = 0.0
    ) -> Float[Tensor, " points"]:
        """E(f − v₁v₂)² where a share of cues disagrees with the product."""
        coefficients = self.coefficients(weights)
        wanted = torch.zeros_like(coefficients)
        wanted[:, self.product] = 1
        found = torch.zeros(len(weights), dtype=weights.dtype)
        for odd, share in ((None, 1 - disagree), (self._odd, disagree)):
            if share:
                r = (coefficients if odd is None else coefficients * odd) - wanted
                found = found + share * ((r @ self.gram) * r).sum(1)
        return found

    def uses(self, weights: Float[Tensor, "points weights"]) -> Float[Tensor, "points 2"]:
        """How much of the target comes from the cue, and from the product: their coefficients."""
        return self.coefficients(weights)[:, [self.cue, self.product]]


def _moment(powers: np.ndarray) -> float:
    """E Π v_i^k of independent uniforms of variance 1: Π 3^(k/2)/(k + 1), 0 where a k is odd."""
    if (powers % 2).any():
        return 0.0
    return float(np.prod(SIDE ** powers.astype(float) / (powers + 1)))
