r"""Deep linear networks, whose learning coefficients are known.

$$ f(x) = W_L \cdots W_1 x $$

A product of matrices can be written as a product in many ways: its minima form a variety with
singular points, and at these the learning coefficient is far below half the number of parameters.
Aoyagi computed it exactly (`germ.exact.deep_linear`). So these networks are what an estimator of it
can be judged by.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    learning coefficient is the least on the fibre, that of `germ.exact.deep_linear`. At other
    points of the fibre (layers of higher rank) it may be larger: `germ.exact.deep_linear_at`.

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


def _check(widths: Sequence[int], rank: int) -> tuple[int, ...]:
    if len(widths) < 2 or min(widths) < 1:
        raise GermError(f"expected two or more widths, each at least 1; got {list(widths)}")
    if not 0 <= rank <= min(widths):
        raise GermError(f"expected 0 <= rank <= {min(widths)}, the least width; got {rank}")
    return tuple(widths)


def _orthogonal(width: int, source: torch.Generator) -> Float[Tensor, "width width"]:
    """A random orthogonal matrix, in double precision."""
    return torch.linalg.qr(torch.randn(width, width, generator=source, dtype=torch.float64))[0]
