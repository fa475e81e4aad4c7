"""`germ experiment dln`: λ̂ against λ on random deep linear networks, after Lau et al.

Lau, Furman, Wang, Murfet & Wei (arXiv 2308.12108) validate the estimator where λ is known: on deep
linear networks of up to 10⁸ parameters, started at the true weights. Here the same generator
(`rank_reduced`), the published SGLD at its published settings, and beside it germ's own choice of
sampler with its error bars.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import germ
from germ import LocalPosterior, Status
from germ.errors import GermError
from germ.experiments.deep_linear_page import page_of
from germ.experiments.rank_reduced import Network, SizeClass, draw, examples
from germ.report.page import Page
from germ.samplers import SGLD

NAME = "dln"
SUMMARY = "λ̂ against the exact λ of random deep linear networks (Lau et al. 2023)"

BATCH_SIZE = 500
LOCALIZATION = 1.0
BURN_IN = 0.9
"""Share of the published run before what is averaged."""

PUBLISHED, AUTO = "published SGLD", "germ auto"

CLASSES = {
    size.name: size
    for size in (
        SizeClass("1K", (5, 50), (2, 5), 100_000, 5e-7, 10_000),
        SizeClass("10K", (5, 100), (2, 10), 100_000, 5e-7, 10_000),
        SizeClass("1M", (50, 500), (2, 10), 1_000_000, 1e-7, 50_000),
        SizeClass("10M", (100, 1000), (2, 20), 1_000_000, 2e-8, 50_000),
        SizeClass("40M", (500, 2000), (2, 20), 1_000_000, 2e-8, 50_000),
        SizeClass("100M", (500, 3000), (2, 40), 1_000_000, 2e-8, 50_000),
    )
}
"""The published classes and the settings of their runs (README and run names of the authors' code);
100 networks each."""


@dataclass(frozen=True)
class Settings:
    """What to run.

    Attributes:
        classes: Classes, each with its number of networks.
        draws: Draws of each chain of germ's own sampler.
        devices: Where to run, the first that there is.
    """

    classes: tuple[SizeClass, ...]
    draws: int = 1000
    devices: tuple[str, ...] = ("cpu",)


def _some(name: str, num_nets: int) -> SizeClass:
    return SizeClass(**{**asdict(CLASSES[name]), "num_nets": num_nets})


PRESETS = {
    "small": Settings((_some("1K", 24), _some("10K", 6))),
    "paper": Settings(tuple(CLASSES.values()), devices=("cuda", "cpu")),
}
"""`small`: 24 and 6 networks of the two least classes, on two cores; `paper`: all classes as
published, which needs a GPU and days."""

COST = {
    "small": "20 minutes of CPU time, 1 GiB (estimated)",
    "paper": "about 2 days, 16 GiB on one GPU (estimated): networks of up to 100 million weights",
}


def run(
    settings: Settings, out: Path, *, seed: int, progress: Callable[[str, int, int], None]
) -> Page:
    """Run or go on with the experiment.

    Args:
        settings: A preset.
        out: Each network's result is kept in `out/runs`, and taken from there.
        seed: The first network's; the others count on from it.
        progress: Told (stage, done, total).

    Returns:
        The page.

    Raises:
        GermError: `out/runs` holds results of other settings, or something else by their names.
    """
    device = next((d for d in settings.devices if d != "cuda" or torch.cuda.is_available()), "cpu")
    rows = []
    for size in settings.classes:
        for number in range(size.num_nets):
            progress(f"networks of {size.name}", number, size.num_nets)
            rows.append(_kept(size, seed + number, settings.draws, Path(out) / "runs", device))
        progress(f"networks of {size.name}", size.num_nets, size.num_nets)
    return page_of(rows, settings.classes, seed)


def _kept(size: SizeClass, seed: int, draws: int, folder: Path, device: str) -> dict[str, Any]:
    """The result of one network, from its file or measured."""
    path = folder / f"{size.name}-{seed:03d}.json"
    wanted = {**asdict(size), "num_nets": None, "seed": seed, "draws": draws}
    wanted = json.loads(json.dumps(wanted))
    if path.exists():
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            kept = row["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise GermError(f"{path} is damaged ({error}): delete it, and run again") from error
        if kept != wanted:
            raise GermError(
                f"expected {path} to hold a run of these settings; it holds one of others: choose "
                "another folder, or delete it"
            )
        return row
    row = {"settings": wanted, **measure(draw(size, seed), size, seed, draws, device)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(row, indent=1, ensure_ascii=False), encoding="utf-8")
        part.replace(path)  # whole or not at all
    except OSError as error:
        raise GermError(f"cannot write {path}: {error.strerror or error}") from error
    return row


def measure(
    network: Network, size: SizeClass, seed: int, draws: int, device: str = "cpu"
) -> dict[str, Any]:
    """Both estimates of one network, with what theory says of it; JSON-able.

    Args:
        network: The network, at its true weights.
        size: Its class: n and the published settings.
        seed: Of the data and of both samplers.
        draws: Draws of each chain of germ's own sampler.
        device: Where to run.
    """
    inputs, targets = (x.to(device) for x in examples(network, size.num_examples, seed))
    posterior = LocalPosterior.from_model(
        network.model.to(device),
        (inputs, targets),
        loss="mse",
        nbeta=size.num_examples / math.log(size.num_examples),
        localization=LOCALIZATION,
    )
    known = network.local or network.least
    return {
        "class": size.name,
        "seed": seed,
        "widths": list(network.widths),
        "num_parameters": network.num_parameters,
        "rank": network.rank,
        "layer_ranks": list(network.layer_ranks),
        "least": network.least.to_dict(),
        "local": None if network.local is None else network.local.to_dict(),
        "undecided": network.undecided,
        "nbeta": posterior.nbeta,
        "expected": known.expected(posterior.nbeta),
        "estimates": {
            PUBLISHED: _published(posterior, size, seed),
            AUTO: _auto(posterior, seed, draws),
        },
    }


def _published(posterior: LocalPosterior, size: SizeClass, seed: int) -> dict[str, Any]:
    """One chain of SGLD; the mean minibatch loss of the last tenth, less the loss at w*.

    The published trace has each batch's loss after the step taken on it, here it is before; and
    batches are drawn afresh here, where the authors' are passes over the shuffled data.
    """
    warmup = int(BURN_IN * size.num_steps)
    samples = germ.sample(
        posterior,
        SGLD(size.step_size),
        chains=1,
        warmup=warmup,
        draws=size.num_steps - warmup,
        batch_size=BATCH_SIZE,
        gradient="minibatch",
        seed=seed,
        throw=False,
    )
    found = _spent(samples)
    if found["statuses"] == ["OK"]:
        rise = float(samples["loss"].values.mean()) - samples.attrs["anchor_loss"]
        found["value"] = posterior.nbeta * rise
    return found


def _auto(posterior: LocalPosterior, seed: int, draws: int) -> dict[str, Any]:
    """Germ's own choice of sampler, step, batch and warmup."""
    samples = germ.sample(posterior, draws=draws, seed=seed, throw=False)
    found = _spent(samples)
    if all(Status[name].ok for name in found["statuses"]):
        estimate = germ.llc(samples)
        found |= {
            name: float(getattr(estimate, name))
            for name in ("value", "standard_error", "ess", "rhat", "virial", "virial_error")
        }
        found["warnings"] = list(estimate.warnings)
    return {name: _finite(value) for name, value in found.items()}


def _spent(samples: xr.Dataset) -> dict[str, Any]:
    return {
        "value": None,
        "statuses": list(samples.attrs["statuses"]),
        "num_gradients": int(samples.attrs["num_gradients"]),
        "seconds": float(samples.attrs["seconds"]),
    }


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and not np.isfinite(value) else value
