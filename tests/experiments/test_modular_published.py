"""The published sampler of modular-addition networks, against germ's own SGLD."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

import germ
from germ.errors import GermError
from germ.experiments import modular_measuring as measuring
from germ.experiments import modular_network as networks
from germ.experiments.modular_published import Published, nbeta, sgld
from germ.samplers import SGLD

NETWORK = networks.Network(5, "addition", 0.8, 1e-3, 0)
TRAINING = networks.Training(embed=3, hidden=6, num_steps=400, batch_size=16)


@dataclass(frozen=True, eq=False)
class Orthogonal:
    """The restriction to the hyperplane at right angles to g, as a metric of germ's."""

    direction: Tensor

    def apply(self, vector: Tensor) -> Tensor:
        unit = self.direction / self.direction.norm()
        return vector - (vector @ unit)[:, None] * unit

    sqrt = apply

    def identity(self) -> Mapping[str, Any]:
        return {"name": "orthogonal", "norm": float(self.direction.norm())}


@pytest.fixture(scope="module")
def record():
    return networks.train([NETWORK], TRAINING, [400])[0][0]


def test_nbeta_is_the_published_one():
    assert nbeta(260) == pytest.approx(260 / math.log(260))
    assert nbeta(260, 10.0) == pytest.approx(2600 / math.log(2600))
    with pytest.raises(GermError, match="> 1"):
        nbeta(20, 0.05)


def floored(model: Any, batch: Any) -> Tensor:
    pairs, labels = batch
    return -(model(pairs).softmax(-1)[torch.arange(len(pairs)), labels] + 1e-7).log()


@pytest.mark.slow
@pytest.mark.parametrize("orthogonal", [True, False])
def test_it_is_what_germ_samples(record, orthogonal):
    """Two implementations, two random streams: λ̂ and the virial within their errors."""
    settings = Published(2e-3, 20.0, 1200, 16, orthogonal=orthogonal)
    posterior = germ.LocalPosterior.from_model(
        networks.Adder(record.weights), networks.data(NETWORK), loss=floored, nbeta=10.0,
        localization=20.0,
    )  # fmt: skip
    metric = Orthogonal(measuring.gradient(posterior)) if orthogonal else None
    samples = germ.sample(
        posterior, SGLD(2e-3, preconditioner=metric), chains=8, warmup=300, draws=700,
        batch_size=16, gradient="minibatch",
    )  # fmt: skip
    theirs = germ.llc(samples)
    mine = sgld([record] * 8, [NETWORK] * 8, [10.0], settings, seed=1)
    values = torch.tensor([each[0]["value"] for each in mine])
    error = math.hypot(theirs.standard_error, float(values.std()) / 8**0.5)
    assert theirs.ess > 100 and error < 0.1 * theirs.value
    assert float(values.mean()) == pytest.approx(theirs.value, abs=4 * error)
    virial = sum(each[0]["virial"] for each in mine) / 8
    assert virial == pytest.approx(theirs.virial, abs=4 * theirs.virial_error + 0.02)
    assert mine[0][0]["sampled"] == pytest.approx(
        record.train_loss + mine[0][0]["value"] / 10, abs=1e-4
    )


def test_rows_are_networks_and_temperatures_in_order(record):
    other = networks.train([replace(NETWORK, seed=1)], TRAINING, [400])[0][0]
    settings = Published(1e-4, 5.0, 40, 16)
    found = sgld(
        [record, other], [NETWORK, replace(NETWORK, seed=1)], [3.0, 30.0], settings, seed=0
    )
    assert [[each["nbeta"] for each in row] for row in found] == [[3.0, 30.0]] * 2
    for row, mine in zip(found, (record, other), strict=True):
        # E[L] − λ̂/nβ is L(w*), of each network its own.
        for each in row:
            loss = each["sampled"] - each["value"] / each["nbeta"]
            assert loss == pytest.approx(mine.train_loss, abs=1e-4)


def test_a_chain_that_runs_away_has_no_value(record):
    settings = Published(1.0, 1e3, 200, 16)
    assert sgld([record], [NETWORK], [1.0], settings, seed=0)[0][0]["value"] is None
