from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch
from tests.development.models import Table

from germ.development.ngram_losses import common_score, cross_entropy
from germ.development.ngrams import count
from germ.errors import GermError
from germ.zoo.attention_only import PRESETS, AttentionOnly

ROWS = torch.randint(0, 6, (9, 12), generator=torch.Generator().manual_seed(5))


def model() -> AttentionOnly:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        made = AttentionOnly(PRESETS["tiny"])
        with torch.no_grad():
            for p in made.parameters():
                p.mul_(8)  # Predictions that differ from place to place.
    return made.eval()


def by_name(scores) -> dict:
    return {score.measure.split(" ", 1)[1]: score for score in scores}


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_cross_entropy_is_that_of_counting_by_hand(n):
    text, made = ROWS, model()
    counted = ROWS[:5]
    every = Counter(
        tuple(row[i : i + n]) for row in counted.tolist() for i in range(len(row) - n + 1)
    )
    with torch.no_grad():
        log_p = made(text).double().log_softmax(-1)
    crossed, entropy, possible = [], [], 0
    for row, own in zip(text.tolist(), log_p, strict=True):
        for t in range(max(0, n - 2), len(row)):
            context = tuple(row[t - n + 2 : t + 1])
            after = {gram[-1]: num for gram, num in every.items() if gram[:-1] == context}
            total, possible = sum(after.values()), possible + 1
            if total:
                crossed.append(-sum(num / total * float(own[t, y]) for y, num in after.items()))
                entropy.append(-sum(num / total * math.log(num / total) for num in after.values()))
    found = by_name(cross_entropy(made, text, count(counted, n)))
    assert found["cross-entropy"].value == pytest.approx(sum(crossed) / len(crossed), rel=1e-6)
    assert found["entropy"].value == pytest.approx(sum(entropy) / len(entropy), rel=1e-9)
    assert found["coverage"].value == pytest.approx(len(crossed) / possible)
    gap = found["cross-entropy"].value - found["entropy"].value
    assert found["divergence"].value == pytest.approx(gap) and gap > 0


def test_a_model_of_the_bigrams_reaches_their_floor():
    counts = torch.zeros(6, 6, dtype=torch.float64)
    for row in ROWS.tolist():
        for a, b in itertools.pairwise(row):
            counts[a, b] += 1
    perfect = Table((counts / counts.sum(1, keepdim=True)).log().float())
    found = by_name(cross_entropy(perfect, ROWS, count(ROWS, 2)))
    assert found["divergence"].value == pytest.approx(0, abs=1e-6)
    assert found["coverage"].value == 1
    three = by_name(cross_entropy(perfect, ROWS, count(ROWS, 3)))
    assert three["divergence"].value > 0.1  # It knows nothing of trigrams.


def test_rare_contexts_can_be_left_out():
    rows = torch.tensor([[0, 1, 0, 1, 0, 1, 2, 0]])
    flat = Table(torch.zeros(3, 3))
    found = by_name(cross_entropy(flat, rows, count(rows, 2), min_count=2))
    assert found["coverage"].value == pytest.approx(7 / 8)
    assert found["cross-entropy"].value == pytest.approx(math.log(3))


def test_the_score_of_common_ngrams_is_a_ratio_of_losses():
    # 0 1 is what is common; the model gives it 1/2, and everything else what remains.
    log_p = torch.full((4, 4), math.log(1 / 4))
    log_p[0] = torch.tensor([1 / 6, 1 / 2, 1 / 6, 1 / 6]).log()
    rows = torch.tensor([[0, 1, 0, 1], [0, 2, 0, 1], [3, 2, 2, 0]])
    found = common_score(Table(log_p), rows, count(rows, 2), num_common=1)
    losses = [math.log(2), math.log(6), math.log(4)]
    assert found.value == pytest.approx(sum(losses) / 3 / math.log(2), rel=1e-5)
    spread = torch.tensor(losses).std().item() / math.sqrt(3) / math.log(2)
    assert found.standard_error == pytest.approx(spread, rel=1e-5)
    assert common_score(Table(torch.zeros(4, 4)), rows, count(rows, 2)).value == pytest.approx(1)


def test_what_does_not_fit_is_refused():
    flat = Table(torch.zeros(3, 3))
    with pytest.raises(GermError, match="contexts of 1 tokens that occur"):
        cross_entropy(flat, torch.tensor([[2, 2]]), count(torch.tensor([[0, 1]]), 2))
    with pytest.raises(GermError, match="own tokenizer"):
        cross_entropy(flat, torch.tensor([[0, 2]]), count(torch.tensor([[0, 9]]), 2))
    with pytest.raises(GermError, match="2 tokens and more"):
        common_score(flat, torch.tensor([[0, 2]]), count(torch.tensor([[0, 1]]), 1))
