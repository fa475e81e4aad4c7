"""A modular-addition network that moves in a hyperplane only, and germ's own estimates of it."""

from __future__ import annotations

import pytest
import torch

from germ.experiments import modular_measuring as measuring
from germ.experiments import modular_network as networks

NETWORK = networks.Network(5, "addition", 0.8, 1e-3, 0)
TRAINING = networks.Training(embed=3, hidden=6, num_steps=400, batch_size=16)


@pytest.fixture(scope="module")
def record():
    return networks.train([NETWORK], TRAINING, [400])[0][0]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_hyperplane_is_all_of_what_is_orthogonal_and_keeps_lengths(record, sign):
    num = sum(weight.numel() for weight in record.weights.values())
    normal = sign * torch.randn(num, generator=torch.Generator().manual_seed(0))
    model = measuring.Hyperplane(record.weights, normal)
    pairs, _ = networks.data(NETWORK)
    standing = networks.Adder(record.weights)(pairs)
    torch.testing.assert_close(model(pairs), standing, rtol=1e-4, atol=1e-5)
    # The linear map from offsets to motions of the weights, column by column.
    columns = []
    for i in range(num - 1):
        away = torch.zeros(num)
        away[i + 1] = 1.0
        columns.append(away - 2 * model.mirror * (model.mirror @ away))
    motions = torch.stack(columns, 1)
    torch.testing.assert_close(motions.T @ motions, torch.eye(num - 1), atol=1e-5, rtol=0)
    assert float((motions.T @ normal).abs().max()) < 1e-4
    with torch.no_grad():
        model.offset[3] = 0.5
    flat = model.center + 0.5 * motions[:, 3]
    sizes = [weight.numel() for weight in record.weights.values()]
    moved = {
        name: part.view(weight.shape)
        for (name, weight), part in zip(record.weights.items(), flat.split(sizes), strict=True)
    }
    expected = networks.Adder(moved)(pairs)
    torch.testing.assert_close(model(pairs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_an_estimate_says_where_the_gradient_points(record):
    free = measuring.own(record, NETWORK, nbeta=10.0, draws=60, seed=0)
    held = measuring.own(record, NETWORK, nbeta=10.0, draws=60, seed=0, restricted=True)
    assert free["value"] > 0 and held["value"] > 0 and free["nbeta"] == 10.0
    assert held["slope"] == free["slope"] > 0 and -1 <= free["cosine"] <= 1
    model = networks.Adder(record.weights)
    pairs, labels = networks.data(NETWORK)
    torch.nn.functional.cross_entropy(model(pairs), labels).backward()
    slopes = [weight.grad for weight in model.parameters() if weight.grad is not None]
    norm = float(torch.cat([slope.flatten() for slope in slopes]).norm())
    assert free["slope"] == pytest.approx(norm, rel=1e-4)
