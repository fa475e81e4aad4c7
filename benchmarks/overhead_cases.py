"""The jobs that `benchmarks.overhead` measures: sizes and settings, no computation.

The models are the two GPT-NeoX of lesson 10 of the design. Costs beside forward and backward grow
with the parameters and those two with the tokens as well, so the fewer tokens in a batch, the
harder the test: 4096 tokens are germ's default and the peer's (32 examples of 128), 1024 are hard.
"""

from __future__ import annotations

from dataclasses import dataclass

CHAINS = 4
NBETA = 30.0
LOCALIZATION = 300.0
STEP_SIZE = 1e-7  # the same ε in both conventions; small, so that no chain goes anywhere
NUM_EXAMPLES = 256
NUM_STORED_DRAWS = 200  # the peer's default


@dataclass(frozen=True)
class Case:
    """A model, its batches, and how many draws a timed round takes.

    Attributes:
        vocabulary: Tokens in the vocabulary.
        width: Width of the residual stream.
        layers: Number of layers.
        heads: Heads in a layer.
        context: Tokens in an example.
        batch_size: Examples in a batch.
        draws: Draws a chain in a timed round.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    context: int
    batch_size: int
    draws: int


CASES = {
    "0.17M-b32": Case(512, 64, 2, 4, context=64, batch_size=32, draws=25),
    "4M-b8": Case(2048, 256, 4, 8, context=128, batch_size=8, draws=8),
    "4M-b32": Case(2048, 256, 4, 8, context=128, batch_size=32, draws=4),
}
"""Cases by name: parameters and batch size."""

CONTENDERS = {
    "bare": "forward and backward in a loop, no sampler",
    "germ": "SGLD, minibatch gradients, stored",
    "germ anchored": "Leimkuhler–Matthews, diagonal metric, anchored gradients, stored",
    "devinterp": "sample() without observables: the least that gives an LLC",
    "devinterp quickstart": "sample() as its README and quickstart have it: one observable",
}
"""Contenders by name, and what each does."""

PEER = ("devinterp", "devinterp quickstart")
STORED = ("germ", "germ anchored", *PEER)
