"""`influence()`: the Bayesian influence of training examples on queries, component by component.

One run a component, its losses folded into covariances as they come: memory and disk are
O(train × query), whatever the number of draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from germ import fingerprint, prefix
from germ.cross_moments import CrossMoments
from germ.data import Data, as_data
from germ.diagnostics import average
from germ.errors import GermError
from germ.estimate.influence import FEW_ESS, MIN_CHAINS, Pooled, pooled, refuse_few
from germ.estimate.usable import usable
from germ.influence_result import Influence, Side, dataset
from germ.losses import causal_lm, identify, probe
from germ.measuring import run_path
from germ.plan import auto_batch_size
from germ.posterior import LocalPosterior
from germ.restriction import Restriction
from germ.sampling import sample
from germ.setup import AnySampler, Progress
from germ.types import Batch, Draw, LossFn

MAX_PAIRS = 10_000_000
"""Covariances a component; each takes 8 bytes a chain."""

LOSSES_PER_CALL = 4096
"""Losses in one forward pass; memory only."""

CHAINS, DRAWS = 4, 500
"""By default, as in the paper (facts of arXiv 2509.26544: 4 chains of 500)."""

Examples = None | Data | Sequence[int] | Tensor | np.ndarray


class Losses:
    """The losses of both sides wherever a chain stands: the observable that is folded.

    What a posterior can compute of the examples once and for all (`LocalPosterior.attach`) it does,
    and hands on to the next component of the same layer.
    """

    wants_halves = False

    def __init__(self, posterior: LocalPosterior, watch: Watch, like: Losses | None = None) -> None:
        """Prepare the examples for a posterior.

        Args:
            posterior: The posterior, shortened or not.
            watch: The examples.
            like: Those of another component, whose work is used again where it can be.
        """
        self.posterior = posterior
        self.watch = watch
        if like is not None and prefix.same_cut(like.posterior, posterior):
            self._train, self._query = like._train, like._query
            return
        self._train = [posterior.attach(batch) for batch in watch.train.batches]
        self._query = None
        if watch.query is not watch.train:
            self._query = [posterior.attach(batch) for batch in watch.query.batches]

    def at(self, posterior: LocalPosterior, position: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Losses x (train rows,) and y (query rows, then the mean of each query set)."""
        x = self._rows(position, self._train)
        y = x if self._query is None else self._rows(position, self._query)
        means = [y[rows].mean() for rows in self.watch.sets.values()]
        return x, torch.cat([y, torch.stack(means)])

    def identity(self) -> dict[str, Any]:
        """What tells these examples from others."""
        return self.watch.identity

    def _rows(self, position: Tensor, batches: Sequence[Batch]) -> Tensor:
        with torch.no_grad():
            parts = [self.posterior.token_losses(position, batch).double() for batch in batches]
        if self.watch.per_token:
            return torch.cat([part.reshape(-1) for part in parts])
        return torch.cat([part.reshape(len(part), -1).mean(1) for part in parts])


def influence(
    model: nn.Module,
    data: Any,
    *,
    query: Any = None,
    train: Any = None,
    loss: str | LossFn = "causal_lm",
    components: str | Sequence[str] | None = None,
    restrict: Restriction = None,
    per_token: bool = False,
    nbeta: float | str = "auto",
    localization: float | str = "auto",
    sampler: str | AnySampler = "auto",
    folder: str | Path | None = None,
    chains: int = CHAINS,
    draws: int = DRAWS,
    thin: int | None = None,
    drop_failed: bool = False,
    name: str = "model",
    progress: Progress | None = None,
    **settings: Any,
) -> Influence:
    """The Bayesian influence of examples on one another (Kreer et al. 2025, arXiv 2509.26544).

    Cov_γ(ℓ_i, ℓ_q) and Corr_γ(ℓ_i, ℓ_q) over the local posterior of `data`, for every training
    example i and every query q, whatever the model and its loss. BIF is minus that.

    Args:
        model: The model; its weights are w*.
        data: What it was trained on: L_n of the posterior. What `germ.data.as_data` takes.
        query: Data whose loss is observed, or several by name; None is the training examples
            themselves, a symmetric matrix.
        train: The examples whose influence is asked: indices into `data`, other data, or None for
            all of `data`.
        loss: As for `germ.LocalPosterior.from_model`.
        components: Patterns of `germ.components.expand`: one run, and one matrix, for each.
        restrict: In place of components: the weights that move, one matrix.
        per_token: Rows are tokens in place of examples, on both sides.
        nbeta: nβ, as for `germ.LocalPosterior.from_model`.
        localization: γ, likewise.
        sampler: As for `germ.sample`.
        folder: Where the runs are kept; complete ones are used again, interrupted ones go on. None
            keeps nothing.
        chains: Chains; at least 2.
        draws: Draws of each.
        thin: Steps from one draw to the next; None is 5 to 10, so many that the forward passes of
            a draw cost no more than the steps between draws.
        drop_failed: Leave out chains that failed.
        name: The model's, for the result and its runs.
        progress: Told (stage, done, total), the stage with the component before it.
        settings: More arguments of `germ.sample`: warmup, batch_size, seed, fresh and so on.

    Returns:
        The influence.

    Raises:
        GermError: No such component, too many pairs, losses of unequal kinds, too few draws.
    """
    if components is not None and restrict is not None:
        raise GermError("expected components or restrict, got both: leave one out")
    if chains < MIN_CHAINS:
        raise GermError(
            f"expected at least {MIN_CHAINS} chains, for a covariance with an error; got {chains}"
        )
    data = as_data(data)
    parts = _parts(model, components, restrict)
    tell = progress or (lambda *_: None)
    watch: Watch | None = None
    losses: Losses | None = None
    found: list[Pooled] = []
    ess: list[float] = []
    attrs: dict[str, Any] = {}
    for index, (label, what) in enumerate(parts.items()):
        posterior = LocalPosterior.from_model(
            model, data, loss=loss, nbeta=nbeta, localization=localization, restrict=what
        )
        if watch is None:
            watch = Watch(posterior, train, query, per_token=per_token)
        posterior = prefix.shorten(posterior, like=None if losses is None else losses.posterior)
        losses = Losses(posterior, watch, like=losses)
        settings["thin"] = watch.auto_thin(posterior, settings) if thin is None else thin
        arguments = {"chains": chains, "draws": draws, "precision": None, **settings}
        observables = {"influence": (losses, CrossMoments())}
        store = None
        if folder is not None:
            keyed = {**arguments, "observables": observables}
            store = run_path(folder, f"{name}-{label}", posterior, sampler, keyed)
        place = f"{label} ({index + 1}/{len(parts)})" if len(parts) > 1 else ""
        samples = sample(
            posterior, sampler, store=store, observables=observables, throw=not drop_failed,
            provenance={"model": name, "component": label},
            progress=_named(tell, place), **arguments,
        )  # fmt: skip
        used = usable(samples, "loss_difference", drop_failed=drop_failed)
        known = average(
            used["loss_difference"].values, shared_batches=bool(samples.attrs["shared_batches"])
        )
        refuse_few(known.ess, f"{label}, {used.sizes['chain']} chains of {draws} draws")
        fields = {field: used[f"influence_{field}"].values for field in CrossMoments.fields}
        found.append(pooled(fields))
        ess.append(known.ess)
        attrs = {**attrs, "nbeta": posterior.nbeta, "localization": posterior.localization}
    assert watch is not None
    attrs |= {
        "model": name, "num_examples": data.num_examples, "chains": chains, "draws": draws,
        "thin": settings["thin"], "per_token": per_token, "pooling": "stack",
    }  # fmt: skip
    warnings = [
        f"{label}: {value:.0f} effective draws: correlations are rough (±{value**-0.5:.2f}); take "
        "more draws"
        for label, value in zip(parts, ess, strict=True)
        if value < FEW_ESS
    ]
    whole = dataset(list(parts), found, ess, watch.train, watch.query, watch.sets, attrs)
    return Influence(whole, tuple(warnings))


def _parts(
    model: nn.Module, patterns: str | Sequence[str] | None, restrict: Restriction
) -> dict[str, Restriction]:
    """The weights that move, by the component's name."""
    if patterns is not None:
        from germ.components import expand

        return dict(expand(model, patterns))
    if restrict is None:
        return {"all": None}
    if isinstance(restrict, str):
        return {restrict: restrict}
    return {"restricted" if isinstance(restrict, Mapping) else ",".join(restrict): restrict}


def _named(progress: Progress, place: str) -> Progress:
    def tell(stage: str, done: int, total: int) -> None:
        progress(f"{place} {stage}" if place else stage, done, total)

    return tell


class Watch:
    """The examples that are watched, on both sides."""

    def __init__(
        self, posterior: LocalPosterior, train: Examples, query: Any, *, per_token: bool
    ) -> None:
        """Read the examples once, and look at their losses at w*.

        Raises:
            GermError: They do not fit the model, or make too many pairs.
        """
        rows, indices = _chosen(posterior.data, train)
        self.train = _side(posterior, rows, indices, "train", per_token)
        self.sets: dict[str, slice] = {}
        # With queries of their own the two sides differ; else they are one.
        sides = []
        start = 0
        for name, data in _queries(query).items():
            side = _side(posterior, data, torch.arange(data.num_examples), name, per_token)
            self.sets[name] = slice(start, start + len(side.loss))
            start += len(side.loss)
            sides.append(side)
        self.query = Side.join(sides) if sides else self.train
        if not sides:
            self.sets = {"train": slice(0, len(self.train.loss))}
        pairs = len(self.train.loss) * len(self.query.loss)
        if pairs > MAX_PAIRS:
            unit = "tokens" if per_token else "examples"
            raise GermError(
                f"expected at most {MAX_PAIRS:,} pairs of {unit}; got {len(self.train.loss):,} × "
                f"{len(self.query.loss):,}: watch fewer (train=indices, or fewer queries)"
            )
        self.per_token = per_token
        self.identity = {
            "loss": identify(posterior.loss),
            "per_token": per_token,
            "train": [rows.fingerprint(), fingerprint.of_tensors({"indices": indices})],
            "query": {name: data.fingerprint() for name, data in _queries(query).items()},
        }

    def auto_thin(self, posterior: LocalPosterior, settings: Mapping[str, Any]) -> int:
        """Steps between draws whose gradients cost about as much as the watching: 5 to 10.

        A gradient costs about three forward passes; neighbouring draws say nearly the same.
        """
        batch = settings.get("batch_size") or auto_batch_size(posterior)
        watched = self.train.num_examples
        watched += 0 if self.query is self.train else self.query.num_examples
        return int(min(10, max(5, math.ceil(watched / (3 * batch)))))


def _chosen(data: Data, train: Examples) -> tuple[Data, Tensor]:
    if train is None:
        return data, torch.arange(data.num_examples)
    if isinstance(train, Sequence | np.ndarray | Tensor) and not isinstance(train, str):
        given = torch.as_tensor(train)
        if given.dim() == 1 and not given.is_floating_point() and given.numel():
            low, high = int(given.min()), int(given.max())
            if low < 0 or high >= data.num_examples:
                raise GermError(
                    f"expected indices of training examples, 0 to {data.num_examples - 1}; got "
                    f"{low} to {high}"
                )
            return data, given.long()
    other = as_data(train)
    return other, torch.arange(other.num_examples)


def _queries(query: Any) -> dict[str, Data]:
    if query is None:
        return {}
    # A mapping of tensors is data by name of column; a mapping of data sets is queries by name.
    if isinstance(query, Mapping) and not all(isinstance(x, Tensor) for x in query.values()):
        return {str(name): as_data(data) for name, data in query.items()}
    return {"query": as_data(query)}


def _side(
    posterior: LocalPosterior, data: Data, indices: Tensor, name: str, per_token: bool
) -> Side:
    """Batches of some examples, and their losses at w*."""

    def read(part: Tensor) -> Batch:
        return posterior.placed(data.batch(part))

    first = probe(posterior.model, posterior.loss, read(indices[:1]), 1)
    if per_token and first.dim() < 2:
        raise GermError(
            "per_token expected a loss of every token, shape (examples, tokens); "
            f"got shape {tuple(first.shape)}: leave it out"
        )
    size = max(1, LOSSES_PER_CALL // first[0].numel())
    batches = [read(part) for part in indices.split(size)]
    with torch.no_grad():
        losses = torch.cat([posterior.loss(posterior.model, batch) for batch in batches])
    tokens = None
    if isinstance(batches[0], Mapping) and "input_ids" in batches[0]:
        tokens = torch.cat([batch["input_ids"] for batch in batches]).cpu().numpy()
    return Side.of(
        name, batches, losses.double().cpu().numpy(), indices.numpy(), tokens,
        per_token=per_token, next_token=posterior.loss is causal_lm,
    )  # fmt: skip
