"""Text to tokens to rows: documents are encoded, put end to end, and cut into whole contexts.

No padding anywhere: a padded position has no loss, and an average over positions would have to
know. Packing gives rows of equal length at no loss of text.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from germ.errors import GermError

SEPARATOR = "\n\x1e\n"
"""Between the documents of a text file: the ASCII record separator on a line of its own."""

_END_NAMES = ("<|endoftext|>", "<|end|>", "</s>", "<eos>", "[EOS]")
_BLOCK = 64  # documents encoded at a time: enough for a tokenizer's threads, little to hold


@dataclass(frozen=True)
class Encoder:
    """What is needed of a tokenizer.

    Attributes:
        encode: Texts to token ids, without special tokens.
        end: The token that ends a document, if there is one.
    """

    encode: Callable[[list[str]], Sequence[Sequence[int]]]
    end: int | None


def encoder(tokenizer: Any) -> Encoder:
    """What is needed of `tokenizer`.

    Args:
        tokenizer: One of `transformers`, one of `tokenizers`, or anything with `encode(text)` that
            returns token ids (and, if it likes, an `eos_token_id`).

    Raises:
        GermError: If it is none of these.
    """
    if isinstance(tokenizer, Encoder):
        return tokenizer
    if hasattr(tokenizer, "encode_batch") and hasattr(tokenizer, "token_to_id"):

        def encode_many(texts: list[str]) -> list[list[int]]:
            encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
            return [encoding.ids for encoding in encoded]

        # This library does not record which token ends a document; only its name can tell.
        ends = (tokenizer.token_to_id(name) for name in _END_NAMES)
        return Encoder(encode_many, next((end for end in ends if end is not None), None))
    end = getattr(tokenizer, "eos_token_id", None)
    call: Any = tokenizer
    if hasattr(tokenizer, "convert_tokens_to_ids"):

        def encode_quietly(texts: list[str]) -> list[list[int]]:
            # verbose: a document longer than the model's context is cut later, no cause to warn.
            return call(texts, add_special_tokens=False, verbose=False)["input_ids"]

        return Encoder(encode_quietly, end)
    if hasattr(tokenizer, "encode"):
        return Encoder(lambda texts: [tokenizer.encode(text) for text in texts], end)
    if tokenizer is None:
        raise GermError(
            "text needs a tokenizer and the model comes with none; give the data as token ids "
            "(.npy, .bin, or JSON lines with input_ids), or name a tokenizer"
        )
    raise GermError(f"expected a tokenizer with `encode`, got {type(tokenizer).__name__}")


def encode(documents: Iterable[str], tokenizer: Any) -> Iterator[Sequence[int]]:
    """The token ids of each document, read and encoded only as far as they are asked for.

    Raises:
        GermError: If the tokenizer is none.
    """
    tool, stream = encoder(tokenizer), iter(documents)
    while block := list(itertools.islice(stream, _BLOCK)):
        yield from tool.encode(block)


def pack(
    documents: Iterable[Sequence[int] | np.ndarray],
    context: int,
    end: int | None = None,
    max_examples: int | None = None,
) -> np.ndarray:
    """Documents end to end, cut every `context` tokens; what is left over at the end is dropped.

    Args:
        documents: Token ids of each.
        context: Tokens in a row.
        end: A token to put after every document.
        max_examples: Stop after so many rows, and read no further.

    Returns:
        Token ids, int32 (int64 where they need it), of shape (examples, context).

    Raises:
        GermError: If there is not one whole row.

    Example:
        >>> pack([[1, 2, 3], [4, 5]], context=3, end=0)
        array([[1, 2, 3],
               [0, 4, 5]], dtype=int32)
    """
    if context < 2:
        raise GermError(f"expected a context of at least 2 tokens (one to predict), got {context}")
    if max_examples is not None and max_examples < 1:
        raise GermError(f"expected max_examples of at least 1, got {max_examples}")
    parts, num_tokens = [], 0
    for document in documents:
        ids = token_ids(document)
        if not ids.size:
            continue
        parts.append(ids)
        if end is not None:
            parts.append(np.array([end], dtype=np.int32))
        num_tokens += len(ids) + (end is not None)
        if max_examples is not None and num_tokens >= max_examples * context:
            break
    num_examples = num_tokens // context
    if not num_examples:
        raise too_short(num_tokens, context)
    if max_examples is not None:
        num_examples = min(num_examples, max_examples)
    return np.concatenate(parts)[: num_examples * context].reshape(num_examples, context)


def token_ids(document: Any) -> np.ndarray:
    """A row of token ids as an array, int32 (int64 where they need it).

    Raises:
        GermError: If it is not one.
    """
    try:
        ids = np.asarray(document)
    except ValueError:  # a ragged list of lists
        ids = np.empty((), dtype=object)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise GermError(f"expected a row of integer token ids, got {str(document)[:60]}")
    small = not ids.size or (ids.max() < 2**31 and ids.min() >= -(2**31))
    return ids.astype(np.int32 if small else np.int64, copy=False)


def too_short(num_tokens: int, context: int) -> GermError:
    """The error of data that does not fill one context."""
    if not num_tokens:
        return GermError("expected text or tokens, got empty data")
    return GermError(
        f"the data is shorter than one context: {num_tokens:,} tokens came, {context:,} are "
        "needed; give more data or a smaller context"
    )
