"""How often each n-gram occurs in rows of tokens, exactly, and what follows which context.

A context of n − 1 tokens has a number: a token is its own, and a longer context is numbered by the
pair (number of all but its last token, last token), in sorted order. Nothing is hashed, so no two
contexts are ever confused, and memory is that of the distinct n-grams.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from germ.errors import GermError


@dataclass(frozen=True)
class NGrams:
    """The n-grams of a text and their counts.

    Attributes:
        n: Tokens in each, the predicted one included: 2 for bigrams.
        vocab: Tokens are below this.
        levels: Sorted keys (number of the shorter context · vocab + token) of the contexts of 2,
            3, ..., n − 1 tokens; where a key stands is the context's number.
        keys: Sorted keys of the n-grams themselves.
        counts: How often each occurs.
    """

    n: int
    vocab: int
    levels: tuple[np.ndarray, ...]
    keys: np.ndarray
    counts: np.ndarray

    @property
    def num_tokens(self) -> int:
        """The number of n-grams that were counted, repetitions included."""
        return int(self.counts.sum())

    def contexts(self, tokens: Int[np.ndarray, "examples tokens"]) -> np.ndarray:
        """At every position, the number of the context that ends there; −1 where none was counted.

        Args:
            tokens: Token ids.

        Returns:
            Shape (examples, tokens), int64.
        """
        wide = tokens.astype(np.int64)
        if self.n == 1:
            return np.zeros_like(wide)
        known = (wide >= 0) & (wide < self.vocab)
        numbers = np.where(known, wide, -1)
        for level in self.levels:
            before = np.full_like(numbers, -1)
            before[:, 1:] = numbers[:, :-1]
            keys = np.where((before >= 0) & known, before * self.vocab + wide, -1)
            numbers = _find(level, keys)
        counted = self.spans(numbers.clip(min=0))
        return np.where((numbers >= 0) & (counted[1] > counted[0]), numbers, -1)

    def spans(self, contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and past-the-last entry of each context in `keys` and `counts`."""
        first = contexts * self.vocab
        return np.searchsorted(self.keys, first), np.searchsorted(self.keys, first + self.vocab)

    def following(self, context: int) -> tuple[np.ndarray, Float[np.ndarray, " following"]]:
        """The tokens that follow a context, by its number, and how probable each is."""
        start, end = (int(x[0]) for x in self.spans(np.array([context])))
        counts = self.counts[start:end]
        return self.keys[start:end] % self.vocab, counts / max(1, counts.sum())

    def most_common(self, num: int) -> Int[np.ndarray, "ngrams n"]:
        """The n-grams that occur most often, most frequent first; of equals, lower tokens first.

        Args:
            num: So many, or as many as there are.
        """
        chosen = np.argsort(-self.counts, kind="stable")[:num]
        numbers, found = self.keys[chosen], []
        for level in [*self.levels[::-1], None]:
            found.append(numbers % self.vocab)
            numbers = numbers // self.vocab
            if level is not None:
                numbers = level[numbers]
        if self.n > 1:
            found.append(numbers)
        return np.stack(found[::-1], axis=1)


def count(tokens: Int[Tensor, "examples tokens"], n: int, vocab: int | None = None) -> NGrams:
    """Count the n-grams of rows of tokens; none crosses from one row to the next.

    Args:
        tokens: Token ids.
        n: Tokens in an n-gram: 1, 2, 3, ...
        vocab: Tokens are below this; by default the greatest of them and one.

    Raises:
        GermError: n is below 1, or rows are shorter than it.
    """
    if n < 1:
        raise GermError(f"expected n-grams of 1 token and more, got n = {n}")
    if tokens.shape[1] < n or not len(tokens):
        raise GermError(
            f"expected rows of {n} tokens or more to count {n}-grams in, "
            f"got {tuple(tokens.shape)}; give a longer context"
        )
    rows = tokens.cpu().numpy().astype(np.int64)
    vocab = int(rows.max()) + 1 if vocab is None else vocab
    if vocab * max(vocab, rows.size) >= 2**62:
        raise GermError(f"{rows.size:,} tokens of {vocab:,} kinds are too many to number")
    windows = np.lib.stride_tricks.sliding_window_view(rows, n, axis=1).reshape(-1, n)
    numbers, levels = windows[:, 0], []
    for place in range(1, n - 1):
        level, numbers = np.unique(numbers * vocab + windows[:, place], return_inverse=True)
        levels.append(level)
    last = windows[:, -1] if n > 1 else 0
    keys, counts = np.unique(numbers * vocab + last if n > 1 else numbers, return_counts=True)
    return NGrams(n, vocab, tuple(levels), keys, counts)


def _find(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each wanted key stands among sorted keys; −1 where it does not."""
    places = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[places] == wanted, places, -1)
