"""Components against layouts worked out by hand, and against the gradient of the whole model."""

from __future__ import annotations

import functools

import pytest
import torch
from tests.component_models import HF, LAYOUTS, VOCAB, Strided, Where, build
from torch import Tensor, nn

from germ import components
from germ.errors import GermError
from germ.losses import causal_lm
from germ.posterior import LocalPosterior
from germ.restriction import select
from germ.zoo import bundled

NAMES = [pytest.param(n, marks=pytest.mark.hf) if n in HF else n for n in LAYOUTS]


@functools.cache
def built(name: str) -> tuple[nn.Module, components.Components]:
    model = build(name)
    return model, components.find(model)


@functools.cache
def shipped() -> nn.Module:
    return bundled.model()


def masks(model: nn.Module, attention: str, where: Where) -> dict[str, Tensor]:
    """The masks of a layout's indices, by the names in the model."""
    params = dict(model.named_parameters())
    found = {}
    for name, (dim, indices) in where.items():
        mask = torch.zeros(params[f"{attention}.{name}"].shape, dtype=torch.bool)
        mask.index_fill_(dim, torch.tensor(indices), True)
        found[f"{attention}.{name}"] = mask
    return found


def assert_same(component: components.Component, expected: dict[str, Tensor]) -> None:
    assert set(component) == set(expected)
    for name, mask in expected.items():
        assert torch.equal(component[name], mask), name
    assert component.num_parameters == sum(int(mask.sum()) for mask in expected.values())


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_where_the_layout_has_it(name):
    (model, found), layout = built(name), LAYOUTS[name]
    everything = {n: torch.ones_like(p) > 0 for n, p in model.named_parameters()}

    def below(*modules: str) -> dict[str, Tensor]:
        return {
            n: m for n, m in everything.items() if n.startswith(tuple(f"{x}." for x in modules))
        }

    for kind in ("embed", "position", "unembed"):
        expected = getattr(layout, kind)
        assert (kind in found) == bool(expected) and (kind in found.missing) != bool(expected)
        if expected:
            assert_same(found[kind], {n: everything[n] for n in expected})
    assert any("tied" in note for note in found["embed"].notes) == (layout.embed == layout.unembed)
    names = set()
    for number in range(2):
        layer, attention = f"layers.{number}", layout.attn.format(number)
        parts = attention.split(".")
        inside = ".".join(parts[: parts.index(str(number)) + 1])
        assert_same(found[layer], below(inside))
        assert_same(found[f"{layer}.attn"], below(attention))
        if layout.mlp:
            assert_same(found[f"{layer}.mlp"], below(*(m.format(number) for m in layout.mlp)))
        for h in range(layout.heads):
            names.add(f"{layer}.head.{h}")
            assert_same(found[f"{layer}.head.{h}"], masks(model, attention, layout.head(h)))
        for g in range(layout.groups):
            assert layout.kv is not None
            names.add(f"{layer}.kv.{g}")
            assert_same(found[f"{layer}.kv.{g}"], masks(model, attention, layout.kv(g)))
            first = g * layout.heads // layout.groups
            assert f"heads {first}–" in " ".join(found[f"{layer}.kv.{g}"].notes)
    assert {n for n in found if found[n].kind in ("head", "kv")} == names
    assert ("mlp" in found.missing) == (not layout.mlp)


@pytest.mark.parametrize("name", NAMES)
def test_with_a_heads_output_zeroed_the_loss_has_no_gradient_on_it_and_on_no_other(name):
    (model, found), layout = built(name), LAYOUTS[name]
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(VOCAB, (4, 10), generator=generator)
    params = dict(model.named_parameters())
    output = f"{layout.attn.format(1)}.{layout.output}"
    for h in range(layout.heads):
        own = found[f"layers.1.head.{h}"]
        grads = gradients(model, tokens, output, own[output])
        coupled = {f"{layout.attn.format(1)}.{n}" for n in layout.coupled}
        assert bool(own.notes) == bool(coupled)
        for parameter, mask in own.items():
            if parameter == output:
                continue
            left = int(grads[parameter][mask].count_nonzero())
            assert (left > 0) == (parameter in coupled), f"{parameter}: {left}"
        for other in range(layout.heads):
            if other != h:
                parts = found[f"layers.1.head.{other}"].items()
                assert all(grads[n][m].any() for n, m in parts if params[n].dim() > 1)


def gradients(model: nn.Module, tokens: Tensor, name: str, mask: Tensor) -> dict[str, Tensor]:
    """The gradient of the loss with some weights of one parameter at zero."""
    params = dict(model.named_parameters())
    own = params[name].detach().clone()
    try:
        with torch.no_grad():
            params[name][mask] = 0
        loss = causal_lm(model, {"input_ids": tokens}).mean()
        grads = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
    finally:
        with torch.no_grad():
            params[name].copy_(own)
    both = zip(params.items(), grads, strict=True)
    return {n: torch.zeros_like(p) if g is None else g for (n, p), g in both}


@pytest.mark.hf
def test_keys_are_cut_by_groups_where_head_dim_is_not_hidden_over_heads():
    """Which is right: a group of 8 rows for two heads, or 4 rows a head?

    devinterp 2.0.1 takes hidden/heads = 6 for head_dim = 8, does not know the 16 rows of the keys
    by it, and cuts them as it does queries: rows 4 to 8 for head 1. The gradient decides.
    """
    model, found = built("llama")  # hidden 24, four heads of 8, two groups
    tokens = torch.randint(VOCAB, (4, 10), generator=torch.Generator().manual_seed(1))
    key, value, output = (f"model.layers.0.self_attn.{n}_proj.weight" for n in "kvo")
    others = torch.ones_like(found["layers.0.head.1"][output])
    others &= ~found["layers.0.head.1"][output]
    grads = gradients(model, tokens, output, others)
    for name in (key, value):
        through_head_1 = grads[name].any(1).nonzero().flatten().tolist()
        assert through_head_1 == [*range(8)] != [*range(4, 8)]
        assert torch.equal(found["layers.0.kv.0"][name].any(1), grads[name].any(1))
        assert name not in found["layers.0.head.1"]
    without = gradients(model, tokens, output, found["layers.0.head.1"][output])
    assert without[key][4:8].any(1).all(), "and they are no more head 1's than head 0's"


@pytest.mark.parametrize("frozen", [False, True])
def test_the_model_is_left_as_it_was(frozen):
    model = build("lens").requires_grad_(not frozen).train()
    model.blocks[0].mlp.eval()
    before = {n: v.clone() for n, v in model.state_dict().items()}
    parameters = dict(model.named_parameters())
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    found = components.find(model)
    assert len([n for n in found if found[n].kind == "head"]) == 6
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    for n, p in model.named_parameters():
        assert p is parameters[n] and p.requires_grad != frozen and p.grad is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_heads_that_training_left_at_zero_are_heads():
    model = build("lens")
    with torch.no_grad():
        model.blocks[0].attn.W_O.zero_()
        model.blocks[1].attn.W_V.zero_()
        model.blocks[1].attn.b_V.zero_()
    assert_same(
        components.find(model)["layers.0.head.1"],
        masks(model, "blocks.0.attn", LAYOUTS["lens"].head(1)),
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes(dtype):
    model = build("zoo").to(dtype)
    expected = masks(model, "layers.1.attn", LAYOUTS["zoo"].head(2))
    assert_same(components.find(model)["layers.1.head.2"], expected)


@pytest.mark.hf
@pytest.mark.parametrize("stated", [8, 3])
def test_a_number_of_heads_that_is_not_true_is_refused(stated):
    model = build("llama")
    model.config.num_attention_heads = stated
    with pytest.raises(GermError, match=f"expected {stated} heads in LlamaAttention.*masks"):
        components.expand(model, "heads")
    assert list(components.expand(model, "attn")) == ["layers.0.attn", "layers.1.attn"]


def test_heads_that_act_through_each_other_are_refused():
    model = Strided(mixed=True)
    found = components.find(model)
    assert "layers.0.attn" in found and "layers.0.mlp" in found
    with pytest.raises(GermError, match=r"head\.1.*StridedAttention.*masks"):
        components.expand(model, "layers.0.head.1")


class Recurrent(nn.Module):
    """Mixes tokens, and has no heads."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCAB, 8)
        self.layers = nn.ModuleList([nn.GRU(8, 8, batch_first=True)])
        self.out = nn.Linear(8, VOCAB)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.layers[0](self.embed(tokens))[0])


def test_a_model_that_is_no_transformer_has_layers_all_the_same():
    found = components.find(Recurrent())
    assert [*found] == ["embed", "layers.0", "unembed"]
    with pytest.raises(GermError, match="no part of a layer mixes tokens"):
        found.select("attn")


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ("layers.1.head.6", ["layers.1.head.6"]),
        ("layers.1.head.6, embed", ["layers.1.head.6", "embed"]),
        ("heads", [f"layers.{n}.head.{h}" for n in range(2) for h in range(8)]),
        ("layers.1.heads", [f"layers.1.head.{h}" for h in range(8)]),
        ("layers.*.head.[01]", [f"layers.{n}.head.{h}" for n in range(2) for h in range(2)]),
        ("layers", ["layers.0", "layers.1"]),
        (["attn", "!layers.0.attn"], ["layers.1.attn"]),
        ("attn + embed", ["attn+embed"]),
        ("layers.0.head.1+layers.1.head.6", ["layers.0.head.1+layers.1.head.6"]),
        ("all", ["all"]),
        ("layers.0.norm", ["layers.0.norm"]),
        ("*.attn.q.weight", ["*.attn.q.weight"]),
    ],
)
def test_patterns(patterns, names):
    assert [*components.expand(shipped(), patterns)] == names


def test_a_union_is_one_component_of_the_weights_of_both():
    model = shipped()
    every = components.expand(model, "layers.1.head.2+layers.1.head.6+unembed,heads+embed")
    (one, other) = every.values()
    found = components.find(model)
    parts = [found[f"layers.1.head.{h}"] for h in (2, 6)]
    for name in parts[0]:
        assert torch.equal(one[name], parts[0][name] | parts[1][name])
    assert one.num_parameters == sum(p.num_parameters for p in [*parts, found["unembed"]])
    attention = found["layers.0.attn"].num_parameters + found["layers.1.attn"].num_parameters
    assert other.num_parameters == attention + found["embed"].num_parameters
    assert "layers.1.attn.o.weight[:, 32:48, 96:112]" in one.places


def test_components_overlap_where_they_should_and_nowhere_else():
    found = components.find(shipped())
    total = sum(p.numel() for p in shipped().parameters())
    outside = 2 * 128  # the last norm
    kinds = ("embed", "position", "layer", "unembed")
    assert sum(found[n].num_parameters for n in found if found[n].kind in kinds) == total - outside
    heads = [found[n] for n in found if n.startswith("layers.0.head")]
    assert sum(h.num_parameters for h in heads) == found["layers.0.attn"].num_parameters
    assert torch.stack([h["layers.0.attn.o.weight"] for h in heads]).sum(0).eq(1).all()


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("mlp", r"no part of a layer.*this model has embed, position, layers, attn, heads"),
        ("layers.0.mlp", r"leaves tokens apart"),
        ("kv", "no keys and values are shared"),
        ("layers.1.head.66", r"nearest names are .*layers\.1\.head\.6"),
        ("layers.9", r"nearest names are .*layers\.[01]"),
        ("heads+embde", r"'heads\+embde'.*nearest|'embde'.*nearest"),
        ("unembded", "unembed"),
        ("", "none selects none"),
        ("heads,!heads", "selects none"),
    ],
)
def test_what_selects_nothing_is_told_why(pattern, said):
    with pytest.raises(GermError, match=said):
        components.expand(shipped(), pattern)


def test_any_module_has_components_by_the_names_of_its_parameters():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    net[1].bias.requires_grad_(False)
    found = components.expand(net, "0, 1.weight+0.bias, all")
    assert [*found] == ["0", "1.weight+0.bias", "all"]
    assert [c.num_parameters for c in found.values()] == [16, 12, 24]
    with pytest.raises(GermError, match=r"ModuleList or Sequential|takes tokens"):
        components.find(net)
    with pytest.raises(GermError, match="expected a model that takes tokens"):
        components.expand(net, "heads")


@pytest.mark.parametrize(
    "pattern", ["layers.1.head.6", "heads", "layers.0.heads+embed", "position"]
)
def test_a_restriction_may_name_components(pattern):
    model = shipped()
    (first, *others) = components.expand(model, pattern).values()
    union = components.union("u", [first, *others])
    by_name, by_mask = select(model, pattern), select(model, union)
    assert by_name.fingerprint() == by_mask.fingerprint()
    assert by_name.num_coordinates == union.num_parameters


def test_restrictions_mix_components_and_parameters():
    model = shipped()
    one = select(model, "layers.1.attn.q, !layers.1.head.6, layers.0.norm")
    assert one.names == ("layers.0.norm.weight", "layers.0.norm.bias", "layers.1.attn.q.weight")
    assert one.num_coordinates == 2 * 128 + 128 * 112
    rest = select(model, "!heads")
    assert not any(".attn." in name for name in rest.names)
    assert select(model, "layers.1.head.6,layers.1.attn.q").num_coordinates == 128**2 + 3 * 16 * 128
    with pytest.raises(GermError, match="leaves none"):
        select(model, "layers.1.head.6, !layers.1.attn")


def test_names_that_parameters_have_keep_their_meaning():
    model = shipped()
    assert select(model, "attn").names == select(model, "*.attn.*").names
    assert select(model, "attn.q").num_coordinates == 2 * 128**2


def test_a_posterior_of_a_head_moves_that_head_alone():
    model = shipped()
    tokens = bundled.tokens("code_python", context=16)[:4]
    (head,) = components.expand(model, "layers.1.head.6").values()
    posterior = LocalPosterior.from_model(model, {"input_ids": tokens}, restrict=head)
    assert posterior.num_coordinates == 4 * 16 * 128
    moved = posterior.coordinates.unflatten(posterior.anchor + 1, dict(model.named_parameters()))
    for name, mask in head.items():
        changed = moved[name] != dict(model.named_parameters())[name]
        assert torch.equal(changed, mask)


def test_components_are_found_once_and_again_when_the_model_changes():
    model = build("strided")
    found = components.find(model)
    assert components.find(model) is found
    model.blocks[1].mlp = nn.Linear(24, 24, bias=False)
    assert "blocks.1.mlp.bias" not in components.find(model)["layers.1"]


def test_found_where_gradients_are_switched_off():
    """Proofs take gradients of their own, whatever the caller has switched off."""
    model = build(next(iter(LAYOUTS)))
    with torch.no_grad():
        found = components.find(model)
    assert list(found) == list(built(next(iter(LAYOUTS)))[1])
