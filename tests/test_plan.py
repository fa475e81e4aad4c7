"""How a run is carried out: what is refused, and what the automatic choices are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.support import net_data, net_posterior
from torch import Tensor, nn

import germ
from germ.errors import GermError
from germ.plan import (
    CHEAP_EXAMPLES,
    Plan,
    auto_batch_size,
    auto_chains_per_call,
    can_vectorize,
)
from germ.samplers import SGLD

SETTINGS: dict[str, Any] = {
    "chains": 5, "draws": 10, "warmup": 7, "thin": 3, "batch_size": 4,
    "gradient": "anchored", "share_batches": True, "chains_per_call": 2, "seed": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chains", 0), ("draws", 3), ("warmup", -1), ("thin", 0),
        ("batch_size", 0), ("seed", -1), ("seed", 2**63), ("chains_per_call", 0),
        ("chains_per_call", -1), ("gradient", "exact"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(GermError, match=name):
        Plan(**{**SETTINGS, name: value})


def test_groups_hold_every_chain_once():
    for together in range(1, 8):
        plan = Plan(**{**SETTINGS, "chains_per_call": together})
        assert [chain for group in plan.groups for chain in group] == list(range(5))
        assert max(len(group) for group in plan.groups) == min(together, 5)


def test_steps_and_draws_are_counted_right():
    plan = Plan(**SETTINGS)
    drawn = [step for step in range(plan.num_steps) if plan.is_draw(step)]
    assert drawn == list(range(7, 7 + 3 * 10, 3))
    assert plan.num_steps == drawn[-1] + 1, "no step is spent after the last draw"


def test_the_identity_is_what_decides_the_numbers():
    base = Plan(**SETTINGS).identity()
    changed = {
        "chains": 6, "draws": 11, "warmup": 8, "thin": 2, "batch_size": 5,
        "gradient": "minibatch", "share_batches": False, "seed": 1,
    }  # fmt: skip
    for name, value in changed.items():
        assert Plan(**{**SETTINGS, name: value}).identity() != base
    assert Plan(**{**SETTINGS, "chains_per_call": 5}).identity() == base


class Recurrent(nn.Module):
    """An LSTM, which vmap takes apart into pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(2, 3, batch_first=True)
        self.head = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(x)[0][:, -1])


class Branching(nn.Module):
    """Control flow that looks at a weight: vmap cannot know which way to go."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x[:, -1])
        return torch.tanh(y) if self.inner.bias.item() > 0 else y


class Doubled(torch.autograd.Function):
    """An autograd function in the old style, without a rule for vmap."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return 2 * grads[0]


class Custom(Branching):
    def forward(self, x: Tensor) -> Tensor:
        return Doubled.apply(self.inner(x[:, -1]))  # type: ignore[return-value]


def posterior_of(kind: type[nn.Module]) -> germ.LocalPosterior:
    source = torch.Generator().manual_seed(0)
    model = kind().double()
    for p in model.parameters():
        nn.init.normal_(p, std=0.5, generator=source)
    x, y = torch.randn(12, 4, 2, generator=source), torch.randn(12, 1, generator=source)
    return germ.LocalPosterior.from_model(
        model, (x.double(), y.double()), loss="mse", nbeta=20.0, localization=10.0
    )


@pytest.mark.parametrize("kind", [Branching, Custom])
def test_what_does_not_vectorize_is_found_out(kind):
    posterior = posterior_of(kind)
    batch = posterior.batch(torch.arange(4))
    assert not can_vectorize(posterior, batch)
    assert auto_chains_per_call(posterior, 3, batch) == 1


RUNS = [{}, {"batch_size": 4}, {"batch_size": 4, "share_batches": False}]


@pytest.mark.parametrize("settings", RUNS, ids=str)
@pytest.mark.parametrize("kind", [Branching, Custom])
def test_a_model_that_cannot_be_vectorized_runs_in_a_loop(kind, settings):
    posterior, run = posterior_of(kind), {"draws": 8, "warmup": 2, "seed": 4, **settings}
    chains = germ.sample(posterior, SGLD(1e-3), chains=3, **run)
    assert chains.attrs["chains_per_call"] == 1
    alone = germ.sample(posterior, SGLD(1e-3), chains=1, chains_per_call=1, **run)
    assert (chains.loss_difference[0].values == alone.loss_difference[0].values).all()


@pytest.mark.parametrize("settings", RUNS, ids=str)
def test_a_recurrent_network_is_the_same_either_way(settings):
    """Vectorized if this PyTorch can, and in a loop: the same numbers."""
    posterior, run = posterior_of(Recurrent), {"draws": 8, "warmup": 2, "seed": 4, **settings}
    chosen = germ.sample(posterior, SGLD(1e-3), chains=3, **run)
    looped = germ.sample(posterior, SGLD(1e-3), chains=3, chains_per_call=1, **run)
    for name in ("loss", "loss_difference", "virial", "distance"):
        np.testing.assert_allclose(chosen[name], looped[name], rtol=1e-8, atol=1e-12)


def test_small_models_are_vectorized_and_large_ones_are_not():
    small = net_posterior()
    batch = small.batch(torch.arange(4))
    assert can_vectorize(small, batch)
    assert auto_chains_per_call(small, 3, batch) == 3
    assert auto_chains_per_call(small, 1, batch) == 1
    wide = nn.Sequential(nn.Linear(2, 600), nn.Tanh(), nn.Linear(600, 600), nn.Linear(600, 2))
    large = germ.LocalPosterior.from_model(wide, net_data(), loss="mse")
    assert can_vectorize(large, batch)
    # What counts is the work of a call, so the same model may pay on a smaller batch.
    assert auto_chains_per_call(large, 3, batch) == 3
    assert auto_chains_per_call(large, 3, large.batch(torch.arange(24).repeat(2))) == 1


def test_the_automatic_batch_counts_losses_and_not_examples():
    def per_token(model: nn.Module, batch: Any) -> Tensor:
        return model(batch[0]).square().mean(1, keepdim=True).expand(-1, 256)

    assert auto_batch_size(net_posterior(num_examples=3000)) == 3000  # all, where it is cheap
    assert auto_batch_size(net_posterior(num_examples=30_000)) == CHEAP_EXAMPLES
    assert auto_batch_size(net_posterior(num_examples=24)) == 24
    wide = nn.Sequential(nn.Linear(2, 50_000), nn.Tanh(), nn.Linear(50_000, 2)).eval()
    data = torch.randn(3000, 2), torch.randn(3000, 2)
    assert auto_batch_size(germ.LocalPosterior.from_model(wide, data, loss="mse")) == 512
    assert auto_batch_size(net_posterior(num_examples=600, loss=per_token)) == 4096 // 256
