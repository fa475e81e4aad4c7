r"""How near a model's predictions are to the n-gram statistics of a text.

The bigram cross-entropy falls to its floor, the entropy of the bigrams, in a model that predicts by
the last token alone; a model that learns more leaves it again, and the trigrams' goes on falling.

Hoogland et al. 2024, arXiv 2402.02364, sections 4 and B.2.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from germ.development.forward import batches, token_losses
from germ.development.ngrams import NGrams
from germ.development.scores import MODEL, Score, ratio
from germ.errors import GermError

NAMES = {1: "unigram", 2: "bigram", 3: "trigram"}

NUM_COMMON = 1000


def name_of(n: int) -> str:
    """`bigram`, `trigram`, `4-gram`."""
    return NAMES.get(n, f"{n}-gram")


def cross_entropy(
    model: nn.Module, tokens: Int[Tensor, "examples tokens"], ngrams: NGrams, min_count: int = 1
) -> list[Score]:
    r"""The cross-entropy of a model's predictions with the n-gram statistics, and its floor.

    $$ C_n = \Big\langle -\sum_y \hat q_n(y \mid x_{t-n+2} \dots x_t)\,
       \log p_w(y \mid x_1 \dots x_t) \Big\rangle, \qquad
       C_n = H_n + \langle \mathrm{KL}(\hat q_n \,\|\, p_w) \rangle $$

    averaged over all positions whose context was counted often enough. $\hat q_n$ are frequencies,
    not smoothed: of a context that was seen once they say that nothing else may follow, so that
    $H_n$ is too low for rare contexts and $C_n$ speaks of the text that was counted.

    Args:
        model: Takes tokens, returns logits.
        tokens: The rows the model reads.
        ngrams: Counted in the text it learned from (`germ.development.ngrams.count`).
        min_count: Leave out contexts that were counted less often.

    Returns:
        `N-gram cross-entropy`, `N-gram entropy`, `N-gram divergence` (their difference), in nats,
        and `N-gram coverage`, the share of positions that had a counted context. Errors are over
        rows.

    Raises:
        GermError: No context of the rows was counted; tokens are outside the model's vocabulary.
    """
    contexts = ngrams.contexts(tokens.cpu().numpy())
    starts, ends = ngrams.spans(contexts.clip(min=0))
    totals = _totals(ngrams, starts, ends)
    used = (contexts >= 0) & (totals >= max(1, min_count))
    name = name_of(ngrams.n)
    if not used.any():
        raise GermError(
            f"expected contexts of {ngrams.n - 1} tokens that occur in the counted text; none of "
            f"those in {len(tokens):,} rows does: count in more text, or in text of the same kind"
        )
    entropies = _entropies(ngrams, starts, ends, totals, used)
    sums = np.zeros((len(tokens), 2))
    for rows, log_p in batches(model, tokens):
        if log_p.shape[-1] < ngrams.vocab:
            raise GermError(
                f"expected {name}s of the model's {log_p.shape[-1]:,} tokens, got tokens up to "
                f"{ngrams.vocab - 1:,}; count them with the model's own tokenizer"
            )
        for row, own in zip(range(rows.start, len(tokens)), log_p, strict=False):
            at = np.flatnonzero(used[row])
            sums[row] = _crossed(ngrams, own, at, starts[row, at], ends[row, at]), 0.0
    sums[:, 1] = np.where(used, entropies, 0.0).sum(1)
    weights = used.sum(1).astype(np.float64)
    possible = np.full(len(tokens), float(max(1, tokens.shape[1] - max(0, ngrams.n - 2))))
    return [
        ratio(f"{name} cross-entropy", sums[:, 0], weights),
        ratio(f"{name} entropy", sums[:, 1], weights),
        ratio(f"{name} divergence", sums[:, 0] - sums[:, 1], weights),
        ratio(f"{name} coverage", weights, possible),
    ]


def common_score(
    model: nn.Module,
    tokens: Int[Tensor, "examples tokens"],
    ngrams: NGrams,
    num_common: int = NUM_COMMON,
) -> Score:
    r"""How much better a model is on common n-grams than on text cut as short.

    $$ \frac{\langle \ell(x_n \mid x_1 \dots x_{n-1}) \rangle_{\text{text}}}
            {\langle \ell(g_n \mid g_1 \dots g_{n-1}) \rangle_{\text{common } g}} $$

    with the rows of a text cut after n tokens above, and the most frequent n-grams below, each
    counted once. 1 is a model that knows nothing of them; it rises as they are learned.

    Args:
        model: Takes tokens, returns logits.
        tokens: Rows of text; their first n tokens are read.
        ngrams: Counted in the text it learned from.
        num_common: So many of the most frequent n-grams.

    Returns:
        `N-gram score`; its error is over the rows of text, the n-grams being a fixed list.

    Raises:
        GermError: n is below 2.
    """
    if ngrams.n < 2:
        raise GermError("expected n-grams of 2 tokens and more: one has no context")
    common = torch.from_numpy(ngrams.most_common(num_common))
    known = float(token_losses(model, common)[:, -1].mean())
    cut = token_losses(model, tokens[:, : ngrams.n])[:, -1].numpy()
    value = float(cut.mean()) / known if known > 0 else math.inf
    error = float(cut.std(ddof=1)) / math.sqrt(len(cut)) / known if len(cut) > 1 else math.nan
    return Score(f"{name_of(ngrams.n)} score", MODEL, value, error, len(cut), 1.0)


def _totals(ngrams: NGrams, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """How often each context was counted."""
    below = np.concatenate([[0], np.cumsum(ngrams.counts)])
    return below[ends] - below[starts]


def _entropies(
    ngrams: NGrams, starts: np.ndarray, ends: np.ndarray, totals: np.ndarray, used: np.ndarray
) -> np.ndarray:
    r"""$-\sum_y q \log q = \log N - \sum_y c_y \log c_y / N$ of each context, c being counts."""
    below = np.concatenate([[0.0], np.cumsum(ngrams.counts * np.log(ngrams.counts))])
    num = np.where(used, totals, 1)
    found = np.log(num) - (below[ends] - below[starts]) / num
    return found.clip(min=0.0)  # Of a context with one continuation, 0 but for rounding.


def _crossed(
    ngrams: NGrams, log_p: Tensor, at: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> float:
    r"""$-\sum_t \sum_y q(y) \log p_t(y)$ over the positions `at` of one row."""
    sizes = ends - starts
    if not sizes.sum():
        return 0.0
    # The entries of all positions one after another: within each, 0, 1, ..., size - 1.
    inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    entries = np.repeat(starts, sizes) + inside
    counts = ngrams.counts[entries]
    weights = counts / np.repeat(np.add.reduceat(counts, np.cumsum(sizes) - sizes), sizes)
    where = torch.from_numpy(np.repeat(at, sizes)).to(log_p.device)
    following = torch.from_numpy(ngrams.keys[entries] % ngrams.vocab).to(log_p.device)
    found = log_p[where, following].double()
    return float(-(found * torch.from_numpy(weights).to(found.device)).sum())
