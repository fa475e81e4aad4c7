"""Small transformers with random weights, and where their heads lie, worked out by hand.

Here, and nowhere in germ, is knowledge of architectures: `Layout` says for each model what a
person reads off its source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from germ.zoo.attention_only import AttentionOnly, AttentionOnlyConfig

Where = dict[str, tuple[int, list[int]]]
"""By parameter, relative to the attention: a dimension, and indices along it."""

VOCAB, D = 50, 24


@dataclass(frozen=True)
class Layout:
    """What is where in a model.

    Attributes:
        attn: The attention of layer L, `{}` standing for L.
        mlp: The MLP's modules, likewise.
        output: The output projection in the attention, and its dimension of head slices.
        head: What head h owns.
        kv: What group g of keys and values is; None where heads have their own.
        embed: Parameters of the embedding.
        unembed: Of the unembedding.
        position: Of learned positions.
        heads: The number of heads.
        groups: The number of groups.
        coupled: Parameters that act through all heads by way of a norm.
    """

    attn: str
    mlp: tuple[str, ...]
    output: str
    head: Callable[[int], Where]
    kv: Callable[[int], Where] | None
    embed: tuple[str, ...]
    unembed: tuple[str, ...]
    position: tuple[str, ...] = ()
    heads: int = 4
    groups: int = 0
    coupled: tuple[str, ...] = field(default=())


def block(size: int, number: int) -> list[int]:
    """The indices of the block of that number."""
    return [*range(size * number, size * (number + 1))]


def separate(
    attn: str,
    names: Sequence[str],
    mlp: Sequence[str],
    embed: str,
    unembed: str | Sequence[str],
    *,
    heads: int = 4,
    groups: int | None = None,
    size: int = D // 4,
    bias: bool = False,
    norms: Sequence[str] = (),
    position: Sequence[str] = (),
) -> Layout:
    """Linear maps q, k, v, o of their own, heads as blocks of rows (of columns, for o)."""
    q, k, v, o = names
    groups = heads if groups is None else groups
    own = [q] if groups < heads else [q, k, v]
    per_head = [n for n in norms if n.startswith("q") or groups == heads]
    per_group = [n for n in norms if not n.startswith("q")]

    def rows(of: Sequence[str], more: Sequence[str], number: int) -> Where:
        where: Where = {f"{n}.weight": (0, block(size, number)) for n in of}
        if bias:
            where |= {f"{n}.bias": (0, block(size, number)) for n in of}
        return where | {f"{n}.weight": (0, block(size, number)) for n in more}

    return Layout(
        attn,
        tuple(mlp),
        f"{o}.weight",
        lambda h: rows(own, per_head, h) | {f"{o}.weight": (1, block(size, h))},
        (lambda g: rows([k, v], per_group, g)) if groups < heads else None,
        (embed,),
        (unembed,) if isinstance(unembed, str) else tuple(unembed),
        tuple(position),
        heads,
        groups if groups < heads else 0,
        tuple(f"{n}.weight" for n in [q, *([] if groups < heads else [k])]) if norms else (),
    )


def fused(
    attn: str,
    mlp: str,
    packed: str,
    output: str,
    rows: Callable[[int], list[int]],
    embed: str,
    unembed: str,
    *,
    kv: Callable[[int], list[int]] | None = None,
    groups: int = 0,
    dims: tuple[int, int] = (0, 1),
    bias: bool = False,
    position: Sequence[str] = (),
) -> Layout:
    """One map for queries, keys and values."""

    def inside(indices: list[int]) -> Where:
        where: Where = {f"{packed}.weight": (dims[0], indices)}
        return where | ({f"{packed}.bias": (0, indices)} if bias else {})

    return Layout(
        attn,
        (mlp,),
        f"{output}.weight",
        lambda h: inside(rows(h)) | {f"{output}.weight": (dims[1], block(D // 4, h))},
        None if kv is None else (lambda g: inside(kv(g))),
        (embed,),
        (unembed,),
        tuple(position),
        4,
        groups,
    )


LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj")
IN_MODEL = ("model.layers.{}.self_attn", LLAMA, ["model.layers.{}.mlp"])
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"

LAYOUTS: dict[str, Layout] = {
    "gpt2": fused(
        "transformer.h.{}.attn", "transformer.h.{}.mlp", "c_attn", "c_proj",
        lambda h: [part * D + i for part in range(3) for i in block(6, h)],
        "transformer.wte.weight", "transformer.wte.weight",
        dims=(1, 0), bias=True, position=["transformer.wpe.weight"],
    ),
    "neox": fused(
        "gpt_neox.layers.{}.attention", "gpt_neox.layers.{}.mlp", "query_key_value", "dense",
        lambda h: block(18, h), "gpt_neox.embed_in.weight", HEAD, bias=True,
    ),
    "llama": separate(*IN_MODEL, EMBED, HEAD, groups=2, size=8),
    "llama_biases": separate(*IN_MODEL, EMBED, HEAD, groups=2, size=8, bias=True),
    "llama_one_group": separate(*IN_MODEL, EMBED, HEAD, groups=1, size=8),
    "qwen2": separate(*IN_MODEL, EMBED, HEAD, groups=2, bias=True),
    "qwen3": separate(*IN_MODEL, EMBED, HEAD, groups=2, size=8),
    "gemma": separate(*IN_MODEL, EMBED, EMBED, groups=1, size=8),
    "gemma2": separate(*IN_MODEL, EMBED, EMBED, groups=2, size=8),
    "gemma3": separate(*IN_MODEL, EMBED, EMBED, groups=2, size=8),
    "mistral": separate(*IN_MODEL, EMBED, HEAD, groups=2, size=8),
    "mixtral": separate(*IN_MODEL, EMBED, HEAD, groups=2),
    "phi": separate(
        IN_MODEL[0], ("q_proj", "k_proj", "v_proj", "dense"), IN_MODEL[2], EMBED,
        [HEAD, "lm_head.bias"], size=8, bias=True,
    ),
    "phi3": fused(
        IN_MODEL[0], IN_MODEL[2][0], "qkv_proj", "o_proj", lambda h: block(6, h), EMBED, HEAD,
        kv=lambda g: [24 + i for i in block(6, g)] + [36 + i for i in block(6, g)], groups=2,
    ),
    "olmo": separate(*IN_MODEL, EMBED, HEAD),
    "olmo2": separate(*IN_MODEL, EMBED, HEAD, norms=["q_norm", "k_norm"]),
    "gptj": separate(
        "transformer.h.{}.attn", ("q_proj", "k_proj", "v_proj", "out_proj"),
        ["transformer.h.{}.mlp"], "transformer.wte.weight", [HEAD, "lm_head.bias"],
    ),
    "gptneo": separate(
        "transformer.h.{}.attn.attention", ("q_proj", "k_proj", "v_proj", "out_proj"),
        ["transformer.h.{}.mlp"], "transformer.wte.weight", "transformer.wte.weight",
        position=["transformer.wpe.weight"],
    ),
    "opt": separate(
        "model.decoder.layers.{}.self_attn", ("q_proj", "k_proj", "v_proj", "out_proj"),
        ["model.decoder.layers.{}.fc1", "model.decoder.layers.{}.fc2"],
        "model.decoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", bias=True,
        position=["model.decoder.embed_positions.weight"],
    ),
    "falcon": fused(
        "transformer.h.{}.self_attention", "transformer.h.{}.mlp", "query_key_value", "dense",
        lambda h: block(6, h + h // 2 * 2), "transformer.word_embeddings.weight",
        "transformer.word_embeddings.weight",
        kv=lambda g: [*range(24 * g + 12, 24 * g + 24)], groups=2,
    ),
    "zoo": separate(
        "layers.{}.attn", "qkvo", [], "embed.weight", ["unembed.weight", "unembed.bias"], heads=3,
        size=8, bias=True, position=["position.weight"],
    ),
    "lens": Layout(
        "blocks.{}.attn", ("blocks.{}.mlp",), "W_O",
        lambda h: {n: (0, [h]) for n in ("W_Q", "W_K", "W_V", "b_Q", "b_K", "b_V", "W_O")},
        None, ("W_E",), ("W_U", "b_U"), ("W_pos",), 3,
    ),
    "strided": separate(
        "blocks.{}.attn", "qkvo", ["blocks.{}.mlp"], "embed.weight", "unembed.weight",
    ),
}  # fmt: skip

# Heads of the strided attention lie one index after another, d_head of them apart.
LAYOUTS["strided"] = Layout(**{
    **vars(LAYOUTS["strided"]),
    "head": lambda h: {
        **{f"{n}.weight": (0, [*range(h, D, 4)]) for n in "qkv"},
        "o.weight": (1, [*range(h, D, 4)]),
    },
})  # fmt: skip

HF = [name for name in LAYOUTS if name not in ("zoo", "lens", "strided")]


def build(name: str) -> Any:
    """The model of that name, the same weights each time, the global generator left alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _build(name).eval()


def _build(name: str) -> nn.Module:
    if name == "zoo":
        return AttentionOnly(AttentionOnlyConfig(VOCAB, 16, 2, 3, 20, 8, bias=True))
    if name in ("lens", "strided"):
        return Lens() if name == "lens" else Strided()
    import transformers as tf

    base: dict[str, Any] = {"vocab_size": VOCAB, "num_hidden_layers": 2}
    wide = base | {"hidden_size": D, "num_attention_heads": 4, "intermediate_size": 40}
    two, short = {"num_key_value_heads": 2}, {"n_embd": D, "n_layer": 2, "n_head": 4}
    classes: dict[str, tuple[str, dict[str, Any]]] = {
        "gpt2": ("GPT2", short | {"vocab_size": VOCAB, "n_positions": 16}),
        "neox": ("GPTNeoX", wide),
        "llama": ("Llama", wide | two | {"head_dim": 8}),
        "llama_biases": ("Llama", wide | two | {"head_dim": 8, "attention_bias": True}),
        "llama_one_group": ("Llama", wide | {"num_key_value_heads": 1, "head_dim": 8}),
        "qwen2": ("Qwen2", wide | two),
        "qwen3": ("Qwen3", wide | two | {"head_dim": 8}),
        "gemma": ("Gemma", wide | {"num_key_value_heads": 1, "head_dim": 8}),
        "gemma2": ("Gemma2", wide | two | {"head_dim": 8}),
        "gemma3": ("Gemma3", wide | two | {"head_dim": 8}),
        "mistral": ("Mistral", wide | two | {"head_dim": 8}),
        "mixtral": ("Mixtral", wide | two | {"num_local_experts": 3}),
        "phi": ("Phi", wide | {"hidden_size": 32}),
        "phi3": ("Phi3", wide | two | {"pad_token_id": 0}),
        "olmo": ("Olmo", wide),
        "olmo2": ("Olmo2", wide),
        "gptj": ("GPTJ", short | {"vocab_size": VOCAB, "n_positions": 16, "rotary_dim": 4}),
        "gptneo": ("GPTNeo", {
            "vocab_size": VOCAB, "hidden_size": D, "num_layers": 2, "num_heads": 4,
            "max_position_embeddings": 16, "attention_types": [[["global", "local"], 1]],
            "window_size": 3,
        }),
        "opt": ("OPT", wide | {
            "ffn_dim": 40, "max_position_embeddings": 16, "word_embed_proj_dim": 12,
        }),
        "falcon": ("Falcon", wide | {"new_decoder_architecture": True, "num_kv_heads": 2}),
    }  # fmt: skip
    kind, options = classes[name]
    suffix = "LMHeadModel" if kind == "GPT2" else "ForCausalLM"
    config = "TextConfig" if kind == "Gemma3" else "Config"
    return getattr(tf, kind + suffix)(getattr(tf, kind + config)(**options))


class LensAttention(nn.Module):
    """Weights of three dimensions, a slice a head, called by keyword: TransformerLens's way."""

    W_Q: nn.Parameter
    W_K: nn.Parameter
    W_V: nn.Parameter
    b_Q: nn.Parameter
    b_K: nn.Parameter
    b_V: nn.Parameter

    def __init__(self, heads: int, d: int, size: int) -> None:
        super().__init__()
        for name in ("W_Q", "W_K", "W_V"):
            setattr(self, name, nn.Parameter(torch.randn(heads, d, size) / 4))
            setattr(self, f"b_{name[-1]}", nn.Parameter(torch.randn(heads, size) / 4))
        self.W_O = nn.Parameter(torch.randn(heads, size, d) / 4)
        self.b_O = nn.Parameter(torch.zeros(d))

    def forward(self, *, query_input: Tensor, key_input: Tensor, value_input: Tensor) -> Tensor:
        q = torch.einsum("btd,hds->bhts", query_input, self.W_Q) + self.b_Q[:, None]
        k = torch.einsum("btd,hds->bhts", key_input, self.W_K) + self.b_K[:, None]
        v = torch.einsum("btd,hds->bhts", value_input, self.W_V) + self.b_V[:, None]
        return torch.einsum("bhts,hsd->btd", attend(q, k, v), self.W_O) + self.b_O


class LensBlock(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.attn = LensAttention(3, d, 5)
        self.mlp = nn.Sequential(nn.Linear(d, 30), nn.GELU(), nn.Linear(30, d))

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln1(x)
        x = x + self.attn(query_input=y, key_input=y, value_input=y)
        return x + self.mlp(self.ln2(x))


class Lens(nn.Module):
    """Embeddings that are bare parameters, an unembedding whose rows are the hidden states."""

    def __init__(self, d: int = 16) -> None:
        super().__init__()
        self.W_E = nn.Parameter(torch.randn(VOCAB, d))
        self.W_pos = nn.Parameter(torch.randn(12, d))
        self.blocks = nn.ModuleList([LensBlock(d) for _ in range(2)])
        self.W_U = nn.Parameter(torch.randn(d, VOCAB) / 4)
        self.b_U = nn.Parameter(torch.zeros(VOCAB))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.W_E[tokens] + self.W_pos[: tokens.shape[1]]
        for layer in self.blocks:
            x = layer(x)
        return x @ self.W_U + self.b_U


class StridedAttention(nn.Module):
    """Heads that lie one index after another, and no word of how many there are."""

    def __init__(self, d: int = D, mixed: bool = False) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.mixed = mixed

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (-1, 4)).movedim(-1, 1) for f in (self.q, self.k, self.v))
        out = attend(q, k, v)
        if self.mixed:  # Every head takes a little of its neighbour's output.
            out = out + 0.1 * out.roll(1, dims=1)
        return self.o(out.movedim(1, -1).flatten(-2))


class StridedBlock(nn.Module):
    def __init__(self, mixed: bool = False) -> None:
        super().__init__()
        self.attn, self.mlp = StridedAttention(mixed=mixed), nn.Linear(D, D)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attn(x) + self.mlp(x).tanh()


class Strided(nn.Module):
    def __init__(self, mixed: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCAB, D)
        self.blocks = nn.Sequential(*(StridedBlock(mixed) for _ in range(2)))
        self.unembed = nn.Linear(D, VOCAB, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.unembed(self.blocks(self.embed(tokens)))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of (examples, heads, tokens, size)."""
    scores = q @ k.mT / q.shape[-1] ** 0.5
    future = torch.full(scores.shape[-2:], float("-inf")).triu(1)
    return (scores + future).softmax(-1) @ v
