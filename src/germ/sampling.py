"""`sample()`: the only loop. It draws batches, asks for gradients, steps, and writes down."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from germ import heat
from germ.errors import SamplingFailed, Status
from germ.kernels import GradientKernel, cat_states, make_kernel, split_state
from germ.plan import Plan, auto_batch_size, auto_chains_per_call, auto_draws
from germ.posterior import LocalPosterior
from germ.recording import Observables, Recorder, observables_identity
from germ.samples import MemorySink, Sink, StoredSink
from germ.setup import (
    AnySampler,
    Progress,
    restore_setup,
    sampler_identity,
    save_setup,
    set_up,
)
from germ.samplers import BAOAB
from germ.store import Run
from germ.types import MetropolisSampler

BLOCK_STEPS = 64
"""Most steps between looks at the chains' health; series leave the device in such blocks."""

BLOCK_SECONDS = 2.0
"""A block of slow steps ends sooner, so that an interruption loses little."""

COMMIT_SECONDS = 20.0
"""Time between durable points of a stored run, or twenty times what the last one took."""

COOLING_PAIRS = 8
"""Pairs of batches that gradient noise is measured with, halfway through warmup and at its end."""


def sample(
    posterior: LocalPosterior,
    sampler: str | AnySampler = "auto",
    *,
    chains: int = 4,
    draws: int | None = None,
    warmup: int | None = None,
    thin: int = 1,
    batch_size: int | None = None,
    gradient: str = "anchored",
    share_batches: bool = True,
    chains_per_call: int | None = None,
    observables: Observables | None = None,
    seed: int = 0,
    store: str | Path | None = None,
    fresh: bool = False,
    resume: bool = True,
    provenance: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    throw: bool = True,
) -> xr.Dataset:
    """Draw from a local posterior.

    Noise is keyed by (seed, chain, step) and batches by (seed, step): the same seed gives the same
    bits, chain i is the same chain whatever the number of chains, and a stored run that was
    killed goes on to the bit.

    Args:
        posterior: What to sample.
        sampler: How; `"auto"` measures curvature and gradient noise around w* and takes `BAOAB`,
            preconditioned (`germ.calibrate.calibrate`).
        chains: Number of chains; all start at w*.
        draws: Kept draws a chain; None is 1000, or 200 where examples are sequences.
        warmup: Steps before the first draw, in no average; None is half as many as draws span.
        thin: Steps from one draw to the next.
        batch_size: Examples a batch; n or more is the full data. None is `auto_batch_size`, which
            `"auto"` enlarges where gradient noise would heat the chains.
        gradient: `"anchored"` (control variate at w*) or `"minibatch"`.
        share_batches: All chains see one batch a step, and so share the anchor's gradient.
        chains_per_call: Chains in one vectorized gradient call; 1 is a loop; None decides by size.
        observables: Functions of the model evaluated at each draw: traced, or folded when paired
            with an accumulator: `{"norm": f, "moments": (g, Moments())}`.
        seed: The seed.
        store: Where to stream the run (`germ.store.Run`), or None to keep it in memory.
        fresh: Replace the run that is stored there, whatever it holds.
        resume: Go on with an interrupted run; False refuses to.
        provenance: More to write down with a stored run that does not decide its numbers, such as
            the names of model and data.
        progress: Told (stage, done, total).
        throw: Whether a failed chain raises.

    Returns:
        A dataset with dims `chain, draw`: `loss`, `loss_difference`, `virial`, `distance`, the
        observables; `warmup_*` with dims `chain, warmup_step`; attributes that say how it was made,
        among them `statuses`, one a chain.

    Raises:
        GermError: A setting is out of range.
        SamplingFailed: A chain became NaN, diverged or got stuck, and `throw` is true.
    """
    posterior.check_unchanged()
    draws = auto_draws(posterior) if draws is None else draws
    auto_batch = batch_size is None and isinstance(sampler, str)
    if batch_size is None:
        batch_size = auto_batch_size(posterior)
    plan = Plan(
        chains=chains,
        draws=draws,
        warmup=((draws - 1) * thin + 1) // 2 if warmup is None else warmup,
        thin=thin,
        batch_size=min(batch_size, posterior.data.num_examples),
        gradient="minibatch" if isinstance(sampler, MetropolisSampler) else gradient,
        share_batches=share_batches,
        chains_per_call=1 if chains_per_call is None else chains_per_call,
        seed=seed,
        auto_batch=auto_batch,
    )
    observables = observables or {}
    identity = sampler_identity(sampler)
    if store is None:
        sink: Sink = MemorySink()
    else:
        run = Run.open(
            store,
            identity={
                "posterior": posterior.identity(),
                "sampler": identity,
                "plan": plan.identity(),
                "observables": observables_identity(posterior, observables),
            },
            fresh=fresh,
            resume=resume,
            provenance={"device": str(posterior.anchor.device), **(provenance or {})},
        )
        sink = StoredSink(run)
    try:
        if sink.complete:
            samples = sink.read()
        else:
            vectorize = chains_per_call is None
            loop = _Loop(
                posterior, sampler, plan, observables, sink, progress or _silent, vectorize
            )
            loop.go()
            samples = loop.finish()
    finally:
        sink.close()
    statuses = [Status[name] for name in samples.attrs["statuses"]]
    if throw and not all(status.ok for status in statuses):
        raise SamplingFailed(statuses, samples)
    return samples


def _silent(stage: str, done: int, total: int) -> None:
    """No progress is shown."""


def _vectorize_where_it_pays(posterior: LocalPosterior, plan: Plan) -> Plan:
    batch = posterior.batch(torch.zeros(plan.batch_size, dtype=torch.long))
    together = auto_chains_per_call(posterior, plan.chains, batch)
    return replace(plan, chains_per_call=together)


class _Loop:
    """One run: its set-up, its steps, its commits."""

    def __init__(
        self,
        posterior: LocalPosterior,
        sampler: str | AnySampler,
        plan: Plan,
        observables: Observables,
        sink: Sink,
        progress: Progress,
        vectorize: bool,
    ) -> None:
        self.posterior = posterior
        self.recorder = Recorder(posterior, plan, observables)
        self.sink = sink
        self.progress = progress
        self.auto = isinstance(sampler, str)
        self.started = time.monotonic()
        self.earlier_seconds = 0.0
        commit = sink.last_commit()
        self.step, saved = (0, None) if commit is None else commit
        self.setup = (
            set_up(posterior, sampler, plan, progress)
            if saved is None
            else restore_setup(saved, sampler, posterior)
        )
        plan = replace(plan, batch_size=self.setup.batch_size)
        if vectorize:
            plan = _vectorize_where_it_pays(posterior, plan)
        self.plan = plan
        self.kernel = make_kernel(
            self.setup.sampler,
            posterior,
            self.setup.anchor,
            batch_size=plan.batch_size,
            gradient=plan.gradient,
            share_batches=plan.share_batches,
            together=1 < plan.chains <= plan.chains_per_call,
            seed=plan.seed,
        )
        if saved is None:
            anchor = posterior.anchor
            starts = [anchor.expand(len(chains), -1).clone() for chains in plan.groups]
            self.states = [self.kernel.start(start) for start in starts]
            self.earlier_gradients = self.setup.num_gradients
        else:
            fields = {k.removeprefix("chain/"): v for k, v in saved.items() if "chain/" in k}
            fields = {k: v.to(posterior.anchor.device) for k, v in fields.items()}
            self.states = split_state(self.setup.sampler.state_type, fields, plan.groups)
            self.earlier_gradients = int(saved["num_gradients"])
            self.earlier_seconds = float(saved["seconds"])
            self.recorder.restore(saved)

    def go(self) -> None:
        """Every step that is left, in blocks, with a commit now and then."""
        plan = self.plan
        if self.step == 0 and self.sink.durable:
            self._commit()  # the set-up, which on a large model took minutes
        last_commit, interval = time.monotonic(), COMMIT_SECONDS
        while self.step < plan.num_steps:
            if self.step in self._coolings:
                self._cool(self._coolings.index(self.step))
            # A block never straddles the end of warmup: its rows go to one series.
            phase = "warmup" if self.step < plan.warmup else "draws"
            end = plan.warmup if phase == "warmup" else plan.num_steps
            begun = (self.step, list(self.states), dict(self.recorder.summaries))
            try:
                self._block(phase, end)
            except KeyboardInterrupt:
                # The half-made block is dropped; the run stands where the block began.
                self.step, self.states, self.recorder.summaries = begun
                self.recorder.take()
                self._commit()
                raise
            block = self.recorder.take()
            self.recorder.judge(block)
            if block:
                self.sink.append(block, phase)
            if not any(status.ok for status in self.recorder.statuses):
                return
            if self.sink.durable and time.monotonic() - last_commit > interval:
                began = time.monotonic()
                self._commit()
                last_commit = time.monotonic()
                interval = max(COMMIT_SECONDS, 20 * (last_commit - began))

    def _block(self, phase: str, end: int) -> None:
        until = time.monotonic() + BLOCK_SECONDS
        ahead = [step for step in self._coolings if step > self.step]
        end = min(self.step + BLOCK_STEPS, end, *ahead)
        while self.step < end:
            self._one_step(phase)
            self.step += 1
            self._tell(phase)
            if time.monotonic() > until:
                return

    @property
    def _coolings(self) -> tuple[int, ...]:
        """Steps before which gradient noise is measured anew, now that chains are further out."""
        plan = self.plan
        if not self.auto or plan.batch_size >= self.posterior.data.num_examples:
            return ()
        return tuple(sorted({plan.warmup // 2, plan.warmup} - {0}))

    def _cool(self, number: int) -> None:
        """Take the heat of gradient noise, as it is here, out of the injected noise."""
        kernel, sampler = self.kernel, self.setup.sampler
        assert isinstance(kernel, GradientKernel) and isinstance(sampler, BAOAB)
        noise = sum(
            len(chains) / self.plan.chains
            * heat.noise(
                kernel.gradients, state.position, sampler.preconditioner, COOLING_PAIRS, key=number + 1
            )
            for chains, state in zip(self.plan.groups, self.states, strict=True)
        )
        sampler = replace(sampler, cooling=sampler.step_size * noise)
        self.setup = replace(self.setup, sampler=sampler)
        kernel.sampler = sampler

    def _one_step(self, phase: str) -> None:
        plan, step = self.plan, self.step
        shared = self.kernel.shared(step)
        if phase == "draws" and plan.is_draw(step):
            self.recorder.observe(self.states)
        seen = []
        # One group after the other, from its gradient to its step: no more than one gradient is
        # ever held, where a list of them would be as much memory as all chains.
        for i, chains in enumerate(plan.groups):
            evaluation = self.kernel.evaluate(self.states[i], shared, step, chains)
            if phase == "warmup" or plan.is_draw(step):
                seen.append(self.recorder.look(evaluation, self.states[i]))
            if step < plan.num_steps - 1:  # nothing will be seen of where the last would lead
                self.states[i] = self.kernel.advance(self.states[i], evaluation, step, chains)
            del evaluation
        if seen:
            self.recorder.row(seen)

    def _tell(self, phase: str) -> None:
        plan = self.plan
        if phase == "warmup":
            self.progress("warmup", self.step, plan.warmup)
        else:
            self.progress("draws", self.step - plan.warmup, plan.num_steps - plan.warmup)

    @property
    def num_gradients(self) -> int:
        """Gradients of a batch evaluated in all sessions of this run, set-up included."""
        return self.earlier_gradients + self.kernel.num_gradients

    def _commit(self) -> None:
        fields = cat_states(self.states)
        state = {f"chain/{name}": tensor.cpu() for name, tensor in fields.items()}
        state |= self.recorder.state()
        state |= save_setup(self.setup, auto=self.auto)
        state |= {"num_gradients": self.num_gradients, "seconds": self.seconds}
        self.sink.commit(self.step, state)

    @property
    def seconds(self) -> float:
        """Wall-clock time in all sessions of this run."""
        return self.earlier_seconds + time.monotonic() - self.started

    def finish(self) -> xr.Dataset:
        """Close the series and describe the run."""
        plan, posterior = self.plan, self.posterior
        self.recorder.judge_stillness()
        statuses = [status.name for status in self.recorder.statuses]
        attrs = {
            "num_coordinates": posterior.num_coordinates,
            "num_examples": posterior.data.num_examples,
            "nbeta": posterior.nbeta,
            "localization": posterior.localization,
            "anchor_loss": self.setup.anchor.loss,
            "sampler": type(self.setup.sampler).__name__,
            "step_size": float(getattr(self.setup.sampler, "step_size", float("nan"))),
            "reasons": self.setup.reasons,
            "shared_batches": self.kernel.has_shared_noise,
            "batch_size": plan.batch_size,
            "gradient": plan.gradient,
            "thin": plan.thin,
            "seed": plan.seed,
            "chains_per_call": plan.chains_per_call,
            "num_gradients": self.num_gradients,
            "seconds": self.seconds,
            "statuses": statuses,
        }
        complete = any(status.ok for status in self.recorder.statuses)
        results = self.recorder.results() if complete else {}
        self.sink.finish(attrs, results)
        return self.sink.read()
