"""Data sets: what the loss L_n is an average over.

`as_data` makes one of tensors, arrays, token arrays, PyTorch data sets and loaders, and Hugging
Face data sets; `germ.sources.load_tokens` of files. Data is checked when it comes in, not after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import DataLoader, TensorDataset, default_collate

from germ import imports
from germ.batches import (
    Data,
    Indices,
    as_tensors,
    batch_indices,
    check_batch,
    content_hash,
    describe_batch,
)
from germ.errors import GermError
from germ.tokens import TokenData, hugging_face_tokens, refuse_streams, token_rows
from germ.types import Batch

__all__ = [
    "Data",
    "TensorData",
    "TokenData",
    "MapData",
    "as_data",
    "batch_indices",
]


class TensorData(Data):
    """A tree of tensors in memory whose first axis is the example.

    Args:
        tensors: A tensor, or a tuple or dict of tensors or NumPy arrays. Dtypes are kept.

    Raises:
        GermError: If there is nothing in it, first axes differ, a number is NaN or infinite, or it
            is a causal-LM batch with padding.

    Example:
        >>> data = TensorData((torch.zeros(10, 3), torch.ones(10)))
        >>> data.batch(torch.tensor([0, 4]))[0].shape
        torch.Size([2, 3])
    """

    def __init__(self, tensors: Any) -> None:
        self._tensors = as_tensors(tensors)
        leaves = tree_leaves(self._tensors)
        lengths = [len(x) if isinstance(x, Tensor) and x.ndim else None for x in leaves]
        if not lengths or lengths[0] == 0:
            raise GermError("expected at least one example, got empty data")
        if None in lengths or len(set(lengths)) > 1:
            came = [tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in leaves]
            raise GermError(
                f"expected tensors with the example as first axis, of equal length, got {came}"
            )
        check_batch(self._tensors, len(leaves[0]))
        self._fingerprint: str | None = None

    @property
    def num_examples(self) -> int:
        """How many examples there are."""
        return len(tree_leaves(self._tensors)[0])

    def batch(self, indices: Indices) -> Batch:
        """The examples of these indices."""
        return tree_map(lambda leaf: leaf[indices.to(leaf.device)], self._tensors)

    def fingerprint(self) -> str:
        """The hash of names, dtypes, shapes and contents (`content_hash`)."""
        self._fingerprint = self._fingerprint or content_hash(self)
        return self._fingerprint

    def describe(self) -> str:
        """Number of examples; name, shape and dtype of each tensor."""
        return f"{self.num_examples:,} examples of {describe_batch(self._tensors)}"

    def to(self, device: torch.device | str) -> Data:
        """The same data, held on `device`."""
        moved = object.__new__(TensorData)
        moved._tensors = tree_map(lambda leaf: leaf.to(device), self._tensors)
        moved._fingerprint = self.fingerprint()
        return moved


class MapData(Data):
    """A data set that is indexed example by example: a PyTorch `Dataset`, a list, and the like.

    Args:
        dataset: Has `len()` and `[index]`; the same index must always give the same example.
        collate: Makes a batch of a list of examples.

    Raises:
        GermError: If it is empty, cannot be indexed, or its examples change from one look to the
            next, as they do under random augmentation.
    """

    def __init__(self, dataset: Any, collate: Callable[[list[Any]], Any] = default_collate) -> None:
        self._dataset, self._collate = dataset, collate
        self._fingerprint: str | None = None
        if not self.num_examples:
            raise GermError("expected at least one example, got an empty data set")
        some = torch.arange(min(8, self.num_examples))
        with torch.random.fork_rng(devices=[]):  # looking must not move the user's generator
            first, again = self.batch(some), self.batch(some)
        pairs = zip(tree_leaves(first), tree_leaves(again), strict=True)
        if not all(torch.equal(one, two) for one, two in pairs):
            raise GermError(
                f"the examples of {type(dataset).__name__} differ each time they are read; "
                "remove random augmentation: L_n is an average over fixed examples"
            )
        self._structure = describe_batch(first)

    @property
    def num_examples(self) -> int:
        """How many examples there are."""
        return len(self._dataset)

    def batch(self, indices: Indices) -> Batch:
        """The examples of these indices, collated.

        Raises:
            GermError: If the examples do not make a batch of tensors. This is looked at in every
                batch: the data set's own code runs each time.
        """
        wanted = indices.tolist()
        try:
            if hasattr(self._dataset, "__getitems__"):  # PyTorch's protocol for many at once
                items = self._dataset.__getitems__(wanted)
            else:
                items = [self._dataset[index] for index in wanted]
            batch = as_tensors(self._collate(items))
        except GermError:
            raise
        except Exception as error:
            raise GermError(
                f"{type(self._dataset).__name__} made no batch of examples {wanted[:3]}...: "
                f"{type(error).__name__}: {imports.first_line(error)}; give a collate function "
                "that does"
            ) from error
        check_batch(batch, len(wanted))
        return batch

    def fingerprint(self) -> str:
        """The hash of the examples (`content_hash`)."""
        self._fingerprint = self._fingerprint or content_hash(self)
        return self._fingerprint

    def describe(self) -> str:
        """Number of examples, and the shape of each."""
        name = type(self._dataset).__name__
        return f"{self.num_examples:,} examples of {self._structure} from {name}"


def as_data(data: Any, *, context: int | None = None, vocab: int | None = None) -> Data:
    """The data set that `data` is meant to be.

    Args:
        data: A `Data`; a tuple or dict of tensors or arrays; token ids (examples, context), as a
            tensor or a NumPy array or memory map; a PyTorch `Dataset` or `DataLoader` (its data
            set and collate function are used, its order and batch size are not); a Hugging Face
            `Dataset`, of tokens or of numbers; anything with `len()` and `[index]`.
        context: Tokens in an example, where rows of tokens of unequal length must be packed.
        vocab: The model's vocabulary size, to hold tokens against.

    Raises:
        GermError: If no data set can be made of it.
    """
    if isinstance(data, Data):
        return data
    if type(data).__module__.split(".")[0] == "datasets":
        return from_hugging_face(data, context, vocab)
    if isinstance(data, DataLoader):
        refuse_streams(data.dataset)
        return MapData(data.dataset, data.collate_fn)
    if isinstance(data, TensorDataset):
        return TensorData(data.tensors)
    if isinstance(data, Mapping) and set(data) == {"input_ids"}:
        return token_rows(data["input_ids"], context, vocab)
    if isinstance(data, Tensor | np.ndarray):
        # Whole numbers and no targets: what else than tokens?
        if data.ndim in (1, 2) and _is_integer(data):
            return token_rows(data, context, vocab)
        return TensorData(data)
    if isinstance(data, tuple | Mapping):
        return TensorData(data)
    refuse_streams(data)
    if isinstance(data, list) and data and all(isinstance(x, Tensor | np.ndarray) for x in data):
        raise GermError(
            "a list of tensors may mean examples or columns: pass a tuple (inputs, targets), "
            "or torch.stack(...) the examples"
        )
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str):
        return MapData(data)
    raise GermError(
        f"expected data (tensors, token ids, a PyTorch or Hugging Face data set), got "
        f"{type(data).__name__} {str(data)[:60]!r}; a file or a name is read by "
        "germ.sources.load_tokens"
    )


def from_hugging_face(
    data: Any,
    context: int | None = None,
    vocab: int | None = None,
    source: str = "",
    max_examples: int | None = None,
) -> Data:
    """A `datasets.Dataset`: of tokens (`hugging_face_tokens`), or of columns of numbers.

    Args:
        data: The data set, one split.
        context: Tokens in an example; by default as many as a row has.
        vocab: The model's vocabulary size, to hold tokens against.
        source: Where it comes from, for `describe`.
        max_examples: Keep the first so many examples.

    Raises:
        GermError: If it holds neither tokens nor numbers, or padding.
    """
    kind = type(data).__name__
    if kind.endswith("DatasetDict"):
        raise GermError(f"expected one split, got {kind} with {list(data)}; choose one: data[name]")
    refuse_streams(data)
    # A label per text, and not per token, is a classifier's.
    labels = data.features.get("labels")
    if "input_ids" in data.features and (labels is None or hasattr(labels, "feature")):
        return hugging_face_tokens(data, context, vocab, source, max_examples)
    keep = range(min(len(data), max_examples or len(data)))
    return MapData(data.select(keep).with_format("torch"))


def _is_integer(data: Tensor | np.ndarray) -> bool:
    if isinstance(data, Tensor):
        return not (data.is_floating_point() or data.is_complex() or data.dtype == torch.bool)
    return data.dtype.kind in "iu"
