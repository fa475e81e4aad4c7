"""Patterns against those that models tell of themselves, and scores of heads made by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.component_models import VOCAB as SMALL
from tests.component_models import build
from tests.development.models import CONTEXT, VOCAB, Small, induction_model

from germ.development.attention_patterns import find_heads, patterns
from germ.development.attention_scores import prefix_matching, text_scores
from germ.development.in_context import repeated
from germ.development.zeroed_heads import loss_without, repetition_loss_without
from germ.errors import GermError
from germ.zoo import bundled

LENGTH = CONTEXT // 2
TOKENS = torch.randint(0, VOCAB, (3, 9), generator=torch.Generator().manual_seed(0))


def test_patterns_of_the_shipped_model_are_those_it_tells():
    model = bundled.model()
    rows = torch.randint(0, 1024, (2, 128), generator=torch.Generator().manual_seed(2))
    found = patterns(model, rows)
    with torch.no_grad():
        told = model.patterns(rows)
    assert list(found) == [f"layers.{i}.head.{h}" for i in range(2) for h in range(8)]
    for name, pattern in found.items():
        _, layer, _, head = name.split(".")
        assert torch.equal(pattern, told[int(layer)][:, int(head)])


@pytest.mark.hf
@pytest.mark.parametrize("name", ["gpt2", "neox", "llama", "qwen3", "gemma3", "gptneo", "olmo2"])
def test_patterns_are_those_that_hugging_face_tells(name):
    # Fused attention as it comes, against eager attention, which is asked for its patterns.
    rows = torch.randint(0, SMALL, (2, 8), generator=torch.Generator().manual_seed(1))
    found = patterns(build(name), rows)
    eager = build(name)
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        told = eager(rows, output_attentions=True).attentions
    assert len(found) == 8
    for part, pattern in found.items():
        _, layer, _, head = part.split(".")
        assert torch.allclose(pattern, told[int(layer)][:, int(head)], atol=1e-5)


def test_heads_that_lie_one_index_after_another():
    model = build("strided")
    found = patterns(model, TOKENS)
    x = model.embed(TOKENS)
    q, k = (x @ w.weight.T for w in (model.blocks[0].attn.q, model.blocks[0].attn.k))
    for head in range(4):
        scores = q[..., head::4] @ k[..., head::4].mT / 6**0.5
        wanted = scores.masked_fill(torch.ones(9, 9).triu(1) > 0, -torch.inf).softmax(-1)
        assert torch.allclose(found[f"layers.0.head.{head}"], wanted.detach(), atol=1e-6)


def test_pytorchs_own_attention_is_seen_and_left_as_it_was():
    model = Small("torch", "torch")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = patterns(model, TOKENS)
    assert torch.backends.mha.get_fastpath_enabled()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    first: Any = model.blocks[0]
    x, inner = model.embed(TOKENS), first.attn.inner
    future = torch.ones(9, 9, dtype=torch.bool).triu(1)
    _, told = inner(x, x, x, attn_mask=future, average_attn_weights=False)
    for head in range(4):
        assert torch.allclose(found[f"layers.0.head.{head}"], told[:, head].detach(), atol=1e-6)


def test_patterns_go_by_the_components_names_whatever_their_order():
    rows = TOKENS
    plain, flipped = Small("plain"), Small("flipped")
    flipped.load_state_dict(plain.state_dict())
    assert find_heads(plain).names[0] == tuple(f"layers.0.head.{h}" for h in range(4))
    assert find_heads(flipped).names[0] == tuple(f"layers.0.head.{h}" for h in (3, 2, 1, 0))
    one, two = patterns(plain, rows), patterns(flipped, rows)
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("linear", "no softmax over keys"), ("both_ways", "causal"), ("twice", "one softmax")],
)
def test_attention_without_a_pattern_is_refused_with_the_reason(kind, said):
    with pytest.raises(GermError, match=said):
        find_heads(Small(kind))


def test_a_layer_without_patterns_is_told_and_the_others_are_had():
    found = find_heads(Small("plain", "linear"))
    assert list(found.missing) == ["layers.1"] and "no softmax" in found.missing["layers.1"]
    assert found.all_names == tuple(f"layers.0.head.{h}" for h in range(4))


def test_patterns_are_had_under_no_grad():
    with torch.no_grad():
        assert len(patterns(Small("plain"), TOKENS)) == 4


def by_measure(scores) -> dict:
    return {(score.measure, score.component): score for score in scores}


def test_an_induction_circuit_is_found_head_by_head():
    model = induction_model()
    rows = repeated(torch.arange(VOCAB), 8, LENGTH)
    found = by_measure([*prefix_matching(model, rows, LENGTH), *text_scores(model, rows)])
    # Position 0 has nothing before it, and its head 0 looks at itself: the first token of the
    # second copy is found twice, after itself and in its own place.
    induction = 1 - 1 / (2 * LENGTH)
    assert found["prefix matching", "layers.1.head.0"].value == pytest.approx(induction, abs=1e-3)
    assert found["previous token", "layers.0.head.0"].value == pytest.approx(1, abs=1e-3)
    assert found["prefix matching", "layers.0.head.0"].value < 0.01
    # Each token of a first copy is new, so that the induction head has nowhere to look.
    assert found["previous token", "layers.1.head.0"].value < 0.1
    for measure in ("prefix matching", "previous token", "current token", "first token"):
        for head in ("layers.0.head.1", "layers.1.head.1"):  # They look everywhere alike.
            score = found[measure, head]
            assert score.value == pytest.approx(score.chance, rel=1e-5)


def test_every_earlier_copy_counts_and_a_first_token_may_stand_before():
    model = induction_model()
    rows = repeated(torch.arange(4, VOCAB), 5, 6, 3)
    # The first tokens of the second and the third copy have one wrong place too; with another token
    # before it, the first is like any other.
    for start, wanted in ((None, (10 + 1 / 2 + 2 / 3) / 12), (0, 1.0)):
        found = by_measure(prefix_matching(model, rows, 6, start))
        score = found["prefix matching", "layers.1.head.0"]
        assert score.value == pytest.approx(wanted, abs=1e-3)
        level = found["prefix matching", "layers.1.head.1"]
        assert level.value == pytest.approx(level.chance, rel=1e-5)


def test_the_chance_of_previous_tokens_is_a_harmonic_sum():
    found = by_measure(text_scores(induction_model(), TOKENS))
    score = found["previous token", "layers.0.head.1"]
    assert score.chance == pytest.approx(sum(1 / t for t in range(2, 10)) / 8)


def test_rows_that_do_not_repeat_are_refused():
    with pytest.raises(GermError, match="repeat every 4"):
        prefix_matching(induction_model(), TOKENS[:, :8], 4)


def test_without_either_head_of_the_circuit_copying_ends():
    model = induction_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rows = repeated(torch.arange(VOCAB), 8, LENGTH)
    lost = by_measure(repetition_loss_without(model, rows, LENGTH))
    for part in ("layers.0.head.0", "layers.1.head.0"):
        assert lost["repetition loss without", part].value > 1
    for part in ("layers.0.head.1", "layers.1.head.1"):
        assert lost["repetition loss without", part].value == 0
    assert loss_without(model, rows, "layers.0.head.1")[0].value == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_zeroed_heads_need_no_pattern():
    found = loss_without(Small("linear"), TOKENS)
    assert [score.component for score in found] == [f"layers.0.head.{h}" for h in range(4)]
    assert any(score.value != 0 for score in found)
