"""A frozen metric, diagonal in a rotated basis: one rotation a side of each weight matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from germ import fingerprint
from germ.errors import GermError
from germ.types import Positions


class Rotation(NamedTuple):
    """The basis of one weight matrix: M = Qₗ·M'·Qᵣᵀ, M' in the rotated basis.

    Attributes:
        shape: (m, n), rows and columns.
        left: Qₗ (m, m), orthogonal; None is the identity.
        right: Qᵣ (n, n), orthogonal; None is the identity.
    """

    shape: tuple[int, int]
    left: Tensor | None = None
    right: Tensor | None = None

    def into(self, matrix: Tensor) -> Tensor:
        """Qₗᵀ·M·Qᵣ for matrices (..., m, n)."""
        matrix = matrix if self.left is None else self.left.T.to(matrix) @ matrix
        return matrix if self.right is None else matrix @ self.right.to(matrix)

    def back(self, matrix: Tensor) -> Tensor:
        """Qₗ·M'·Qᵣᵀ for matrices (..., m, n)."""
        matrix = matrix if self.left is None else self.left.to(matrix) @ matrix
        return matrix if self.right is None else matrix @ self.right.T.to(matrix)


@dataclass(frozen=True, eq=False)
class Kronecker:
    """D = R·diag(dᵢ)·Rᵀ, where R rotates each weight matrix on both sides: R = Qₗ ⊗ Qᵣ.

    That is EKFAC's form (George et al. 2018, arXiv 1806.03884): Kronecker factors give the basis,
    and the scale in it is free. No matrix of d × d is ever made: a product costs 2·mn(m + n)
    multiplications a matrix, each way, and memory m² + n². The root is the symmetric one,
    R·diag(√dᵢ)·Rᵀ. Frozen, so the target is unchanged (`germ.samplers.Diagonal`).

    Attributes:
        rotations: One a block of coordinates, in their order.
        scale: dᵢ > 0 in the rotated basis, shape (d,).
    """

    rotations: Sequence[Rotation]
    scale: Tensor

    def __post_init__(self) -> None:
        """Refuse what is not a metric.

        Raises:
            GermError: Sizes do not fit, or an entry of the scale is not positive and finite.
        """
        num = sum(self.sizes)
        if tuple(self.scale.shape) != (num,):
            raise GermError(
                f"expected a preconditioner whose scale has shape ({num},), as its rotations; "
                f"got {tuple(self.scale.shape)}"
            )
        if not (self.scale.isfinite().all() and (self.scale > 0).all()):
            raise GermError("expected a preconditioner with positive, finite entries")
        for shape, left, right in self.rotations:
            for side, size in ((left, shape[0]), (right, shape[1])):
                if side is not None and tuple(side.shape) != (size, size):
                    raise GermError(
                        f"expected a preconditioner with a rotation of shape ({size}, {size}); "
                        f"got {tuple(side.shape)}"
                    )

    @property
    def sizes(self) -> list[int]:
        """Coordinates of each block."""
        return [rows * columns for (rows, columns), _, _ in self.rotations]

    def block_means(self, vector: Tensor) -> Tensor:
        """The mean of each block of coordinates (d,) in place of its coordinates."""
        return torch.cat([part.mean().expand_as(part) for part in vector.split(self.sizes)])

    @cached_property
    def root(self) -> Tensor:
        """√dᵢ, computed once."""
        return self.scale.sqrt()

    def into(self, vector: Tensor) -> Tensor:
        """Rᵀ·v: coordinates (..., d) in the rotated basis."""
        return self._by_block(vector, Rotation.into)

    def back(self, vector: Tensor) -> Tensor:
        """R·v, for (..., d)."""
        return self._by_block(vector, Rotation.back)

    def apply(self, vector: Positions) -> Positions:
        """D·v."""
        return self.back(self.scale.to(vector) * self.into(vector))

    def sqrt(self, vector: Positions) -> Positions:
        """D^(1/2)·v, of the symmetric root."""
        return self.back(self.root.to(vector) * self.into(vector))

    def identity(self) -> Mapping[str, Any]:
        """Name and content hash."""
        held = {"scale": self.scale}
        for i, (_, left, right) in enumerate(self.rotations):
            held |= {f"{side}{i}": q for side, q in (("l", left), ("r", right)) if q is not None}
        shapes = [list(rotation.shape) for rotation in self.rotations]
        return {"name": "kronecker", "shapes": shapes, "held": fingerprint.of_tensors(held)}

    def _by_block(self, vector: Tensor, turn: Callable[[Rotation, Tensor], Tensor]) -> Tensor:
        if vector.shape[-1] != len(self.scale):
            raise GermError(
                f"expected a preconditioner for {vector.shape[-1]} coordinates; "
                f"this one has {len(self.scale)}"
            )
        parts = [
            turn(rotation, part.unflatten(-1, rotation.shape)).flatten(-2)
            for rotation, part in zip(self.rotations, vector.split(self.sizes, -1), strict=True)
        ]
        return torch.cat(parts, -1)
