"""Whose heads are right where head_dim ≠ hidden/heads: germ's, or those of devinterp 2.0.1.

    python -m benchmarks.susceptibility_masks

The truth is what the model computes: with the output of a head zeroed on its way to the output
projection, the gradient of the loss vanishes on that head's query rows and on no other's; with
those of all heads that share keys zeroed, on the rows of these keys. germ calls the shared keys and
values a component of their own (`layers.L.kv.G`); the peer counts them to each head of the group.
"""

from __future__ import annotations

import json
import os
from typing import Any

import torch
from torch import Tensor

HEADS, GROUPS, HIDDEN, HEAD_DIM, LAYER = 4, 2, 32, 16, 1


def main() -> None:
    """Print, by head, how much of the truth each mask finds and how much of it is true."""
    reply = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from devinterp.slt.weight_restrictions import (  # pyright: ignore[reportMissingImports]
        create_param_masks,
    )
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from germ.components import expand

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=50,
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=GROUPS,
        head_dim=HEAD_DIM,
        intermediate_size=48,
        max_position_embeddings=16,
    )
    model = Qwen3ForCausalLM(config).eval()
    attention = model.get_submodule(f"model.layers.{LAYER}.self_attn")
    rows = {}
    for head in range(HEADS):
        group = head * GROUPS // HEADS
        together = [other for other in range(HEADS) if other * GROUPS // HEADS == group]
        ours: Any = expand(model, f"layers.{LAYER}.head.{head},layers.{LAYER}.kv.{group}")
        theirs = create_param_masks(model, f"l{LAYER}h{head}")
        for kind, silent, mask in (
            ("q_proj", [head], ours[f"layers.{LAYER}.head.{head}"]),
            ("k_proj", together, ours[f"layers.{LAYER}.kv.{group}"]),
        ):
            name = f"model.layers.{LAYER}.self_attn.{kind}.weight"
            true = _vanishing(model, attention.o_proj, silent, name)
            rows[f"{LAYER}:{head} {kind}"] = {
                "germ": _shares(mask[name], true),
                "peer": _shares(theirs[name], true),
            }
    model_said = (
        f"Qwen3, hidden {HIDDEN}, {HEADS} heads of {HEAD_DIM} sharing {GROUPS} keys, random weights"
    )
    print(json.dumps({"model": model_said, "heads": rows}), file=reply, flush=True)


def _vanishing(model: Any, output: Any, silent: list[int], name: str) -> Tensor:
    """Rows of a weight whose gradient vanishes with the outputs of some heads zeroed."""
    from germ.losses import causal_lm

    def silence(_: object, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        parts = args[0].unflatten(-1, (HEADS, HEAD_DIM)).clone()
        parts[..., silent, :] = 0
        return (parts.flatten(-2),)

    hook = output.register_forward_pre_hook(silence)
    tokens = torch.randint(50, (4, 12))
    loss = causal_lm(model, {"input_ids": tokens}).mean()
    (grad,) = torch.autograd.grad(loss, model.get_parameter(name))
    hook.remove()
    return (grad == 0).all(1)


def _shares(mask: Tensor, true: Tensor) -> tuple[float, float]:
    found = mask.bool().flatten(1).any(1)
    both = float((found & true).sum())
    return both / float(true.sum()), both / float(found.sum())


if __name__ == "__main__":
    main()
