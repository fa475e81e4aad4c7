"""The command that measures Pythia afresh, run as it is on tiny models of its architecture.

Pythia's checkpoints are revisions (`step0`, `step512`, …) of a GPT-NeoX model on the Hugging Face
hub. Here a hub cache is made with such revisions of a tiny GPT-NeoX with random weights, and `germ
sweep 'NAME@step{…}'` is run against it in a process of its own that may not use the network. This
says that the command works; it says nothing of Pythia.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from germ.errors import GermError

PYTHIA = "EleutherAI/pythia-70m"
LOCAL = "germ-local/random-gpt-neox"
STEPS = (0, 512, 1000)

PUBLISHED_STEPS = (0, 128, 1000, 4000, 10000, 20000, 40000, 80000, 143000)
"""Of the command for Pythia: those of the table in the literature."""


@dataclass(frozen=True)
class Size:
    """Of a sweep.

    Attributes:
        context: Tokens in an example.
        num_examples: Examples.
        batch_size: Of a gradient.
        chains: Chains.
        draws: Draws a chain.
    """

    context: int
    num_examples: int
    batch_size: int
    chains: int = 4
    draws: int = 100


REAL = Size(context=1024, num_examples=4096, batch_size=32)
"""For Pythia: context, batch, chains and draws as published (arXiv 2510.12077)."""

TINY = Size(context=16, num_examples=32, batch_size=16, chains=2, draws=20)


def arguments(
    name: str, steps: Sequence[int], data: Sequence[str], size: Size, out: str
) -> list[str]:
    """The words after `germ` of a sweep over revisions.

    Args:
        name: The model.
        steps: Its steps.
        data: `--data` and what follows it.
        size: How much.
        out: The folder.
    """
    pattern = f"{name}@step{{{','.join(map(str, steps))}}}"
    return [
        "sweep", pattern, "--data", *data,
        "--context", str(size.context), "--num-examples", str(size.num_examples),
        "--nbeta", "30", "--localization", "300", "--batch-size", str(size.batch_size),
        "--chains", str(size.chains), "--draws", str(size.draws), "--control", "--out", out,
    ]  # fmt: skip


def command() -> str:
    """The command for Pythia-70M, for a shell; `pile.jsonl` is a sample of the Pile."""
    words = arguments(PYTHIA, PUBLISHED_STEPS, ["pile.jsonl"], REAL, "runs/pythia-70m")
    quoted = [f"'{word}'" if "{" in word else word for word in ("germ", *words)]
    return " ".join(quoted)


def available() -> bool:
    """Whether transformers is installed."""
    return importlib.util.find_spec("transformers") is not None


def make_cache(folder: Path, steps: Sequence[int], seed: int) -> None:
    """A hub cache with random-weight revisions of a tiny GPT-NeoX.

    Args:
        folder: The cache.
        steps: One revision each; those that are there stay.
        seed: Of the weights.
    """
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    from germ.zoo import bundled

    config = GPTNeoXConfig(
        vocab_size=bundled.tokenizer().get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=0,
    )
    place = folder / ("models--" + LOCAL.replace("/", "--"))
    for step in steps:
        # A commit is forty hexadecimal digits.
        commit = f"{step:040x}"
        target = place / "snapshots" / commit
        reference = place / "refs" / f"step{step}"
        if reference.exists():
            continue
        with torch.random.fork_rng():
            torch.manual_seed(seed * 1_000_003 + step)
            model = GPTNeoXForCausalLM(config)
        # save_pretrained draws progress bars that nobody asked for.
        config.architectures = ["GPTNeoXForCausalLM"]
        config.save_pretrained(target)
        save_file(dict(model.state_dict()), target / "model.safetensors", {"format": "pt"})
        (target / "tokenizer.json").write_text(bundled.tokenizer().to_str(), encoding="utf-8")
        kind = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>"}
        (target / "tokenizer_config.json").write_text(json.dumps(kind), encoding="utf-8")
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit, encoding="utf-8")


def exercise(out: Path, *, seed: int = 0, steps: Sequence[int] = STEPS, size: Size = TINY) -> Any:
    """Run the command on a local cache.

    Args:
        out: The cache is in `out/hub`, the sweep in `out/sweep`; what is there is gone on with.
        seed: Of the weights.
        steps: The revisions.
        size: How much.

    Returns:
        `command`, and `rows`: the lines of the sweep's table.

    Raises:
        GermError: The command fails.
    """
    out = Path(out).absolute()
    try:
        make_cache(out / "hub", steps, seed)
        from germ.zoo import bundled

        text = out / "text.jsonl"
        documents = bundled.documents("speech_sotu", "heldout")
        text.write_text("\n".join(json.dumps({"text": each}) for each in documents[:8]))
    except OSError as error:
        raise GermError(f"cannot write {out}: {error.strerror or error}") from error
    words = arguments(LOCAL, steps, [str(text)], size, str(out / "sweep"))
    # The cache's place is read when huggingface_hub is imported: so in a process of its own.
    surroundings = {
        **os.environ, "HF_HUB_CACHE": str(out / "hub"), "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-m", "germ.cli", *words],
        env=surroundings, capture_output=True, text=True, check=False,
    )  # fmt: skip
    table = out / "sweep" / "sweep.csv"
    if ran.returncode != 0 or not table.exists():
        last = (ran.stderr.strip() or ran.stdout.strip() or "nothing").splitlines()[-1]
        raise GermError(f"expected germ {' '.join(words[:2])} to run; it ended with: {last}")
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kept = ("step", "value", "standard_error", "anchor_loss", "expected_loss", "control", "status")
    return {
        "command": " ".join(["germ", *words]),
        "rows": [{name: row[name] for name in kept} for row in rows],
    }
