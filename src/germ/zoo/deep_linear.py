r"""Deep linear networks, whose learning coefficients are known.

$$ f(x) = W_L \cdots W_1 x $$

A product of matrices can be written as a product in many ways: its minima form a variety with
singular points, and at these the learning coefficient is far below half the number of parameters.
Aoyagi computed it exactly. So these networks are what an estimator of it can be judged by.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from germ.errors import GermError


class DeepLinear(nn.Module):
    """A network of linear layers without biases or activations.

    Args:
        widths: Input width, hidden widths, output width; at least two.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = _check(widths, 0)
        self.layers = nn.ModuleList(
            nn.Linear(into, out, bias=False)
            for into, out in zip(self.widths, self.widths[1:], strict=False)
        )

    def forward(self, inputs: Float[Tensor, "*examples into"]) -> Float[Tensor, "*examples out"]:
        """W_L ⋯ W_1 x."""
        for layer in self.layers:
            inputs = layer(inputs)
        return inputs

    def product(self) -> Float[Tensor, "out into"]:
        """The matrix W_L ⋯ W_1 that the network is."""
        return self(torch.eye(self.widths[0]).to(next(self.parameters()))).T


def singular_truth(
    widths: Sequence[int],
    rank: int,
    *,
    seed: int,
    singular_values: tuple[float, float] = (1.0, 1.0),
) -> DeepLinear:
    r"""A network of rank r at the most singular point of its fibre.

    $$ W_l = Q_l \begin{pmatrix} S^{1/L} & 0 \\ 0 & 0 \end{pmatrix} Q_{l-1}^\top,
       \qquad W_L \cdots W_1 = Q_L \begin{pmatrix} S & 0 \\ 0 & 0 \end{pmatrix} Q_0^\top $$

    with random orthogonal Q, so that no coordinate is special. Every layer has rank exactly r:
    what is left of the fibre there is a network of widths H_l − r at zero, and the *local*
    learning coefficient is the least on the fibre, that of `learning_coefficient`. At other points
    of the fibre (layers of higher rank) it is larger.

    Args:
        widths: Widths H_0 … H_L.
        rank: r, at most the least width.
        seed: Of the Q.
        singular_values: Largest and smallest singular value of the product, of any order; those
            between are spaced evenly in the logarithm.

    Returns:
        The network.

    Raises:
        GermError: Widths that no network has, a rank out of range, a singular value not positive.
    """
    _check(widths, rank)
    if not all(0 < value < float("inf") for value in singular_values):
        raise GermError(f"expected positive, finite singular values; got {singular_values}")
    first, last = sorted(singular_values, reverse=True)
    model = DeepLinear(widths)
    source = torch.Generator().manual_seed(seed)
    bases = [_orthogonal(width, source) for width in widths]
    logs = torch.linspace(1, 0, rank, dtype=torch.float64)
    # Balanced: each layer has the L-th roots.
    roots = (last * (first / last) ** logs) ** (1 / len(model.layers))
    with torch.no_grad():
        for layer, into, out in zip(model.layers, bases, bases[1:], strict=False):
            assert isinstance(layer, nn.Linear)
            layer.weight.copy_(out[:, :rank] * roots @ into[:, :rank].T)
    return model


def regression_data(
    truth: DeepLinear,
    num_examples: int,
    *,
    seed: int,
    input_scale: float = 1.0,
    noise: float = 0.0,
) -> tuple[Float[Tensor, "examples into"], Float[Tensor, "examples out"]]:
    """Inputs x ~ N(0, s²) and targets y = f(x) + N(0, σ²).

    Without noise every example has loss 0 and gradient 0 at the truth: then there is nothing to
    pair and nothing to anchor, and minibatches look better than on any real data.

    Args:
        truth: f.
        num_examples: n.
        seed: Of inputs and noise.
        input_scale: s.
        noise: σ.

    Returns:
        Inputs (n, H_0) and targets (n, H_L).
    """
    source = torch.Generator().manual_seed(seed)
    inputs = torch.randn(num_examples, truth.widths[0], generator=source) * input_scale
    with torch.no_grad():
        targets = truth(inputs)
    return inputs, targets + torch.randn(targets.shape, generator=source) * noise


def learning_coefficient(widths: Sequence[int], rank: int) -> tuple[Fraction, int]:
    r"""λ and its multiplicity m of a deep linear network whose truth has rank r.

    With M_i = H_i − r; Σ the ℓ+1 least of them, as many as first give sum(Σ) < ℓ·min(others);
    S = sum(Σ), M = ⌈S/ℓ⌉, a = S − (M−1)ℓ:

    $$ \lambda = \tfrac12\bigl[r(H_0 + H_L) - r^2\bigr] + \frac{a(\ell-a)}{4\ell}
       - \frac{\ell(\ell-1)}{4}\Bigl(\frac S\ell\Bigr)^2 + \frac12\sum_{i<j\in\Sigma} M_i M_j,
       \qquad m = a(\ell - a) + 1. $$

    Args:
        widths: Widths H_0 … H_L.
        rank: r.

    Returns:
        λ, exactly, and m.

    Raises:
        GermError: Widths that no network has, or a rank out of range.

    Example:
        >>> learning_coefficient([10, 10, 10, 10], rank=5)
        (Fraction(46, 1), 3)

    References:
        Aoyagi 2024, Neural Networks 172 (deep linear); Aoyagi & Watanabe 2005 (two layers).
    """
    widths = _check(widths, rank)
    excess = sorted(width - rank for width in widths)
    # A least prefix exists: that of all of them has no others to fail against.
    num = next(
        num
        for num in range(2, len(excess) + 1)
        if num == len(excess) or sum(excess[:num]) < (num - 1) * excess[num]
    )
    chosen, ell = excess[:num], num - 1
    total = sum(chosen)
    a = total - (-(-total // ell) - 1) * ell
    regular = Fraction(rank * (widths[0] + widths[-1]) - rank**2, 2)
    pairs = Fraction(sum(x * y for x, y in combinations(chosen, 2)), 2)
    square = Fraction(ell * (ell - 1), 4) * Fraction(total, ell) ** 2
    return regular + Fraction(a * (ell - a), 4 * ell) - square + pairs, a * (ell - a) + 1


def _check(widths: Sequence[int], rank: int) -> tuple[int, ...]:
    if len(widths) < 2 or min(widths) < 1:
        raise GermError(f"expected two or more widths, each at least 1; got {list(widths)}")
    if not 0 <= rank <= min(widths):
        raise GermError(f"expected 0 <= rank <= {min(widths)}, the least width; got {rank}")
    return tuple(widths)


def _orthogonal(width: int, source: torch.Generator) -> Float[Tensor, "width width"]:
    """A random orthogonal matrix, in double precision."""
    return torch.linalg.qr(torch.randn(width, width, generator=source, dtype=torch.float64))[0]
