r"""The transformer of in-context linear regression.

A sequence $x_1, y_1, \dots, x_K$ is read as tokens of D + 1 numbers, $(0, x_k)$ and
$(y_k, 0, \dots)$; at each $x_k$ the model says what $y_k$ will be, from the pairs before it.

$$ h_0 = E\,\text{token} + P, \qquad h \leftarrow h + \mathrm{Attn}(\mathrm{LN}(h)), \qquad
   h \leftarrow h + \mathrm{MLP}(\mathrm{LN}(h)), \qquad \hat y = U\,\mathrm{LN}(h) $$

Raventós et al. 2023, arXiv 2306.15063; sizes of Hoogland et al. 2024, arXiv 2402.02364 (`"stages"`)
and Carroll et al. 2025, arXiv 2501.17745 (`"transient"`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from germ.errors import GermError
from germ.zoo.attention_only import Attention, AttentionOnlyConfig


@dataclass(frozen=True)
class InContextConfig:
    """Sizes of the model.

    Args:
        dim: D, numbers in an input.
        length: K, pairs in a sequence.
        num_layers: blocks of attention and MLP.
        num_heads: attention heads in each block.
        d_model: width of the residual stream; heads divide it.
        d_mlp: width of the MLPs.
    """

    dim: int = 4
    length: int = 8
    num_layers: int = 2
    num_heads: int = 4
    d_model: int = 64
    d_mlp: int = 64

    def __post_init__(self) -> None:
        """Refuse sizes that no model can have."""
        for name, value in asdict(self).items():
            if not isinstance(value, int) or value < 1:
                raise GermError(f"{name} must be an integer of at least 1, got {value!r}")
        if self.d_model % self.num_heads:
            raise GermError(
                f"expected heads that divide d_model; got {self.num_heads} heads and a d_model of "
                f"{self.d_model}"
            )


PRESETS = {
    "stages": InContextConfig(),
    "transient": InContextConfig(dim=8, length=16, d_model=512, d_mlp=512),
}
"""The published sizes."""


def tokens_of(
    x: Float[Tensor, "examples length dim"], y: Float[Tensor, "examples length"]
) -> Float[Tensor, "examples tokens width"]:
    """What the model reads: 2K − 1 tokens of D + 1 numbers; nothing is asked after the last y.

    Example:
        >>> tokens_of(torch.tensor([[[5.0], [6.0]]]), torch.tensor([[1.0, 2.0]]))
        tensor([[[0., 5.],
                 [1., 0.],
                 [0., 6.]]])
    """
    examples, length, dim = x.shape
    found = x.new_zeros(examples, length, 2, dim + 1)
    found[:, :, 0, 1:] = x
    found[:, :, 1, 0] = y
    return found.flatten(1, 2)[:, :-1]


class _Block(nn.Module):
    """Attention, then an MLP, each on a layer norm of the residual stream and added to it."""

    def __init__(self, config: InContextConfig) -> None:
        """Make the parts."""
        super().__init__()
        self.attn_norm = nn.LayerNorm(config.d_model)
        self.attn = Attention(
            AttentionOnlyConfig(
                num_heads=config.num_heads, d_model=config.d_model,
                d_head=config.d_model // config.num_heads, bias=True,
            )
        )  # fmt: skip
        self.mlp_norm = nn.LayerNorm(config.d_model)
        self.mlp = nn.Sequential(
            nn.Linear(config.d_model, config.d_mlp),
            nn.GELU(),
            nn.Linear(config.d_mlp, config.d_model),
        )

    def forward(self, h: Tensor) -> Tensor:
        """The residual stream after the block."""
        # Positions are in the residual stream here, so that the queries and keys are given none.
        h = h + self.attn(self.attn_norm(h), h.new_zeros(()))[0]
        return h + self.mlp(self.mlp_norm(h))


class InContextRegressor(nn.Module):
    """Predicts every y of a sequence from the pairs before it.

    Example:
        >>> model = InContextRegressor(InContextConfig(dim=2, length=3))
        >>> model(tokens_of(torch.zeros(5, 3, 2), torch.zeros(5, 3))).shape
        torch.Size([5, 3])
    """

    def __init__(self, config: InContextConfig) -> None:
        """Make the model with random weights drawn from torch's global generator."""
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.dim + 1, config.d_model)
        self.position = nn.Parameter(0.02 * torch.randn(2 * config.length - 1, config.d_model))
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.unembed = nn.Linear(config.d_model, 1)

    def forward(
        self, tokens: Float[Tensor, "examples tokens width"]
    ) -> Float[Tensor, "examples length"]:
        """Predictions ŷ.

        Args:
            tokens: From `tokens_of`.
        """
        h = self.embed(tokens) + self.position[: tokens.shape[-2]]
        for block in self.blocks:
            h = block(h)
        return self.unembed(self.norm(h))[..., ::2, 0]
