"""What the loop asks of a sampler: evaluate where the chains stand, then move them.

A gradient sampler takes the gradient it is handed. A Metropolis sampler asks for the potential
itself; where its chains stand, loss and gradient are known already.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch

from germ import rng
from germ.gradients import AnchorPass, BatchAtAnchor, Evaluation, FullPotential, Gradients
from germ.posterior import LocalPosterior
from germ.types import MetropolisSampler, Positions, Sampler


@runtime_checkable
class Kernel(Protocol):
    """Both kinds of sampler as the loop sees them."""

    @property
    def num_gradients(self) -> int:
        """Gradients of a batch evaluated so far."""
        ...

    @property
    def has_shared_noise(self) -> bool:
        """Whether chains see the same minibatches, so that their errors are correlated."""
        ...

    def start(self, positions: Positions) -> Any:
        """The state of chains at `positions`."""
        ...

    def shared(self, step: int) -> BatchAtAnchor | None:
        """What all chains share at a step."""
        ...

    def evaluate(
        self,
        state: Any,
        shared: BatchAtAnchor | None,
        step: int,
        chains: range,
        *,
        with_halves: bool = False,
    ) -> Evaluation:
        """Loss, its difference from w*, and ∇U, where `chains` stand."""
        ...

    def advance(self, state: Any, evaluation: Evaluation, step: int, chains: range) -> Any:
        """The chains' state one step later."""
        ...


@dataclass
class GradientKernel:
    """A sampler moved by estimated gradients."""

    sampler: Sampler
    gradients: Gradients
    seed: int

    @property
    def num_gradients(self) -> int:
        """Gradients of a batch evaluated so far."""
        return self.gradients.num_gradients

    @property
    def has_shared_noise(self) -> bool:
        """Whether chains see the same minibatches."""
        return self.gradients.shared and not self.gradients.full_batch

    def start(self, positions: Positions) -> Any:
        """The state of chains at `positions`."""
        return self.sampler.init(positions)

    def shared(self, step: int) -> BatchAtAnchor | None:
        """The step's batch, where chains share it."""
        gradients = self.gradients
        return gradients.draw(step) if gradients.shared or gradients.full_batch else None

    def evaluate(
        self,
        state: Any,
        shared: BatchAtAnchor | None,
        step: int,
        chains: range,
        *,
        with_halves: bool = False,
    ) -> Evaluation:
        """From the step's batch."""
        drawn = self.gradients.draw(step, chains) if shared is None else shared
        return self.gradients.at(state.position, drawn, with_halves=with_halves)

    def advance(self, state: Any, evaluation: Evaluation, step: int, chains: range) -> Any:
        """One update."""
        noise = rng.normal(self.seed, chains, step, state.position)
        return self.sampler.step(state, evaluation.grad, noise)


@dataclass
class MetropolisKernel:
    """A sampler that evaluates the full-data potential and accepts or rejects."""

    sampler: MetropolisSampler
    potential: FullPotential
    seed: int

    @property
    def num_gradients(self) -> int:
        """Gradients of a batch evaluated so far."""
        return self.potential.num_gradients

    @property
    def has_shared_noise(self) -> bool:
        """False: the data are always all the data."""
        return False

    def start(self, positions: Positions) -> Any:
        """The state of chains at `positions`, their potential known."""
        return self.sampler.init_at(positions, self.potential)

    def shared(self, step: int) -> BatchAtAnchor | None:
        """Nothing: the data are always all the data."""
        return None

    def evaluate(
        self,
        state: Any,
        shared: BatchAtAnchor | None,
        step: int,
        chains: range,
        *,
        with_halves: bool = False,
    ) -> Evaluation:
        """From what the state knows: ΔL = (U − γ/2·‖w − w*‖²)/nβ."""
        posterior: LocalPosterior = self.potential.posterior
        squared = (state.position - posterior.anchor).double().square().sum(1)
        if posterior.nbeta > 0:
            quadratic = 0.5 * posterior.localization * squared
            difference = (state.potential - quadratic) / posterior.nbeta
        else:
            control = FullPotential(
                posterior.with_(nbeta=1.0, localization=0.0),
                self.potential.anchor,
                self.potential.batch_size,
            )
            difference, _ = control(state.position)
        return Evaluation(
            self.potential.anchor.loss + difference,
            difference,
            state.grad,
            state.position - posterior.anchor,
            difference[:, None].expand(-1, 2) if with_halves else None,
        )

    def advance(self, state: Any, evaluation: Evaluation, step: int, chains: range) -> Any:
        """One proposal and its test."""
        noise = rng.normal(self.seed, chains, step, state.position)
        uniform = rng.uniform(self.seed, chains, step, noise)
        return self.sampler.step_with(state, self.potential, noise, uniform)


@dataclass
class SharedBatches:
    """Lets runs that go in step, a ladder of nβ, share each batch and the anchor's gradient on it.

    Neither depends on nβ or γ. Runs share what they would have drawn alone, to the bit.

    Attributes:
        latest: By the size of the batch: a step, and what was drawn at it.
    """

    latest: dict[int, tuple[int, BatchAtAnchor | None]] = field(default_factory=dict)

    def of(self, kernel: Kernel, step: int) -> BatchAtAnchor | None:
        """What `kernel` would draw for all its chains at `step`."""
        if not isinstance(kernel, GradientKernel):
            return kernel.shared(step)
        size = kernel.gradients.batch_size
        if self.latest.get(size, (None, None))[0] != step:
            self.latest[size] = (step, kernel.shared(step))
        return self.latest[size][1]


def make_kernel(
    sampler: Sampler | MetropolisSampler,
    posterior: LocalPosterior,
    anchor: AnchorPass,
    *,
    batch_size: int,
    gradient: str,
    share_batches: bool,
    together: bool,
    seed: int,
) -> Kernel:
    """The kernel that fits `sampler`."""
    if isinstance(sampler, MetropolisSampler):
        return MetropolisKernel(sampler, FullPotential(posterior, anchor, batch_size), seed)
    gradients = Gradients(posterior, anchor, batch_size, seed, gradient, share_batches, together)
    return GradientKernel(sampler, gradients, seed)


def cat_states(states: list[Any]) -> dict[str, torch.Tensor]:
    """One tensor a field, all chains, whatever groups they ran in."""
    return {f: torch.cat([getattr(s, f) for s in states]) for f in states[0]._fields}


def split_state(kind: type, fields: dict[str, torch.Tensor], groups: list[range]) -> list[Any]:
    """The inverse of `cat_states`."""
    return [kind(**{k: v[g.start : g.stop].clone() for k, v in fields.items()}) for g in groups]
