"""Which weights move: names, modules, globs, exclusions, masks; tied and frozen ones."""

from __future__ import annotations

import pytest
import torch
from tests.support import Net
from torch import nn

from germ.errors import GermError
from germ.restriction import select


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.ModuleDict({"q": nn.Linear(3, 3, bias=False), "v": nn.Linear(3, 3)})
        self.mlp = nn.Linear(3, 3)


class Model(nn.Module):
    """Names like those of a transformer, with eleven layers so that 1 is a prefix of 10."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.layers = nn.ModuleList([Block() for _ in range(11)])
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


@pytest.fixture
def model() -> Model:
    return Model()


LAYER_1 = (
    "layers.1.attn.q.weight", "layers.1.attn.v.weight", "layers.1.attn.v.bias",
    "layers.1.mlp.weight", "layers.1.mlp.bias",
)  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("layers.1.mlp.weight", ("layers.1.mlp.weight",)),
        ("layers.1", LAYER_1),
        ("layers.1.attn", LAYER_1[:3]),
        ("layers.1.*.weight", (LAYER_1[0], LAYER_1[1], LAYER_1[3])),
        ("layers.1.attn.*.bias", (LAYER_1[2],)),
        ("layers.1, !layers.1.attn", LAYER_1[3:]),
        (["layers.1", "!*.bias"], (LAYER_1[0], LAYER_1[1], LAYER_1[3])),
        (["!*.bias", "layers.1"], (LAYER_1[0], LAYER_1[1], LAYER_1[3])),
        (["layers.1.mlp", "layers.1.attn.q"], (LAYER_1[0], *LAYER_1[3:])),
        ("layers.1.mlp.weight,layers.1.mlp.*", LAYER_1[3:]),
        ("!layers", ("embed.weight",)),
        ("embed", ("embed.weight",)),
        ("head", ("embed.weight",)),
        ("head.weight, embed", ("embed.weight",)),
        ("layers.?.attn.q", tuple(f"layers.{i}.attn.q.weight" for i in range(10))),
    ],
)
def test_patterns(model, pattern, names):
    found = select(model, pattern)
    assert found.names == names
    params = dict(model.named_parameters())
    assert found.num_coordinates == sum(params[name].numel() for name in names)


def test_a_module_inside_others_is_found_by_its_own_name(model):
    assert len(select(model, "attn").names) == 11 * 3
    assert len(select(model, "attn.q").names) == 11


def test_all_but_the_frozen_move_by_default(model):
    model.layers.requires_grad_(False)
    model.layers[3].mlp.bias.requires_grad_(True)
    assert select(model).names == ("embed.weight", "layers.3.mlp.bias")
    assert select(model, "!embed").names == ("layers.3.mlp.bias",)


def test_frozen_parameters_move_when_they_are_named(model):
    model.requires_grad_(False)
    with pytest.raises(GermError, match=r"frozen.*restrict"):
        select(model)
    assert select(model, "layers.1").names == LAYER_1
    mask = {"embed.weight": torch.ones(5, 3, dtype=torch.bool)}
    assert select(model, mask).names == ("embed.weight",)


def test_tied_weights_move_once():
    net = Net()
    names = select(net).names
    assert "outer.weight" in names and "again.weight" not in names
    assert select(net).num_coordinates == sum(p.numel() for p in net.parameters())
    again = select(net, "again")
    assert again.names == ("outer.weight", "again.bias")
    with pytest.raises(GermError):
        select(net, "again.weight, !outer.weight")


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("layers.1.mpl", "layers.1.mlp"),
        ("embed.weigth", "embed.weight"),
        ("layers.99.attn.q", "layers.9.attn.q"),
        ("Head", "head"),
    ],
)
def test_a_pattern_that_matches_nothing_names_the_nearest(model, pattern, near):
    with pytest.raises(GermError) as raised:
        select(model, pattern)
    assert pattern in str(raised.value) and near in str(raised.value)


@pytest.mark.parametrize("pattern", ["", [], " , ", "layers, !layers", "layers, !nothing"])
def test_nothing_left_to_move(model, pattern):
    with pytest.raises(GermError):
        select(model, pattern)


def test_a_model_without_parameters():
    with pytest.raises(GermError, match="Tanh"):
        select(nn.Tanh())


MASK = torch.tensor([[True, False, True]] * 3)


def test_masks_move_their_entries(model):
    found = select(model, {"layers.1.mlp.weight": MASK, "layers.0.mlp.bias": torch.ones(3) > 0})
    assert found.names == ("layers.0.mlp.bias", "layers.1.mlp.weight")
    assert found.num_coordinates == 3 + 6
    params = dict(model.named_parameters())
    flat = found.flatten(params)
    expected = torch.cat([params["layers.0.mlp.bias"], params["layers.1.mlp.weight"][MASK]])
    assert torch.equal(flat, expected)
    moved = found.unflatten(flat + 1, params)
    weight = params["layers.1.mlp.weight"]
    assert torch.equal(moved["layers.1.mlp.weight"][~MASK], weight[~MASK])
    assert torch.equal(moved["layers.1.mlp.weight"][MASK], weight[MASK] + 1)
    assert moved.keys() == set(found.names)


def test_a_mask_of_a_tied_weight_may_use_either_name():
    net = Net()
    one, other = select(net, {"outer.weight": MASK}), select(net, {"again.weight": MASK})
    assert one.names == other.names and one.fingerprint() == other.fingerprint()


@pytest.mark.parametrize(
    "mask",
    [
        {"layers.1.mlp.weight": torch.ones(3, 3)},
        {"layers.1.mlp.weight": torch.ones(3, dtype=torch.bool)},
        {"layers.1.mlp.weight": torch.zeros(3, 3, dtype=torch.bool)},
        {"layers.1.mlp.wait": MASK},
    ],
    ids=["not boolean", "another shape", "all False", "another name"],
)
def test_masks_that_do_not_fit(model, mask):
    with pytest.raises(GermError):
        select(model, mask)


def test_flat_and_back_is_the_identity(model):
    params = dict(model.named_parameters())
    found = select(model)
    back = found.unflatten(found.flatten(params), params)
    assert all(torch.equal(back[name], params[name]) for name in found.names)
    flat = found.flatten(params)
    for name, where in found.slices().items():
        assert torch.equal(flat[where], params[name].reshape(-1))
    flat.add_(1)
    assert torch.equal(found.flatten(params) + 1, flat), "the vector is a copy"


@pytest.mark.parametrize(
    ("dtype", "master"),
    [
        (torch.bfloat16, torch.float32), (torch.float16, torch.float32),
        (torch.float32, torch.float32), (torch.float64, torch.float64),
    ],
)  # fmt: skip
def test_the_flat_vector_is_at_least_single_precision(dtype, master):
    net = Net(dtype)
    found = select(net)
    params = dict(net.named_parameters())
    assert found.dtype == master and found.flatten(params).dtype == master
    back = found.unflatten(found.flatten(params), params)
    assert all(back[name].dtype == dtype for name in found.names)
    assert all(torch.equal(back[name], params[name]) for name in found.names)


def test_weights_that_are_whole_numbers_cannot_move():
    module = nn.Linear(2, 2)
    module.table = nn.Parameter(torch.ones(3, dtype=torch.int64), requires_grad=False)
    assert "table" not in select(module).names
    with pytest.raises(GermError, match="table"):
        select(module, "table")


def test_fingerprints_tell_restrictions_apart(model):
    every = MASK | True
    found = [
        None, "layers.1", "layers.2", "layers.1.mlp.weight", {"layers.1.mlp.weight": MASK},
        {"layers.1.mlp.weight": ~MASK},
    ]  # fmt: skip
    prints = {select(model, restriction).fingerprint() for restriction in found}
    assert len(prints) == len(found)
    whole = select(model, {"layers.1.mlp.weight": every})
    assert whole.fingerprint() == select(model, "layers.1.mlp.weight").fingerprint()


def test_the_description_says_how_many(model):
    assert select(model, "layers.1").describe().startswith("33 coordinates in 5 parameters")
