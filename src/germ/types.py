"""The few types and protocols that every part of germ speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

Params = dict[str, Tensor]
"""Parameters by name, as in `nn.Module.named_parameters`."""

Batch = Any
"""A tree (tuple, list, dict) of tensors whose first dimension is the example."""

LossFn = Callable[[Any, Any], Tensor]
"""`loss(model, batch)` → losses of shape `(examples,)` or `(examples, tokens)`, unreduced."""

Observable = Callable[[nn.Module], Tensor]
"""`observable(model)` → a tensor of any fixed shape, evaluated at a draw's weights."""

Draw = Mapping[str, Tensor]
"""What a step's batch says at a draw, of one chain: see `DrawObservable`."""

Positions = Float[Tensor, "chains d"]
"""The moving coordinates of each chain, flat, in the master precision."""

PerChain = Float[Tensor, "chains"]

UniformPairs = Float[Tensor, "2 chains"]
"""For a jitter and an acceptance test of each chain."""


Halves = Float[Tensor, "chains 2"]
"""Of each chain, an estimate from the first and one from the second half of a batch."""


@runtime_checkable
class DrawObservable(Protocol):
    """An observable that also sees what the step's batch says at the draw.

    With an attribute `wants_halves = False` it is not told `halves`, which cost two more gradients
    at w* a draw where gradients are anchored. It may have a method `identity()`, JSON-able, that
    tells it from another; without one it is evaluated at w*, where the batch says nothing, to know
    it by its values.
    """

    def at(self, posterior: Any, position: Tensor, draw: Draw) -> Any:
        """The value at a draw of one chain.

        Args:
            posterior: The `LocalPosterior` that is sampled.
            position: The draw, (d,).
            draw: What the batch says there: `loss`, L_B(w); `loss_difference`, the estimate of
                L_n(w) − L_n(w*), both scalars; `halves` (2,), the same difference from the two
                halves of the batch alone. Given w the halves are independent, so a product of L
                with itself is estimated without the noise of the batch: E[a·b | w] = ΔL(w)².
                And `seed`, `chain` and `step`, whole numbers, for randomness of its own
                (`germ.rng.generator`) that is the same whenever a run goes on.
        """
        ...


@runtime_checkable
class Preconditioner(Protocol):
    """A fixed positive metric D on the moving coordinates; the drift is D∇U, the noise √D ξ."""

    def apply(self, vector: Positions) -> Positions:
        """D·v."""
        ...

    def sqrt(self, vector: Positions) -> Positions:
        """D^(1/2)·v."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """What tells this metric from another: JSON-able, with a content hash of its numbers."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """A sampler knows gradients of U and nothing else: no model, no data.

    Its state is a NamedTuple of tensors whose first dimension is the chain and which has a
    field `position`.
    """

    state_type: ClassVar[type]

    @property
    def preconditioner(self) -> Preconditioner | None:
        """D; None is the identity."""
        ...

    def init(self, position: Positions) -> Any:
        """The state of chains that stand at `position`."""
        ...

    def step(self, state: Any, grad: Positions, noise: Positions) -> Any:
        """One update from the gradient of U at `state.position` and standard normal `noise`."""
        ...


@runtime_checkable
class MetropolisSampler(Protocol):
    """A sampler that asks for the potential itself, and so corrects its own step-size bias.

    Its state also has the fields `potential` (chains,), `grad` (chains, d) and `accepted`.
    """

    state_type: ClassVar[type]

    @property
    def preconditioner(self) -> Preconditioner | None:
        """D, the inverse mass; None is the identity."""
        ...

    @property
    def num_gradients_per_step(self) -> int:
        """Full-data gradients a step."""
        ...

    def init_at(self, position: Positions, potential: Potential) -> Any:
        """The state of chains that stand at `position`."""
        ...

    def step_with(
        self, state: Any, potential: Potential, noise: Positions, uniform: UniformPairs
    ) -> Any:
        """One proposal and its acceptance test; `uniform` is (2, chains)."""
        ...


@runtime_checkable
class Potential(Protocol):
    """The full-data potential U and its gradient."""

    def __call__(self, position: Positions) -> tuple[PerChain, Positions]:
        """U (chains,) and ∇U (chains, d)."""
        ...


@runtime_checkable
class Accumulator(Protocol):
    """Folds a stream of draws into a summary, a NamedTuple of tensors; `merge` is associative."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The names in `result`."""
        ...

    def init(self, value: Any) -> Any:
        """The empty summary of a stream of values like `value`."""
        ...

    def update(self, summary: Any, value: Any) -> Any:
        """The summary with one more draw."""
        ...

    def merge(self, left: Any, right: Any) -> Any:
        """The summary of two streams, one after the other."""
        ...

    def result(self, summary: Any) -> dict[str, Tensor]:
        """The summary in the words of whoever asked."""
        ...
