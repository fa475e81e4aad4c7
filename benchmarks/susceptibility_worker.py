"""One contender of `benchmarks.susceptibility`, in a process of its own.

    python -m benchmarks.susceptibility_worker '{"case": ..., "contender": ..., ...}'

Runs a job, keeps its χ and standard errors in `OUT.npz`, and prints what it took as JSON, on one
thread. Both contenders' errors are of one kind: each chain gives an (almost) independent estimate
of a covariance, and their spread is the error (`germ.estimate.response`).
"""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import shutil
import sys
import time
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from benchmarks.susceptibility_cases import (
    BATCH_SIZE,
    CASES,
    CHAINS,
    DRAWS,
    LOCALIZATION,
    NBETA,
    SAMPLING_BATCHES,
    STEP_SIZE,
)

PEER_OBSERVABLE_SEED = 1337
"""With which the peer puts the examples of a probe in an order of its own."""

FULL = "all weights"

DATA = "all_data"
"""The peer's name of what φ is the loss of; some names collide with its own."""


@dataclass(frozen=True)
class Job:
    """What a worker does.

    Attributes:
        case: A case of `susceptibility_cases`.
        contender: `"germ"` or `"peer"`.
        folder: Where the trained model is kept, and runs are written.
        out: Where χ and its errors go, without `.npz`.
        components: Other components than the case's.
        num_examples: Other than the case's number of examples.
        step_size, draws, burnin, thin: The peer's ε, draws a chain, steps before and between them.
        sampling_batches: Batches of which the peer takes φ.
        full: Whether the peer also makes the run of all weights that its centring wants.
        settings: More arguments of `germ.susceptibility`.
    """

    case: str
    contender: str
    folder: str
    out: str
    components: str = ""
    num_examples: int = 0
    step_size: float = STEP_SIZE
    draws: int = DRAWS
    burnin: int = 0
    thin: int = 1
    sampling_batches: int = SAMPLING_BATCHES
    full: bool = True
    settings: dict[str, Any] = field(default_factory=dict)


def now() -> tuple[float, float]:
    """Wall-clock and CPU seconds."""
    return time.perf_counter(), time.process_time()


def run_germ(job: Job, model: nn.Module, data: torch.Tensor, probes: dict[str, torch.Tensor]):
    """`germ.susceptibility`, stored, with germ's own settings beyond nβ and γ."""
    from germ.responding import susceptibility

    case = CASES[job.case]
    folder = Path(job.folder) / "germ-run"
    shutil.rmtree(folder, ignore_errors=True)
    marks: dict[str, tuple[float, float]] = {}

    def tell(done: int, total: int, component: str, *_: Any) -> None:
        marks.setdefault(component, now())

    began = now()
    found = susceptibility(
        model,
        {"input_ids": data},
        probes={name: {"input_ids": rows} for name, rows in probes.items()},
        components=job.components or case.components,
        nbeta=NBETA,
        localization=LOCALIZATION,
        folder=folder,
        progress=tell,
        **{"chains": CHAINS, **job.settings},
    )
    ended = now()
    result = found.data
    seconds = _since([began, *list(marks.values())[1:], ended])
    arrays = {
        "component": result.component.values,
        "chi": result.chi.values,
        "error": result.standard_error.values,
    }
    took = {
        "seconds": dict(zip(map(str, result.component.values), seconds, strict=False)),
        "wall": ended[0] - began[0],
        "cpu": ended[1] - began[1],
        "bytes": size_of(folder),
        "attrs": {k: result.attrs[k] for k in ("methods", "least_draws", "settings")},
    }
    return arrays, took


def _since(marks: list[tuple[float, float]]) -> list[float]:
    return [b[0] - a[0] for a, b in itertools.pairwise(marks)]


def run_peer(job: Job, model: nn.Module, data: torch.Tensor, probes: dict[str, torch.Tensor]):
    """`devinterp.slt.sampling.sample` once a component, as its `susceptibilities` does it."""
    from datasets import Dataset, disable_progress_bars
    from devinterp.slt.sampling import sample  # pyright: ignore[reportMissingImports]

    from germ.components import expand

    disable_progress_bars()
    case = CASES[job.case]
    masks: dict[str, Any] = {
        name: {parameter: mask.float() for parameter, mask in cast(Any, restriction).items()}
        for name, restriction in expand(model, job.components or case.components).items()
    }
    if job.full:
        masks = {FULL: None, **masks}

    def as_dataset(rows: torch.Tensor) -> Dataset:
        return Dataset.from_dict({"input_ids": rows.tolist()}).with_format("torch")

    dataset = as_dataset(data)
    observed = {name: (as_dataset(x), len(x) // BATCH_SIZE) for name, x in probes.items()}
    observed = {DATA: (dataset, job.sampling_batches), **observed}
    seconds: dict[str, float] = {}
    cpu = num_bytes = 0
    traces: dict[str, dict[str, np.ndarray]] = {}
    for name, mask in masks.items():
        path = Path(job.folder) / "peer-run.zarr"
        shutil.rmtree(path, ignore_errors=True)
        began = now()
        tree = sample(
            model,
            dataset,
            observed,
            lr=job.step_size,
            n_beta=NBETA,
            localization=LOCALIZATION,
            param_masks=mask,
            num_chains=CHAINS,
            num_draws=job.draws,
            num_burnin_steps=job.burnin,
            num_steps_bw_draws=job.thin,
            batch_size=BATCH_SIZE,
            device="cpu",
            output_path=path,
        )
        ended = now()
        seconds[name], cpu = ended[0] - began[0], cpu + ended[1] - began[1]
        num_bytes += size_of(path)
        traces[name] = {key: tree[f"loss_{key}"].values for key in observed}
        traces[name]["init"] = tree["init_loss"].values
        print(f"{name}: {seconds[name]:.1f} s", file=sys.stderr, flush=True)
        shutil.rmtree(path, ignore_errors=True)
    full = traces.pop(FULL, None)
    found = [_peer_chi(trace, probes, full) for trace in traces.values()]
    arrays = {key: np.stack([part[key] for part in found]) for key in found[0]}
    arrays["component"] = np.array(list(traces))
    took = {
        "seconds": seconds,
        "wall": sum(seconds.values()),
        "cpu": cpu,
        "bytes": num_bytes,
        "attrs": asdict(job),
    }
    return arrays, took


def _peer_chi(
    trace: dict[str, np.ndarray], probes: dict[str, torch.Tensor], full: Any
) -> dict[str, np.ndarray]:
    """χ from the peer's traces, as a covariance and with its own centring, with errors."""
    level = trace[DATA].astype(np.float64).mean((2, 3))  # (chains, draws)
    num = len(level)
    x = level - trace["init"].mean()
    shares, own = [], []
    for name, rows in probes.items():
        losses = _in_order(trace[name], len(rows))
        mean_x = x.mean(1, keepdims=True)
        gaps = level[..., None] - losses
        within = (x[..., None] * gaps).mean(1) - mean_x * gaps.mean(1)
        between = (mean_x - mean_x.mean()) * (gaps.mean(1) - gaps.mean((0, 1)))
        shares.append(within + num / (num - 1) * between)
        if full is not None:
            baseline = full[DATA].mean() - _in_order(full[name], len(rows)).mean((0, 1))
            own.append((x[..., None] * gaps).mean(1) - mean_x * baseline)
    found = {"chi": np.concatenate(shares, 1)}
    if own:
        found["own"] = np.concatenate(own, 1)
    return {
        key: value
        for name, z in found.items()
        for key, value in (
            (name, z.mean(0)),
            ("error" if name == "chi" else "own_error", z.std(0, ddof=1) / num**0.5),
        )
    }


def _in_order(trace: np.ndarray, num_examples: int) -> np.ndarray:
    """Losses (chains, draws, tokens) of a probe, its examples in their own order again."""
    order = random.Random(PEER_OBSERVABLE_SEED).sample(range(num_examples), trace.shape[2])
    ordered = np.empty_like(trace, dtype=np.float64)
    ordered[:, :, order] = trace
    return ordered.reshape(*trace.shape[:2], -1)


def size_of(path: Path) -> int:
    """Bytes in the files below a path."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def main() -> None:
    """Do the job."""
    job = Job(**json.loads(sys.argv[1]))
    # Libraries print what they like; the reply keeps the real standard output to itself.
    reply = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    case = CASES[job.case]
    model = case.make(Path(job.folder))
    data, probes = case.data()[: job.num_examples or None], case.probes()
    run = run_germ if job.contender == "germ" else run_peer
    arrays, took = run(job, model, data, probes)
    np.savez(f"{job.out}.npz", **cast(Any, arrays))
    took["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    took["variance"] = mean_squares(arrays["error"], arrays["component"])
    if "own_error" in arrays:
        took["own_variance"] = mean_squares(arrays["own_error"], arrays["component"])
    print(json.dumps(took, default=str), file=reply, flush=True)


def mean_squares(errors: np.ndarray, components: np.ndarray) -> dict[str, float]:
    """Mean squared standard error over tokens, by component."""
    squares = np.square(errors.astype(np.float64)).mean(1)
    return {str(name): float(value) for name, value in zip(components, squares, strict=True)}


if __name__ == "__main__":
    main()
