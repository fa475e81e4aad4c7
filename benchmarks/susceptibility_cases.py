"""The jobs that `benchmarks.susceptibility` measures: models, data, probes and settings.

`two-layer` is the model that germ ships, with its own tokens: some heads of each layer.
`last-of-12` is a GPT-NeoX of twelve layers over bytes of the same text, trained here for some
minutes: its last layer. Trained models are the real case: where nothing was learned, no
susceptibility is more than noise.

Settings are those published for susceptibilities of single tokens (Baker et al. 2504.18274: γ 300,
nβ 30, SGLD ε 1e-3, 4 chains of 100 draws, batches of 16), which are also the peer's for this.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

NBETA, LOCALIZATION, STEP_SIZE = 30.0, 300.0, 1e-3
CHAINS, DRAWS, BATCH_SIZE = 4, 100, 16
CONTEXT = 128

NUM_EXAMPLES = 128

SAMPLING_BATCHES = NUM_EXAMPLES // BATCH_SIZE
"""Batches of the data of which the peer takes φ at every draw; they are always the same examples.
Of fewer than all, φ is that of another loss, which no number of draws mends. With all, both
estimate the same χ."""

DEFAULT_SAMPLING_BATCHES = 3
"""The peer's default."""

TRAINING_STEPS, TRAINING_BATCH, LEARNING_RATE = 600, 8, 1e-3


@dataclass(frozen=True)
class Case:
    """A model, the components that move one at a time, data and probes.

    Attributes:
        name: The case.
        components: As `germ.susceptibility` takes them.
        make: The model, given a folder in which it may be kept.
        rows: Tokens (examples, context) of a domain, of its training or held-out part.
        num_examples: Examples of the data, all domains in turn.
        num_probe: Examples of each probe.
        tried: Components with which the peer's other step sizes are tried.
    """

    name: str
    components: str
    make: Callable[[Path], nn.Module]
    rows: Callable[[str, str], Tensor]
    num_examples: int
    num_probe: int
    tried: str

    def data(self) -> Tensor:
        """The data, (examples, context)."""
        each = [self.rows(domain, "train") for domain in domains()]
        num = self.num_examples // len(each)
        return torch.stack([rows[:num] for rows in each], dim=1).flatten(0, 1)

    def probes(self) -> dict[str, Tensor]:
        """A probe of each domain, of text that no model was trained on."""
        return {name: self.rows(name, "heldout")[: self.num_probe] for name in domains()}


def domains() -> list[str]:
    """The domains of the bundled text."""
    from germ.zoo import bundled

    return bundled.domains()


def bundled_model(_: Path) -> nn.Module:
    """The two-layer model that germ ships, trained."""
    from germ.zoo import bundled

    return bundled.model()


def bundled_rows(domain: str, split: str) -> Tensor:
    """Its own tokens."""
    from germ.zoo import bundled

    return bundled.tokens(domain, split, CONTEXT)


def byte_rows(domain: str, split: str) -> Tensor:
    """The same text as bytes: a vocabulary of 256."""
    from germ.zoo import bundled

    text = bundled.text(domain, split).encode()
    row = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    return row[: len(row) // CONTEXT * CONTEXT].view(-1, CONTEXT)


def deep_model(folder: Path) -> nn.Module:
    """A GPT-NeoX of twelve layers, 2.4 million parameters, trained or read from `folder`."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=256,
        hidden_size=128,
        num_hidden_layers=12,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=CONTEXT,
        use_cache=False,
    )
    torch.manual_seed(0)
    model = GPTNeoXForCausalLM(config)
    path = folder / "deep.pt"
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    train(model)
    torch.save(model.state_dict(), path)
    return model.eval()


def train(model: nn.Module) -> None:
    """Some hundred steps on all domains."""
    from germ.losses import causal_lm

    each = [byte_rows(domain, "train") for domain in domains()]
    least = min(len(rows) for rows in each)
    rows = torch.cat([rows[:least] for rows in each])
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
    began = time.perf_counter()
    for step in range(TRAINING_STEPS):
        share = step / TRAINING_STEPS
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, 10 * share + 0.02) * math.cos(1.5 * share)
        chosen = torch.randint(len(rows), (TRAINING_BATCH,))
        loss = causal_lm(model, {"input_ids": rows[chosen]}).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step == TRAINING_STEPS - 1:
            passed = time.perf_counter() - began
            print(f"training: step {step}, {loss.item():.3f} nats, {passed:.0f} s", flush=True)


SOME_HEADS = "layers.0.head.0,layers.0.head.4,layers.1.head.2,layers.1.head.6"
"""Of sixteen: a head costs what any other of its layer costs, either side."""

CASES = {
    "two-layer": Case(
        "two-layer", SOME_HEADS, bundled_model, bundled_rows, NUM_EXAMPLES, 16, "layers.1.head.6"
    ),
    "last-of-12": Case(
        "last-of-12", "layers.11", deep_model, byte_rows, NUM_EXAMPLES, 16, "layers.11"
    ),
}
"""Cases by name."""
