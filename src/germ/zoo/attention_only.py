r"""The attention-only transformer of the developmental-interpretability work.

Tokens are embedded, a few layers of causal attention read from and add to the residual stream, and
a linear map reads the logits off it:

$$ x_0 = E[t], \qquad x_{l+1} = x_l + \mathrm{Attn}_l(\mathrm{LN}(x_l)), \qquad
   \text{logits} = U\,\mathrm{LN}(x_L). $$

Positions are "shortformer" (Press, Smith, Lewis 2021, arXiv 2012.15832): one table $P$ is added to
what the queries and the keys read, in every layer, and to nothing else. The residual stream and the
values therefore carry no positions, and what a head moves is a function of tokens alone.

Settings of the published model: Hoogland et al. 2024, arXiv 2402.02364 (preset `"paper"`).
"""

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from germ.errors import GermError


@dataclass(frozen=True)
class AttentionOnlyConfig:
    """Sizes of the model.

    Args:
        vocab_size: number of distinct tokens.
        context: greatest number of tokens read at once.
        num_layers: number of attention layers.
        num_heads: attention heads in each layer.
        d_model: width of the residual stream.
        d_head: width of one head; it need not be `d_model / num_heads`.
        bias: whether the linear maps have biases (the layer norms always do).
    """

    vocab_size: int = 1024
    context: int = 128
    num_layers: int = 2
    num_heads: int = 8
    d_model: int = 128
    d_head: int = 16
    bias: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that no model can have."""
        for name, value in asdict(self).items():
            if name != "bias" and (not isinstance(value, int) or value < 1):
                raise GermError(f"{name} must be an integer of at least 1, got {value!r}")


PRESETS = {
    "paper": AttentionOnlyConfig(vocab_size=5000, context=1024, d_model=256, d_head=32, bias=True),
    "bundled": AttentionOnlyConfig(),
    "tiny": AttentionOnlyConfig(vocab_size=32, context=16, num_heads=2, d_model=16, d_head=8),
}
"""Ready sizes: the published 3M model, the one that germ ships, and one for tests."""


class Attention(nn.Module):
    """Causal attention, queries and keys seeing positions, values not."""

    def __init__(self, config: AttentionOnlyConfig) -> None:
        """Make the four maps."""
        super().__init__()
        inner = config.num_heads * config.d_head
        self.q = nn.Linear(config.d_model, inner, bias=config.bias)
        self.k = nn.Linear(config.d_model, inner, bias=config.bias)
        self.v = nn.Linear(config.d_model, inner, bias=config.bias)
        self.o = nn.Linear(inner, config.d_model, bias=config.bias)
        self.num_heads = config.num_heads
        self.d_head = config.d_head

    def forward(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            x: normalized residual stream, (examples, tokens, d_model).
            positions: position table, (tokens, d_model).

        Returns:
            What is added to the residual stream, (examples, tokens, d_model), and the attention
            pattern, (examples, heads, queries, keys).
        """
        q = self._heads(self.q(x + positions))  # (examples, heads, tokens, d_head)
        k = self._heads(self.k(x + positions))
        v = self._heads(self.v(x))
        # Written out rather than F.scaled_dot_product_attention: the pattern is wanted, the fused
        # kernel has no fast path under torch.func.vmap on CPU, and at this size it is no faster.
        scores = (q / math.sqrt(self.d_head)) @ k.transpose(-2, -1)
        # Added, not filled in: masked_fill was the slowest operation of the whole model on CPU.
        future = torch.full(scores.shape[-2:], -math.inf, dtype=scores.dtype, device=x.device)
        pattern = (scores + future.triu(1)).softmax(-1)
        mixed = (pattern @ v).transpose(-3, -2).flatten(-2)  # heads side by side again
        return self.o(mixed), pattern

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, self.d_head)).transpose(-3, -2)


class Layer(nn.Module):
    """Layer norm, then attention; the caller adds the result to the residual stream."""

    def __init__(self, config: AttentionOnlyConfig) -> None:
        """Make the norm and the attention."""
        super().__init__()
        self.norm = nn.LayerNorm(config.d_model)
        self.attn = Attention(config)

    def forward(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the update of the residual stream and the attention pattern."""
        return self.attn(self.norm(x), positions)


class AttentionOnly(nn.Module):
    """A transformer without MLPs.

    Parameters, by name: `embed.weight`, `position.weight`, `layers.L.norm.{weight,bias}`,
    `layers.L.attn.{q,k,v,o}.weight`, `norm.{weight,bias}`, `unembed.weight`. Rows
    `h * d_head : (h + 1) * d_head` of q, k and v, and those columns of o, belong to head h.

    Example:
        >>> model = AttentionOnly(PRESETS["tiny"])
        >>> model(torch.zeros(3, 16, dtype=torch.long)).shape
        torch.Size([3, 16, 32])
    """

    def __init__(self, config: AttentionOnlyConfig) -> None:
        """Make the model with small random weights drawn from torch's global generator."""
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.context, config.d_model)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.unembed = nn.Linear(config.d_model, config.vocab_size, bias=config.bias)
        self.apply(self._initialize)
        # Sinusoids, as in the shortformer paper, but learned from there on: small random rows learn
        # to attend to the previous token several times more slowly (measured on the bundled text).
        self.position.weight.data.copy_(sinusoids(config.context, config.d_model))

    def _initialize(self, module: nn.Module) -> None:
        # GPT-2's 0.02: the first loss is then log(vocab_size), with nothing to unlearn.
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Predict every next token.

        Args:
            input_ids: tokens, int64, (examples, tokens).

        Returns:
            Logits, (examples, tokens, vocab_size); those at t depend on tokens up to t.

        Raises:
            GermError: if there are more tokens than the context holds.
        """
        return self.unembed(self.norm(self._residual(input_ids)[0]))

    def patterns(self, input_ids: Tensor) -> Tensor:
        """Where every head looks.

        Args:
            input_ids: tokens, int64, (examples, tokens).

        Returns:
            Attention patterns, (layers, examples, heads, queries, keys); each row sums to one.

        Raises:
            GermError: if there are more tokens than the context holds.
        """
        return torch.stack(self._residual(input_ids)[1])

    def _residual(self, input_ids: Tensor) -> tuple[Tensor, list[Tensor]]:
        tokens = input_ids.shape[-1]
        if tokens > self.config.context:
            raise GermError(
                f"expected at most {self.config.context} tokens (the context of this model), "
                f"got {tokens}: cut the examples shorter"
            )
        x = self.embed(input_ids)
        positions = self.position.weight[:tokens]
        patterns = []
        for layer in self.layers:
            update, pattern = layer(x, positions)
            x = x + update
            patterns.append(pattern)
        return x, patterns

    def num_parameters(self) -> int:
        """Count the parameters."""
        return sum(p.numel() for p in self.parameters())


def sinusoids(context: int, d_model: int) -> Tensor:
    """Return sines, then cosines, of t / 10000^(2i/d_model): Vaswani et al. 2017, section 3.5.

    Args:
        context: number of positions t.
        d_model: number of waves; the odd one out is a sine.

    Returns:
        Position table, (context, d_model).
    """
    frequencies = 10_000.0 ** (-torch.arange(0, d_model, 2) / d_model)
    angles = torch.arange(context)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :d_model]


def save_checkpoint(
    model: AttentionOnly,
    path: str | Path,
    step: int,
    extra: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a model to a safetensors file, whole or not at all.

    The header carries `germ.zoo`, `germ.config` (JSON), `germ.step`, `germ.dtype` and `germ.extra`
    (JSON), all strings, as the format wants.

    Args:
        model: the model.
        path: where to write.
        step: training step the weights belong to.
        extra: anything that JSON can hold.
        dtype: how the weights are stored.
    """
    path = Path(path)
    metadata = {
        "germ.zoo": "attention_only",
        "germ.config": json.dumps(asdict(model.config)),
        "germ.step": str(step),
        "germ.dtype": str(dtype).removeprefix("torch."),
        "germ.extra": json.dumps(extra or {}),
    }
    weights = {k: v.detach().to("cpu", dtype).contiguous() for k, v in model.state_dict().items()}
    part = path.with_name(path.name + ".part")
    part.write_bytes(_with_sorted_header(save(weights, metadata)))
    os.replace(part, path)


def _with_sorted_header(file: bytes) -> bytes:
    # safetensors writes the metadata in the order of a hash map, another each time. Sorted, equal
    # weights give equal files.
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.dumps(json.loads(file[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # so that the weights stay aligned
    return len(header).to_bytes(8, "little") + header + file[end:]


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return the header strings of a checkpoint written by `save_checkpoint`.

    Raises:
        GermError: if there is no such file or it is not such a checkpoint.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise GermError(f"cannot read a checkpoint from {path}: {error}") from error
    if metadata.get("germ.zoo") != "attention_only":
        raise GermError(
            f"{path} is a safetensors file, but not one of germ's attention-only models "
            f"(germ.zoo is {metadata.get('germ.zoo')!r}): write it with save_checkpoint"
        )
    return metadata


def load_checkpoint(path: str | Path) -> AttentionOnly:
    """Read a model, in float32 and in eval mode, however it was stored.

    Raises:
        GermError: if there is no such file or it is not such a checkpoint.
    """
    config = AttentionOnlyConfig(**json.loads(read_metadata(path)["germ.config"]))
    with torch.device("meta"):  # no weights are drawn, so the global generator is left alone
        model = AttentionOnly(config)
    weights = {name: weight.float() for name, weight in load_file(path).items()}
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise GermError(f"the weights in {path} do not fit its own header: {error}") from error
    return model.eval()
