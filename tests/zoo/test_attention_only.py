"""The attention-only transformer: causal, positions where they belong, differentiable twice."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.func import functional_call, stack_module_state, vmap

from germ.errors import GermError
from germ.zoo.attention_only import (
    PRESETS,
    AttentionOnly,
    AttentionOnlyConfig,
    load_checkpoint,
    read_metadata,
    save_checkpoint,
)

TINY = PRESETS["tiny"]
# Heads that do not divide the width: 3 heads of 5 in a residual stream of 16.
ODD = AttentionOnlyConfig(vocab_size=32, context=16, num_heads=3, d_model=16, d_head=5, bias=True)


def random_model(config: AttentionOnlyConfig, seed: int = 0) -> AttentionOnly:
    """Return a model with weights large enough for its heads to look at different places."""
    generator = torch.Generator().manual_seed(seed)
    model = AttentionOnly(config)
    for parameter in model.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def random_tokens(config: AttentionOnlyConfig, examples: int = 4, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (examples, config.context), generator=generator)


@pytest.mark.parametrize("config", [TINY, ODD], ids=["tiny", "odd"])
def test_logits_do_not_depend_on_later_tokens(config):
    model, tokens = random_model(config), random_tokens(config)
    changed = tokens.clone()
    changed[:, 9] = (changed[:, 9] + 1) % config.vocab_size
    before, after = model(tokens), model(changed)
    assert before.shape == (4, config.context, config.vocab_size)
    torch.testing.assert_close(before[:, :9], after[:, :9], rtol=0, atol=1e-5)
    # Every later position does see the change, so the equality above is no accident.
    assert (before[:, 9:] - after[:, 9:]).abs().amax(-1).min() > 1e-4


@pytest.mark.parametrize("config", [TINY, ODD], ids=["tiny", "odd"])
def test_patterns_are_causal_distributions(config):
    patterns = random_model(config).patterns(random_tokens(config))
    assert patterns.shape == (2, 4, config.num_heads, config.context, config.context)
    torch.testing.assert_close(patterns.sum(-1), torch.ones(patterns.shape[:-1]))
    assert patterns.triu(1).abs().max() == 0
    assert patterns.min() >= 0
    # Heads and layers are not copies of one another.
    assert (patterns[:, :, 0] - patterns[:, :, 1]).abs().max() > 0.1
    assert (patterns[0] - patterns[1]).abs().max() > 0.1


def test_positions_reach_queries_and_keys_but_not_values():
    model = random_model(TINY)
    # The same token everywhere: all values are then equal, and whatever the (position-dependent)
    # patterns, their average of equal things cannot depend on the position.
    same = torch.full((1, TINY.context), 7)
    logits = model(same)
    torch.testing.assert_close(logits, logits[:, :1].expand_as(logits), rtol=0, atol=1e-4)
    assert model.patterns(same)[0, 0, 0, -1].std() > 0.01  # uneven: positions do reach the scores

    # With different tokens the table matters to the logits, through the patterns alone.
    tokens, moved = random_tokens(TINY), copy.deepcopy(model)
    moved.position.weight.data = moved.position.weight.data.flip(0)
    assert (model(tokens) - moved(tokens)).abs().max() > 0.1


def test_heads_are_slices_of_the_weights():
    """Silencing columns `h * d_head : (h + 1) * d_head` of o silences head h and no other."""
    model, tokens = random_model(ODD), random_tokens(ODD)
    silenced = copy.deepcopy(model)
    weights = dict(silenced.named_parameters())
    head = slice(2 * ODD.d_head, 3 * ODD.d_head)
    weights["layers.1.attn.o.weight"].data[:, head] = 0
    expected = silenced(tokens)
    assert (model(tokens) - expected).abs().max() > 1e-2
    # Once silent, its own q, k and v slices make no difference; another head's do.
    for matrix in "qkv":
        weights[f"layers.1.attn.{matrix}.weight"].data[head] = 3.0
    torch.testing.assert_close(silenced(tokens), expected)
    weights["layers.1.attn.v.weight"].data[: ODD.d_head] += 1
    assert (silenced(tokens) - expected).abs().max() > 1e-2


def test_stacked_models_under_vmap_equal_a_loop():
    models = [random_model(TINY, seed) for seed in range(3)]
    tokens = random_tokens(TINY)
    params, buffers = stack_module_state(models)
    stacked = vmap(lambda p, b: functional_call(models[0], (p, b), (tokens,)))(params, buffers)
    looped = torch.stack([model(tokens) for model in models])
    torch.testing.assert_close(stacked, looped, rtol=1e-5, atol=1e-5)


def test_hessian_vector_product_matches_finite_differences():
    model, tokens = random_model(TINY).double(), random_tokens(TINY)
    params = dict(model.named_parameters())
    generator = torch.Generator().manual_seed(2)
    direction = {
        name: torch.randn(p.shape, generator=generator, dtype=p.dtype) for name, p in params.items()
    }

    def gradient(at, create_graph=False):
        loss = functional_call(model, at, (tokens,)).log_softmax(-1)[..., 0].mean()
        return torch.autograd.grad(loss, list(at.values()), create_graph=create_graph)

    slopes = zip(gradient(params, True), direction.values(), strict=True)
    slope = torch.stack([(g * d).sum() for g, d in slopes]).sum()
    exact = torch.autograd.grad(slope, list(params.values()))
    size = 1e-5
    ahead = gradient({name: p + size * direction[name] for name, p in params.items()})
    behind = gradient({name: p - size * direction[name] for name, p in params.items()})
    for e, a, b in zip(exact, ahead, behind, strict=True):
        torch.testing.assert_close(e, (a - b) / (2 * size), rtol=1e-4, atol=1e-7)


def test_untrained_model_predicts_uniformly():
    torch.manual_seed(0)
    logits = AttentionOnly(PRESETS["bundled"])(torch.arange(128)[None])
    loss = torch.nn.functional.cross_entropy(logits[0, :-1], torch.arange(1, 128))
    assert abs(loss.item() - 6.931) < 0.1  # log 1024


def test_paper_preset_has_the_published_size():
    with torch.device("meta"):
        assert 3.3e6 < AttentionOnly(PRESETS["paper"]).num_parameters() < 3.4e6  # "3M"


def test_parameter_names_are_fit_for_globs():
    names = {name for name, _ in AttentionOnly(TINY).named_parameters()}
    assert {f"layers.{layer}.attn.{m}.weight" for layer in (0, 1) for m in "qkvo"} < names
    assert {"embed.weight", "position.weight", "unembed.weight", "norm.weight"} < names


def test_checkpoint_round_trip(tmp_path):
    model, path = random_model(ODD).train(), tmp_path / "a.safetensors"
    save_checkpoint(model, path, 42, {"note": [1, "é"]})
    state = torch.get_rng_state()
    again = load_checkpoint(path)
    assert torch.equal(state, torch.get_rng_state())  # loading draws no random numbers
    assert again.config == ODD
    assert not again.training
    assert all(
        torch.equal(p, q) for p, q in zip(model.parameters(), again.parameters(), strict=True)
    )
    assert all(p.requires_grad and not p.is_meta for p in again.parameters())
    metadata = read_metadata(path)
    assert metadata["germ.zoo"] == "attention_only"
    assert metadata["germ.step"] == "42"
    assert metadata["germ.dtype"] == "float32"
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_half_precision_checkpoint_is_half_the_size_and_loads_in_float32(tmp_path):
    model = random_model(TINY)
    save_checkpoint(model, tmp_path / "full.safetensors", 0)
    save_checkpoint(model, tmp_path / "half.safetensors", 0, dtype=torch.float16)
    again = load_checkpoint(tmp_path / "half.safetensors")
    for p, q in zip(model.parameters(), again.parameters(), strict=True):
        assert q.dtype == torch.float32
        assert torch.equal(p.half().float(), q)
    header = 1500
    full, half = ((tmp_path / f"{n}.safetensors").stat().st_size for n in ("full", "half"))
    assert half - header < full / 2 < half + header


def test_wrong_input_is_named(tmp_path):
    with pytest.raises(GermError, match=r"at most 16 tokens.*got 17"):
        AttentionOnly(TINY)(torch.zeros(1, 17, dtype=torch.long))
    with pytest.raises(GermError, match="num_heads must be an integer of at least 1, got 0"):
        AttentionOnlyConfig(num_heads=0)
    with pytest.raises(GermError, match=r"nowhere\.safetensors"):
        load_checkpoint(tmp_path / "nowhere.safetensors")
    (tmp_path / "text.safetensors").write_text("not a checkpoint")
    with pytest.raises(GermError, match=r"cannot read a checkpoint.*text\.safetensors"):
        load_checkpoint(tmp_path / "text.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(GermError, match="not one of germ's attention-only models"):
        load_checkpoint(tmp_path / "other.safetensors")
    save_checkpoint(random_model(TINY), tmp_path / "good.safetensors", 0)
    weights = load_file(tmp_path / "good.safetensors")
    del weights["norm.bias"]
    metadata = read_metadata(tmp_path / "good.safetensors")
    save_file(weights, tmp_path / "bad.safetensors", metadata)
    with pytest.raises(GermError, match="do not fit its own header"):
        load_checkpoint(tmp_path / "bad.safetensors")
