"""What a data set is, batches keyed by (seed, step), and what is asked of a batch.

A data set knows how many examples it has and makes a batch of any of them: a tree of tensors whose
first axis is the example.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_leaves

from germ import rng
from germ.errors import GermError
from germ.types import Batch

Indices = Int64[Tensor, "batch"]

HASHED_BYTES = 256 * 2**20
"""Data sets up to this size are fingerprinted whole; of larger ones, a sample of examples."""
HASHED_EXAMPLES = 4096
"""How many examples of a larger data set its fingerprint reads."""
_BLOCK = 256  # examples read at a time


class Data(ABC):
    """A data set of a known number of examples, any of which can be had at any time.

    Subclass it for data of your own: the same index must always give the same example.
    """

    @property
    @abstractmethod
    def num_examples(self) -> int:
        """How many examples there are."""

    @abstractmethod
    def batch(self, indices: Indices) -> Batch:
        """The examples of these indices: a tree of tensors, the example being the first axis."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hexadecimal hash of the content, the same for the same examples in the same order."""

    @abstractmethod
    def describe(self) -> str:
        """What the data is, in a few words for a person."""

    def to(self, device: torch.device | str) -> Data:
        """The same data, kept on `device` if it is held whole in memory, and else where it is.

        Only a matter of speed: batches are moved to the model's device wherever they come from.
        """
        return self

    def __len__(self) -> int:
        """How many examples there are."""
        return self.num_examples

    def __repr__(self) -> str:
        """What the data is."""
        return f"{type(self).__name__}({self.describe()})"


def batch_indices(
    num_examples: int, batch_size: int, seed: int, step: int, chain: int = -1
) -> Indices:
    """Which examples make the batch of a step: a function of (seed, step), of nothing before.

    Drawn independently and uniformly, with replacement (`germ.rng.batch_indices`). Epochs (a
    shuffled pass, then another) would make a batch depend on those before it, and so on where the
    chain stands: the examples it has just followed are left out for a while. The loss of a batch
    would then be a biased estimate of L_n there, and so would the difference L_B(w) − L_B(w*).

    Args:
        num_examples: Examples in the data set.
        batch_size: Examples in the batch; if that is all of them or more, the batch is the data set
            in order, and the gradient exact.
        seed: The run's seed.
        step: The step.
        chain: As for `germ.rng.batch_indices`.

    Raises:
        GermError: If there is no example, or none is asked for.

    Example:
        >>> batch_indices(10, 32, seed=0, step=7)
        tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    if num_examples < 1 or batch_size < 1:
        raise GermError(
            f"expected at least 1 example and a batch size of at least 1, got {num_examples} and "
            f"{batch_size}"
        )
    if batch_size >= num_examples:
        return torch.arange(num_examples)
    return rng.batch_indices(num_examples, batch_size, seed, step, chain)


def check_batch(batch: Batch, num_examples: int) -> None:
    """Make sure that a batch is a tree of finite tensors of so many examples, without padding.

    Raises:
        GermError: If it is not.
    """
    for path, leaf in _flatten(batch):
        name = keystr(path) or "the data"
        if not isinstance(leaf, Tensor):
            raise GermError(f"expected numbers, as tensors, got {type(leaf).__name__} in {name}")
        if leaf.ndim == 0 or len(leaf) != num_examples:
            raise GermError(
                f"expected {num_examples} examples along the first axis, got shape "
                f"{tuple(leaf.shape)} in {name}"
            )
        # isfinite of the sum first: one pass without a mask; a sum that overflows is looked into.
        if leaf.is_floating_point() and not bool(leaf.sum().isfinite()):
            bad = ~leaf.isfinite()
            if bool(bad.any()):
                row = int(bad.nonzero()[0][0])
                raise GermError(
                    f"expected finite numbers, got NaN or infinity in {name}, example {row}; "
                    "clean the data"
                )
    if isinstance(batch, Mapping) and "input_ids" in batch:
        _check_tokens(batch)


def _check_tokens(batch: Mapping[str, Tensor]) -> None:
    tokens, labels, mask = batch["input_ids"], batch.get("labels"), batch.get("attention_mask")
    if labels is not None and labels.shape != tokens.shape:
        return  # one label per text: a classifier's batch, whose padding is its own affair
    advice = "pack the text into whole contexts instead (germ.text.pack)"
    if mask is not None and not bool(mask.all()):
        raise GermError(f"expected tokens without padding, got zeros in attention_mask; {advice}")
    if labels is None:
        return
    if bool((labels == -100).any()):
        raise GermError(f"expected a label for every token, got -100 in labels; {advice}")
    if not torch.equal(labels, tokens):
        raise GermError(
            "expected labels equal to input_ids (the causal_lm loss shifts them itself), got "
            "others; leave labels out, or write a loss that uses them"
        )


def content_hash(data: Data) -> str:
    """BLAKE2b hash of the number of examples and of their names, dtypes, shapes and contents.

    Of all examples if they take no more than `HASHED_BYTES`; of a larger data set the first, the
    last and `HASHED_EXAMPLES` others chosen by a fixed key, so a change to few of its examples can
    go unseen.
    """
    num_examples = data.num_examples
    one = data.batch(torch.arange(1))
    num_bytes = num_examples * sum(leaf.nbytes for leaf in tree_leaves(one))
    if num_bytes <= HASHED_BYTES:
        indices = torch.arange(num_examples)
    else:
        generator = rng.generator(0, rng.PROBE, num_examples)
        chosen = torch.randint(num_examples, (HASHED_EXAMPLES,), generator=generator)
        indices = torch.cat([chosen, torch.tensor([0, num_examples - 1])]).unique()
    digest = hashlib.blake2b(f"{num_examples} {describe_batch(one)}".encode(), digest_size=16)
    for block in indices.split(_BLOCK):
        for path, leaf in _flatten(data.batch(block)):
            digest.update(f"{keystr(path)} {tuple(leaf.shape)} {leaf.dtype}".encode())
            # Bytes by way of uint8: NumPy has no bfloat16.
            digest.update(leaf.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def as_tensors(batch: Any) -> Any:
    """The tree with arrays as tensors and mappings as dicts.

    A tokenizer's `BatchEncoding` is a mapping of a kind that PyTorch's trees do not know.

    Raises:
        GermError: If an array does not hold numbers.
    """
    if isinstance(batch, Mapping):
        return {key: as_tensors(value) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return tuple(as_tensors(value) for value in batch)
    if isinstance(batch, np.ndarray):
        if batch.dtype.kind not in "biuf":
            raise GermError(f"expected an array of numbers, got dtype {batch.dtype}")
        if batch.dtype in (np.uint16, np.uint32, np.uint64):  # PyTorch stores these, no more
            batch = batch.astype(np.int64)
        # A copy where the array is read-only, which a tensor cannot express.
        batch = torch.from_numpy(batch if batch.flags.writeable else batch.copy())
    return batch.detach() if isinstance(batch, Tensor) else batch


def describe_batch(value: Any) -> str:
    """Shape of an example and dtype of every tensor, by name; of anything else, its type.

    Example:
        >>> describe_batch((torch.zeros(5, 64), {"y": torch.zeros(5, dtype=torch.long)}))
        '((64,) float32, {y: () int64})'
    """
    if isinstance(value, Tensor):
        return f"{tuple(value.shape[1:])} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {describe_batch(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "(" + ", ".join(describe_batch(item) for item in value) + ")"
    return type(value).__name__


def _flatten(batch: Any) -> Sequence[tuple[Any, Any]]:
    return tree_flatten_with_path(batch)[0]
