"""A frozen diagonal preconditioner: ordinary Langevin dynamics in another metric.

The metric is measured at w* and then fixed, so no correction term is owed and the target is
unchanged. One that kept adapting would sample another law (Ma, Chen & Fox 2015, arXiv 1506.04696).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from germ import fingerprint
from germ.errors import GermError
from germ.types import Positions


@dataclass(frozen=True, eq=False)
class Diagonal:
    """D = diag(d_i), positive and frozen.

    With d_i ≈ 1/(nβ·h_ii + γ) every direction relaxes at about the same rate, and the step size
    has no unit: ε = 0.1 means a tenth of a relaxation, for any model.

    Attributes:
        scale: d_i > 0, shape (d,).
    """

    scale: Tensor

    def __post_init__(self) -> None:
        """Refuse what is not a metric.

        Raises:
            GermError: An entry is not positive and finite.
        """
        if self.scale.dim() != 1:
            raise GermError(
                f"expected a preconditioner of shape (d,); got {tuple(self.scale.shape)}"
            )
        if not (self.scale.isfinite().all() and (self.scale > 0).all()):
            raise GermError("expected a preconditioner with positive, finite entries")

    @cached_property
    def root(self) -> Tensor:
        """D^(1/2), computed once."""
        return self.scale.sqrt()

    def apply(self, vector: Positions) -> Positions:
        """D·v."""
        return self._fitting(vector) * vector

    def sqrt(self, vector: Positions) -> Positions:
        """D^(1/2)·v."""
        self._fitting(vector)
        return self.root.to(vector) * vector

    def moved(
        self, position: Positions, grad: Positions, noise: Positions, step: float
    ) -> Positions:
        """The next position, w − (ε/2)·D∇U + √(ε D)·ξ, in one new vector."""
        scale = self._fitting(position)
        moved = position.addcmul(scale, grad, value=-0.5 * step)
        return moved.addcmul_(self.root.to(position), noise, value=step**0.5)

    def _fitting(self, vector: Positions) -> Tensor:
        if vector.shape[-1] != len(self.scale):
            raise GermError(
                f"expected a preconditioner for {vector.shape[-1]} coordinates; "
                f"this one has {len(self.scale)}"
            )
        return self.scale.to(vector)

    def identity(self) -> Mapping[str, Any]:
        """Name and content hash."""
        return {"name": "diagonal", "scale": fingerprint.of_tensors({"scale": self.scale})}
