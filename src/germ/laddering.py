"""A ladder of (nβ, γ) sampled as one batch of chains that go in step.

Every rung has a metric and a step size of its own, measured at its own nβ, and is a run of its own:
an ordinary data set that every estimator takes, stored and resumed like any other. What the rungs
share is what does not depend on nβ and γ: at each step one batch, and the anchor's gradient on it.
R rungs of C chains cost R·C + 1 gradients a step, in place of R·(C + 1).

Chain i of a rung has the number `first_chain` + i, which follows from (nβ, γ): noise is independent
from rung to rung, and a rung is the same run whatever ladder it is part of. Batches are common, and
so is what noise of theirs is left after anchoring.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from germ import fingerprint
from germ.errors import GermError
from germ.kernels import SharedBatches
from germ.posterior import LocalPosterior
from germ.preparing import open_sink, resolve
from germ.recording import Observables
from germ.samples import Sink
from germ.sampling import Loop
from germ.setup import AnySampler

CHAINS_APART = 1 << 20
"""Numbers of chains that a rung keeps for itself."""

RungProgress = Callable[[int, str, int, int], None]
"""Told (rung, stage, done, total)."""


@dataclass
class _Rung:
    """A run of the ladder: done, or a loop and where it stands."""

    sink: Sink
    loop: Loop | None = None
    steps: Iterator[int] | None = None

    def begin(self, loop: Loop) -> None:
        self.loop, self.steps = loop, loop.walk()

    def advance(self) -> None:
        """One step; where a chain ran away, back to the first one, with shorter steps."""
        assert self.steps is not None and self.loop is not None
        if next(self.steps, None) is not None:
            return
        if self.loop.wants_another_attempt:
            self.begin(self.loop.again())
            return
        self.loop.finish()
        self.steps = None

    def interrupt(self) -> None:
        """Commit what there is, as at Ctrl-C."""
        if self.loop is not None and self.steps is not None:
            with contextlib.suppress(KeyboardInterrupt, StopIteration):
                self.steps.throw(KeyboardInterrupt)  # type: ignore[attr-defined]


def ladder(
    posterior: LocalPosterior,
    rungs: Sequence[tuple[float, float]],
    sampler: str | AnySampler = "auto",
    *,
    stores: Sequence[str | Path | None] | None = None,
    fresh: bool = False,
    resume: bool = True,
    provenance: Mapping[str, Any] | None = None,
    observables: Observables | None = None,
    progress: RungProgress | None = None,
    **settings: Any,
) -> list[xr.Dataset]:
    """Sample one w* at several (nβ, γ) at once.

    Args:
        posterior: Around which w*; its own nβ and γ are not used.
        rungs: (nβ, γ) of each, all different.
        sampler: As for `germ.sample`; `"auto"` is calibrated once a rung.
        stores: Where each rung is stored, or None.
        fresh: Replace the runs that are stored there.
        resume: Go on with interrupted runs.
        provenance: More to write down with stored runs.
        observables: As for `germ.sample`.
        progress: Told (rung, stage, done, total).
        settings: The other settings of `germ.sample` that make its plan: chains, draws, warmup,
            seed and so on.

    Returns:
        A data set a rung, as of `germ.sample`, with coordinates `rung`, `nbeta` and `localization`
        on `chain`. A chain that failed says so in `statuses`; nothing is raised.

    Raises:
        GermError: A setting is out of range, or a (nβ, γ) comes twice.
    """
    if not rungs or len(set(rungs)) < len(rungs):
        raise GermError(f"expected different rungs (nbeta, localization); got {list(rungs)}")
    posterior.check_unchanged()
    places = [None] * len(rungs) if stores is None else list(stores)
    if len(places) != len(rungs):
        raise GermError(f"expected a store for each of {len(rungs)} rungs; got {len(places)}")
    shared, observables = SharedBatches(), observables or {}
    found: list[_Rung] = []
    try:
        for number, ((nbeta, gamma), store) in enumerate(zip(rungs, places, strict=True)):
            at = posterior.with_(nbeta=nbeta, localization=gamma)
            plan = resolve(at, sampler, **settings)
            first = first_chain(nbeta, gamma)
            sink = open_sink(
                at, sampler, plan, observables, store,
                fresh=fresh, resume=resume, provenance=provenance, first_chain=first,
            )  # fmt: skip
            found.append(_Rung(sink))
            if not sink.complete:
                loop = Loop(
                    at, sampler, plan, observables, sink, _teller(progress, number),
                    settings.get("chains_per_call") is None, first_chain=first, batches=shared,
                )  # fmt: skip
                found[-1].begin(loop)
        _go(found)
        samples = [rung.sink.read() for rung in found]
    finally:
        for rung in found:
            rung.sink.close()
    return [
        data.assign_coords(
            rung=("chain", [number] * data.sizes["chain"]),
            nbeta=("chain", [nbeta] * data.sizes["chain"]),
            localization=("chain", [gamma] * data.sizes["chain"]),
        )
        for number, (data, (nbeta, gamma)) in enumerate(zip(samples, rungs, strict=True))
    ]


def first_chain(nbeta: float, localization: float) -> int:
    """The number of a rung's first chain, which its noise is keyed by."""
    digest = fingerprint.of_json({"nbeta": float(nbeta), "localization": float(localization)})
    return (int(digest[:10], 16) + 1) * CHAINS_APART


def _go(rungs: Sequence[_Rung]) -> None:
    """Those that are behind first; those at the same step one after the other."""
    try:
        while active := [rung for rung in rungs if rung.steps is not None]:
            behind = min(rung.loop.step for rung in active if rung.loop is not None)
            for rung in active:
                if rung.loop is not None and rung.loop.step == behind:
                    rung.advance()
    except KeyboardInterrupt:
        for rung in rungs:
            rung.interrupt()
        raise


def _teller(progress: RungProgress | None, number: int) -> Callable[[str, int, int], None]:
    if progress is None:
        return lambda stage, done, total: None
    return lambda stage, done, total: progress(number, stage, done, total)
