"""Shortened posteriors: the same numbers as whole ones, or nothing shortened at all.

The reference is always the whole model, which knows nothing of cuts.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import germ
from germ import prefix
from germ.curvature import Curvature
from germ.gradients import losses_and_grad
from germ.losses import uniform_loss
from germ.posterior import LocalPosterior
from germ.prefix import Attached, Shortened, shorten
from germ.samplers import SGLD
from germ.zoo.attention_only import AttentionOnly, AttentionOnlyConfig

VOCABULARY, CONTEXT, WIDTH = 17, 6, 8
CALLS: Counter[int] = Counter()
"""How often each block was computed, by its id."""


class Mix(nn.Module):
    """A block: every token gets a bit of the mean of those before it."""

    def __init__(self, form: str = "tensor") -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.inner = nn.Linear(WIDTH, 2 * WIDTH)
        self.outer = nn.Linear(2 * WIDTH, WIDTH)
        self.form = form

    def forward(self, hidden: Tensor, scale: Tensor | None = None) -> Any:
        CALLS[id(self)] += 1
        steps = torch.arange(1, hidden.shape[-2] + 1, dtype=hidden.dtype)
        mixed = self.norm(hidden).cumsum(-2) / steps[:, None]
        update = self.outer(torch.tanh(self.inner(mixed)))
        update = update if scale is None else update * scale
        if self.form == "update":
            return update
        hidden = hidden + update
        return (hidden, None, mixed) if self.form == "tuple" else hidden


class Stack(nn.Module):
    """A language model of such blocks; `form` says what they return, and how they are called."""

    def __init__(self, form: str = "tensor", num_blocks: int = 3) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.scale = nn.Parameter(torch.ones(WIDTH))
        self.blocks = nn.ModuleList(Mix(form) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(WIDTH)
        self.unembed = nn.Linear(WIDTH, VOCABULARY)
        self.form = form
        source = torch.Generator().manual_seed(1)
        for p in self.parameters():
            nn.init.normal_(p, std=0.7, generator=source)

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = self.embed(input_ids)
        for block in self.blocks:
            if self.form == "keyword":
                hidden = block(scale=self.scale, hidden=hidden)
            elif self.form == "tuple":
                hidden = block(hidden, self.scale)[0]
            elif self.form == "update":
                hidden = hidden + block(hidden, self.scale)
            else:
                hidden = block(hidden, self.scale)
        return self.unembed(self.norm(hidden))


def tokens(num_examples: int = 40) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(5)
    return {"input_ids": torch.randint(VOCABULARY, (num_examples, CONTEXT), generator=source)}


def posterior_of(model: nn.Module, restrict: Any, data: Any = None) -> LocalPosterior:
    data = tokens() if data is None else data
    return LocalPosterior.from_model(model.eval(), data, restrict=restrict)


def short_of(posterior: LocalPosterior, **given: Any) -> Shortened:
    found = shorten(posterior, **given)
    assert isinstance(found, Shortened)
    return found


def positions(posterior: LocalPosterior, num: int, seed: int = 2) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    noise = torch.randn((num, posterior.num_coordinates), generator=source)
    return posterior.anchor + 0.3 * noise


def state_of(model: nn.Module) -> list[Any]:
    """Everything of a model's modules that a cut might leave changed."""
    return [
        (dict(module.__dict__), {k: dict(v) for k, v in module.__dict__.items() if "hooks" in k})
        for module in model.modules()
    ]


FORMS = ["tensor", "tuple", "keyword", "update"]


@pytest.mark.parametrize("restrict", ["blocks.1", "blocks.2.outer", "unembed"])
@pytest.mark.parametrize("form", FORMS)
def test_losses_gradients_and_products_are_those_of_the_whole_model(form, restrict):
    whole = posterior_of(Stack(form), restrict)
    short = short_of(whole)
    indices = torch.tensor([7, 3, 3, 39, 0])
    for num in (1, 4):
        points = positions(whole, num)
        expected = losses_and_grad(whole, points, whole.batch(indices))
        for batch in (short.batch(indices), short.attach(whole.batch(indices))):
            got = losses_and_grad(short, points, batch)
            for ours, theirs in zip(got, expected, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    vector = positions(whole, 1, seed=3)[0]
    torch.testing.assert_close(
        Curvature(short, 8, 0).product(vector, short.batch(indices)),
        Curvature(whole, 8, 0).product(vector, whole.batch(indices)),
        rtol=1e-4,
        atol=1e-5,
    )


def test_chains_with_batches_of_their_own():
    whole = posterior_of(Stack(), "blocks.2")
    short = short_of(whole)
    rows = torch.tensor([[7, 3, 39], [1, 3, 5]])
    points = positions(whole, 2)

    def stacked(posterior: LocalPosterior) -> Any:
        batch = posterior.batch(rows.flatten())
        return pytree.tree_map(lambda leaf: leaf.unflatten(0, (2, 3)), batch)

    got = losses_and_grad(short, points, stacked(short), own_batches=True)
    expected = losses_and_grad(whole, points, stacked(whole), own_batches=True)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_below_is_computed(form):
    model = Stack(form)
    short = short_of(posterior_of(model, "blocks.2"))
    attached = short.attach(tokens(5))
    batch = short.batch(torch.arange(40))
    CALLS.clear()
    short.token_losses(positions(short, 1)[0], attached)
    short.example_losses(positions(short, 1)[0], batch)
    short.batch(torch.tensor([1, 39]))
    assert [CALLS[id(block)] for block in model.blocks] == [0, 0, 2]


def test_losses_come_as_the_loss_gives_them():
    whole = posterior_of(Stack(), "blocks.2")
    short, place = shorten(whole), positions(whole, 1)[0]
    losses = short.token_losses(place, short.attach(tokens(5)))
    assert losses.shape == (5, CONTEXT - 1)
    assert torch.equal(losses, whole.token_losses(place, whole.attach(tokens(5))))
    assert torch.equal(losses.mean(1), short.example_losses(place, short.attach(tokens(5))))


def test_functions_are_given_the_batch_as_it_was():
    short = short_of(posterior_of(Stack(), "blocks.2"))
    seen = short.apply(short.anchor, lambda model, batch: batch, short.batch(torch.arange(3)))
    assert torch.equal(seen["input_ids"], tokens()["input_ids"][:3])
    guess = short.apply(
        short.anchor, partial(uniform_loss, short.loss), short.batch(torch.arange(1))
    )
    assert guess == pytest.approx(torch.tensor(VOCABULARY).log().item())


def test_an_observable_without_a_batch_sees_the_whole_model():
    model = Stack()
    whole = posterior_of(model, "blocks.2")
    place = positions(whole, 1)[0]
    ids = tokens(3)["input_ids"]
    expected = whole.apply(place, lambda model: model(ids))
    assert torch.equal(shorten(whole).apply(place, lambda model: model(ids)), expected)


def test_it_is_the_same_posterior():
    whole = posterior_of(Stack(), "blocks.2")
    short = short_of(whole)
    assert short.identity() == whole.identity()
    colder = short.with_(nbeta=70.0)
    assert isinstance(colder, Shortened) and isinstance(colder.batch(torch.arange(2)), Attached)
    assert colder.identity() == whole.with_(nbeta=70.0).identity()
    assert shorten(short) is short
    assert type(short.whole()) is LocalPosterior and short.whole().identity() == whole.identity()


class Leak(Stack):
    """What the first block says reaches the end by a way of its own."""

    def __init__(self, share: float = 1e-3) -> None:
        super().__init__()
        self.share = share

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = first = self.blocks[0](self.embed(input_ids), self.scale)
        for block in self.blocks[1:]:
            hidden = block(hidden, self.scale)
        return self.unembed(self.norm(hidden) + self.share * first)


class Carrying(Stack):
    """Later blocks are handed a value that the first one made."""

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden, scale = self.embed(input_ids), self.scale
        for block in self.blocks:
            hidden = block(hidden, scale)
            if block is self.blocks[0]:
                scale = self.scale + 0.1 * hidden.mean(-1, keepdim=True)
        return self.unembed(self.norm(hidden))


class Looped(Stack):
    """Every block is passed twice."""

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = self.embed(input_ids)
        for block in [*self.blocks, *self.blocks]:
            hidden = block(hidden, self.scale)
        return self.unembed(self.norm(hidden))


class Particular(Stack):
    """Looks closely at what its blocks return."""

    def __init__(self) -> None:
        super().__init__("tuple")

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = self.embed(input_ids)
        for block in self.blocks:
            before = hidden
            hidden = block(hidden, self.scale)[0]
            if torch.equal(before, hidden):
                raise ValueError("a block that does nothing")
        return self.unembed(self.norm(hidden))


class Tied(Stack):
    """What reads the logits off the stream is the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.unembed.weight = self.embed.weight


@pytest.mark.parametrize(
    ("model", "restrict", "reason"),
    [
        (Leak(), "blocks.2", "more than what enters"),
        (Carrying(), "blocks.2", "more than what enters"),
        (Looped(), "blocks.2", "once each"),
        (Particular(), "blocks.2", "ValueError"),
        (Tied(), "unembed", "first layer or below"),
        (Stack(), "blocks.0", "first layer or below"),
        (Stack(), ["blocks.2", "scale"], "first layer or below"),
        (Stack(), ["blocks.2", "embed"], "first layer or below"),
        (nn.Sequential(nn.Embedding(VOCABULARY, VOCABULARY)), "0", "no stack"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_left_whole_and_the_reason_said(model, restrict, reason):
    posterior = posterior_of(model, restrict)
    before = state_of(model)
    said: list[str] = []
    assert shorten(posterior, say=said.append) is posterior
    assert len(said) == 1 and reason in said[0]
    assert state_of(model) == before
    assert posterior.attach(batch := tokens(2)) is batch


def test_the_proof_sees_a_leak_of_the_rounding_error_only_as_large_as_that():
    """A leak too small to be seen in float32 makes no difference that could be seen either."""
    whole = posterior_of(Leak(share=1e-10), "blocks.2")
    assert isinstance(shorten(whole), Shortened)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("where", ["capture", "apply"])
def test_the_model_is_left_as_it_was_whatever_happens(error, where):
    model = Stack()
    short = short_of(posterior_of(model, "blocks.2"))
    own = model.blocks[1].forward

    def of_its_own(*args: Any) -> Any:
        return own(*args)

    model.blocks[1].forward = of_its_own  # as tools that patch a model do
    batch, before = short.attach(tokens(5)), state_of(model)

    def failing(*_: Any) -> None:
        raise error

    hook = model.blocks[0 if where == "capture" else 2].register_forward_hook(failing)
    with pytest.raises(error):
        if where == "capture":
            short.attach(tokens(5))
        else:
            short.example_losses(positions(short, 1)[0], batch)
    hook.remove()
    assert state_of(model) == before
    assert model.blocks[1].__dict__["forward"] is of_its_own


def test_shortening_and_computing_leave_the_model_as_it_was():
    model = Stack("update")
    whole = posterior_of(model, "blocks.1")
    before, weights = state_of(model), {k: v.clone() for k, v in model.state_dict().items()}
    short = short_of(whole)
    losses_and_grad(short, positions(short, 3), short.batch(torch.arange(6)))
    assert state_of(model) == before
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())


def test_activations_of_an_example_do_not_depend_on_when_it_is_met():
    model = Stack()
    data = tokens(3 * prefix.CHUNK + 5)
    one, other = (short_of(posterior_of(model, "blocks.2", data)) for _ in range(2))
    other.batch(torch.tensor([100, 7]))  # a run that goes on meets others first
    indices = torch.tensor([50, 7, 7, 100, 33])
    hidden = one.batch(indices).hidden
    assert torch.equal(hidden, other.batch(indices).hidden)
    torch.testing.assert_close(hidden, one.attach(one.whole().batch(indices)).hidden)


def test_activations_beyond_the_budget_are_not_kept(monkeypatch):
    whole = posterior_of(Stack(), "blocks.2")
    size = 40 * CONTEXT * WIDTH * 4
    monkeypatch.setattr(prefix, "DATA_BYTES", size)
    assert isinstance(shorten(whole).batch(torch.arange(3)), Attached)
    monkeypatch.setattr(prefix, "DATA_BYTES", size - 1)
    said: list[str] = []
    short = short_of(whole, say=said.append)
    assert "too much" in said[0]
    batch, place = short.batch(torch.arange(3)), positions(whole, 1)[0]
    assert not isinstance(batch, Attached)
    assert torch.equal(short.example_losses(place, batch), whole.example_losses(place, batch))
    assert isinstance(short.attach(batch), Attached), "probes are cut all the same"


def test_components_of_a_layer_share_what_is_known_of_the_data():
    model, data = Stack(), germ.data.as_data(tokens())
    first = short_of(posterior_of(model, "blocks.2.inner", data))
    first.batch(torch.arange(40))
    second = short_of(posterior_of(model, "blocks.2.outer", data), like=first)
    assert second.activations is first.activations and prefix.same_cut(first, second)
    other = short_of(posterior_of(model, "blocks.1", data), like=first)
    assert other.activations is not first.activations and not prefix.same_cut(first, other)


def test_activations_of_other_weights_are_not_shared():
    model, data = Stack(), germ.data.as_data(tokens())
    first = short_of(posterior_of(model, "blocks.2", data))
    first.batch(torch.arange(40))
    with torch.no_grad():
        model.get_parameter("blocks.0.outer.weight").mul_(1.5)
    second = short_of(posterior_of(model, "blocks.2", data), like=first)
    assert second.activations is not first.activations
    place, rows = positions(second, 1)[0], torch.arange(4)
    torch.testing.assert_close(
        second.example_losses(place, second.batch(rows)),
        second.whole().example_losses(place, second.whole().batch(rows)),
    )


@pytest.mark.parametrize("sampler", [pytest.param("auto", marks=pytest.mark.slow), SGLD(1e-3)])
def test_a_run_is_that_of_the_whole_posterior(sampler):
    whole = posterior_of(Stack(), "blocks.2.outer")
    settings: dict[str, Any] = {"chains": 3, "draws": 12, "batch_size": 8, "chains_per_call": 3}
    expected = germ.sample(whole, sampler, **settings)
    got = germ.sample(shorten(whole), sampler, **settings)
    assert got.attrs["num_gradients"] == expected.attrs["num_gradients"]
    for name in ("loss", "loss_difference", "distance"):
        torch.testing.assert_close(
            torch.from_numpy(got[name].values),
            torch.from_numpy(expected[name].values),
            rtol=1e-3,
            atol=1e-4,
        )


def test_the_bundled_kind_of_model():
    """It adds what a layer returns outside of the layer, and reads a table of positions there."""
    torch.manual_seed(0)
    config = AttentionOnlyConfig(VOCABULARY, CONTEXT, num_layers=3, num_heads=2, d_model=8)
    model = AttentionOnly(config).eval()
    whole = posterior_of(model, "layers.2.attn")
    short = short_of(whole)
    rows, place = torch.arange(20), positions(whole, 1)[0]
    torch.testing.assert_close(
        short.example_losses(place, short.batch(rows)),
        whole.example_losses(place, whole.batch(rows)),
        rtol=1e-5,
        atol=1e-5,
    )
    assert shorten(moving := posterior_of(model, ["layers.2", "position"])) is moving


@pytest.mark.hf
@pytest.mark.parametrize("kind", ["GPT2", "GPTNeoX", "Llama", "Gemma2", "Phi", "Mamba"])
def test_models_of_transformers(kind):
    import transformers

    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 24,
        "max_position_embeddings": 16,
    }
    if kind in ("Llama", "Gemma2"):
        sizes |= {"num_key_value_heads": 2, "head_dim": 6}
    if kind == "Mamba":
        sizes = {"hidden_size": 16, "num_hidden_layers": 3, "state_size": 4}
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=1, pad_token_id=0, **sizes
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    names = [name for name, p in model.named_parameters() if ".2." in name and p.dim() > 1]
    whole = posterior_of(model, names)
    short = short_of(whole)
    assert len(short.cut.skipped) == 2
    rows = torch.arange(3)
    for num in (1, 3) if kind != "Mamba" else (1,):
        got = losses_and_grad(short, positions(whole, num), short.batch(rows))
        expected = losses_and_grad(whole, positions(whole, num), whole.batch(rows))
        for ours, theirs in zip(got, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
