"""From a posterior to a stored run and its estimate: what the command line does once per model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from germ import fingerprint
from germ.errors import GermError, SamplingFailed, Status
from germ.estimate.llc import LLC, llc
from germ.posterior import LocalPosterior
from germ.recording import observables_identity
from germ.sampling import sample
from germ.setup import AnySampler, Progress, sampler_identity
from germ.store import files, reading


@dataclass(frozen=True)
class Measurement:
    """One model on one data set: its LLC, or why there is none, and where its run is.

    Attributes:
        step: Its place in training, a number where there is one.
        model: The model's name.
        data: The data's name.
        status: `"ok"`, `"suspect"` (see the estimate's warnings), or what went wrong.
        estimate: The LLC; None if something went wrong.
        run: The folder of the run; None if there is none.
        stored: Whether the run was found complete, and nothing had to be sampled.
        seconds: Wall-clock time of the sampling, all sessions together.
    """

    step: int | str
    model: str
    data: str
    status: str
    estimate: LLC | None = None
    run: Path | None = None
    stored: bool = False
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return {
            "step": self.step,
            "model": self.model,
            "data": self.data,
            "status": self.status,
            "run": None if self.run is None else str(self.run),
            "stored": self.stored,
            "seconds": self.seconds,
            "estimate": None if self.estimate is None else self.estimate.to_dict(),
        }


def measure(
    posterior: LocalPosterior,
    *,
    model: str,
    data: str,
    step: int | str | None = None,
    sampler: str | AnySampler = "auto",
    store: str | Path | None = None,
    drop_failed: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Measurement:
    """Sample a posterior, or find its run done, and estimate its LLC.

    Args:
        posterior: What to sample.
        model: The model's name.
        data: The data's name.
        step: Its place in training; by default the model's name.
        sampler: As for `germ.sample`.
        store: The folder of the run (see `run_path`); None keeps nothing.
        drop_failed: Leave out chains that failed, and say so, instead of raising.
        progress: Told (stage, done, total).
        settings: More arguments of `germ.sample`: chains, draws, warmup, seed, fresh and so on.

    Returns:
        The measurement, with an estimate.

    Raises:
        GermError: A setting is out of range, or the run cannot be written.
        SamplingFailed: A chain failed and `drop_failed` is false, or all did.
    """
    stored = store is not None and not settings.get("fresh") and is_over(store)
    samples = sample(
        posterior,
        sampler,
        store=store,
        provenance={"model": model, "data": data},
        progress=progress,
        throw=False,
        **settings,
    )
    estimate = estimated(samples, drop_failed=drop_failed)
    return Measurement(
        step=model if step is None else step,
        model=model,
        data=data,
        status=estimate.status,
        estimate=estimate,
        run=None if store is None else Path(store),
        stored=stored,
        seconds=float(samples.attrs["seconds"]),
    )


def estimated(samples: xr.Dataset, *, drop_failed: bool) -> LLC:
    """The LLC of a run whose chains may have failed.

    Args:
        samples: As of `germ.sample`.
        drop_failed: Leave out chains that failed, and say so, instead of raising.

    Raises:
        SamplingFailed: A chain failed and `drop_failed` is false, or all did.
    """
    statuses = [Status[name] for name in samples.attrs["statuses"]]
    ok = [status.ok for status in statuses]
    if not any(ok) or not (all(ok) or drop_failed):
        raise SamplingFailed(statuses, samples)
    return llc(samples, drop_failed=drop_failed)


def run_path(
    folder: str | Path,
    model: str,
    posterior: LocalPosterior,
    sampler: str | AnySampler,
    settings: Mapping[str, Any],
) -> Path:
    """Where in a folder a run belongs: `MODEL-XXXXXXXX.zarr`, from what decides its numbers.

    The same posterior, sampler and settings have the same place, so a run is found again; anything
    else has another. (Should the eight digits ever agree by chance, the store refuses the run.)

    Args:
        folder: The folder.
        model: The model's name, the beginning of the run's.
        posterior: What is sampled.
        sampler: How.
        settings: The other arguments of `germ.sample`.

    Raises:
        GermError: The folder is itself a run.
    """
    if (Path(folder) / files.META).exists():
        raise GermError(f"expected a folder for runs; {folder} is itself a run: give another one")
    # What decides how a run is carried out, and not what comes out, has no place in its name.
    ways = {"fresh", "resume", "chains_per_call", "observables"}
    key = {
        "posterior": posterior.identity(),
        "sampler": sampler_identity(sampler),
        "settings": {name: value for name, value in settings.items() if name not in ways},
        "observables": observables_identity(posterior, settings.get("observables") or {}),
    }
    return Path(folder) / f"{file_stem(model)}-{fingerprint.of_json(key)[:8]}.zarr"


def file_stem(model: str) -> str:
    """A model's name as the beginning of a file's.

    Example:
        >>> file_stem("org/name@step512"), file_stem("runs/step000100.safetensors")
        ('org-name@step512', 'step000100')
        >>> file_stem("examples/digits.py:digits")
        'digits-digits'
    """
    path = Path(model).expanduser()
    if path.exists() or ".py:" in model or path.suffix:
        model = path.absolute().name
    model = re.sub(r"\.(safetensors|gguf|pt|pth|ckpt|bin)$", "", model).replace(".py:", "-")
    return re.sub(r"[^\w.@+-]+", "-", model).strip("-.")[:80] or "model"


def is_over(path: str | Path) -> bool:
    """Whether a run is there and has nothing left to do: it is complete, or has failed."""
    try:
        return reading.read_run(Path(path))["status"] != files.INCOMPLETE
    except GermError:
        return False
