from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from germ.development.ngrams import count
from germ.errors import GermError

ROWS = torch.randint(0, 5, (7, 11), generator=torch.Generator().manual_seed(3))


def windows(n: int) -> Counter[tuple[int, ...]]:
    rows = ROWS.tolist()
    return Counter(tuple(row[i : i + n]) for row in rows for i in range(len(row) - n + 1))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_every_ngram_is_counted_and_found_again(n):
    ngrams, every = count(ROWS, n), windows(n)
    assert ngrams.num_tokens == sum(every.values())
    found = [tuple(row) for row in ngrams.most_common(10**6).tolist()]
    assert sorted(found) == sorted(every)
    assert [every[gram] for gram in found] == sorted(every.values(), reverse=True)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_what_follows_a_context_is_what_was_counted(n):
    ngrams, every = count(ROWS, n), windows(n)
    other = torch.randint(0, 6, (4, 9), generator=torch.Generator().manual_seed(4))
    contexts = ngrams.contexts(other.numpy())
    for row, numbers in zip(other.tolist(), contexts, strict=True):
        for t, number in enumerate(numbers.tolist()):
            context = tuple(row[t - n + 2 : t + 1]) if t >= n - 2 else None
            wanted = {} if context is None else {
                gram[-1]: num for gram, num in every.items() if gram[:-1] == context
            }  # fmt: skip
            if not wanted:
                assert number == -1
                continue
            following, shares = ngrams.following(number)
            got = dict(zip(following.tolist(), shares.tolist(), strict=True))
            total = sum(wanted.values())
            assert got == pytest.approx({token: num / total for token, num in wanted.items()})


def test_ngrams_do_not_cross_rows():
    assert count(torch.tensor([[0, 1], [2, 3]]), 2).most_common(9).tolist() == [[0, 1], [2, 3]]


def test_tokens_outside_the_vocabulary_have_no_context():
    ngrams = count(ROWS, 3, vocab=5)
    contexts = ngrams.contexts(np.array([[0, 1, 7, -1, 2]]))
    assert contexts[0, 0] == -1 and (contexts[0, 2:] == -1).all()


@pytest.mark.parametrize(("n", "said"), [(0, "1 token and more"), (12, "longer context")])
def test_what_cannot_be_counted_is_refused(n, said):
    with pytest.raises(GermError, match=said):
        count(ROWS, n)
