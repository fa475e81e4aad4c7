"""What the package ships: small enough, really trained, and honest about what was held out."""

import itertools
import math
from pathlib import Path

import pytest
import torch

from germ.errors import GermError
from germ.zoo import bundled
from germ.zoo.attention_only import PRESETS, read_metadata
from germ.zoo.train import evaluate, next_token_loss


def heldout_loss(step) -> float:
    return next_token_loss(bundled.model(step), bundled.tokens("all", "heldout")[:32]).item()


def test_assets_are_small():
    sizes = [p.stat().st_size for p in Path(str(bundled.ASSETS)).rglob("*") if p.is_file()]
    assert 5e6 < sum(sizes) < 11.5e6


def test_checkpoints_span_the_training():
    steps = bundled.steps()
    assert len(steps) >= 12
    assert steps[0] == 0
    assert steps == sorted(set(steps))
    for step in steps:
        metadata = read_metadata(bundled.checkpoint_path(step))
        assert metadata["germ.step"] == str(step)
        assert metadata["germ.dtype"] == "float16"
    assert bundled.model().config == PRESETS["bundled"]
    final, last = bundled.checkpoint_path(), bundled.checkpoint_path(steps[-1])
    assert final == last


@torch.no_grad()
def test_training_lowers_the_held_out_loss():
    steps = bundled.steps()
    losses = [heldout_loss(step) for step in steps]
    assert losses[0] == pytest.approx(math.log(1024), abs=0.1)
    assert all(after < before for before, after in itertools.pairwise(losses))


@torch.no_grad()
def test_final_model_has_learned_more_than_token_frequencies():
    for name in bundled.domains():
        counts = torch.bincount(bundled.stream(name), minlength=1024) + 1
        frequencies = (counts / counts.sum()).log()
        unigram = -frequencies[bundled.stream(name, "heldout")].mean().item()
        loss = evaluate(bundled.model(), {name: bundled.stream(name, "heldout")}, 12)[name]
        assert loss < unigram - 1.0


def test_domains_are_text_of_different_kinds():
    assert len(bundled.domains()) >= 3
    frequencies = []
    for name in bundled.domains():
        assert len(bundled.text(name)) > 500_000
        counts = torch.bincount(bundled.stream(name), minlength=1024).float()
        frequencies.append(counts / counts.sum())
    for i, p in enumerate(frequencies):
        for q in frequencies[:i]:
            assert (p - q).abs().sum() / 2 > 0.15  # total variation between token frequencies


def test_held_out_text_is_not_trained_on():
    for name in bundled.domains():
        train, heldout = bundled.documents(name), bundled.documents(name, "heldout")
        assert not set(train) & set(heldout)
        assert 0.05 < len(heldout) / len(train) < 0.2
        # Nor is there a long passage of a held-out document in the training text.
        whole = bundled.text(name)
        found = [document[1000:1300] in whole for document in heldout if len(document) > 1300]
        assert len(found) >= 5
        assert not any(found)


def test_tokenizer_round_trip():
    tokenizer = bundled.tokenizer()
    assert tokenizer.get_vocab_size() == 1024
    for text in (
        "def f(x):\n\treturn x\n",
        "  Émile — ∀x 日本",
        bundled.text("math_metamath")[:500],
    ):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_tokens_are_the_packed_stream():
    name = bundled.domains()[0]
    packed = bundled.tokens(name, "heldout", context=100)
    assert packed.dtype == torch.int64
    assert packed.shape[1] == 100
    stream = bundled.stream(name, "heldout")
    assert torch.equal(packed.flatten(), stream[: packed.numel()])
    assert 0 <= len(stream) - packed.numel() < 100
    # Each document ends with token 0, which stands for nothing else.
    assert (stream == 0).sum() == len(bundled.documents(name, "heldout"))
    assert stream.max() < 1024


def test_all_takes_the_domains_in_turn():
    names = bundled.domains()
    mixed = bundled.tokens("all", "heldout")
    each = [bundled.tokens(name, "heldout") for name in names]
    assert len(mixed) == len(names) * min(map(len, each))
    for i, rows in enumerate(each):
        assert torch.equal(mixed[i :: len(names)], rows[: len(mixed) // len(names)])


def test_wrong_names_are_answered_with_the_right_ones():
    with pytest.raises(GermError, match=r"at 7777777.*'final' or one of \[0,"):
        bundled.checkpoint_path(7777777)
    with pytest.raises(GermError, match=r"'poetry'.*literature"):
        bundled.tokens("poetry")
    with pytest.raises(GermError, match="'train' or 'heldout', got 'test'"):
        bundled.text("literature", "test")
    with pytest.raises(GermError, match="context must be from 1 to"):
        bundled.tokens("literature", "heldout", context=10**7)
