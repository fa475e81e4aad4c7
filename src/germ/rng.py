"""Random numbers keyed by what they are for, never by how many were drawn before.

The noise of a chain at a step depends on (seed, chain, step) alone. So chain 3 is the same chain
whether 4 or 64 run, and a run that was killed goes on to the bit.
"""

from __future__ import annotations

import hashlib
import struct

import torch
from torch import Tensor

NOISE, UNIFORM, BATCH, PROBE, START, OBSERVED, GAUSSIAN = range(7)
"""Streams: what a random number is for. Different streams never share numbers."""

MEASURING = -2
"""In place of a chain: batches that calibration measures with, and no chain ever sees."""


def generator(*key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded by a hash of `key`.

    Neighbouring keys give unrelated streams. (PyTorch's CPU generator keeps 32 bits of a seed;
    two of a run's ~10⁵ streams may coincide, at unrelated times, which no average can see.)
    """
    digest = hashlib.blake2b(struct.pack(f"<{len(key)}q", *key), digest_size=8).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little") >> 1)


def normal(seed: int, chains: range, step: int, like: Tensor) -> Tensor:
    """Standard normal noise, one row a chain, in the dtype and on the device of `like`.

    Args:
        seed: The run's seed.
        chains: The chains the rows belong to.
        step: The step the noise is for.
        like: A tensor of shape (any, d).

    Returns:
        Noise of shape (len(chains), d).
    """
    rows = torch.empty(len(chains), like.shape[-1], dtype=like.dtype, device=like.device)
    for row, chain in zip(rows, chains, strict=True):
        row.normal_(generator=generator(seed, NOISE, chain, step, device=like.device))
    return rows


def uniform(seed: int, chains: range, step: int, like: Tensor) -> Tensor:
    """Two uniform numbers a chain, for jitter and acceptance tests, shape (2, len(chains))."""
    columns = [
        torch.rand(2, generator=generator(seed, UNIFORM, chain, step), dtype=torch.float64)
        for chain in chains
    ]
    return torch.stack(columns, dim=1).to(like.device)


def batch_indices(
    num_examples: int, batch_size: int, seed: int, step: int, chain: int = -1
) -> Tensor:
    """The examples of a step's batch: independent, uniform, with replacement.

    Independent batches, not epochs: within an epoch the examples left over are known from those
    already used, on which the position depends, and the paired loss would be biased.

    Args:
        num_examples: n.
        batch_size: Examples in the batch.
        seed: The run's seed.
        step: The step.
        chain: The chain, where each has batches of its own; −1 for one that all share.

    Returns:
        Indices, shape (batch_size,), int64.
    """
    source = generator(seed, BATCH, chain, step)
    return torch.randint(num_examples, (batch_size,), generator=source)
