r"""Posteriors with exact expectations, as many as one likes: sums of blocks, rotated together.

$$ L_n(w) = \sum_j K_j(u), \qquad u = Qw, \qquad
   K_j \in \{\tfrac h2 u^2,\; h u^4,\; h u^2v^2,\; 0\} $$

The localization does not change under a rotation Q, so the blocks are independent and each has an
expectation that is an integral over one variable. Examples see K_j scaled by 1 + s·z_ij and a slope
t·x_i, both of mean zero: noise of gradients, which anchoring takes away, and of curvature, which it
does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.integrate import quad
from torch import Tensor, nn

from germ import LocalPosterior

QUADRATIC, QUARTIC, PRODUCT, FLAT = "½hu²", "hu⁴", "hu²v²", "0"
KINDS = (QUADRATIC, QUARTIC, PRODUCT, FLAT)


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """One posterior.

    Attributes:
        kinds: Of each block.
        scales: h of each block.
        rotation: Seed of Q; 0 is none.
        num_examples: n.
        curvature_noise: s.
        gradient_noise: t.
        nbeta: nβ.
        localization: γ.
    """

    kinds: tuple[str, ...]
    scales: tuple[float, ...]
    rotation: int
    num_examples: int
    curvature_noise: float
    gradient_noise: float
    nbeta: float
    localization: float

    @property
    def dim(self) -> int:
        """The dimension d."""
        return sum(2 if kind == PRODUCT else 1 for kind in self.kinds)

    @property
    def exact(self) -> float:
        """E[nβ·ΔL]."""
        found = 0.0
        for kind, scale in zip(self.kinds, self.scales, strict=True):
            found += _expectation(kind, self.nbeta * scale, self.localization)
        return found

    @property
    def stiffest(self) -> float:
        """About the largest curvature of U where the posterior is."""
        b, gamma = self.nbeta * np.array(self.scales), self.localization
        curvature = {
            QUADRATIC: b,
            QUARTIC: 12 * b**0.5,
            PRODUCT: b / np.minimum(gamma, b**0.5),
            FLAT: 0 * b,
        }
        each = [curvature[kind][i] for i, kind in enumerate(self.kinds)]
        return float(max(each)) + gamma

    def posterior(self) -> LocalPosterior:
        """What is sampled."""
        z = self.curvature_noise * _standardized(self.num_examples, len(self.kinds), 1)
        x = self.gradient_noise * _standardized(self.num_examples, self.dim, 2)
        return LocalPosterior.from_model(
            _Model(self), (z, x), loss=_loss, nbeta=self.nbeta, localization=self.localization
        )


def random_blocks(seed: int, *, num_examples: int | None = None) -> Blocks:
    """One of the suite: dimension, condition, rank, noise, n and γ at random."""
    rng = np.random.default_rng(seed)
    size = int(rng.choice([1, 3, 8, 20, 50]))
    kinds = [
        str(kind) for kind in rng.choice(KINDS, size=size, p=rng.dirichlet([1, 0.5, 0.8, 0.7]))
    ]
    if set(kinds) == {FLAT}:
        kinds[0] = PRODUCT
    condition = 10 ** rng.uniform(0, 3)
    n = num_examples or int(rng.choice([300, 2_000, 20_000]))
    return Blocks(
        kinds=tuple(kinds),
        scales=tuple(float(condition ** -rng.uniform()) for _ in kinds),
        rotation=(seed + 1) * int(rng.choice([0, 0, 1])),
        num_examples=n,
        curvature_noise=float(rng.choice([0.0, 0.5, 1.0, 2.0])),
        gradient_noise=float(rng.choice([0.1, 0.5, 2.0])),
        nbeta=n / math.log(n),
        localization=float(rng.choice([1.0, 10.0, 100.0])),
    )


class _Model(nn.Module):
    turn: Tensor

    def __init__(self, blocks: Blocks) -> None:
        super().__init__()
        self.kinds, self.scales = blocks.kinds, blocks.scales
        self.weight = nn.Parameter(torch.zeros(blocks.dim))
        turn = torch.eye(blocks.dim, dtype=torch.float64)
        if blocks.rotation:
            source = torch.Generator().manual_seed(blocks.rotation)
            turn = torch.linalg.qr(torch.randn(turn.shape, generator=source, dtype=turn.dtype))[0]
        self.register_buffer("turn", turn.float())
        # Every block as h·u^p·v^q, v being u itself where there is one variable.
        powers = {QUADRATIC: (2, 0, 0.5), QUARTIC: (4, 0, 1), PRODUCT: (2, 2, 1), FLAT: (0, 0, 0)}
        first, at = [], 0
        for kind in blocks.kinds:
            first.append(at)
            at += 2 if kind == PRODUCT else 1
        second = [i + (kind == PRODUCT) for i, kind in zip(first, blocks.kinds, strict=True)]
        shape = [powers[kind] for kind in blocks.kinds]
        self.register_buffer("first", torch.tensor(first))
        self.register_buffer("second", torch.tensor(second))
        self.register_buffer("power", torch.tensor([float(p) for p, _, _ in shape]))
        self.register_buffer("other", torch.tensor([float(q) for _, q, _ in shape]))
        factors = [f * h for (_, _, f), h in zip(shape, blocks.scales, strict=True)]
        self.register_buffer("factor", torch.tensor(factors))

    def forward(self) -> Tensor:
        """K_j, (blocks,)."""
        u = self.turn @ self.weight
        first = u[self.get_buffer("first")].square() ** (self.get_buffer("power") / 2)
        second = u[self.get_buffer("second")].square() ** (self.get_buffer("other") / 2)
        return self.get_buffer("factor") * first * second


def _loss(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    z, x = batch
    return (1 + z) @ model() + x @ model.weight


def _standardized(rows: int, columns: int, seed: int) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=source, dtype=torch.float64)
    return ((x - x.mean(0)) / x.std(0, correction=0)).float()


def _expectation(kind: str, b: float, gamma: float) -> float:
    """E[b·K/h] of one block under exp(−b·K/h − γ/2·|u|²)."""
    if kind == FLAT:
        return 0.0
    if kind == QUADRATIC:
        return 0.5 * b / (b + gamma)
    if kind == QUARTIC:
        far = 12 * min(b**-0.25, gamma**-0.5)
        return _ratio(lambda u: b * u**4, lambda u: math.exp(-b * u**4 - gamma * u * u / 2), 0, far)

    # Given u = eʸ, v is normal with precision 2bu² + γ: what is left is over y.
    def precision(y: float) -> float:
        return 2 * b * math.exp(2 * y) + gamma

    return _ratio(
        lambda y: b * math.exp(2 * y) / precision(y),
        lambda y: math.exp(y - gamma * math.exp(2 * y) / 2) / precision(y) ** 0.5,
        -14 - 0.5 * math.log(2 * b),
        0.5 * math.log(80 / gamma),
    )


def _ratio(value, weight, low: float, high: float) -> float:  # type: ignore[no-untyped-def]
    top = quad(lambda y: value(y) * weight(y), low, high, limit=400)[0]
    return top / quad(weight, low, high, limit=400)[0]
