r"""Small networks that learn a binary operation on $\mathbb Z/p$, many trained side by side.

$$ z(a, b) = U\,\mathrm{GELU}(W_l E_a + c_l + W_r E_b + c_r), \qquad a, b \in \mathbb Z/p $$

with embeddings $E \in \mathbb R^{p \times e}$, two linear maps into $\mathbb R^h$ and logits
without a bias (Panickssery & Vaintrob 2023). The operation is addition, or a table of labels drawn
at random, which can only be memorised. Training is Adam on minibatches with the weight decay in the
gradient, as the authors' code does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from germ.errors import GermError
from germ.rng import generator

OPERATIONS = ("addition", "random")
TABLE, SPLIT, WEIGHTS, BATCHES = range(4)
"""Streams of a network's seed."""

BLOCK = 500
"""Steps whose batches are drawn at once."""

ANNEALED = 0.2
"""Share of the steps over which the rate falls to nothing, where it does."""


@dataclass(frozen=True)
class Network:
    """Which network.

    Attributes:
        modulus: p.
        operation: `"addition"`, or `"random"`.
        fraction: Share of the p² pairs that it is trained on.
        decay: Weight decay.
        seed: Of the random table, the split, the first weights and the batches.
    """

    modulus: int
    operation: str
    fraction: float
    decay: float
    seed: int

    @property
    def num_examples(self) -> int:
        """n, the pairs that it is trained on."""
        return int(self.fraction * self.modulus**2)


@dataclass(frozen=True)
class Training:
    """How networks are trained.

    Attributes:
        embed: e.
        hidden: h.
        lr: Of Adam.
        batch_size: Pairs a step, drawn with replacement.
        num_steps: Steps.
        anneal: Whether the rate falls to 0 over the last fifth, so that what is reached is nearer
            to a minimum than a minibatch leaves it.
    """

    embed: int = 16
    hidden: int = 64
    lr: float = 0.01
    batch_size: int = 64
    num_steps: int = 20_000
    anneal: bool = False


@dataclass(frozen=True)
class Record:
    """A network at one step.

    Attributes:
        step: Steps made.
        train_loss: Cross-entropy on the pairs it is trained on, in nats.
        test_loss: On the others.
        train_accuracy: Share of pairs right.
        test_accuracy: Of the others; NaN where there are none.
        weights: By the parameter names of `Adder`.
    """

    step: int
    train_loss: float
    test_loss: float
    train_accuracy: float
    test_accuracy: float
    weights: dict[str, Tensor]


class Adder(nn.Module):
    """One network: pairs (examples, 2) to logits (examples, p)."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        """A network of these weights, as in `Record`."""
        super().__init__()
        for name, weight in weights.items():
            self.register_parameter(name, nn.Parameter(weight.clone()))

    def forward(self, pairs: Tensor) -> Tensor:
        """Logits."""
        return logits_of(dict(self.named_parameters()), pairs)


def logits_of(weights: dict[str, Tensor], pairs: Tensor) -> Tensor:
    """Logits (examples, p) of one network, of pairs (examples, 2)."""
    left = F.linear(weights["embedding"], weights["left"], weights["left_bias"])
    right = F.linear(weights["embedding"], weights["right"], weights["right_bias"])
    # Both maps on the p embeddings first: there are fewer of these than of pairs.
    hidden = left[pairs[:, 0]] + right[pairs[:, 1]]
    return F.linear(F.gelu(hidden), weights["unembedding"])


def table(network: Network) -> Tensor:
    """The operation, (p, p).

    Raises:
        GermError: There is no such operation.
    """
    p = network.modulus
    if network.operation not in OPERATIONS:
        raise GermError(f"expected an operation, one of {OPERATIONS}; got {network.operation!r}")
    if network.operation == "random":
        return torch.randint(p, (p, p), generator=generator(network.seed, TABLE, p))
    values = torch.arange(p)
    return (values[:, None] + values[None]) % p


def data(network: Network, *, test: bool = False) -> tuple[Tensor, Tensor]:
    """Pairs (examples, 2) and their labels: those trained on, or the others."""
    p = network.modulus
    order = torch.randperm(p * p, generator=generator(network.seed, SPLIT, p))
    n = network.num_examples
    chosen = order[n:] if test else order[:n]
    pairs = torch.stack([chosen // p, chosen % p], dim=1)
    return pairs, table(network)[pairs[:, 0], pairs[:, 1]]


def start(network: Network, training: Training) -> dict[str, Tensor]:
    """First weights: embeddings N(0, 1), the rest uniform within 1/√(inputs), as in PyTorch."""
    p, e, h = network.modulus, training.embed, training.hidden
    source = generator(network.seed, WEIGHTS, p)

    def uniform(*shape: int, inputs: int) -> Tensor:
        return (2 * torch.rand(shape, generator=source) - 1) / inputs**0.5

    return {
        "embedding": torch.randn(p, e, generator=source),
        "left": uniform(h, e, inputs=e),
        "left_bias": uniform(h, inputs=e),
        "right": uniform(h, e, inputs=e),
        "right_bias": uniform(h, inputs=e),
        "unembedding": uniform(p, h, inputs=h),
    }


def train(
    networks: Sequence[Network], training: Training, records: Sequence[int]
) -> list[list[Record]]:
    """Train networks of one p and n, each as if it were alone.

    Args:
        networks: Which.
        training: How.
        records: Steps after which to record, the last at most `num_steps`.

    Returns:
        The records of each network.

    Raises:
        GermError: Networks differ in p or n, or a record lies beyond the last step.
    """
    sizes = {(network.modulus, network.num_examples) for network in networks}
    if len(sizes) != 1:
        raise GermError(f"expected networks of one (p, n); got {sorted(sizes)}")
    if not records or max(records) > training.num_steps:
        raise GermError(f"expected records up to step {training.num_steps}; got {list(records)}")
    starts = [start(network, training) for network in networks]
    weights = {name: torch.stack([s[name] for s in starts]) for name in starts[0]}
    decays = torch.tensor([network.decay for network in networks])
    for weight in weights.values():
        weight.requires_grad_()
    optimizer = torch.optim.Adam(weights.values(), lr=training.lr, fused=True)
    sets = [data(network) for network in networks]
    pairs, labels = (torch.stack(part) for part in zip(*sets, strict=True))
    others = [data(network, test=True) for network in networks]
    test_pairs, test_labels = (torch.stack(part) for part in zip(*others, strict=True))
    found: list[list[Record]] = [[] for _ in networks]
    wanted = set(records)
    rows = torch.arange(len(networks))[:, None]
    for step in range(max(records) + 1):
        if step in wanted:
            seen = (_seen(weights, pairs, labels), _seen(weights, test_pairs, test_labels))
            for i, kept in enumerate(found):
                mine = {name: weight[i].detach().clone() for name, weight in weights.items()}
                (loss, accuracy), (test_loss, test_accuracy) = (
                    (float(each[0][i]), float(each[1][i])) for each in seen
                )
                kept.append(Record(step, loss, test_loss, accuracy, test_accuracy, mine))
        if step % BLOCK == 0:
            drawn = _batches(networks, training, step // BLOCK)
        chosen = drawn[:, step % BLOCK]
        outputs = logits(weights, pairs[rows, chosen])
        losses = F.cross_entropy(outputs.flatten(0, 1), labels[rows, chosen].flatten())
        optimizer.zero_grad()
        # The mean over networks, times their number: each network's own mean.
        (len(networks) * losses).backward()
        for weight in weights.values():
            assert weight.grad is not None
            shape = (-1,) + (1,) * (weight.dim() - 1)
            weight.grad.addcmul_(decays.view(shape), weight.detach())
        if training.anneal:
            left = (training.num_steps - step) / (ANNEALED * training.num_steps)
            optimizer.param_groups[0]["lr"] = training.lr * min(1.0, left)
        optimizer.step()
    return found


def logits(weights: dict[str, Tensor], pairs: Tensor) -> Tensor:
    """Logits (network, example, p) of pairs (network, example, 2)."""
    embedding = weights["embedding"]
    left = torch.baddbmm(weights["left_bias"][:, None], embedding, weights["left"].mT)
    right = torch.baddbmm(weights["right_bias"][:, None], embedding, weights["right"].mT)
    # Rows of one long table: the gradient of picking them by two indices sorts, and is slow.
    places = pairs + left.shape[1] * torch.arange(len(pairs))[:, None, None]
    hidden = F.embedding(places[..., 0], left.flatten(0, 1))
    hidden = hidden + F.embedding(places[..., 1], right.flatten(0, 1))
    return F.gelu(hidden) @ weights["unembedding"].mT


def _batches(networks: Sequence[Network], training: Training, block: int) -> Tensor:
    """Indices (network, step, batch)."""
    shape = (BLOCK, training.batch_size)
    return torch.stack(
        [
            torch.randint(
                network.num_examples, shape, generator=generator(network.seed, BATCHES, block)
            )
            for network in networks
        ]
    )


@torch.no_grad()
def _seen(
    weights: dict[str, Tensor], pairs: Tensor, labels: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Loss and accuracy of each network; NaN of no examples."""
    if pairs.shape[1] == 0:
        nothing = np.full(len(pairs), np.nan)
        return nothing, nothing
    outputs = logits(weights, pairs)
    losses = F.cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="none")
    right = (outputs.argmax(-1) == labels).double()
    return losses.view(labels.shape).double().mean(1).numpy(), right.mean(1).numpy()
