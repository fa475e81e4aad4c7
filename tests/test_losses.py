import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, vmap

from germ.errors import GermError
from germ.losses import (
    causal_lm,
    check_losses,
    identify,
    probe,
    resolve_loss,
    supervised,
    uniform_loss,
)
from germ.zoo.attention_only import PRESETS, AttentionOnly


class Bigram(nn.Module):
    """Logits of the next token that depend on the present one: losses known by hand."""

    def __init__(self, table, wrap=lambda logits: logits):
        super().__init__()
        self.table = nn.Parameter(table)
        self.wrap = wrap

    def forward(self, input_ids):
        return self.wrap(self.table[input_ids])


def uniform_bigram(vocab=4, **options):
    return Bigram(torch.zeros(vocab, vocab), **options)


def test_causal_lm_predicts_the_next_token_and_nothing_else():
    # From token i the model is sure of token i + 1.
    table = torch.full((3, 3), -30.0)
    for token in range(3):
        table[token, (token + 1) % 3] = 30.0
    losses = causal_lm(Bigram(table), {"input_ids": torch.tensor([[0, 1, 2, 0], [0, 0, 1, 1]])})
    assert losses.shape == (2, 3)
    assert torch.allclose(losses, torch.tensor([[0.0, 0.0, 0.0], [60.0, 0.0, 60.0]]))


def test_causal_lm_of_no_knowledge_is_log_of_the_vocabulary():
    losses = causal_lm(uniform_bigram(7), {"input_ids": torch.randint(7, (2, 5))})
    assert torch.allclose(losses, torch.full((2, 4), math.log(7)))


def test_causal_lm_takes_logits_off_an_object():
    model = uniform_bigram(wrap=lambda logits: SimpleNamespace(logits=logits))
    assert causal_lm(model, {"input_ids": torch.zeros(2, 3, dtype=torch.long)}).shape == (2, 2)


def test_causal_lm_switches_the_cache_off_where_there_is_one():
    seen = {}

    class Caching(nn.Module):
        def forward(self, input_ids, attention_mask=None, use_cache=None):
            seen.update(use_cache=use_cache, attention_mask=attention_mask)
            return torch.zeros(*input_ids.shape, 5)

    causal_lm(Caching(), {"input_ids": torch.zeros(2, 3, dtype=torch.long)})
    assert seen == {"use_cache": False, "attention_mask": None}


def test_causal_lm_calls_a_model_whose_argument_has_another_name():
    class Positional(nn.Module):
        def forward(self, tokens):
            return torch.zeros(*tokens.shape, 5)

    assert causal_lm(Positional(), {"input_ids": torch.zeros(2, 3, dtype=torch.long)}).shape == (
        2,
        2,
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_give_the_float32_loss_of_those_logits(dtype):
    table = torch.randn(5, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    batch = {"input_ids": torch.tensor([[0, 3, 1, 4]])}
    losses = causal_lm(Bigram(table), batch)
    assert losses.dtype == torch.float32
    assert torch.equal(losses, causal_lm(Bigram(table.float()), batch))
    # In half precision itself the loss would be rounded far more coarsely than this.
    assert (losses - losses.to(dtype)).abs().max() > 1e-5


def test_double_precision_stays_double():
    batch = {"input_ids": torch.tensor([[0, 3, 1, 4]])}
    assert causal_lm(uniform_bigram(5).double(), batch).dtype == torch.float64
    model = nn.Linear(2, 1).double()
    assert supervised("mse")(model, (torch.ones(3, 2).double(), torch.ones(3, 1))).dtype == (
        torch.float64
    )


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ((torch.zeros(2, 3), torch.zeros(2)), "input_ids"),
        ({"x": torch.zeros(2, 3)}, "input_ids"),
    ],
)
def test_causal_lm_says_what_batch_it_needs(batch, words):
    with pytest.raises(GermError, match=words):
        causal_lm(uniform_bigram(), batch)


def test_causal_lm_refuses_logits_of_the_last_token_only():
    model = uniform_bigram(wrap=lambda logits: logits[:, -1:])
    with pytest.raises(GermError, match=r"logits of shape \(2, 3, 'vocabulary'\), got \(2, 1, 4\)"):
        causal_lm(model, {"input_ids": torch.zeros(2, 3, dtype=torch.long)})


def test_causal_lm_refuses_a_model_that_returns_a_tuple():
    model = uniform_bigram(wrap=lambda logits: (logits, None))
    with pytest.raises(GermError, match=r"`\.logits`"):
        causal_lm(model, {"input_ids": torch.zeros(2, 3, dtype=torch.long)})


identity = nn.Identity()


def test_mse_is_the_mean_over_outputs_without_a_half():
    outputs = torch.tensor([[1.0, 3.0], [0.0, 0.0]])
    losses = supervised("mse")(identity, (outputs, torch.zeros(2, 2)))
    assert losses.tolist() == [5.0, 0.0]


def test_mse_of_images_is_one_number_each():
    assert supervised("mse")(identity, (torch.ones(4, 2, 3, 3), torch.zeros(4, 2, 3, 3))).shape == (
        4,
    )


def test_mse_refuses_to_broadcast():
    with pytest.raises(GermError, match=r"\(5, 1\), got \(5,\)"):
        supervised("mse")(identity, (torch.ones(5, 1), torch.ones(5)))


def test_cross_entropy_of_classes():
    outputs = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    losses = supervised("cross_entropy")(identity, (outputs, torch.tensor([1, 0])))
    assert losses.tolist() == pytest.approx([math.log(2), math.log(4 / 3)])
    # int32 labels, as NumPy and image libraries give them
    again = supervised("cross_entropy")(
        identity, (outputs, torch.tensor([1, 0], dtype=torch.int32))
    )
    assert torch.equal(losses, again)


def test_cross_entropy_of_class_probabilities():
    outputs = torch.zeros(2, 4)
    losses = supervised("cross_entropy")(identity, (outputs, torch.full((2, 4), 0.25)))
    assert losses.tolist() == pytest.approx([math.log(4)] * 2)


def test_cross_entropy_of_sequences_is_per_token():
    losses = supervised("cross_entropy")(identity, (torch.zeros(2, 5, 3), torch.zeros(2, 3).long()))
    assert losses.shape == (2, 3)


def test_cross_entropy_names_both_shapes():
    with pytest.raises(GermError, match=r"\(4, 3\) and \(5,\)"):
        supervised("cross_entropy")(identity, (torch.zeros(4, 3), torch.zeros(5).long()))


def test_bce_is_of_logits():
    outputs = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    targets = torch.tensor([[1, 0], [1, 1]])
    losses = supervised("bce")(identity, (outputs, targets))
    expected = [math.log(2), (math.log(4 / 3) + math.log(2)) / 2]
    assert losses.tolist() == pytest.approx(expected)


def test_batches_may_be_mappings_and_inputs_too():
    class TwoInputs(nn.Module):
        def forward(self, left, right):
            return left + right

    x, y = torch.ones(3, 2), torch.zeros(3, 2)
    pair = supervised("mse")(identity, (x, y))
    assert torch.equal(supervised("mse")(identity, {"x": x, "y": y}), pair)
    assert torch.equal(supervised("mse")(identity, {"label": y, "image": x}), pair)
    assert torch.equal(supervised("mse")(identity, [x, y]), pair)
    both = {"left": x, "right": torch.zeros_like(x)}
    assert torch.equal(supervised("mse")(TwoInputs(), (both, y)), pair)


@pytest.mark.parametrize("batch", [torch.ones(3, 2), {"a": torch.ones(3), "b": torch.ones(3)}, ()])
def test_other_batches_are_refused(batch):
    with pytest.raises(GermError, match="inputs, targets"):
        supervised("mse")(identity, batch)


def test_a_criterion_with_reduction_is_asked_for_none():
    x, y = torch.ones(3, 2), torch.zeros(3, 2)
    assert supervised(F.mse_loss)(identity, (x, y)).shape == (3, 2)
    assert supervised(nn.MSELoss(reduction="none"))(identity, (x, y)).shape == (3, 2)
    assert resolve_loss(F.huber_loss)(identity, (x, y)).tolist() == [[0.5, 0.5]] * 3


def test_a_reducing_criterion_is_refused_before_it_runs():
    with pytest.raises(GermError, match=r'MSELoss.*reduction="none"'):
        resolve_loss(nn.MSELoss())


def test_a_criterion_that_averages_is_refused():
    with pytest.raises(GermError, match=r'a single number.*reduction="none"'):
        supervised(lambda outputs, targets: (outputs - targets).mean())(
            identity, (torch.ones(3, 2), torch.zeros(3, 2))
        )


def test_losses_by_name():
    assert resolve_loss("causal_lm") is causal_lm
    assert resolve_loss("mse") == supervised("mse")

    def mine(model, batch):
        return model(batch)

    assert resolve_loss(mine) is mine
    with pytest.raises(GermError, match=r"causal_lm.*got 'mean_square'"):
        resolve_loss("mean_square")
    with pytest.raises(GermError, match="got int"):
        resolve_loss(3)


@pytest.mark.parametrize(
    ("losses", "came"),
    [
        (torch.tensor(1.0), "a single number"),
        (torch.ones(4), r"shape \(4,\)"),
        (torch.ones(3, 2, 2), r"shape \(3, 2, 2\)"),
        (torch.ones(3, 0), r"shape \(3, 0\)"),
        (torch.ones(3).long(), "dtype torch.int64"),
        (3.0, "float"),
    ],
)
def test_check_losses_says_what_came(losses, came):
    with pytest.raises(GermError, match=rf'got {came}; .*reduction="none"'):
        check_losses(losses, 3)


def test_check_losses_lets_good_ones_pass():
    check_losses(torch.ones(3), 3)
    check_losses(torch.ones(3, 2), 3)


def test_probe_names_dtypes_that_do_not_fit():
    batch = torch.ones(3, 2).double(), torch.ones(3, 1).double()
    with pytest.raises(GermError, match="weights are float32 and the data float64"):
        probe(nn.Linear(2, 1), supervised("mse"), batch, 3)


def test_probe_puts_any_failure_in_one_line():
    batch = torch.ones(3, 5), torch.ones(3, 1)
    with pytest.raises(GermError, match=r"\(5,\) float32.*RuntimeError: mat1 and mat2") as error:
        probe(nn.Linear(2, 1), supervised("mse"), batch, 3)
    assert "\n" not in str(error.value)
    assert probe(nn.Linear(5, 1), supervised("mse"), batch, 3).shape == (3,)


def chained(model, loss, batch, positions):
    """The gradient of the mean loss of each of several chains, vectorized."""

    class Applied(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, batch):
            return loss(self.model, batch)

    applied = Applied()

    def mean(params):
        return functional_call(applied, params, (batch,)).mean()

    return vmap(grad(mean))(positions), [
        grad(mean)({k: v[i] for k, v in positions.items()})
        for i in range(len(next(iter(positions.values()))))
    ]


@pytest.mark.parametrize(
    ("loss", "batch"),
    [
        ("mse", (torch.randn(6, 4), torch.randn(6, 3))),
        ("cross_entropy", (torch.randn(6, 4), torch.arange(6) % 3)),
        ("cross_entropy", (torch.randn(6, 4), torch.rand(6, 3))),
        ("bce", (torch.randn(6, 4), torch.randint(2, (6, 3)))),
        (F.mse_loss, {"x": torch.randn(6, 4), "y": torch.randn(6, 3)}),
    ],
)
def test_every_loss_runs_under_vmap_as_in_a_loop(loss, batch):
    model = nn.Linear(4, 3)
    positions = {f"model.{k}": torch.randn(2, *v.shape) for k, v in model.named_parameters()}
    together, one_by_one = chained(model, resolve_loss(loss), batch, positions)
    for name, value in together.items():
        for chain, single in enumerate(one_by_one):
            assert torch.allclose(value[chain], single[name], atol=1e-6)


def test_causal_lm_runs_under_vmap_as_in_a_loop():
    model = AttentionOnly(PRESETS["tiny"]).eval()
    params = dict(model.named_parameters())
    positions = {f"model.{k}": torch.stack([v, v + 0.1]).detach() for k, v in params.items()}
    batch = {"input_ids": torch.randint(32, (3, 16))}
    together, one_by_one = chained(model, causal_lm, batch, positions)
    for name, value in together.items():
        for chain, single in enumerate(one_by_one):
            assert torch.allclose(value[chain], single[name], atol=1e-5)


def test_losses_leave_their_batch_alone():
    x, y = torch.randn(3, 2), torch.randn(3, 2)
    kept = x.clone(), y.clone()
    supervised("mse")(identity, (x, y))
    tokens = torch.tensor([[0, 1, 2]])
    causal_lm(uniform_bigram(), {"input_ids": tokens})
    assert torch.equal(x, kept[0])
    assert torch.equal(y, kept[1])
    assert tokens.tolist() == [[0, 1, 2]]


def test_identity_tells_losses_apart():
    def half(model, batch):
        return model(batch).mean(1) * 0.5

    def third(model, batch):
        return model(batch).mean(1) * 0.3

    known = [causal_lm, supervised("mse"), supervised("bce"), supervised(F.mse_loss), half, third]
    assert len({identify(loss) for loss in known}) == len(known)
    assert identify(half) == identify(half)
    # No address in memory, which differs from run to run.
    assert " at 0x" not in identify(partial(half, None)) + identify(supervised(lambda a, b: a - b))


def test_the_loss_of_a_model_that_knows_nothing():
    tokens = {"input_ids": torch.zeros(2, 5, dtype=torch.long)}
    classes = torch.zeros(3, 4), torch.zeros(3, dtype=torch.long)
    language = nn.Sequential(nn.Embedding(7, 6), nn.Linear(6, 7))
    assert uniform_loss(causal_lm, language, tokens) == pytest.approx(math.log(7))
    linear, cross_entropy = nn.Linear(4, 10), supervised("cross_entropy")
    assert uniform_loss(cross_entropy, linear, classes) == pytest.approx(math.log(10))
    assert math.isnan(uniform_loss(supervised("mse"), linear, classes))
