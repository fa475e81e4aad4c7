"""Train an attention-only transformer on text, saving checkpoints on a log-spaced schedule.

    python -m germ.zoo.train --out runs/bundled                    # the model that germ ships
    python -m germ.zoo.train --out runs/mine --text a.txt b.txt.xz --tokenizer tokenizer.json

Every batch holds the same number of windows of each domain. A run that was killed continues where
it last saved when it is started again with the same command; batches are keyed by (seed, step), so
it then takes the very steps that it would have taken.
"""

import argparse
import functools
import json
import lzma
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from germ.errors import GermError
from germ.zoo import bundled
from germ.zoo.attention_only import PRESETS, AttentionOnly, save_checkpoint

# One long row of tokens for each domain.
Streams = Mapping[str, Tensor]

REPORT_EVERY = 20
"""Steps between reports of progress."""


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Args:
        num_steps: optimizer steps.
        batch_size: windows in a batch, split evenly over the domains.
        lr: greatest learning rate.
        warmup: steps over which it rises linearly from zero; it then falls to zero as a cosine.
        weight_decay: AdamW's, on the matrices only.
        beta1: decay of AdamW's mean of gradients.
        beta2: decay of AdamW's mean of squared gradients.
        clip: greatest gradient norm.
        num_checkpoints: checkpoints to keep, step 0 and the last among them (at early steps, where
            a log-spaced schedule has several to a step, fewer are kept).
        eval_every: steps between evaluations, each of which also saves the state to resume from.
        eval_windows: contexts of each domain and split to evaluate on.
        bf16: compute in bfloat16 where autocast does so (weights stay float32).
        seed: of the first weights and of the batches.
    """

    num_steps: int = 12_000
    batch_size: int = 16
    lr: float = 4.5e-3
    warmup: int = 300
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    clip: float = 1.0
    num_checkpoints: int = 32
    eval_every: int = 1000
    eval_windows: int = 32
    bf16: bool = False
    seed: int = 0


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Return the learning rate of a step: linear warmup, then a cosine down to zero."""
    if step < settings.warmup:
        return settings.lr * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.num_steps - settings.warmup)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * done))


def checkpoint_steps(num_steps: int, num_checkpoints: int) -> list[int]:
    """Return step 0 and log-spaced steps from 1 to the last, rounded and without repeats."""
    spaced = np.geomspace(1, num_steps, num_checkpoints - 1)
    return sorted({0, num_steps, *(round(float(step)) for step in spaced)})


def draw_batch(streams: Streams, context: int, settings: TrainSettings, step: int) -> Tensor:
    """Draw the batch of a step: windows at random places, as many from each domain.

    Args:
        streams: one row of tokens for each domain.
        context: tokens in a window.
        settings: for the batch size and the seed.
        step: the batch depends on the seed and on this, and on nothing else.

    Returns:
        Tokens, int64, (about batch_size, context).
    """
    rng = np.random.default_rng((settings.seed, step))
    each = max(1, settings.batch_size // len(streams))
    windows = []
    for stream in streams.values():
        starts = rng.integers(len(stream) - context + 1, size=each)
        windows += [stream[start : start + context] for start in starts.tolist()]
    return torch.stack(windows)


def next_token_loss(model: AttentionOnly, windows: Tensor) -> Tensor:
    """Return the mean cross-entropy of the next token, in nats."""
    logits = model(windows)[:, :-1]
    return F.cross_entropy(logits.flatten(0, 1).float(), windows[:, 1:].flatten())


@torch.no_grad()
def evaluate(model: AttentionOnly, streams: Streams, num_windows: int) -> dict[str, float]:
    """Return the loss on each domain, on contexts spread evenly over it, in nats per token."""
    losses = {}
    device = model.unembed.weight.device
    for name, stream in streams.items():
        contexts = stream[: len(stream) // model.config.context * model.config.context]
        contexts = contexts.reshape(-1, model.config.context)
        chosen = np.linspace(0, len(contexts) - 1, min(num_windows, len(contexts))).astype(int)
        rows = contexts[torch.from_numpy(chosen)].to(device)
        losses[name] = next_token_loss(model, rows).item()
    return losses


def make_optimizer(model: AttentionOnly, settings: TrainSettings) -> torch.optim.AdamW:
    """Return AdamW that decays matrices but neither norms nor biases."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, settings.lr, (settings.beta1, settings.beta2), fused=True)


def fit(
    model: AttentionOnly,
    train: Streams,
    heldout: Streams,
    settings: TrainSettings,
    out: Path,
    stop_after: int | None = None,
    say: Callable[[str], None] = lambda _: None,
    report: Callable[[int, int], None] = lambda *_: None,
) -> None:
    """Train a model, where its weights lie, and write checkpoints, a log and a state to resume.

    Args:
        model: trained in place; replaced by what `out` holds if a run is there already.
        train: tokens to train on, by domain.
        heldout: tokens to evaluate on, by domain.
        settings: how to train.
        out: folder of `stepNNNNNN.safetensors`, `log.jsonl` and `state.pt`.
        stop_after: leave after this step as if killed there, to be resumed (for tests and demos).
        say: is told, at evaluations, where the run is and how it does.
        report: is told (step, steps), now and then.

    Raises:
        GermError: if `out` holds a run with other settings, or a domain is shorter than a context.
    """
    for name, stream in [*train.items(), *heldout.items()]:
        if len(stream) < model.config.context:
            raise GermError(
                f"domain {name!r} has {len(stream)} tokens, fewer than one context of "
                f"{model.config.context}: give more text"
            )
    out.mkdir(parents=True, exist_ok=True)
    optimizer = make_optimizer(model, settings)
    step = resume(model, optimizer, settings, out)
    if step:
        say(f"resuming at step {step}")
    device = model.unembed.weight.device
    save_at = set(checkpoint_steps(settings.num_steps, settings.num_checkpoints))
    began, first = time.monotonic(), step

    while True:
        last = step == settings.num_steps
        if last or step in save_at:
            save_checkpoint(model, out / bundled.checkpoint_name(step), step)
        if last or step in save_at or step % settings.eval_every == 0:
            losses = {
                "train": evaluate(model, train, settings.eval_windows),
                "heldout": evaluate(model, heldout, settings.eval_windows),
            }
            record(out, step, losses)
            seconds = (time.monotonic() - began) / max(1, step - first)
            say(describe(step, settings.num_steps, losses, seconds))
        if last or step % settings.eval_every == 0:
            save_state(model, optimizer, settings, step, out)
        if last or step % REPORT_EVERY == 0:
            report(step, settings.num_steps)
        if last or step == stop_after:
            return

        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        windows = draw_batch(train, model.config.context, settings, step).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.bf16):
            loss = next_token_loss(model, windows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        optimizer.zero_grad()
        step += 1


def save_state(
    model: AttentionOnly,
    optimizer: torch.optim.Optimizer,
    settings: TrainSettings,
    step: int,
    out: Path,
) -> None:
    """Write all that `resume` needs, whole or not at all."""
    state = {
        "settings": asdict(settings) | {"model": asdict(model.config)},
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, out / "state.pt.part")
    os.replace(out / "state.pt.part", out / "state.pt")


def resume(
    model: AttentionOnly, optimizer: torch.optim.Optimizer, settings: TrainSettings, out: Path
) -> int:
    """Take up what an earlier run left in `out`; return the step it had reached, or 0.

    Raises:
        GermError: if the earlier run had other settings.
    """
    if not (out / "state.pt").exists():
        return 0
    place = model.unembed.weight.device
    state = torch.load(out / "state.pt", weights_only=True, map_location=place)
    wanted = asdict(settings) | {"model": asdict(model.config)}
    differ = [key for key in wanted if wanted[key] != state["settings"].get(key)]
    if differ:
        there = state["settings"]
        came = ", ".join(f"{key}: {wanted[key]!r}, there {there.get(key)!r}" for key in differ)
        raise GermError(f"{out} holds a run with other settings ({came}): choose another folder")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]


def record(out: Path, step: int, losses: dict[str, dict[str, float]]) -> None:
    """Put a line into the log, in place of what a killed run may have written past it."""
    log = out / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    kept = [line for line in lines if json.loads(line)["step"] < step]
    part = out / "log.jsonl.part"
    part.write_text("\n".join([*kept, json.dumps({"step": step, **losses})]) + "\n")
    os.replace(part, log)


def describe(step: int, num_steps: int, losses: dict[str, dict[str, float]], seconds: float) -> str:
    """Return a line for people: where the run is and how it does."""
    train, heldout = (np.mean(list(losses[split].values())) for split in ("train", "heldout"))
    each = " ".join(f"{name} {loss:.3f}" for name, loss in losses["heldout"].items())
    left = seconds * (num_steps - step) / 60
    return (
        f"step {step:6d}/{num_steps}  train {train:.4f}  heldout {heldout:.4f} ({each})"
        f"  {seconds * 1e3:.0f} ms/step, {left:.0f} min left"
    )


def read_streams(paths: list[Path], tokenizer: Tokenizer) -> tuple[Streams, Streams]:
    """Read text files, a domain each: the first nine tenths to train on, the rest held out.

    Raises:
        GermError: if a file cannot be read as UTF-8 text, or two would have the same name.
    """
    train, heldout = {}, {}
    for path in paths:
        name = path.name.split(".")[0]  # the domain
        if name in train:
            raise GermError(f"two text files are called {name!r}: rename one of them")
        try:
            opened = lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb")
            with opened:
                text = opened.read().decode("utf-8")
        except (OSError, lzma.LZMAError, UnicodeDecodeError) as error:
            raise GermError(f"cannot read text from {path}: {error}") from error
        row = torch.tensor(tokenizer.encode(text).ids)
        cut = len(row) * 9 // 10
        train[name], heldout[name] = row[:cut], row[cut:]
    return train, heldout


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description="Train an attention-only transformer.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write, or to resume")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="bundled", help="model sizes")
    parser.add_argument("--text", type=Path, nargs="+", help="text files (default: the bundled)")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json (default: the bundled)")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda where there is one")
    parser.add_argument("--threads", type=int, default=1, help="torch's compute threads")
    for name, default in asdict(TrainSettings()).items():
        flag = "--" + name.replace("_", "-")
        if isinstance(default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=default)
        else:
            parser.add_argument(flag, type=type(default), default=default)
    given = vars(parser.parse_args())
    try:
        run(given)
    except GermError as error:
        parser.exit(2, f"error: {error}\n")


def run(given: dict[str, Any]) -> None:
    """Train as the parsed command line says."""
    settings = TrainSettings(**{name: given[name] for name in asdict(TrainSettings())})

    torch.set_num_threads(given["threads"])
    if given["tokenizer"]:
        tokenizer = Tokenizer.from_file(str(given["tokenizer"]))
    else:
        tokenizer = bundled.tokenizer()
    if given["text"]:
        train, heldout = read_streams(given["text"], tokenizer)
    else:
        train = {name: bundled.stream(name, "train") for name in bundled.domains()}
        heldout = {name: bundled.stream(name, "heldout") for name in bundled.domains()}
    torch.manual_seed(settings.seed)
    model = AttentionOnly(PRESETS[given["preset"]])
    print(f"{model.num_parameters():,} parameters, domains: {', '.join(train)}")
    fit(
        model.to(given["device"]), train, heldout, settings, given["out"],
        say=functools.partial(print, flush=True),
    )  # fmt: skip


if __name__ == "__main__":
    main()
