"""The local posterior: what it refuses, what it never touches, what tells one from another."""

from __future__ import annotations

import inspect
import json
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.support import Net, copy_of, flat_weights, net_data, net_posterior
from torch import Tensor, nn

import germ
from germ.errors import GermError
from germ.losses import causal_lm
from germ.posterior import LocalPosterior
from germ.samplers import SGLD


def from_net(model: nn.Module, data: Any = None, **settings: Any) -> LocalPosterior:
    data = net_data() if data is None else data
    return LocalPosterior.from_model(model, data, **{"loss": "mse", **settings})


class With(nn.Module):
    """A network with a module of one's choice in the middle."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 4)
        self.middle = middle
        self.outer = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.middle(torch.tanh(self.inner(x))))


class Always(nn.Module):
    """Randomness that no mode switches off."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, training=True)


class Counter(nn.Module):
    """A forward pass that writes to a buffer."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x


@pytest.mark.parametrize(
    ("middle", "training", "said"),
    [
        (nn.Dropout(0.1), True, "dropout.*middle"),
        (nn.AlphaDropout(0.1), True, "dropout.*middle"),
        (nn.BatchNorm1d(4), True, "batch norm.*middle"),
        (nn.BatchNorm1d(4, track_running_stats=False), False, "batch"),
        (nn.RReLU(), True, "random"),
        (Always(), False, "random"),
        (Counter(), False, "calls"),
    ],
)
def test_a_random_or_coupled_or_changing_model_is_refused(middle, training, said):
    torch.manual_seed(0)
    model = With(middle).train(training)
    before = copy_of(model)
    with pytest.raises(GermError, match=said):
        from_net(model)
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())


@pytest.mark.parametrize(
    ("middle", "training"),
    [
        (nn.Dropout(0.1), False), (nn.Dropout(0.0), True), (nn.BatchNorm1d(4), False),
        (nn.RReLU(), False), (nn.LayerNorm(4), True),
    ],
)  # fmt: skip
def test_what_is_fixed_is_welcome(middle, training):
    torch.manual_seed(0)
    posterior = from_net(With(middle).train(training))
    assert posterior.model.training == training, "the mode is the user's"


def test_the_dropout_of_a_recurrent_layer_is_refused():
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(2, 2, num_layers=2, dropout=0.3, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.gru(x)[0]

    data = torch.randn(6, 4, 2), torch.randn(6, 4, 2)
    with pytest.raises(GermError, match=r"gru.*0\.3"):
        from_net(Recurrent(), data)
    from_net(Recurrent().eval(), data)


@pytest.mark.parametrize(
    ("where", "value"),
    [("outer.bias", math.nan), ("outer.bias", -math.inf), ("offset", math.nan)],
)
def test_weights_and_buffers_that_are_not_finite_are_named(where, value):
    model = Net()
    model.state_dict()[where][1] = value
    with pytest.raises(GermError, match=where.replace(".", r"\.")):
        from_net(model)


def test_an_infinite_buffer_is_a_mask_and_welcome():
    model = Net()
    model.register_buffer("mask", torch.tensor([0.0, -math.inf]))
    from_net(model)


def test_a_model_that_changed_since_is_refused():
    """Half of the weights would be new and half of them old."""
    posterior = net_posterior()
    with torch.no_grad():
        posterior.model.head.bias += 1e-3  # type: ignore[union-attr, operator]
    with pytest.raises(GermError, match="changed"):
        germ.sample(posterior, SGLD(1e-3), chains=1, draws=4)


def mean_loss(model: nn.Module, batch: Any) -> Tensor:
    return (model(batch[0]) - batch[1]).square().mean()


def kept_sum(model: nn.Module, batch: Any) -> Tensor:
    return (model(batch[0]) - batch[1]).square().mean().reshape(1)


def noisy(model: nn.Module, batch: Any) -> Tensor:
    return (model(batch[0]) - batch[1]).square().mean(1) + 0.1 * torch.rand(len(batch[0]))


def contrastive(model: nn.Module, batch: Any) -> Tensor:
    x = model(batch[0])
    return F.cross_entropy(x @ x.T, torch.arange(len(x)), reduction="none")


def detached(model: nn.Module, batch: Any) -> Tensor:
    return (model(batch[0]) - batch[1]).square().mean(1).detach()


def not_finite(model: nn.Module, batch: Any) -> Tensor:
    return (model(batch[0]) - batch[1]).square().mean(1).log() * math.inf


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (mean_loss, "unreduced"), (kept_sum, "unreduced"), (noisy, "deterministic"),
        (contrastive, "that example alone"), (detached, "depends on the weights"),
        (not_finite, "finite"), (nn.MSELoss(), "reduc"), (F.mse_loss, None), ("mse", None),
        ("no such loss", "no such loss"),
    ],
)  # fmt: skip
def test_losses(loss, said):
    if said is None:
        from_net(Net(), loss=loss)
        return
    with pytest.raises(GermError, match=said):
        from_net(Net(), loss=loss)


def test_weights_that_the_loss_does_not_use_cannot_be_sampled():
    model = Net()
    model.idle = nn.Linear(2, 2)
    with pytest.raises(GermError, match=r"idle\.weight"):
        from_net(model, restrict="idle")
    assert from_net(model).num_coordinates == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", ["nbeta", "localization"])
@pytest.mark.parametrize("value", [-1.0, -1e-9, math.nan, math.inf, "much"])
def test_nbeta_and_localization_out_of_range(name, value):
    with pytest.raises(GermError, match=name):
        from_net(Net(), **{name: value})


def test_one_of_nbeta_and_localization_may_be_zero():
    with pytest.raises(GermError, match="both 0"):
        from_net(Net(), nbeta=0.0, localization=0.0)
    control = from_net(Net(), nbeta=0.0)
    assert from_net(Net(), localization=0.0).localization == 0
    with pytest.raises(GermError, match="both 0"):
        control.with_(localization=0.0)
    with pytest.raises(GermError, match="nbeta"):
        control.with_(nbeta=-1.0)


def test_what_is_no_model():
    # Unwrapped: under pytest the type checker would speak first.
    from_model = inspect.unwrap(LocalPosterior.from_model.__func__)
    with pytest.raises(GermError, match="function"):
        from_model(LocalPosterior, lambda x: x, net_data(), loss="mse")


class Bigram(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 7)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.table(input_ids)


def test_automatic_nbeta_and_localization():
    supervised = from_net(Net(), net_data(50))
    assert supervised.nbeta == pytest.approx(50 / math.log(50)) and supervised.localization == 1
    tokens = torch.randint(7, (50, 6), generator=torch.Generator().manual_seed(0))
    language = LocalPosterior.from_model(Bigram(), tokens)
    assert language.nbeta == 30 and language.localization == 300


def test_the_losses_of_an_example_are_averaged_over_its_tokens():
    tokens = torch.randint(7, (5, 6), generator=torch.Generator().manual_seed(0))
    posterior = LocalPosterior.from_model(Bigram(), tokens)
    losses = posterior.example_losses(posterior.anchor, posterior.batch(torch.arange(5)))
    logits = posterior.model(tokens[:, :-1]).log_softmax(-1)
    expected = -logits.gather(2, tokens[:, 1:, None])[..., 0].mean(1)
    torch.testing.assert_close(losses, expected)


def test_apply_moves_what_should_move_and_writes_nothing():
    posterior = net_posterior(restrict="outer, head.bias")
    before = copy_of(posterior.model)
    position = posterior.anchor + 1
    moved = posterior.apply(position, flat_weights)
    params = dict(posterior.model.named_parameters())
    expected = torch.cat(
        [(p + (name in posterior.coordinates.names)).reshape(-1) for name, p in params.items()]
    )
    assert torch.equal(moved, expected)
    # The tied name sees the moved weight too.
    shared = posterior.apply(position, lambda m: m.again.weight)
    assert torch.equal(shared, params["outer.weight"] + 1)
    assert all(torch.equal(before[k], v) for k, v in posterior.model.state_dict().items())


class Held(nn.Module):
    """Weights held in all the ways that PyTorch has."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.recurrent = nn.LSTM(4, 4, batch_first=True)
        self.gated = nn.GRU(4, 4, batch_first=True)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.list = nn.ParameterList([nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))])
        self.dict = nn.ParameterDict({"scale": nn.Parameter(torch.ones(4))})
        self.twice = nn.Linear(4, 4)
        self.also = self.twice
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embed(input_ids)
        x = x + self.recurrent(x)[0] + self.gated(x)[0]
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = self.normed(x) * self.list[0] + self.list[1] * self.dict["scale"]
        return self.head(self.also(torch.tanh(self.twice(x))))


def test_apply_is_a_model_with_those_weights_however_it_holds_them():
    source = torch.Generator().manual_seed(0)
    model = Held().double()
    for p in model.parameters():
        nn.init.normal_(p, std=0.5, generator=source)
    tokens = torch.randint(5, (6, 4), generator=source)
    # Bidirectional attention couples tokens, not examples.
    posterior = LocalPosterior.from_model(model, tokens)
    noise = torch.randn(posterior.num_coordinates, generator=source, dtype=torch.float64)
    leaf = (posterior.anchor + 0.3 * noise).requires_grad_()
    loss = posterior.example_losses(leaf, {"input_ids": tokens}).mean()
    (grad,) = torch.autograd.grad(loss, leaf)

    other = Held().double()
    moved = posterior.coordinates.unflatten(leaf.detach(), {})
    aliases = {"head.weight": moved["embed.weight"]}
    aliases |= {f"also.{key}": moved[f"twice.{key}"] for key in ("weight", "bias")}
    other.load_state_dict({**model.state_dict(), **moved, **aliases})
    expected = causal_lm(other, {"input_ids": tokens}).mean()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for name, where in posterior.coordinates.slices().items():
        direct = other.get_parameter(name).grad
        assert direct is not None and direct.abs().max() > 0, name
        torch.testing.assert_close(grad[where], direct.reshape(-1), msg=name)


def test_the_weights_come_back_when_a_function_fails():
    posterior = net_posterior()
    before = dict(posterior.model.named_parameters())

    def fails(model: Any) -> Tensor:
        assert not isinstance(model.head.weight, nn.Parameter)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        posterior.apply(posterior.anchor + 1, fails)
    after = dict(posterior.model.named_parameters())
    assert before.keys() == after.keys()
    assert all(after[name] is p for name, p in before.items())


def test_apply_within_apply():
    """An observable may itself look at the posterior elsewhere."""
    posterior = net_posterior()
    one, two = posterior.anchor + 1, posterior.anchor + 2

    def both(model: Any) -> tuple[Tensor, Tensor]:
        return posterior.apply(two, flat_weights), flat_weights(model)

    inner, outer = posterior.apply(one, both)
    assert torch.equal(inner, two) and torch.equal(outer, one)


def test_gradients_stop_below_the_lowest_layer_that_moves():
    posterior = net_posterior(restrict="head")
    leaf = posterior.anchor.requires_grad_()
    hidden: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        hidden.append(output)

    handle = posterior.model.get_submodule("outer").register_forward_hook(keep)
    posterior.example_losses(leaf, posterior.batch(torch.arange(3))).mean().backward()
    handle.remove()
    assert not hidden[0].requires_grad
    assert all(p.grad is None for p in posterior.model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_at_the_anchor_are_the_models_own(dtype):
    posterior = net_posterior(dtype)
    x, y = net_data(dtype=dtype)
    expected = (posterior.model(x).float() - y.float()).square().mean(1)
    found = posterior.example_losses(posterior.anchor, posterior.batch(torch.arange(len(x))))
    assert torch.equal(found, expected)


def scaled(factor: float):
    def loss(model: nn.Module, batch: Any) -> Tensor:
        return factor * (model(batch[0]) - batch[1]).square().mean(1)

    return loss


def test_the_identity_tells_posteriors_apart():
    base = net_posterior()
    other = Net()
    with torch.no_grad():
        other.head.bias[0] += 1e-6
    with_buffer = Net()
    with_buffer.offset[0] += 1e-6
    x, y = net_data()
    y[3, 0] += 1e-6
    settings = {"loss": "mse", "nbeta": 20.0, "localization": 10.0}
    posteriors = [
        base,
        from_net(other, **settings),
        from_net(with_buffer, **settings),
        from_net(Net(), (x, y), **settings),
        net_posterior(num_examples=23),
        net_posterior(nbeta=21.0),
        net_posterior(localization=11.0),
        net_posterior(restrict="outer"),
        net_posterior(loss="cross_entropy"),
        net_posterior(loss=mean_loss_per_example),
        net_posterior(loss=scaled(1.0)),
        net_posterior(loss=scaled(2.0)),
        base.with_(nbeta=22.0),
    ]
    identities = {json.dumps(posterior.identity(), sort_keys=True) for posterior in posteriors}
    assert len(identities) == len(posteriors)
    assert base.identity() == net_posterior().identity()


def mean_loss_per_example(model: nn.Module, batch: Any) -> Tensor:
    return (model(batch[0]) - batch[1]).square().mean(1)


def test_a_setting_that_is_no_weight_is_part_of_the_identity():
    class Scaled(Net):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.scale = scale

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * super().forward(x)

    assert from_net(Scaled(1.0)).identity() != from_net(Scaled(1.1)).identity()


def test_a_batch_of_the_posterior_is_a_batch_of_the_data():
    posterior = net_posterior()
    x, y = net_data()
    found = posterior.batch(torch.tensor([4, 0]))
    assert torch.equal(found[0], x[[4, 0]]) and torch.equal(found[1], y[[4, 0]])


def test_empty_data_is_refused():
    with pytest.raises(GermError, match="at least one example"):
        from_net(Net(), (torch.zeros(0, 2), torch.zeros(0, 2)))


def test_public_names():
    assert germ.LocalPosterior is LocalPosterior and issubclass(germ.GermError, ValueError)
