"""Rows of tokens as data: in memory, on disk, or from a Hugging Face data set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from germ import text
from germ.batches import Data, Indices, check_batch, content_hash
from germ.errors import GermError
from germ.types import Batch


class TokenData(Data):
    """Rows of tokens for a causal language model; an array on disk stays there.

    Batches are `{"input_ids": int64 (batch, context)}`.

    Args:
        tokens: Token ids, (examples, context), of any integer dtype; a memory map is read row by
            row when a batch needs it.
        vocab: The model's vocabulary size, to hold the tokens against; `None` to trust them.
        source: Where they come from, for `describe`.

    Raises:
        GermError: If there are none, they are no integers, or one is outside the vocabulary.
    """

    def __init__(self, tokens: np.ndarray, vocab: int | None = None, source: str = "") -> None:
        if tokens.dtype.kind not in "iu":
            raise GermError(f"expected token ids of an integer dtype, got {tokens.dtype}")
        if tokens.ndim != 2 or not tokens.size:
            raise GermError(f"expected tokens of shape (examples, context), got {tokens.shape}")
        self._tokens, self._source = tokens, source
        self._fingerprint: str | None = None
        self._check_vocabulary(vocab)

    @property
    def num_examples(self) -> int:
        """How many rows there are."""
        return len(self._tokens)

    @property
    def context(self) -> int:
        """Tokens in an example."""
        return self._tokens.shape[1]

    def batch(self, indices: Indices) -> Batch:
        """The rows of these indices."""
        return {"input_ids": torch.from_numpy(self._tokens[indices.numpy()].astype(np.int64))}

    def fingerprint(self) -> str:
        """The hash of the token ids (`content_hash`), whatever integer dtype holds them."""
        self._fingerprint = self._fingerprint or content_hash(self)
        return self._fingerprint

    def describe(self) -> str:
        """Number of examples and tokens, and where they come from."""
        origin = f" from {self._source}" if self._source else ""
        return f"{self.num_examples:,} examples of {self.context:,} tokens{origin}"

    def _check_vocabulary(self, vocab: int | None) -> None:
        for start in range(0, len(self._tokens), 65_536):
            block = self._tokens[start : start + 65_536]
            lowest, highest = int(block.min()), int(block.max())
            if lowest < 0:
                raise GermError(
                    f"expected token ids of 0 and more, got {lowest} (padding? cut the rows to "
                    "whole contexts instead)"
                )
            if vocab is not None and highest >= vocab:
                raise GermError(
                    f"expected token ids below the model's vocabulary of {vocab:,}, "
                    f"got {highest:,}; tokenize with the model's own tokenizer"
                )


def token_rows(
    tokens: Tensor | np.ndarray,
    context: int | None = None,
    vocab: int | None = None,
    source: str = "",
    max_examples: int | None = None,
) -> TokenData:
    """Token ids as rows of `context` tokens, without a copy where they lie in an array.

    Args:
        tokens: A stream of tokens, or rows of them (examples, context).
        context: Tokens in an example; by default as many as a row has. Longer rows are cut.
        vocab: The model's vocabulary size, to hold them against.
        source: Where they come from, for `describe`.
        max_examples: Keep the first so many rows.

    Raises:
        GermError: If they are no token ids, or do not make one row.
    """
    array = tokens.cpu().numpy() if isinstance(tokens, Tensor) else tokens
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu" or array.ndim > 2:
        came = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array)
        raise GermError(f"expected token ids, integers of shape (examples, context), got {came}")
    if context is None and array.ndim == 1:
        raise GermError("expected rows of tokens, got one long row; give the context to cut it to")
    width = array.shape[-1] if context is None else context
    if width < 2:
        raise GermError(f"expected a context of at least 2 tokens (one to predict), got {width}")
    if array.ndim == 2 and array.shape[1] % width:
        raise GermError(
            f"the rows of {source or 'the data'} have {array.shape[1]} tokens, which cannot be cut "
            f"into contexts of {width}; use a divisor of {array.shape[1]}"
        )
    num_examples = array.size // width
    if not num_examples:
        raise text.too_short(array.size, width)
    if array.ndim == 1:
        array = array[: num_examples * width]
    return TokenData(array.reshape(num_examples, width)[:max_examples], vocab, source)


def hugging_face_tokens(
    data: Any,
    context: int | None = None,
    vocab: int | None = None,
    source: str = "",
    max_examples: int | None = None,
    default_context: int | None = None,
) -> TokenData:
    """The `input_ids` of a `datasets.Dataset`, held in memory as int32.

    Rows of `input_ids` of equal length are examples; rows of unequal length are put end to end, as
    they are, and cut into contexts.

    Args:
        data: The data set, one split.
        context: Tokens in an example; by default as many as a row has.
        vocab: The model's vocabulary size, to hold tokens against.
        source: Where it comes from, for `describe`.
        max_examples: Keep the first so many examples, and read no more tokens than they need.
        default_context: As for `packed_rows`.

    Raises:
        GermError: If it holds no tokens, or padding, or rows that do not make contexts.
    """
    rows = _token_rows(data)
    return packed_rows(rows, context, vocab, source, max_examples, default_context)


def packed_rows(
    documents: Iterable[Any],
    context: int | None = None,
    vocab: int | None = None,
    source: str = "",
    max_examples: int | None = None,
    default_context: int | None = None,
) -> TokenData:
    """Rows of token ids of any lengths as examples of one length.

    Rows of equal length stay rows; rows of unequal length are put end to end, as they are, and cut.

    Args:
        documents: The rows; read only as far as `max_examples` needs.
        context: Tokens in an example; by default as many as a row has.
        vocab: The model's vocabulary size, to hold tokens against.
        source: Where they come from, for `describe`.
        max_examples: Keep the first so many examples.
        default_context: Tokens in an example where `context` is None and rows are of unequal
            length.

    Raises:
        GermError: If there are no tokens, or they do not make contexts.
    """
    rows: list[np.ndarray] = []
    num_tokens = 0
    for document in documents:
        rows.append(text.token_ids(document))
        num_tokens += len(rows[-1])
        if max_examples is not None and num_tokens >= max_examples * (context or len(rows[0])):
            break
    if not num_tokens:
        raise text.too_short(0, context or 1)
    if len({len(row) for row in rows}) == 1 and (context is None or len(rows[0]) % context == 0):
        return token_rows(np.stack(rows), context, vocab, source, max_examples)
    context = context or default_context
    if context is None:
        raise GermError("the rows of tokens have unequal lengths; give a context to cut them to")
    return TokenData(text.pack(rows, context, max_examples=max_examples), vocab, source)


def _token_rows(data: Any) -> Iterator[np.ndarray]:
    names = [x for x in ("input_ids", "labels", "attention_mask") if x in data.column_names]
    chosen = data.select_columns(names).with_format("numpy")
    for start in range(0, len(data), 1000):
        block = chosen[start : start + 1000]
        for values in zip(*(block[name] for name in names), strict=True):
            row = {name: text.token_ids(v) for name, v in zip(names, values, strict=True)}
            check_batch({name: torch.from_numpy(v)[None] for name, v in row.items()}, 1)
            yield row["input_ids"]


def refuse_streams(data: Any) -> None:
    """Refuse data that has an order but no index.

    Raises:
        GermError: If `data` is such a stream.
    """
    if isinstance(data, IterableDataset) or (
        hasattr(data, "__iter__") and not hasattr(data, "__getitem__")
    ):
        raise GermError(
            f"expected data that can be indexed, got the stream {type(data).__name__}; take as "
            "many examples as are wanted into a list, list(itertools.islice(data, n)), and give "
            "that: a step's batch is found by index"
        )
