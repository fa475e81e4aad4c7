"""Fits a metric that is diagonal in a rotated basis, from the gradients that fit a diagonal one.

A weight matrix M ∈ R^{m×n} couples its entries mostly through what comes in and what goes out:
curvature is near (left factor) ⊗ (right factor). With antithetic pairs around w*, as in
`germ.metric`,

    Y = (∇U(w* + D^½ξ) − ∇U(w* − D^½ξ))/2,     E[vec(Y)vec(Y)ᵀ] = (∇²U)·D·(∇²U)

on quadratics, and the eigenvectors of E[Y Yᵀ] (m×m) and E[Yᵀ Y] (n×n) are the factors' own. They
need few pairs, for each pair shows n columns of the one and m rows of the other. In that basis the
scale is equilibrated as in `germ.metric`.

Damping: a direction that is flat between w* and a standard deviation away may be stiff, and noisy,
a little further. There a long step is of little use, for momentum crosses it anyway, and does harm,
as gradient noise counts times D. So in a rotated matrix a ← max(a, δ·ā), ā its mean curvature.
What is not rotated is scaled as in the diagonal metric, whose coordinates mix flat and stiff.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from germ.metric import MetricFit
from germ.restriction import Coordinates
from germ.samplers.kronecker import Kronecker, Rotation
from germ.samplers.preconditioner import Diagonal

MAX_SIDE = 2048
"""Sides of a matrix longer than this are not rotated: their eigenvectors would cost too much."""

NUM_BASIS_ROUNDS = 2
"""Rounds, of those of the fit, whose gradients also show the basis."""

DAMPING = 1.0
"""δ. With minibatches, on four development nets, 0.1 makes 3 to 40 times the gradient noise of a
diagonal metric, 0.3 up to 8 times, and 1 about as much (0.3 to 1.3)."""


def matrices(coordinates: Coordinates) -> list[Rotation]:
    """The weight matrices among the moving coordinates, in order, with no rotation yet.

    A parameter of three or more dimensions is a matrix whose rows are its first one. One of which
    only a part moves, and a vector, is a matrix of one row and is never rotated.
    """
    found = []
    for shape, size, mask in zip(
        coordinates.shapes, coordinates.sizes, coordinates.masks, strict=True
    ):
        whole = mask is None and len(shape) > 1 and min(shape[0], size // shape[0]) > 1
        found.append(Rotation((shape[0], size // shape[0]) if whole else (1, size)))
    return found


@dataclass
class RotatedFit(MetricFit):
    """Fits a `Kronecker` with gradients of minibatches.

    Attributes:
        damping: δ.
    """

    damping: float = DAMPING
    _basis: Kronecker | None = None
    _products: list[tuple[Tensor | None, Tensor | None]] = field(default_factory=list)

    def kronecker(
        self, num_rounds: int, num_pairs: int, on_pair: Callable[[], None] | None = None
    ) -> Kronecker:
        """The metric; arguments as of `germ.metric.MetricFit.fit`."""
        blocks = matrices(self.posterior.coordinates)
        ones = torch.ones_like(self.posterior.anchor)
        self._basis, self._products = Kronecker(blocks, ones), [self._empty(b) for b in blocks]
        turning = min(NUM_BASIS_ROUNDS, num_rounds - 1)
        super().fit(turning, num_pairs, on_pair)
        rotations = [self._rotation(b, s) for b, s in zip(blocks, self._products, strict=True)]
        self._basis, self._products = Kronecker(rotations, ones), []
        curvature = super().fit(num_rounds - turning, num_pairs, on_pair)
        return Kronecker(rotations, 1 / self._damped(curvature))

    def _moved(self, scale: Tensor, index: int) -> Tensor:
        moved = super()._moved(scale, index)
        return moved if self._basis is None else self._basis.back(moved)

    def _seen(self, half: Tensor) -> Tensor:
        assert self._basis is not None
        if self._products:
            self._look(half)
        return self._basis.into(half)

    def _look(self, half: Tensor) -> None:
        assert self._basis is not None
        parts = half.split(self._basis.sizes)
        for rotation, part, (left, right) in zip(
            self._basis.rotations, parts, self._products, strict=True
        ):
            y = part.view(rotation.shape).double()
            if left is not None:
                left += y @ y.T
            if right is not None:
                right += y.T @ y

    def misfit(self, metric: Diagonal | Kronecker, num_pairs: int) -> float:
        """Mean over coordinates of D·y², y in the metric's own basis: 1 where D equilibrates.

        It goes with the square of the curvature.
        """
        blocks = matrices(self.posterior.coordinates)
        rotations = metric.rotations if isinstance(metric, Kronecker) else blocks
        self._basis, self._products = Kronecker(rotations, torch.ones_like(metric.scale)), []
        squares = [self._pair(metric.root, -pair - 500) for pair in range(num_pairs)]
        return float((metric.scale * torch.stack(squares).mean(0)).double().mean())

    def _damped(self, curvature: Tensor) -> Tensor:
        assert self._basis is not None
        parts = curvature.split(self._basis.sizes)
        return torch.cat(
            [
                part
                if left is None and right is None
                else part.clamp(min=self.damping * float(part.mean()))
                for part, (_, left, right) in zip(parts, self._basis.rotations, strict=True)
            ]
        )

    def _empty(self, block: Rotation) -> tuple[Tensor | None, Tensor | None]:
        anchor = self.posterior.anchor
        sides = [1 < size <= MAX_SIDE and min(block.shape) > 1 for size in block.shape]
        left, right = (
            anchor.new_zeros(size, size, dtype=torch.float64) if rotated else None
            for size, rotated in zip(block.shape, sides, strict=True)
        )
        return left, right

    def _rotation(self, block: Rotation, seen: tuple[Tensor | None, Tensor | None]) -> Rotation:
        left, right = (
            None if side is None else torch.linalg.eigh(side)[1].to(self.posterior.anchor.dtype)
            for side in seen
        )
        return Rotation(block.shape, left, right)
