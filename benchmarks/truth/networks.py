"""Networks whose λ nobody knows: the local expectation comes from long Hamiltonian Monte Carlo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.nets import squared_error
from benchmarks.truth.case import Case
from germ import LocalPosterior
from germ.losses import causal_lm, supervised
from germ.zoo.attention_only import (
    AttentionOnly,
    AttentionOnlyConfig,
    load_checkpoint,
    save_checkpoint,
)

RESULTS = Path(__file__).parent.parent / "results"


@dataclass(frozen=True, kw_only=True)
class Relu(Case):
    """A ReLU network at its own truth; targets are its outputs and noise.

    Attributes:
        widths: H_0 … H_L; every layer has a bias.
        num_used: Hidden units of the first layer that the truth uses; the others have weights and
            biases 0 on both sides, so that w* is singular.
        noise: σ of the targets; inputs are N(0, 1).
    """

    widths: tuple[int, ...]
    num_used: int
    noise: float = 0.5
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
                linear.weight.copy_(torch.randn(out, into, generator=source) * (2 / into) ** 0.5)
                linear.bias.copy_(0.5 * torch.randn(out, generator=source))
            layers += [linear, nn.ReLU()]
        model = nn.Sequential(*layers[:-1]).eval()
        idle = slice(self.num_used, None)
        with torch.no_grad():
            first, after = model[0], model[2]
            assert isinstance(first, nn.Linear) and isinstance(after, nn.Linear)
            first.weight[idle], first.bias[idle], after.weight[:, idle] = 0.0, 0.0, 0.0
        return model

    def data(self) -> tuple[Tensor, Tensor]:
        """The n examples."""
        source = torch.Generator().manual_seed(self.seed + 1)
        inputs = torch.randn(self.num_examples, self.widths[0], generator=source)
        with torch.no_grad():
            outputs = self.truth()(inputs)
        return inputs, outputs + self.noise * torch.randn(outputs.shape, generator=source)

    def posterior(self) -> LocalPosterior:
        """The network and its examples."""
        return LocalPosterior.from_model(
            self.truth(),
            self.data(),
            loss=supervised(squared_error),
            nbeta=self.num_examples / math.log(self.num_examples),
            localization=self.localization,
        )


@dataclass(frozen=True, kw_only=True)
class Transformer(Case):
    """A small attention-only transformer, trained on sequences of a Markov chain that repeat.

    Its weights are kept with the results: training again on another machine would give others.

    Attributes:
        nbeta: nβ, in 1/nats.
        config: Sizes: vocabulary, context, layers, heads, width, width of a head.
        train_steps: Full-batch steps of Adam.
    """

    nbeta: float = 30.0
    config: tuple[int, int, int, int, int, int] = (8, 8, 2, 2, 8, 4)
    train_steps: int = 400
    num_examples: int = 128
    localization: float = 300.0

    @property
    def family(self) -> str:
        """What the summary groups by."""
        return "network"

    @property
    def path(self) -> Path:
        """Where the trained weights are kept."""
        sizes = "-".join(str(size) for size in self.config)
        return RESULTS / f"truth_transformer_{sizes}_{self.train_steps}_{self.seed}.safetensors"

    def data(self) -> dict[str, Tensor]:
        """Half of each sequence from a random Markov chain, then the same half again."""
        vocabulary, context = self.config[:2]
        source = torch.Generator().manual_seed(self.seed + 1)
        law = (2 * torch.randn(vocabulary, vocabulary, generator=source)).softmax(1)
        tokens = torch.randint(vocabulary, (self.num_examples, 1), generator=source)
        for _ in range(context // 2 - 1):
            following = torch.multinomial(law[tokens[:, -1]], 1, generator=source)
            tokens = torch.cat([tokens, following], dim=1)
        return {"input_ids": torch.cat([tokens, tokens], dim=1)}

    def model(self) -> AttentionOnly:
        """The trained network, from its file."""
        if not self.path.exists():
            self.train()
        return load_checkpoint(self.path)

    def train(self) -> None:
        """Train it and keep it."""
        vocabulary, context, layers, heads, width, head = self.config
        torch.manual_seed(self.seed)
        model = AttentionOnly(AttentionOnlyConfig(vocabulary, context, layers, heads, width, head))
        batch = self.data()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(self.train_steps):
            optimizer.zero_grad()
            causal_lm(model, batch).mean().backward()
            optimizer.step()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(model, self.path, step=self.train_steps)

    def posterior(self) -> LocalPosterior:
        """The network and its sequences."""
        return LocalPosterior.from_model(
            self.model(),
            self.data(),
            loss="causal_lm",
            nbeta=self.nbeta,
            localization=self.localization,
        )
