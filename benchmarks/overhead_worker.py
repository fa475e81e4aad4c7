"""One contender of `benchmarks.overhead`, in a process of its own, so that its memory is its own.

    python -m benchmarks.overhead_worker CASE CONTENDER

It says when it is ready; then each line on standard input is a number of draws to run, and each
line on standard output what that took. Times run from gradient to gradient, seen from a hook on the
model, which is the same for every contender and asks nothing of it.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from torch import nn
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from benchmarks.overhead_cases import (
    CASES,
    CHAINS,
    LOCALIZATION,
    NBETA,
    NUM_EXAMPLES,
    STEP_SIZE,
    Case,
)

SKIPPED = 2
"""First gradients of a round that are not timed: caches and allocators fill."""

Run = Callable[[int, Path], None]
"""Runs so many draws of all chains, and stores them at a path."""


class Clock:
    """Notes wall-clock and CPU time at the start of every gradient evaluation."""

    def __init__(self) -> None:
        """A clock without marks."""
        self.gradients: list[tuple[float, float]] = []
        self.begun: tuple[float, float] | None = None
        self.ended: tuple[float, float] | None = None

    def watch(self, model: nn.Module) -> None:
        """Mark each forward pass of `model` that is made for a gradient."""
        marks = self.gradients

        # A plain function: the peer copies the model deeply, and this with it.
        def mark(*_: Any) -> None:
            if torch.is_grad_enabled():
                marks.append(now())

        model.register_forward_pre_hook(mark)

    def reset(self) -> None:
        """Forget all marks."""
        self.gradients.clear()
        self.begun = self.ended = None

    def step(self, stage: str, done: int, total: int) -> None:
        """Time whole steps as germ tells its progress: not the first, and the last to its end."""
        if stage == "draws" and done == 1:
            self.gradients.clear()
            self.begun = now()
        elif stage == "draws" and done == total:
            self.ended = now()

    def per_gradient(self) -> tuple[float, float, int]:
        """Wall-clock and CPU seconds a gradient, and how many gradients they are taken over."""
        if self.begun and self.ended:
            num, begun, ended = len(self.gradients), self.begun, self.ended
        else:
            marks = self.gradients[SKIPPED:]
            num, begun, ended = len(marks) - 1, marks[0], marks[-1]
        return (ended[0] - begun[0]) / num, (ended[1] - begun[1]) / num, num


def now() -> tuple[float, float]:
    """Wall-clock and CPU time, seconds; CPU time counts all threads."""
    return time.perf_counter(), time.process_time()


def make_model(case: Case) -> nn.Module:
    """A GPT-NeoX with random weights, in eval mode and without dropout."""
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=case.vocabulary,
        hidden_size=case.width,
        num_hidden_layers=case.layers,
        num_attention_heads=case.heads,
        intermediate_size=4 * case.width,
        max_position_embeddings=case.context,
    )
    return GPTNeoXForCausalLM(config).eval()


def bare(case: Case, model: nn.Module, tokens: torch.Tensor) -> Run:
    """Forward and backward of germ's own loss, and nothing else: what no sampler can go below."""
    from germ.losses import causal_lm

    def run(draws: int, path: Path) -> None:
        source = torch.Generator().manual_seed(0)
        for _ in range(CHAINS * draws):
            rows = torch.randint(len(tokens), (case.batch_size,), generator=source)
            loss = causal_lm(model, {"input_ids": tokens[rows]}).mean()
            model.zero_grad(set_to_none=True)
            loss.backward()

    return run


def germ(case: Case, model: nn.Module, tokens: torch.Tensor, clock: Clock, name: str) -> Run:
    """`germ.sample`, streamed to a run on disk."""
    from germ.posterior import LocalPosterior
    from germ.samplers import SGLD, Diagonal, LeimkuhlerMatthews
    from germ.sampling import sample

    posterior = LocalPosterior.from_model(
        model, as_dataset(tokens), loss="causal_lm", nbeta=NBETA, localization=LOCALIZATION
    )
    if name == "germ":
        sampler, gradient = SGLD(STEP_SIZE), "minibatch"
    else:
        # One number for all coordinates: the cost is that of any diagonal metric.
        metric = Diagonal(torch.full_like(posterior.anchor, 1 / LOCALIZATION))
        sampler, gradient = LeimkuhlerMatthews(STEP_SIZE * LOCALIZATION, metric), "anchored"

    def run(draws: int, path: Path) -> None:
        sample(
            posterior,
            sampler,
            chains=CHAINS,
            draws=draws,
            warmup=0,
            batch_size=case.batch_size,
            gradient=gradient,
            store=path,
            progress=clock.step,
            throw=False,
        )

    return run


def devinterp(case: Case, model: nn.Module, tokens: torch.Tensor, name: str) -> Run:
    """`devinterp.slt.sampling.sample`, with its own defaults wherever they do not change the job.

    Its README and its quickstart pass the training data as an observable, of which every draw then
    evaluates three batches more; its LLC does not use them.
    """
    from devinterp.slt.sampling import sample  # pyright: ignore[reportMissingImports]

    dataset = as_dataset(tokens)
    observables = {"train": dataset} if name == "devinterp quickstart" else {}

    def run(draws: int, path: Path) -> None:
        sample(
            model,
            dataset,
            observables=observables,
            lr=STEP_SIZE,
            n_beta=NBETA,
            localization=LOCALIZATION,
            num_chains=CHAINS,
            num_draws=draws,
            batch_size=case.batch_size,
            # As many as germ's pass over the data, and not in the time of a gradient.
            num_init_loss_batches=max(1, NUM_EXAMPLES // case.batch_size),
            device="cpu",
            output_path=path,
        )

    return run


def as_dataset(tokens: torch.Tensor) -> Dataset:
    """The tokens as a Hugging Face data set."""
    return Dataset.from_dict({"input_ids": tokens.tolist()}).with_format("torch")


def size_of(path: Path) -> int:
    """Bytes in the files below a path."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def resident_bytes() -> int:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """Most memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def timed_run(run: Run, clock: Clock, draws: int, folder: Path) -> dict[str, Any]:
    """One round: seconds a gradient, seconds of the whole call, bytes it left on disk."""
    path = folder / "run.zarr"
    clock.reset()
    began = now()
    run(draws, path)
    ended = now()
    wall, cpu, num_gradients = clock.per_gradient()
    result = {
        "wall_per_gradient": wall,
        "cpu_per_gradient": cpu,
        "num_gradients": num_gradients,
        "call_wall": ended[0] - began[0],
        "call_cpu": ended[1] - began[1],
        "peak_bytes": peak_bytes(),
        "stored_bytes": size_of(path) if path.exists() else 0,
    }
    shutil.rmtree(path, ignore_errors=True)
    return result


def main() -> None:
    """Serve rounds until standard input ends."""
    case, name = CASES[sys.argv[1]], sys.argv[2]
    # Libraries print what they like; the replies keep the real standard output to themselves.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    disable_progress_bars()

    model = make_model(case)
    tokens = torch.randint(case.vocabulary, (NUM_EXAMPLES, case.context))
    clock = Clock()
    clock.watch(model)
    makers: dict[str, Callable[[], Run]] = {
        "bare": lambda: bare(case, model, tokens),
        "germ": lambda: germ(case, model, tokens, clock, name),
        "germ anchored": lambda: germ(case, model, tokens, clock, name),
        "devinterp": lambda: devinterp(case, model, tokens, name),
        "devinterp quickstart": lambda: devinterp(case, model, tokens, name),
    }
    run = makers[name]()
    gc.collect()
    num_parameters = sum(p.numel() for p in model.parameters())
    ready = {"ready_bytes": resident_bytes(), "num_parameters": num_parameters}
    print(json.dumps(ready), file=replies, flush=True)
    with tempfile.TemporaryDirectory(prefix="germ-overhead-") as folder:
        for line in sys.stdin:
            result = timed_run(run, clock, int(line), Path(folder))
            print(json.dumps(result), file=replies, flush=True)


if __name__ == "__main__":
    main()
