"""Networks that learn addition modulo p: the task, and training side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from germ.errors import GermError
from germ.experiments import modular_network as networks

TINY = networks.Training(embed=4, hidden=8, num_steps=60, batch_size=16)


def network(**changes) -> networks.Network:
    return replace(networks.Network(7, "addition", 0.8, 1e-3, 0), **changes)


def test_the_pairs_shown_and_held_out_are_all_pairs_once():
    shown, labels = networks.data(network())
    held, others = networks.data(network(), test=True)
    assert len(shown) == int(0.8 * 49) == network().num_examples
    codes = torch.cat([shown, held]) @ torch.tensor([7, 1])
    assert sorted(codes.tolist()) == list(range(49))
    assert torch.equal(torch.cat([shown, held]).sum(1) % 7, torch.cat([labels, others]))


def test_a_random_operation_is_one_table_and_no_addition():
    first, again = (networks.table(network(operation="random")) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, networks.table(network(operation="random", seed=1)))
    assert not torch.equal(first, networks.table(network()))
    with pytest.raises(GermError, match="one of"):
        networks.table(network(operation="subtraction"))


def alone(which: networks.Network, training: networks.Training, steps: int) -> networks.Adder:
    """The same training with PyTorch's own weight decay, one network, and a module's forward."""
    model = networks.Adder(networks.start(which, training))
    pairs, labels = networks.data(which)
    drawn = networks._batches([which], training, 0)[0]
    optimizer = torch.optim.Adam(model.parameters(), lr=training.lr, weight_decay=which.decay)
    for step in range(steps):
        if training.anneal:
            left = min(1.0, (training.num_steps - step) / (0.2 * training.num_steps))
            optimizer.param_groups[0]["lr"] = training.lr * left
        optimizer.zero_grad()
        F.cross_entropy(model(pairs[drawn[step]]), labels[drawn[step]]).backward()
        optimizer.step()
    return model.requires_grad_(False)


@pytest.mark.parametrize("anneal", [False, True])
def test_each_network_is_trained_as_if_alone(anneal):
    training = replace(TINY, anneal=anneal)
    which = [network(seed=3, decay=0.0), network(operation="random", seed=1, decay=0.02)]
    found = networks.train(which, training, [0, 60])
    for mine, kept in zip(which, found, strict=True):
        reference = alone(mine, training, 60)
        for name, weight in reference.named_parameters():
            torch.testing.assert_close(kept[-1].weights[name], weight.data, rtol=1e-3, atol=1e-4)
        pairs, labels = networks.data(mine)
        loss = float(F.cross_entropy(reference(pairs), labels))
        assert kept[-1].train_loss == pytest.approx(loss, rel=1e-3)
        assert kept[-1].train_loss < kept[0].train_loss
        right = (reference(pairs).argmax(1) == labels).double().mean()
        assert kept[-1].train_accuracy == pytest.approx(float(right))


def test_networks_of_different_data_and_records_beyond_the_end_are_refused():
    with pytest.raises(GermError, match="one \\(p, n\\)"):
        networks.train([network(), network(modulus=5)], TINY, [1])
    with pytest.raises(GermError, match="up to step 60"):
        networks.train([network()], TINY, [61])


def test_all_pairs_shown_leaves_no_test_loss():
    record = networks.train([network(fraction=1.0)], TINY, [5])[0][0]
    assert record.test_loss != record.test_loss and record.train_loss > 0
