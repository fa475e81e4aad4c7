from __future__ import annotations

import math

import pytest
import torch
from tests.development.models import CONTEXT, VOCAB, Table, induction_model

from germ.data import as_data
from germ.development.forward import spaced_tokens, token_losses
from germ.development.in_context import (
    in_context_score,
    positions,
    repeated,
    repetition_score,
    usual_tokens,
)
from germ.errors import GermError
from germ.losses import causal_lm
from germ.zoo import bundled


def test_losses_are_those_of_the_loss():
    model, rows = bundled.model(), torch.randint(0, 1024, (3, 20))
    with torch.no_grad():
        wanted = causal_lm(model, {"input_ids": rows})
    assert torch.allclose(token_losses(model, rows).float(), wanted, atol=1e-5)


def test_the_published_positions_are_counted_from_one():
    losses = torch.randn(40, 1023, generator=torch.Generator().manual_seed(0)).double()
    found = in_context_score(losses)
    gap = losses[:, 498] - losses[:, 48]  # Of the 500th and the 50th token; the first has none.
    assert found.measure == "in-context 500-50"
    assert found.value == pytest.approx(float(gap.mean()))
    assert found.standard_error == pytest.approx(float(gap.std()) / math.sqrt(40))


def test_shorter_rows_have_positions_of_their_own_and_a_mean():
    losses = torch.arange(1.0, 128.0).double().expand(4, -1)  # The loss of token k is k − 1.
    found = in_context_score(losses)
    assert found.measure == "in-context 128-13, mean of 6"
    assert found.value == pytest.approx(128 - 13) and found.standard_error == 0


def test_a_level_model_gains_nothing_in_context():
    losses = token_losses(Table(torch.zeros(5, 5)), torch.randint(0, 5, (6, 30)))
    assert in_context_score(losses).value == pytest.approx(0, abs=1e-6)


def test_positions_outside_the_rows_are_refused():
    for early, late in ((1, 10), (10, 10), (5, 31)):
        with pytest.raises(GermError, match="positions"):
            positions(30, early, late)
    with pytest.raises(GermError, match="width"):
        in_context_score(torch.zeros(2, 29), 5, 20, width=5)


def test_usual_tokens_leave_out_both_ends():
    # 50 kinds; kind k occurs 100 − k times, so that the first are the most common.
    text = torch.cat([torch.full((100 - k,), k) for k in range(50)])
    assert usual_tokens(text[None]).tolist() == list(range(2, 48))


def test_random_tokens_repeat_and_are_each_once():
    kinds = torch.arange(5, 25)
    rows = repeated(kinds, 8, 10, 3, seed=1)
    assert rows.shape == (8, 30) and torch.equal(rows[:, :10], rows[:, 20:])
    assert all(len(set(row[:10].tolist())) == 10 for row in rows)
    assert set(rows.flatten().tolist()) <= set(kinds.tolist())
    assert torch.equal(rows, repeated(kinds, 8, 10, 3, seed=1))
    assert not torch.equal(rows, repeated(kinds, 8, 10, 3, seed=2))
    with pytest.raises(GermError, match="kinds of token"):
        repeated(kinds, 8, 21)


def test_an_induction_circuit_gains_by_repetition_and_a_table_does_not():
    rows = repeated(torch.arange(VOCAB), 16, CONTEXT // 2)
    found = repetition_score(induction_model(), rows, CONTEXT // 2)
    assert found.value < -2.5 and abs(found.value) > 50 * found.standard_error
    level = repetition_score(Table(torch.zeros(VOCAB, VOCAB)), rows, CONTEXT // 2)
    assert level.value == pytest.approx(0, abs=1e-6)


def test_rows_are_spaced_through_the_data():
    data = as_data(torch.arange(100).repeat_interleave(4).view(100, 4))
    assert spaced_tokens(data, 4)[:, 0].tolist() == [0, 33, 66, 99]
    assert len(spaced_tokens(data)) == 100
    with pytest.raises(GermError, match="rows of tokens"):
        spaced_tokens(as_data((torch.zeros(4, 3), torch.zeros(4))))
