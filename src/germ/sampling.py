"""`sample()`: the only loop. It draws batches, asks for gradients, steps, and writes down."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from germ import heat
from germ.errors import SamplingFailed, Status
from germ.kernels import GradientKernel, SharedBatches, cat_states, make_kernel, split_state
from germ.losses import uniform_loss
from germ.plan import Plan, auto_chains_per_call
from germ.posterior import LocalPosterior
from germ.preparing import open_sink, resolve
from germ.recording import Observables, Recorder
from germ.samplers import BAOAB
from germ.samples import Sink
from germ.setup import (
    MAX_ATTEMPTS,
    AnySampler,
    Progress,
    descent,
    gradient_heat,
    more_careful,
    restore_setup,
    save_setup,
    set_up,
)
from germ.stopping import BUDGET, DRAWS, PRECISION, Stopping

BLOCK_STEPS = 64
"""Most steps between looks at the chains' health; series leave the device in such blocks."""

BLOCK_SECONDS = 2.0
"""A block of slow steps ends sooner, so that an interruption loses little."""

COMMIT_SECONDS = 20.0
"""Time between durable points of a stored run, or twenty times what the last one took."""

NUM_COOLINGS, COOLING_PAIRS = 8, 2
"""Times during warmup that gradient noise is measured anew, and pairs of batches each."""


def sample(
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
            preconditioned (`germ.calibrate.calibrate`), or its Metropolis-corrected relative
            `GHMC` where every gradient sees all the data.
        chains: Number of chains; all start at w*. None is 4, or up to 32 where all the data are
            seen at every step and cost next to nothing.
        draws: Kept draws a chain, or the least of them; None is 1000, or 200 where examples are
            sequences.
        warmup: Steps before the first draw, in no average; None is half as many as draws span.
        thin: Steps from one draw to the next.
        precision: Go on after `draws` until the standard error of λ̂ is at most this share of |λ̂|.
            `"auto"` is 0.025 where `draws` is None and no look at all where it is given; None
            never looks.
        max_draws: The most draws a chain, whatever the precision; None is 4 × `draws`.
        batch_size: Examples a batch; n or more is the full data. None is `auto_batch_size`, which
            `"auto"` enlarges where gradient noise would heat the chains.
        gradient: `"anchored"` (control variate at w*) or `"minibatch"`.
        share_batches: All chains see one batch a step, and so share the anchor's gradient.
        chains_per_call: Chains in one vectorized gradient call; 1 is a loop; None decides by size.
        observables: Functions of the model, or `germ.types.DrawObservable`s, evaluated at each
            draw: traced, or folded when paired with an accumulator:
            `{"norm": f, "moments": (g, Moments())}`.
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
        among them `statuses`, one a chain, and `stopped`: `"draws"`, `"precision"`, or `"budget"`
        where the precision was not reached.

    Raises:
        GermError: A setting is out of range.
        SamplingFailed: A chain became NaN, diverged or got stuck, and `throw` is true.
    """
    posterior.check_unchanged()
    plan = resolve(
        posterior, sampler, chains=chains, draws=draws, warmup=warmup, thin=thin,
        batch_size=batch_size, gradient=gradient, share_batches=share_batches,
        chains_per_call=chains_per_call, seed=seed, precision=precision, max_draws=max_draws,
    )  # fmt: skip
    observables = observables or {}
    sink = open_sink(
        posterior, sampler, plan, observables, store,
        fresh=fresh, resume=resume, provenance=provenance,
    )  # fmt: skip
    try:
        if sink.complete:
            samples = sink.read()
        else:
            vectorize = chains_per_call is None
            tell = progress or _silent
            loop = Loop(posterior, sampler, plan, observables, sink, tell, vectorize)
            loop.go()
            while loop.wants_another_attempt:
                loop = loop.again()
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


class Loop:
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
        earlier: Loop | None = None,
        *,
        first_chain: int = 0,
        batches: SharedBatches | None = None,
    ) -> None:
        self.arguments = (posterior, sampler, plan, observables, sink, progress, vectorize)
        self.first_chain = first_chain
        self.batches = batches
        self.posterior = posterior
        self.recorder = Recorder(posterior, plan, observables)
        self.sink = sink
        self.progress = progress
        self.auto = isinstance(sampler, str)
        self.started = time.monotonic()
        self.earlier_seconds = 0.0
        commit = sink.last_commit()
        self.step, saved = (0, None) if commit is None else commit
        if saved is not None:
            self.setup = restore_setup(saved, sampler, posterior, plan)
        elif earlier is not None:
            self.setup = more_careful(earlier.setup)
        else:
            self.setup = set_up(posterior, sampler, plan, progress)
        plan = replace(plan, batch_size=self.setup.batch_size)
        self.stopping = Stopping(plan.draws, plan.max_draws, plan.precision)
        self.differences = np.empty((plan.chains, 0))
        self.stopped = ""
        self.cooled = 0
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
            # What a ladder shares has to be computed apart from any rung's own chains.
            together=batches is None and 1 < plan.chains <= plan.chains_per_call,
            seed=plan.seed,
        )
        if saved is None:
            anchor = posterior.anchor
            starts = [anchor.expand(len(chains), -1).clone() for chains in plan.groups]
            self.states = [self.kernel.start(start) for start in starts]
            self.earlier_gradients = self.setup.num_gradients
            if earlier is not None:
                self.earlier_gradients = earlier.num_gradients
                self.earlier_seconds = earlier.seconds
        else:
            fields = {k.removeprefix("chain/"): v for k, v in saved.items() if "chain/" in k}
            fields = {k: v.to(posterior.anchor.device) for k, v in fields.items()}
            self.states = split_state(self.setup.sampler.state_type, fields, plan.groups)
            self.earlier_gradients = int(saved["num_gradients"])
            self.earlier_seconds = float(saved["seconds"])
            self.differences = saved["differences"].numpy().copy()
            self.cooled = int(saved["cooled"])
            self.recorder.restore(saved)

    def again(self) -> Loop:
        """The same run from its first step, with a shorter step."""
        self.sink.restart()
        return Loop(*self.arguments, self, first_chain=self.first_chain, batches=self.batches)

    def go(self) -> None:
        """Every step that is left."""
        for _ in self.walk():
            pass

    def walk(self) -> Iterator[int]:
        """Every step that is left, in blocks, with a commit now and then; yields before each."""
        plan = self.plan
        if self.step == 0 and self.sink.durable:
            self._commit()  # the set-up, which on a large model took minutes
        last_commit, interval = time.monotonic(), COMMIT_SECONDS
        while not self._is_over():
            if self.step in self._coolings and self.step != self.cooled:
                self._cool(self._coolings.index(self.step))
            # A block never straddles the end of warmup: its rows go to one series; nor a look at
            # the precision.
            phase = "warmup" if self.step < plan.warmup else "draws"
            end = plan.warmup if phase == "warmup" else self._next_look()
            begun = (self.step, list(self.states), dict(self.recorder.summaries))
            try:
                yield from self._block(phase, end)
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
            if block and phase == "draws" and plan.precision is not None:
                self.differences = np.append(self.differences, block["loss_difference"], axis=1)
            if not any(status.ok for status in self.recorder.statuses):
                return
            if self.wants_another_attempt:
                return
            if self.sink.durable and time.monotonic() - last_commit > interval:
                began = time.monotonic()
                self._commit()
                last_commit = time.monotonic()
                interval = max(COMMIT_SECONDS, 20 * (last_commit - began))

    def _block(self, phase: str, end: int) -> Iterator[int]:
        until = time.monotonic() + BLOCK_SECONDS
        ahead = [step for step in self._coolings if step > self.step]
        end = min(self.step + BLOCK_STEPS, end, *ahead)
        while self.step < end:
            yield self.step
            self._one_step(phase)
            self.step += 1
            self._tell(phase)
            if time.monotonic() > until:
                return

    def _next_look(self) -> int:
        """The step at which the run may end."""
        plan = self.plan
        num_draws = max(0, -(-(self.step - plan.warmup) // plan.thin))
        return plan.steps_for(self.stopping.next_mark(num_draws))

    def _is_over(self) -> bool:
        """Whether enough was drawn, and why."""
        plan = self.plan
        if self.step <= plan.warmup or self.step < plan.steps_for(plan.draws):
            return False
        if self.step >= plan.steps_for(plan.max_draws):
            self.stopped = DRAWS if plan.precision is None else BUDGET
        num_draws = self.differences.shape[1]
        shared = self.kernel.has_shared_noise
        if num_draws in self.stopping.marks() and self.step == plan.steps_for(num_draws):
            if self.stopping.reached(self.differences, shared_batches=shared):
                self.stopped = PRECISION
        return bool(self.stopped)

    @property
    def wants_another_attempt(self) -> bool:
        """Whether a chain ran away from a sampler that germ chose: it chooses a shorter step."""
        failed = not all(status.ok for status in self.recorder.statuses)
        return failed and self.auto and self.setup.attempt < MAX_ATTEMPTS

    @property
    def _coolings(self) -> tuple[int, ...]:
        """Steps before which gradient noise is measured anew, as chains get further out."""
        plan = self.plan
        noisy = isinstance(self.kernel, GradientKernel) and not self.kernel.gradients.full_batch
        if not (self.auto and noisy):
            return ()
        marks = (round(plan.warmup * i / NUM_COOLINGS) for i in range(1, NUM_COOLINGS + 1))
        return tuple(sorted({mark for mark in marks if mark > 0}))

    def _cool(self, number: int) -> None:
        """Take the heat of gradient noise, as it is here, out of the injected noise.

        It is measured at chain 0, for all: so a chain does not depend on how many there are.
        """
        kernel, sampler = self.kernel, self.setup.sampler
        assert isinstance(kernel, GradientKernel) and isinstance(sampler, BAOAB)
        place = self.states[0].position[:1]
        noise = heat.noise(
            kernel.gradients, place, sampler.preconditioner, COOLING_PAIRS, key=number + 1
        )
        found = sampler.step_size * noise
        if not found.isfinite().all():
            return  # The chain has run away; the recorder will say so.
        if sampler.cooling is not None:
            # The mean over the latest places; older ones were nearer to w*, where there is less.
            found = sampler.cooling + (found - sampler.cooling) / min(number + 2, NUM_COOLINGS // 2)
        sampler = replace(sampler, cooling=found)
        self.setup = replace(self.setup, sampler=sampler)
        kernel.sampler = sampler
        self.cooled = self.step

    def _one_step(self, phase: str) -> None:
        plan, step = self.plan, self.step
        shared = (self.batches or SharedBatches()).of(self.kernel, step)
        is_draw = phase == "draws" and plan.is_draw(step)
        seen = []
        # One group after the other, from its gradient to its step: no more than one gradient is
        # ever held, where a list of them would be as much memory as all chains.
        for i, group in enumerate(plan.groups):
            chains = range(self.first_chain + group.start, self.first_chain + group.stop)
            evaluation = self.kernel.evaluate(
                self.states[i], shared, step, chains,
                with_halves=is_draw and self.recorder.wants_halves,
            )  # fmt: skip
            if phase == "warmup" or plan.is_draw(step):
                seen.append(self.recorder.look(evaluation, self.states[i]))
            if is_draw:
                seen[-1] |= self.recorder.observe(evaluation, self.states[i], group, step)
            if step < plan.max_steps - 1:  # nothing will be seen of where the last would lead
                self.states[i] = self.kernel.advance(self.states[i], evaluation, step, chains)
            del evaluation
        if seen:
            self.recorder.row(seen)

    def _tell(self, phase: str) -> None:
        plan = self.plan
        if phase == "warmup":
            self.progress("warmup", self.step, plan.warmup)
        else:
            end = self._next_look() if self.step >= plan.num_steps else plan.num_steps
            self.progress("draws", self.step - plan.warmup, end - plan.warmup)

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
        state["cooled"] = self.cooled
        state["differences"] = torch.from_numpy(self.differences)
        self.sink.commit(self.step, state)

    @property
    def seconds(self) -> float:
        """Wall-clock time in all sessions of this run."""
        return self.earlier_seconds + time.monotonic() - self.started

    def _uniform_loss(self) -> float:
        posterior = self.posterior
        example = posterior.batch(torch.zeros(1, dtype=torch.long))
        with torch.no_grad():
            # As an argument: a shortened posterior's batches are known to it alone.
            return posterior.apply(posterior.anchor, partial(uniform_loss, posterior.loss), example)

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
            "uniform_loss": self._uniform_loss(),
            "sampler": type(self.setup.sampler).__name__,
            "step_size": float(getattr(self.setup.sampler, "step_size", float("nan"))),
            "reasons": self.setup.reasons,
            "shared_batches": self.kernel.has_shared_noise,
            "batch_size": plan.batch_size,
            "gradient": plan.gradient,
            "thin": plan.thin,
            "warmup": plan.warmup,
            "descent": descent(self.setup, posterior),
            "gradient_heat": gradient_heat(self.setup, posterior),
            "precision": plan.precision,
            "stopped": self.stopped,
            "seed": plan.seed,
            "chains_per_call": plan.chains_per_call,
            "num_gradients": self.num_gradients,
            "seconds": self.seconds,
            "statuses": statuses,
        }
        complete = any(status.ok for status in self.recorder.statuses)
        results = self.recorder.results() if complete else {}
        pooled = self.recorder.pooled() if complete else {}
        self.sink.finish(attrs, results, pooled)
        return self.sink.read()
