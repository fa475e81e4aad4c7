r"""How few bits a weight a model survives: uniform quantization to a loss tolerance.

Every weight tensor is rounded to a symmetric uniform grid of 2k + 1 levels between ±max|w|:

$$ \tilde w = \frac{\max|w|}{k}\,\mathrm{round}\Bigl(\frac{k\,w}{\max|w|}\Bigr), \qquad
   b = \log_2(2k + 1) $$

The critical number of bits is the least b from which on the loss stays within a tolerance of that
of the unquantized model (critical bits of *MDL meets SLT*, arXiv 2510.12077).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

LEVELS = (1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 256, 512, 1024)
"""k of the grids that are tried: 1.6 to 11 bits."""


def bits(k: int) -> float:
    """Bits of a grid of 2k + 1 levels."""
    return float(np.log2(2 * k + 1))


def quantize(weight: Tensor, k: int) -> Tensor:
    """A tensor on the grid of 2k + 1 levels; zeros stay zero.

    Example:
        >>> quantize(torch.tensor([-1.0, 0.4, 0.6]), 2)
        tensor([-1.0000,  0.5000,  0.5000])
    """
    unit = weight.abs().max() / k
    if unit == 0:
        return weight.clone()
    return unit * torch.round(weight / unit)


def curve(
    model: nn.Module, loss: Callable[[], float], levels: Sequence[int] = LEVELS
) -> list[float]:
    """The loss of the model on each grid; the model is as it was afterwards.

    Args:
        model: Whose parameters are quantized, each tensor on a grid of its own.
        loss: Its loss at its present weights.
        levels: k of the grids.
    """
    kept = [parameter.detach().clone() for parameter in model.parameters()]
    found = []
    try:
        for k in levels:
            _set(model, [quantize(weight, k) for weight in kept])
            found.append(loss())
    finally:
        _set(model, kept)
    return found


@torch.no_grad()
def _set(model: nn.Module, weights: Sequence[Tensor]) -> None:
    for parameter, weight in zip(model.parameters(), weights, strict=True):
        parameter.copy_(weight)


def critical_bits(excess: Sequence[float], tolerance: float, levels: Sequence[int]) -> float:
    """The least bits from which on the excess loss stays within a tolerance.

    Between two grids a line is drawn. NaN where even the finest exceeds it; the coarsest grid's
    bits where all stay within.

    Args:
        excess: Loss less that of the unquantized model, by grid.
        tolerance: In nats.
        levels: k of the grids, increasing.

    Example:
        >>> round(critical_bits([3.0, 1.0, 0.0], 0.5, [1, 2, 4]), 3)
        2.746
    """
    above = np.flatnonzero(~(np.asarray(excess) <= tolerance))
    if not above.size:
        return bits(levels[0])
    last = int(above[-1])
    if last == len(levels) - 1:
        return float("nan")
    low, high = bits(levels[last]), bits(levels[last + 1])
    share = (excess[last] - tolerance) / (excess[last] - excess[last + 1])
    return low + (high - low) * float(share)
