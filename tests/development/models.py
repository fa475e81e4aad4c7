"""Attention models made by hand, whose heads do what is known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from germ.zoo.attention_only import AttentionOnly, AttentionOnlyConfig

VOCAB, CONTEXT = 20, 24
SHARP = 40.0


def induction_model() -> AttentionOnly:
    """Two layers of two heads, worked out by hand: an induction circuit, and heads left at zero.

    The residual stream has a block for the token, one for the position, one for the token before
    and one for the prediction. Head 0 of layer 0 looks from position p to p − 1 and copies the
    token into the third block; head 0 of layer 1 looks for its own token in the third block, which
    is one after an earlier occurrence, and copies the token there into the fourth. The heads 1 look
    everywhere alike.
    """
    size = CONTEXT
    width = 3 * VOCAB + CONTEXT
    config = AttentionOnlyConfig(VOCAB, CONTEXT, 2, 2, width, size)
    model = AttentionOnly(config).eval()
    token, position = slice(0, VOCAB), slice(VOCAB, VOCAB + CONTEXT)
    before = slice(VOCAB + CONTEXT, 2 * VOCAB + CONTEXT)
    said = slice(2 * VOCAB + CONTEXT, width)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.fill_(1.0 if "norm.weight" in name else 0.0)
        model.embed.weight[:, token] = torch.eye(VOCAB)
        model.position.weight[:, position] = torch.eye(CONTEXT)
        layers: Any = model.layers
        first, second = layers[0].attn, layers[1].attn
        head = slice(0, size)
        first.q.weight[head, position] = SHARP * torch.eye(CONTEXT).roll(-1, 0)  # p asks p − 1
        first.k.weight[head, position] = SHARP * torch.eye(CONTEXT)
        first.v.weight[:VOCAB, token] = torch.eye(VOCAB)
        first.o.weight[before, :VOCAB] = torch.eye(VOCAB)
        second.q.weight[:VOCAB, token] = SHARP * torch.eye(VOCAB)
        second.k.weight[:VOCAB, before] = SHARP * torch.eye(VOCAB)
        second.v.weight[:VOCAB, token] = torch.eye(VOCAB)
        second.o.weight[said, :VOCAB] = torch.eye(VOCAB)
        model.unembed.weight[:, said] = 4 * torch.eye(VOCAB)
    return model


class Table(nn.Module):
    """Predicts the next token by the last one alone."""

    def __init__(self, log_p: Tensor) -> None:
        super().__init__()
        self.log_p = nn.Parameter(log_p)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.log_p[tokens]


class Mixer(nn.Module):
    """An attention of four heads of six: `kind` says how it goes about it.

    `flipped`: the head of the first slice of the output comes last in the softmax. `linear`: no
    softmax. `both_ways`: not causal. `twice`: a second softmax over as many keys.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(24, 24, bias=False) for _ in range(4))
        self.num_heads, self.kind = 4, kind

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (4, 6)).transpose(1, 2) for f in (self.q, self.k, self.v))
        if self.kind == "flipped":
            q, k, v = q.flip(1), k.flip(1), v.flip(1)
        scores = q @ k.mT / 6**0.5
        future = torch.full(scores.shape[-2:], float("-inf")).triu(1)
        if self.kind == "linear":
            out = scores.tril() @ v
        else:
            out = (scores if self.kind == "both_ways" else scores + future).softmax(-1) @ v
        if self.kind == "twice":
            out = out + (scores * 2 + future).softmax(-1) @ v
        if self.kind == "flipped":
            out = out.flip(1)
        return self.o(out.transpose(1, 2).flatten(-2))


class Torch(nn.Module):
    """PyTorch's own attention, as a layer of its own kernel when nothing stops it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(24, 4, bias=False, batch_first=True)
        self.num_heads = 4

    def forward(self, x: Tensor) -> Tensor:
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return self.inner(x, x, x, attn_mask=future, need_weights=False)[0]


class Block(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.attn = Torch() if kind == "torch" else Mixer(kind)
        self.mlp = nn.Linear(24, 24)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attn(x) + self.mlp(x).tanh()


class Small(nn.Module):
    """A transformer of two layers of a kind of attention."""

    def __init__(self, *kinds: str) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embed = nn.Embedding(VOCAB, 24)
            self.blocks = nn.Sequential(*(Block(kind) for kind in kinds))
            self.unembed = nn.Linear(24, VOCAB, bias=False)
        self.eval()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.unembed(self.blocks(self.embed(tokens)))
