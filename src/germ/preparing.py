"""Before a run: its settings resolved, and the place where it is written."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from germ.plan import (
    PATIENCE,
    Plan,
    auto_batch_size,
    auto_chains,
    auto_draws,
    auto_precision,
)
from germ.posterior import LocalPosterior
from germ.recording import Observables, observables_identity
from germ.samples import MemorySink, Sink, StoredSink
from germ.setup import AnySampler, sampler_identity
from germ.store import Run
from germ.types import MetropolisSampler


def resolve(
    posterior: LocalPosterior,
    sampler: str | AnySampler = "auto",
    *,
    chains: int | None = None,
    draws: int | None = None,
    warmup: int | None = None,
    thin: int = 1,
    precision: float | str | None = "auto",
    max_draws: int | None = None,
    batch_size: int | None = None,
    gradient: str = "anchored",
    share_batches: bool = True,
    chains_per_call: int | None = None,
    seed: int = 0,
) -> Plan:
    """The plan of a run from the arguments of `germ.sample`, which explains them.

    Raises:
        GermError: A setting is out of range.
    """
    precision = auto_precision(precision, draws)
    draws = auto_draws(posterior) if draws is None else draws
    if max_draws is None:
        max_draws = draws if precision is None else draws * PATIENCE
    auto_batch = batch_size is None and isinstance(sampler, str)
    if batch_size is None:
        batch_size = auto_batch_size(posterior)
    return Plan(
        chains=auto_chains(posterior, batch_size) if chains is None else chains,
        draws=draws,
        warmup=((draws - 1) * thin + 1) // 2 if warmup is None else warmup,
        thin=thin,
        batch_size=min(batch_size, posterior.data.num_examples),
        gradient="minibatch" if isinstance(sampler, MetropolisSampler) else gradient,
        share_batches=share_batches,
        chains_per_call=1 if chains_per_call is None else chains_per_call,
        seed=seed,
        auto_batch=auto_batch,
        precision=precision,
        max_draws=max_draws,
    )


def open_sink(
    posterior: LocalPosterior,
    sampler: str | AnySampler,
    plan: Plan,
    observables: Observables,
    store: str | Path | None,
    *,
    fresh: bool = False,
    resume: bool = True,
    provenance: Mapping[str, Any] | None = None,
    first_chain: int = 0,
) -> Sink:
    """Memory, or the run on disk, told from any other by what decides its numbers.

    Raises:
        GermError: A setting has no identity, or another run is stored there.
    """
    told = sampler_identity(sampler)  # Refuses what is no sampler, stored or not.
    if store is None:
        return MemorySink()
    identity = {
        "posterior": posterior.identity(),
        "sampler": told,
        "plan": plan.identity(),
        "observables": observables_identity(posterior, observables),
    }
    if first_chain:
        identity["first_chain"] = first_chain
    opened = partial(
        Run.open,
        store,
        identity=identity,
        provenance={"device": str(posterior.anchor.device), **(provenance or {})},
    )
    return StoredSink(opened(fresh=fresh, resume=resume), partial(opened, fresh=True))
