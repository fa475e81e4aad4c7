"""What is written down at each step, and what becomes of a chain that fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
from germ.types import Accumulator, Observable

Block = dict[str, np.ndarray]
Observables = Mapping[str, Observable | tuple[Callable[[nn.Module], Any], Accumulator]]

RESERVED = (
    "loss", "loss_difference", "virial", "distance", "acceptance", "temperature", "status",
)  # fmt: skip

RUNAWAY = 100.0
"""A chain has run away when its energy per coordinate, (nβΔL + γ/2·‖w−w*‖²)/d, exceeds this.

In equilibrium it is about 1/2 for a quadratic and less for degenerate directions.
"""

SMALL_DIMENSION = 50
"""Added to d there: in few dimensions the energy of a single draw fluctuates by more than d."""


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
        self.traced: dict[str, Observable] = {}
        self.folded: dict[str, tuple[Callable[[nn.Module], Any], Accumulator]] = {}
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

    def observe(self, states: list[Any]) -> None:
        """Evaluate the observables at a draw, each chain at its own weights."""
        if not (self.traced or self.folded):
            return
        with torch.no_grad():
            positions = [p for state in states for p in state.position]
            for name, function in self.traced.items():
                values = [self.posterior.apply(p, function).detach() for p in positions]
                stacked = torch.stack(values)
                if stacked.dtype in (torch.bfloat16, torch.float16):
                    stacked = stacked.float()  # NumPy and Zarr have no bfloat16
                self._rows.setdefault(name, []).append([stacked])
            for name, (function, accumulator) in self.folded.items():
                for chain, p in enumerate(positions):
                    value = self.posterior.apply(p, function)
                    key = (name, chain)
                    if key not in self.summaries:
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
            for chain in range(self.plan.chains):
                for field, value in accumulator.result(self.summaries[name, chain]).items():
                    found.setdefault(f"{name}_{field}", []).append(value.cpu().numpy())
        return {name: np.stack(values) for name, values in found.items()}

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


def observables_identity(
    posterior: LocalPosterior, observables: Observables
) -> dict[str, dict[str, Any]]:
    """What tells these observables from others: function, how it is folded, and values at w*.

    The values tell apart functions of one text that close over different things.
    """
    found = {}
    for name, observable in observables.items():
        function, *fold = observable if isinstance(observable, tuple) else (observable,)
        with torch.no_grad():
            leaves = pytree.tree_leaves(posterior.apply(posterior.anchor, function))
        flat = torch.cat([leaf.detach().double().reshape(-1).cpu() for leaf in leaves])
        glance = [flat.mean(), flat.norm(), *flat[:2], *flat[-2:]]
        found[name] = {
            "function": identify(function),
            "fold": [repr(part) for part in fold],
            "at_anchor": [f"{x:.5g}" for x in torch.stack(glance).tolist()],
        }
    return found


def _summary_kind(accumulator: Accumulator) -> type:
    # An empty summary of a scalar (or of a pair) tells the type without evaluating anything.
    probe = torch.zeros(())
    try:
        return type(accumulator.init(probe))
    except (TypeError, ValueError, IndexError):
        return type(accumulator.init((probe, probe)))
