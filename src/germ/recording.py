"""What is written down at each step, and what becomes of a chain that fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from germ.errors import GermError, Status
from germ.gradients import Evaluation
from germ.losses import identify
from germ.plan import Plan
from germ.posterior import LocalPosterior
from germ.tree import dot
from germ.types import Accumulator, Draw, DrawObservable, Observable

Block = dict[str, np.ndarray]
Observed = Callable[[nn.Module], Any] | DrawObservable
Observables = Mapping[str, Observable | DrawObservable | tuple[Observed, Accumulator]]

RESERVED = (
    "loss", "loss_difference", "virial", "distance", "acceptance", "temperature", "status",
)  # fmt: skip

RUNAWAY = 100.0
"""A chain has run away when its energy per coordinate, (nβΔL + γ/2·‖w−w*‖²)/d, exceeds this.

In equilibrium it is about 1/2 for a quadratic and less for degenerate directions.
"""

SMALL_DIMENSION = 50
"""Added to d there: in few dimensions the energy of a single draw fluctuates by more than d."""


@runtime_checkable
class Pooling(Protocol):
    """An accumulator whose result is of all chains together, in place of one a chain."""

    def pooled(self, summaries: Sequence[Any]) -> dict[str, Tensor]:
        """The result of the summaries of all good chains."""
        ...


class Recorder:
    """Collects a block of rows for the series of all chains; then hands it over as arrays.

    The series: `loss` L_B(w), `loss_difference` (the estimate of L_n(w) − L_n(w*)), `virial`
    (w − w*)·∇U/d, `distance` ‖w − w*‖, `acceptance` (Metropolis samplers), `temperature` (samplers
    with momentum), and the observables. All are taken at the same weights.
    """

    def __init__(self, posterior: LocalPosterior, plan: Plan, observables: Observables) -> None:
        """Start with empty blocks.

        Raises:
            GermError: An observable has the name of one of the recorder's own series.
        """
        for name in observables:
            if name in RESERVED or not name.isidentifier():
                raise GermError(
                    f"expected an observable's name to be an identifier other than {RESERVED}; "
                    f"got {name!r}"
                )
        self.posterior = posterior
        self.plan = plan
        self.traced: dict[str, Observed] = {}
        self.folded: dict[str, tuple[Observed, Accumulator]] = {}
        for name, observable in observables.items():
            if isinstance(observable, tuple):
                self.folded[name] = observable
            else:
                self.traced[name] = observable
        self.summaries: dict[tuple[str, int], Any] = {}
        self.statuses = [Status.OK] * plan.chains
        # Where each chain was first seen, and whether it was ever seen elsewhere.
        self._first = np.full(plan.chains, np.nan)
        self._moved = np.zeros(plan.chains, dtype=bool)
        self._rows: dict[str, list[list[Tensor]]] = {}
        self._restored: set[tuple[str, int]] = set()
        functions = [*self.traced.values(), *(function for function, _ in self.folded.values())]
        self.wants_halves = any(
            isinstance(function, DrawObservable) and getattr(function, "wants_halves", True)
            for function in functions
        )

    def look(self, evaluation: Evaluation, state: Any) -> dict[str, Tensor]:
        """The series' values of some chains at one step, each (chains,)."""
        moved = evaluation.displacement
        seen = {
            "loss": evaluation.loss,
            "loss_difference": evaluation.difference,
            "virial": dot(moved, evaluation.grad) / self.posterior.num_coordinates,
            "distance": dot(moved, moved).sqrt(),
        }
        for name, kept in (("acceptance", "accepted"), ("temperature", "temperature")):
            if hasattr(state, kept):
                seen[name] = getattr(state, kept)
        return seen

    def row(self, seen: list[dict[str, Tensor]]) -> None:
        """Write down one step of all chains, looked at in groups."""
        for name in seen[0]:
            self._rows.setdefault(name, []).append([part[name] for part in seen])

    def observe(
        self, evaluation: Evaluation, state: Any, chains: range, step: int
    ) -> dict[str, Tensor]:
        """Evaluate the observables at a draw of some chains, each at its own weights.

        Args:
            evaluation: What the step's batch says there.
            state: Where the chains stand.
            chains: Which of the run's chains they are.
            step: Which step it is.

        Returns:
            The traced ones, (chains, …) each; the others are folded.
        """
        traced: dict[str, Tensor] = {}
        with torch.no_grad():
            for name, function in self.traced.items():
                values = [
                    self._value(function, evaluation, state, row, (chain, step)).detach()
                    for row, chain in enumerate(chains)
                ]
                stacked = torch.stack(values)
                if stacked.dtype in (torch.bfloat16, torch.float16):
                    stacked = stacked.float()  # NumPy and Zarr have no bfloat16
                traced[name] = stacked
            for name, (function, accumulator) in self.folded.items():
                for row, chain in enumerate(chains):
                    value = self._value(function, evaluation, state, row, (chain, step))
                    self._fold((name, chain), accumulator, value)
        return traced

    def _value(
        self,
        function: Observed,
        evaluation: Evaluation,
        state: Any,
        row: int,
        when: tuple[int, int],
    ) -> Any:
        position = state.position[row]
        if isinstance(function, DrawObservable):
            draw = draw_of(evaluation, row) | self._when(*when)
            return function.at(self.posterior, position, draw)
        return self.posterior.apply(position, function)

    def _when(self, chain: int, step: int) -> dict[str, Tensor]:
        """What randomness of an observable's own is keyed by."""
        key = {"seed": self.plan.seed, "chain": chain, "step": step}
        return {name: torch.tensor(value) for name, value in key.items()}

    def _fold(self, key: tuple[str, int], accumulator: Accumulator, value: Any) -> None:
        if key in self._restored:
            # A commit keeps tensors on the CPU; the stream may live elsewhere.
            device = pytree.tree_leaves(value)[0].device
            self.summaries[key] = pytree.tree_map(lambda x: x.to(device), self.summaries[key])
            self._restored.discard(key)
        elif key not in self.summaries:
            self.summaries[key] = accumulator.init(value)
        self.summaries[key] = accumulator.update(self.summaries[key], value)

    def take(self) -> Block:
        """The block so far, arrays of shape (chain, rows, …), and an empty one in its place."""
        block = {
            name: torch.stack([torch.cat(parts) for parts in rows], dim=1).cpu().numpy()
            for name, rows in self._rows.items()
        }
        self._rows = {}
        return block

    def judge(self, block: Block) -> None:
        """Mark chains that failed within a block."""
        if not block:
            return
        d, posterior = self.posterior.num_coordinates, self.posterior
        difference, distance = block["loss_difference"], block["distance"]
        for chain in range(self.plan.chains):
            if not self.statuses[chain].ok:
                continue
            rows = np.stack([difference[chain], distance[chain], block["virial"][chain]])
            if not np.isfinite(rows).all():
                self.statuses[chain] = Status.NAN
                continue
            squares = np.square(distance[chain])
            energy = posterior.nbeta * difference[chain] + 0.5 * posterior.localization * squares
            if (energy > RUNAWAY * (d + SMALL_DIMENSION)).any():
                self.statuses[chain] = Status.DIVERGED
            if np.isnan(self._first[chain]):
                self._first[chain] = distance[chain, 0]
            self._moved[chain] |= (distance[chain] != self._first[chain]).any()

    def judge_stillness(self) -> None:
        """At the end: mark chains that were never seen away from where they started."""
        for chain, status in enumerate(self.statuses):
            if status.ok and not self._moved[chain]:
                self.statuses[chain] = Status.STUCK

    def results(self) -> Block:
        """The folded observables: `name_field`, arrays of shape (chain, …)."""
        found: dict[str, list[np.ndarray]] = {}
        for name, (_, accumulator) in self.folded.items():
            if isinstance(accumulator, Pooling):
                continue
            for chain in range(self.plan.chains):
                for field, value in accumulator.result(self.summaries[name, chain]).items():
                    found.setdefault(f"{name}_{field}", []).append(value.cpu().numpy())
        return {name: np.stack(values) for name, values in found.items()}

    def pooled(self) -> Block:
        """What accumulators that pool chains make of the good ones: `name_field`, arrays."""
        good = [chain for chain, status in enumerate(self.statuses) if status.ok]
        found: Block = {}
        for name, (_, accumulator) in self.folded.items():
            if isinstance(accumulator, Pooling):
                results = accumulator.pooled([self.summaries[name, chain] for chain in good])
                found |= {f"{name}_{k}": value.cpu().numpy() for k, value in results.items()}
        return found

    def state(self) -> dict[str, Tensor | str]:
        """What must be kept for the recording to go on after a kill."""
        kept: dict[str, Tensor | str] = {
            "statuses": ",".join(s.name for s in self.statuses),
            "first": torch.from_numpy(self._first.copy()),
            "moved": torch.from_numpy(self._moved.copy()),
        }
        for (name, chain), summary in self.summaries.items():
            for field in summary._fields:
                kept[f"summary/{name}/{chain}/{field}"] = getattr(summary, field)
        return kept

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.statuses = [Status[name] for name in str(state["statuses"]).split(",")]
        self._first, self._moved = state["first"].numpy().copy(), state["moved"].numpy().copy()
        parts: dict[tuple[str, int], dict[str, Tensor]] = {}
        for key, value in state.items():
            if key.startswith("summary/"):
                _, name, chain, field = key.split("/")
                parts.setdefault((name, int(chain)), {})[field] = value
        for key, fields in parts.items():
            kind = _summary_kind(self.folded[key[0]][1])
            self.summaries[key] = kind(**fields)
        self._restored = set(self.summaries)


def draw_of(evaluation: Evaluation, row: int) -> dict[str, Tensor]:
    """What the batch says at one chain's draw, as a `DrawObservable` is told."""
    halves = {} if evaluation.halves is None else {"halves": evaluation.halves[row]}
    return {
        "loss": evaluation.loss[row],
        "loss_difference": evaluation.difference[row],
        **halves,
    }


def observables_identity(
    posterior: LocalPosterior, observables: Observables
) -> dict[str, dict[str, Any]]:
    """What tells these observables from others: function, how it is folded, and values at w*.

    The values tell apart functions of one text that close over different things.
    """
    found = {}
    for name, observable in observables.items():
        function, *fold = observable if isinstance(observable, tuple) else (observable,)
        own = getattr(function, "identity", None)
        if callable(own):
            found[name] = {"observable": own(), "fold": [repr(part) for part in fold]}
            continue
        with torch.no_grad():
            if isinstance(function, DrawObservable):
                value = function.at(posterior, posterior.anchor, _nothing_said(posterior))
            else:
                value = posterior.apply(posterior.anchor, function)
            leaves = pytree.tree_leaves(value)
        flat = torch.cat([leaf.detach().double().reshape(-1).cpu() for leaf in leaves])
        glance = [flat.mean(), flat.norm(), *flat[:2], *flat[-2:]]
        found[name] = {
            "function": identify(cast(Any, function)),
            "fold": [repr(part) for part in fold],
            "at_anchor": [f"{x:.5g}" for x in torch.stack(glance).tolist()],
        }
    return found


def _nothing_said(posterior: LocalPosterior) -> Draw:
    zero = torch.zeros((), dtype=torch.float64, device=posterior.anchor.device)
    nowhere = {name: torch.tensor(0) for name in ("seed", "chain", "step")}
    return {"loss": zero, "loss_difference": zero, "halves": zero.expand(2), **nowhere}


def _summary_kind(accumulator: Accumulator) -> type:
    # An empty summary of a scalar (or of a pair) tells the type without evaluating anything.
    probe = torch.zeros(())
    try:
        return type(accumulator.init(probe))
    except (TypeError, ValueError, IndexError):
        return type(accumulator.init((probe, probe)))
