"""Chains in a loop beside chains in one vectorized call, by size of the model.

On a CPU the loop costs the interpreter once a chain; `torch.func.vmap` costs it once for all, and
pays for it in slower kernels. Where the two cross is `germ.plan.VECTORIZE_BELOW`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from germ.plan import VECTORIZE_BELOW, auto_batch_size, losses_per_example
from germ.posterior import LocalPosterior
from germ.samplers import SGLD
from germ.sampling import sample
from germ.zoo.attention_only import AttentionOnly, AttentionOnlyConfig

CHAINS = 8
SECONDS = 0.6
"""About how long a timed run takes, on the CPU."""


@dataclass(frozen=True)
class Net:
    """A model with data: made by `make`, which returns model, data and the loss's name."""

    name: str
    make: Callable[[], tuple[nn.Module, Any, str]]


def deep_linear(width: int, depth: int) -> tuple[nn.Module, Any, str]:
    """A deep linear net and its regression."""
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(depth)))
    x = torch.randn(4096, width)
    return model, (x, x.flip(1)), "mse"


def mlp(width: int, classes: int = 10, inputs: int = 64) -> tuple[nn.Module, Any, str]:
    """A classifier with two hidden layers."""
    model = nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, classes),
    )  # fmt: skip
    return model, (torch.randn(4096, inputs), torch.randint(classes, (4096,))), "cross_entropy"


def attention_only(config: AttentionOnlyConfig) -> tuple[nn.Module, Any, str]:
    """The zoo's language model on random tokens."""
    tokens = torch.randint(config.vocab_size, (256, config.context))
    return AttentionOnly(config).eval(), tokens, "causal_lm"


def language(width: int, context: int, vocab: int, heads: int = 4) -> Callable[[], Any]:
    """`attention_only` of this size, to be made later."""
    config = AttentionOnlyConfig(
        vocab_size=vocab, context=context, num_heads=heads, d_model=width, d_head=width // heads
    )
    return lambda: attention_only(config)


NETS = (
    Net("deep linear 10-10-10-10", lambda: deep_linear(10, 3)),
    Net("deep linear 32 x 3", lambda: deep_linear(32, 3)),
    Net("MLP 64-60-60-10", lambda: mlp(60)),
    Net("MLP 64-100-100-10", lambda: mlp(100)),
    Net("MLP 64-256-256-10", lambda: mlp(256)),
    Net("attention-only, width 16", language(16, 16, 32, heads=2)),
    Net("attention-only, width 32", language(32, 64, 128)),
    Net("attention-only, width 64", language(64, 64, 256)),
    Net("attention-only, width 128", language(128, 128, 1024, heads=8)),
)
"""The models, from 300 parameters to 0.4 million."""


def seconds_per_gradient(posterior: LocalPosterior, chains_per_call: int, draws: int) -> float:
    """CPU seconds a chain and step, set-up and first step left out."""
    marks: list[float] = []

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "draws" and done in (1, total):
            marks.append(time.process_time())

    sample(
        posterior,
        SGLD(1e-9),
        chains=CHAINS,
        draws=draws,
        warmup=0,
        gradient="minibatch",
        chains_per_call=chains_per_call,
        progress=progress,
        throw=False,
    )
    return (marks[1] - marks[0]) / (CHAINS * (draws - 1))


def measure(net: Net, rounds: int) -> dict[str, Any]:
    """Both ways of running, interleaved."""
    torch.manual_seed(0)
    model, data, loss = net.make()
    posterior = LocalPosterior.from_model(model, data, loss=loss)
    guess = seconds_per_gradient(posterior, 1, draws=5)
    draws = max(5, min(400, int(SECONDS / (CHAINS * guess))))
    loop, call = [], []
    for _ in range(rounds):
        loop.append(seconds_per_gradient(posterior, 1, draws))
        call.append(seconds_per_gradient(posterior, CHAINS, draws))
    ratios = [a / b for a, b in zip(loop, call, strict=True)]
    return {
        "name": net.name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "batch_size": auto_batch_size(posterior),
        "product": auto_batch_size(posterior)
        * losses_per_example(posterior)
        * sum(p.numel() for p in model.parameters()),
        "loop_us": 1e6 * median(loop),
        "call_us": 1e6 * median(call),
        "gain": median(ratios),
        "gain_least": min(ratios),
        "gain_most": max(ratios),
    }


def vectorize(out: Path, rounds: int) -> None:
    """Measure all models, print the table, write `overhead_vectorize.{json,md}`."""
    torch.set_num_threads(1)
    lines = [
        "# Chains in a loop, or in one vectorized call",
        "",
        f"Written by `python -m benchmarks.overhead --vectorize`. {CHAINS} chains, one thread; "
        "microseconds of CPU time a gradient; gain = loop / call, the median over rounds, and "
        "least–most. "
        f"`germ.plan.VECTORIZE_BELOW` is {VECTORIZE_BELOW:,} parameters × losses in a batch.",
        "",
        "| model | parameters | batch | parameters × losses | loop | one call | gain |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    print("\n".join(lines))
    rows = []
    for net in NETS:
        row = measure(net, rounds)
        rows.append(row)
        lines.append(
            f"| {row['name']} | {row['parameters']:,} | {row['batch_size']} "
            f"| {row['product'] / 1e6:.1f}M "
            f"| {row['loop_us']:.0f} | {row['call_us']:.0f} "
            f"| **{row['gain']:.2f}** ({row['gain_least']:.2f}–{row['gain_most']:.2f}) |"
        )
        print(lines[-1], flush=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / "overhead_vectorize.json").write_text(json.dumps(rows, indent=1) + "\n")
    (out / "overhead_vectorize.md").write_text("\n".join(lines) + "\n")
