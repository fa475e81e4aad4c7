"""A ladder of nβ and γ sampled around one w*, and the profile read off it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from germ.errors import GermError, SamplingFailed
from germ.estimate.profile import Profile, Rung, assemble
from germ.estimate.thermodynamic import FreeEnergy, free_energy
from germ.laddering import first_chain, ladder
from germ.losses import causal_lm
from germ.measuring import estimated, is_over, run_path
from germ.posterior import LocalPosterior
from germ.preparing import resolve
from germ.setup import AnySampler

RATIO = math.sqrt(10)
"""From one nβ of the ladder to the next."""

BELOW, ABOVE_LANGUAGE_MODEL, ABOVE_EXACT = 4, 3, 2
"""Rungs below and above the posterior's own nβ. Above it where nβ is far below n (language models),
or where w* has no loss at all; with noise in the data n/log n is already the end."""

MAX_NUMBERS = 200_000_000
"""Chains × coordinates held at once, of all rungs: each takes three to five vectors of them."""

EXACT_LOSS = 1e-9
"""L(w*), beside what the loss is at zero weights, that is no loss."""


class Listener:
    """Is told how a profile goes along. These methods do nothing: override those you need."""

    def started(self, index: int, total: int, name: str) -> None:
        """The rung `name` is next, after `index` others of `total`."""

    def stage(self, stage: str, done: int, total: int) -> None:
        """As `germ.sample` tells its `progress`."""

    def finished(self, rung: Rung) -> None:
        """A rung is done."""


def profile(
    posterior: LocalPosterior,
    nbetas: str | Sequence[float] = "auto",
    localizations: Sequence[float] | None = None,
    *,
    sampler: str | AnySampler = "auto",
    model: str = "model",
    data: str = "data",
    folder: str | Path | None = None,
    drop_failed: bool = False,
    listener: Listener | None = None,
    **settings: Any,
) -> Profile:
    """λ̂ over a ladder of nβ (and of γ): does it depend on nβ, or is there a λ to be read off?

    The rungs are sampled as one batch of chains (`germ.laddering.ladder`), as many at once as
    memory allows. Each is a run of its own: found again in `folder` whatever the ladder around it.

    Args:
        posterior: Around which w*; its own nβ is the middle of the ladder, its γ the default.
        nbetas: nβ of the rungs, or `"auto"` (`auto_ladder`).
        localizations: γ; the posterior's own by default.
        sampler: As for `germ.sample`.
        model: The model's name.
        data: The data's name.
        folder: Where the runs are kept; None keeps them in memory.
        drop_failed: Leave out chains that failed, and say so, instead of failing the rung.
        listener: Told how it goes along.
        settings: More arguments of `germ.sample`: chains, draws, warmup, seed, fresh and so on.

    Returns:
        The profile. A rung that failed says why, and takes no part.

    Raises:
        GermError: A setting is out of range, or nothing can be written to `folder`.
    """
    lowest = lowest_loss(posterior)
    rising = auto_ladder(posterior) if isinstance(nbetas, str) else [float(x) for x in nbetas]
    if isinstance(nbetas, str) and nbetas != "auto":
        raise GermError(f"expected nbetas to be numbers or 'auto'; got {nbetas!r}")
    gammas = [posterior.localization] if localizations is None else list(localizations)
    _check(rising, gammas)
    listener = listener or Listener()
    places = [(nbeta, float(gamma)) for gamma in gammas for nbeta in sorted(rising)]
    rungs: list[Rung] = []
    samples: dict[float, list[xr.Dataset]] = {}
    size = _at_once(posterior, sampler, settings)
    for start in range(0, len(places), size):
        part = places[start : start + size]
        tell = _Teller(listener, part, start, len(places))
        for rung, drawn in _measure(posterior, part, model, data, sampler, folder, tell, settings):
            rung = _estimated(rung, drawn, drop_failed=drop_failed)
            rungs.append(rung)
            if rung.estimate is not None:
                samples.setdefault(rung.localization, []).append(drawn)
            listener.finished(rung)
    return assemble(
        rungs,
        num_examples=posterior.data.num_examples,
        num_coordinates=posterior.num_coordinates,
        free_energies=_free_energies(samples, drop_failed),
        lowest_loss=lowest,
    )


def auto_ladder(posterior: LocalPosterior) -> list[float]:
    """Half decades around the posterior's own nβ.

    Three below and three above for language models (1 to 1000 around 30), four below and two
    above where L(w*) is the lowest there can be, else five below n/log n and none above.
    """
    if posterior.loss is causal_lm:
        low, high = -3, ABOVE_LANGUAGE_MODEL
    elif is_exact_minimum(posterior):
        low, high = -BELOW, ABOVE_EXACT
    else:
        low, high = -BELOW - 1, 0
    return [float(f"{posterior.nbeta * RATIO**k:.4g}") for k in range(low, high + 1)]


def is_exact_minimum(posterior: LocalPosterior) -> bool:
    """Whether L(w*) is 0, up to rounding, for a loss that is not negative anywhere seen."""
    losses, elsewhere = _losses_at(posterior, 1.0), _losses_at(posterior, 0.0)
    if min(float(losses.min()), float(elsewhere.min())) < 0:
        return False
    return float(losses.mean()) <= EXACT_LOSS * float(elsewhere.mean())


def lowest_loss(posterior: LocalPosterior) -> float | None:
    """0 where no example's loss is negative, at w* and at zero weights; else unknown, None."""
    seen = [_losses_at(posterior, scale) for scale in (1.0, 0.0)]
    return 0.0 if all(float(losses.min()) >= 0 for losses in seen) else None


def _losses_at(posterior: LocalPosterior, scale: float) -> torch.Tensor:
    """Losses of up to 512 examples at scale·w*."""
    num = min(512, posterior.data.num_examples)
    with torch.no_grad():
        return posterior.example_losses(
            scale * posterior.anchor, posterior.batch(torch.arange(num))
        )


def _at_once(posterior: LocalPosterior, sampler: str | AnySampler, settings: dict[str, Any]) -> int:
    """Rungs that are sampled in step: as many as memory allows."""
    plan = resolve(posterior, sampler, **_plan_settings(settings))
    return max(1, MAX_NUMBERS // (plan.chains * posterior.num_coordinates))


def _plan_settings(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in settings.items() if k not in ("fresh", "resume", "observables")}


class _Teller:
    """Turns what the rungs of a ladder tell into what a listener is told."""

    def __init__(
        self, listener: Listener, places: Sequence[tuple[float, float]], before: int, total: int
    ) -> None:
        self.listener, self.places = listener, places
        self.before, self.total = before, total
        self.latest = -1

    def __call__(self, rung: int, stage: str, done: int, total: int) -> None:
        """Set-ups come one after the other; then all rungs go in step, and the last one tells."""
        if rung > self.latest:
            self.latest = rung
            nbeta, gamma = self.places[rung]
            index = self.before + rung
            self.listener.started(index, self.total, f"nβ {nbeta:.4g}, γ {gamma:g}")
        if rung == self.latest:
            self.listener.stage(stage, done, total)


def _measure(
    posterior: LocalPosterior,
    places: Sequence[tuple[float, float]],
    model: str,
    data: str,
    sampler: str | AnySampler,
    folder: str | Path | None,
    tell: _Teller,
    settings: dict[str, Any],
) -> Iterator[tuple[Rung, xr.Dataset]]:
    """Rungs that are sampled in step, without their estimates."""
    stores: list[Path | None] = [None] * len(places)
    if folder is not None:
        stores = [
            run_path(
                folder, model, posterior.with_(nbeta=nbeta, localization=gamma), sampler,
                {**settings, "first_chain": first_chain(nbeta, gamma)},
            )
            for nbeta, gamma in places
        ]  # fmt: skip
    fresh = bool(settings.get("fresh"))
    stored = [store is not None and not fresh and is_over(store) for store in stores]
    drawn = ladder(
        posterior, places, sampler, stores=stores, provenance={"model": model, "data": data},
        progress=tell, **settings,
    )  # fmt: skip
    for (nbeta, gamma), store, found, samples in zip(places, stores, stored, drawn, strict=True):
        run = None if store is None else str(store)
        seconds = float(samples.attrs.get("seconds", math.nan))
        yield Rung(nbeta, gamma, "ok", run=run, stored=found, seconds=seconds), samples


def _estimated(rung: Rung, samples: xr.Dataset, *, drop_failed: bool) -> Rung:
    """The rung with its estimate, or with why there is none."""
    try:
        estimate = estimated(samples, drop_failed=drop_failed)
    except SamplingFailed as error:
        return replace(rung, status=f"failed: {error}")
    return replace(rung, status=estimate.status, estimate=estimate)


def _free_energies(
    samples: dict[float, list[xr.Dataset]], drop_failed: bool
) -> dict[float, FreeEnergy]:
    """By γ, where there are three rungs and a prior."""
    found = {}
    for gamma, runs in samples.items():
        if len(runs) >= 3 and gamma > 0:
            # Of one seed, and yet independent but for what noise of common batches is left.
            own = [
                run if run.attrs["shared_batches"] else run.assign_attrs(seed=number)
                for number, run in enumerate(runs)
            ]
            found[gamma] = free_energy(own, drop_failed=drop_failed)
    return found


def _check(nbetas: Sequence[float], localizations: Sequence[float]) -> None:
    for name, given in (("nbetas", nbetas), ("localizations", localizations)):
        if not given or len(set(given)) < len(given):
            raise GermError(f"expected {name} to be different numbers; got {list(given)}")
        if not all(math.isfinite(value) and value >= 0 for value in given):
            raise GermError(f"expected {name} >= 0 and finite; got {list(given)}")
