"""More networks that nothing was tuned on: a GELU classifier, a small CNN, a block transformer.

Their λ is not known; the local expectation comes from long Hamiltonian Monte Carlo. Weights that
training made are kept with the results: training again on another machine would give others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from benchmarks.truth.case import Case
from germ import LocalPosterior
from germ.losses import resolve_loss

WEIGHTS = Path(__file__).parent.parent / "results" / "truth_weights"


@dataclass(frozen=True, kw_only=True)
class Classifier(Case):
    """A GELU network that classifies, at its own truth: labels are drawn from its softmax.

    w* is near the minimum of L_n, as far off as n examples leave it.

    Attributes:
        widths: H_0 … number of classes; every layer has a bias.
        gain: Deviation of a weight times the root of its inputs: sharper classes for more.
        restrict: Weights that move; None is all.
    """

    widths: tuple[int, ...]
    gain: float = 1.5
    restrict: str | None = None
    num_examples: int = 2_000
    localization: float = 10.0

    @property
    def family(self) -> str:
        """What the summary groups by."""
        return "network"

    def truth(self) -> nn.Sequential:
        """The network at w*."""
        source = torch.Generator().manual_seed(self.seed)
        layers: list[nn.Module] = []
        for into, out in zip(self.widths, self.widths[1:], strict=False):
            linear = nn.Linear(into, out)
            with torch.no_grad():
                linear.weight.copy_(self.gain * torch.randn(out, into, generator=source))
                linear.weight.div_(into**0.5)
                linear.bias.copy_(0.3 * torch.randn(out, generator=source))
            layers += [linear, nn.GELU()]
        return nn.Sequential(*layers[:-1]).eval()

    def data(self) -> tuple[Tensor, Tensor]:
        """The n examples: inputs N(0, 1)."""
        source = torch.Generator().manual_seed(self.seed + 1)
        inputs = torch.randn(self.num_examples, self.widths[0], generator=source)
        with torch.no_grad():
            shares = self.truth()(inputs).softmax(1)
        return inputs, torch.multinomial(shares, 1, generator=source)[:, 0]

    def posterior(self) -> LocalPosterior:
        """The network and its examples."""
        return LocalPosterior.from_model(
            self.truth(),
            self.data(),
            loss="cross_entropy",
            nbeta=self.num_examples / math.log(self.num_examples),
            localization=self.localization,
            restrict=self.restrict,
        )


@dataclass(frozen=True, kw_only=True)
class Trained(Case):
    """A network at the weights of a training run that Adam made, full batch.

    Attributes:
        train_steps: Of Adam.
    """

    train_steps: int = 300

    @property
    def family(self) -> str:
        """What the summary groups by."""
        return "network"

    @property
    def loss(self) -> str:
        """Name of the loss."""
        return "cross_entropy"

    def network(self) -> nn.Module:
        """The architecture, weights at random."""
        raise NotImplementedError

    def data(self) -> tuple[Tensor, Tensor] | dict[str, Tensor]:
        """The n examples."""
        raise NotImplementedError

    @property
    def path(self) -> Path:
        """Where the trained weights are kept: a file per posterior."""
        return WEIGHTS / f"{type(self).__name__.lower()}_{self.weights_key}.safetensors"

    @property
    def weights_key(self) -> str:
        """Names the weights: cases that share them differ in nβ or γ alone."""
        return f"{self.num_examples}_{self.train_steps}_{self.seed}"

    def model(self) -> nn.Module:
        """The trained network, from its file; trained and kept where there is none."""
        torch.manual_seed(self.seed)
        model = self.network()
        if not self.path.exists():
            self._train(model)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            save_model(model, str(self.path))
        load_model(model, str(self.path))
        return model.eval()

    def _train(self, model: nn.Module) -> None:
        batch, loss = self.data(), resolve_loss(self.loss)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(self.train_steps):
            optimizer.zero_grad()
            loss(model, batch).mean().backward()
            optimizer.step()

    @property
    def nbeta_value(self) -> float:
        """nβ."""
        return self.num_examples / math.log(self.num_examples)

    def posterior(self) -> LocalPosterior:
        """The network and its examples."""
        return LocalPosterior.from_model(
            self.model(),
            self.data(),
            loss=self.loss,
            nbeta=self.nbeta_value,
            localization=self.localization,
        )


@dataclass(frozen=True, kw_only=True)
class Convolutional(Trained):
    """A CNN that tells gratings of four directions apart, in 8 × 8 images with noise.

    Attributes:
        channels: Of the two convolutions.
        noise: Deviation of the pixels' noise; gratings have amplitude 1.
    """

    channels: tuple[int, int] = (3, 4)
    noise: float = 1.5
    num_examples: int = 600
    localization: float = 10.0

    def network(self) -> nn.Module:
        """Two convolutions with ReLU, average pooling, a linear map."""
        first, second = self.channels
        return nn.Sequential(
            nn.Conv2d(1, first, 3), nn.ReLU(), nn.AvgPool2d(2),
            nn.Conv2d(first, second, 3), nn.ReLU(), nn.Flatten(), nn.Linear(second, 4),
        )  # fmt: skip

    def data(self) -> tuple[Tensor, Tensor]:
        """Images (n, 1, 8, 8) and directions."""
        source = torch.Generator().manual_seed(self.seed + 1)
        labels = torch.randint(4, (self.num_examples,), generator=source)
        phase = 2 * math.pi * torch.rand(self.num_examples, 1, 1, generator=source)
        angle = math.pi / 4 * labels[:, None, None]
        axis = torch.arange(8.0)
        across = axis[None, :, None] * angle.cos() + axis[None, None, :] * angle.sin()
        images = torch.cos(math.pi / 2 * across + phase)
        noise = torch.randn(images.shape, generator=source)
        return (images + self.noise * noise)[:, None], labels


class Block(nn.Module):
    """Causal attention and an MLP of GELU units, each behind a layer norm."""

    def __init__(self, width: int, num_heads: int, hidden: int) -> None:
        """Make the maps."""
        super().__init__()
        self.num_heads = num_heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, stream: Tensor) -> Tensor:
        """The residual stream (examples, tokens, width), read and added to."""
        queries, keys, values = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(-2, -3)
            for part in self.qkv(self.before_attention(stream)).chunk(3, dim=-1)
        )
        scores = queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5
        future = torch.ones(stream.shape[-2], stream.shape[-2]).triu(1).bool()
        attended = scores.masked_fill(future, -torch.inf).softmax(-1) @ values
        stream = stream + self.out(attended.transpose(-2, -3).flatten(-2))
        return stream + self.mlp(self.before_mlp(stream))


class BlockTransformer(nn.Module):
    """A decoder as one knows it, small: embeddings of tokens and places, blocks, unembedding."""

    def __init__(
        self, vocabulary: int, context: int, layers: int, heads: int, width: int, hidden: int
    ) -> None:
        """Make the maps."""
        super().__init__()
        self.embed, self.place = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads, hidden) for _ in range(layers)))
        self.norm, self.unembed = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Logits (examples, tokens, vocabulary)."""
        places = torch.arange(input_ids.shape[-1])
        return self.unembed(self.norm(self.blocks(self.embed(input_ids) + self.place(places))))


@dataclass(frozen=True, kw_only=True)
class Blocks(Trained):
    """A `BlockTransformer` on sequences of a random Markov chain, trained a little.

    Attributes:
        nbeta: nβ, in 1/nats.
        config: Vocabulary, context, blocks, heads, width, hidden units.
    """

    nbeta: float = 30.0
    config: tuple[int, int, int, int, int, int] = (6, 8, 1, 2, 6, 10)
    train_steps: int = 60
    num_examples: int = 128
    localization: float = 300.0

    @property
    def loss(self) -> str:
        """Name of the loss."""
        return "causal_lm"

    @property
    def nbeta_value(self) -> float:
        """nβ."""
        return self.nbeta

    def network(self) -> nn.Module:
        """The transformer."""
        return BlockTransformer(*self.config)

    def data(self) -> dict[str, Tensor]:
        """Sequences of a Markov chain."""
        vocabulary, context = self.config[:2]
        source = torch.Generator().manual_seed(self.seed + 1)
        law = (2 * torch.randn(vocabulary, vocabulary, generator=source)).softmax(1)
        tokens = torch.randint(vocabulary, (self.num_examples, 1), generator=source)
        for _ in range(context - 1):
            following = torch.multinomial(law[tokens[:, -1]], 1, generator=source)
            tokens = torch.cat([tokens, following], dim=1)
        return {"input_ids": tokens}
