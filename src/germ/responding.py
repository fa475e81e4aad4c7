"""The run behind susceptibilities: one stored run a component, its draws folded as they come.

Memory and disk are O(components × tokens), never × draws. Every component sees the same batches and
noise keys, the same probes, and what can be computed once for several of them is.

Two ways lead to the same χ: independent draws of the Gaussian that localization makes, where a
component hardly leaves it (`germ.gaussian`), and chains, which are right everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import nn

from germ import prefix, probes
from germ.anchor_gradients import anchor_gradients
from germ.data import Data, as_data
from germ.errors import GermError
from germ.estimate.response import MIN_CHAINS, MIN_DRAWS, Baseline, Means, Response
from germ.gaussian_response import NotGaussian, respond
from germ.losses import causal_lm, resolve_loss
from germ.measuring import run_path
from germ.posterior import LocalPosterior
from germ.response_table import OBSERVABLE, assemble
from germ.responses import Susceptibility
from germ.restriction import Restriction, select
from germ.sampling import sample
from germ.setup import AnySampler
from germ.types import LossFn

CENTRINGS = ("restricted", "full")

METHODS = ("auto", "gaussian", "chains")

CHAINS, DRAWS = 4, 50
"""Few draws and far apart: a draw costs a forward pass over all probes."""

THIN, WARMUP = 5, 50
"""Measured on heads of the bundled model (nβ = 30, γ = 300): φ forgets where it was within 3 to 5
steps of the calibrated sampler (autocorrelation 0.34, 0.19, 0.03 after 1, 2, 3 steps; 0.06 after 5
of SGLD at ε = 10⁻³), and stands at its mean after 12. `ess` says whether it was so."""

BATCH_EXAMPLES = 16
"""Sequences a step. At the nβ and γ of language models the noise of plain gradients of so few heats
by a millionth (`germ calibrate --batch-size 16 --gradient minibatch`): what is bought is steps."""

UNITS = "nats² (a covariance of φ, the model's loss, with the loss of a token)"

Progress = Callable[[int, int, str, str, int, int], None]
"""Told (components done, of how many, component, stage, done, total)."""


def susceptibility(
    model: nn.Module,
    data: Any,
    *,
    probes: Mapping[str, Any],
    components: str | Sequence[str] | Mapping[str, Restriction] = "heads",
    loss: str | LossFn | None = None,
    nbeta: float | str = "auto",
    localization: float | str = "auto",
    centring: str = "restricted",
    sampler: str | AnySampler = "auto",
    folder: str | Path | None = None,
    name: str = "",
    method: str = "auto",
    chains: int = CHAINS,
    draws: int | None = None,
    thin: int = THIN,
    warmup: int = WARMUP,
    progress: Progress | None = None,
    told: Callable[[str, xr.Dataset], None] | None = None,
    **settings: Any,
) -> Susceptibility:
    r"""How the loss of every token of some probes moves with each component of a model.

    $$ \chi^C_{xy} = -\mathrm{Cov}(\varphi_C,\ \ell_{xy} - L) $$

    with φ_C = L_n(w) − L_n(w*) where component C alone moves (Baker et al. 2504.18274).

    Args:
        model: Any module, as for `LocalPosterior.from_model`.
        data: The n examples of L_n.
        probes: Data by name, whose losses are observed: what `germ.data.as_data` takes.
        components: Patterns (`germ.components.expand`), or restrictions by a name of yours.
        loss: As for `LocalPosterior.from_model`; None is `"causal_lm"`.
        nbeta: nβ, as for `LocalPosterior.from_model`.
        localization: γ, likewise.
        centring: `"restricted"`: a covariance in the run of the component. `"full"`: means of
            L and ℓ are those of a run of all weights, as in devinterp 2.x; see
            `docs/susceptibility.md`.
        sampler: As for `germ.sample`.
        folder: Where the runs are kept, one a component: finished ones are used again and those
            interrupted go on. None keeps nothing.
        name: Of the model, to be written down.
        method: `"gaussian"`: weighted draws of the localization's Gaussian; `"chains"`; or
            `"auto"`: the first for components whose draws are then worth at least half of the
            posterior's own, unless a sampler is given, and chains for others.
        chains: Number of chains, at least 2; their spread gives the standard errors.
        draws: Draws a chain, 50 by default. Of the Gaussian, draws in all, rounded up to groups
            of one size; by default as many as make 90% of the spread of χ over tokens more than
            error, 8 to 64.
        thin: Steps from one draw to the next.
        warmup: Steps before the first draw.
        progress: Told how it goes along.
        told: Told each component's run as it is done.
        settings: More arguments of `germ.sample`: batch_size, gradient, seed, fresh and so on.

    Returns:
        The susceptibilities.

    Raises:
        GermError: There is no such component; a probe does not fit, and is named; or there are too
            few chains or draws for a covariance; or the Gaussian was asked for and is not near.
        SamplingFailed: A chain failed.
    """
    _check(centring, chains, draws)
    _check_method(method, sampler)
    resolved = resolve_loss("causal_lm" if loss is None else loss)
    each = DRAWS if draws is None else draws
    given = {"chains": chains, "draws": each, "thin": thin, "warmup": warmup, "precision": None}
    if resolved is causal_lm:
        settings = {**settings, **_cheap(settings)}
    run = _Run(
        model=model,
        data=as_data(data),
        loss=resolved,
        nbeta=nbeta,
        localization=localization,
        sampler=sampler,
        folder=folder,
        settings={**given, **settings},
        method="chains" if method == "auto" and sampler != "auto" else method,
        draws=draws,
    )
    chosen = run.chosen = _expand(model, components)
    observed = run.see(probes, next(iter(chosen.values())))
    total = len(chosen) + (centring == "full")
    tell = progress or _silent
    baseline = None
    if centring == "full":
        found = run.chains("all", None, Means(run.layout.sizes), _teller(tell, 0, total, "all"))
        fields = ("gap", "error", "probe_gap", "probe_error")
        baseline = Baseline(*(torch.from_numpy(found[f"{OBSERVABLE}_{f}"].values) for f in fields))
    fold = Response(run.layout.sizes, baseline)
    parts: dict[str, xr.Dataset] = {}
    for number, (component, restriction) in enumerate(chosen.items(), total - len(chosen)):
        teller = _teller(tell, number, total, component)
        parts[component] = run.respond(component, restriction, fold, teller)
        if told is not None:
            told(component, parts[component])
    tell(total, total, "", "draws", 1, 1)
    assert run.latest is not None
    about = {"model": name, "centring": centring, "units": UNITS}
    return Susceptibility(assemble(parts, run.layout, run.latest.at_anchor, about, observed))


@dataclass
class _Run:
    """What all components have in common."""

    model: nn.Module
    data: Data
    loss: LossFn
    nbeta: float | str
    localization: float | str
    sampler: str | AnySampler
    folder: str | Path | None
    settings: dict[str, Any]
    method: str
    draws: int | None
    chosen: Mapping[str, Restriction] = field(default_factory=dict)
    probes: tuple[probes.Probe, ...] = ()
    layout: probes.Layout = None  # type: ignore[assignment]
    latest: probes.ProbeLosses | None = None
    gradients: dict[str, torch.Tensor] = field(default_factory=dict)

    def posterior(self, restriction: Restriction) -> LocalPosterior:
        """Of one component."""
        return LocalPosterior.from_model(
            self.model, self.data, loss=self.loss, nbeta=self.nbeta,
            localization=self.localization, restrict=restriction,
        )  # fmt: skip

    def see(self, given: Mapping[str, Any], restriction: Restriction) -> list[str]:
        """Read the probes, see what losses they have, and what looks odd about them."""
        self.probes = probes.read(given, self.model, self.data)
        posterior = self.posterior(restriction)
        self.layout = probes.layout(posterior, self.probes)
        losses = self.losses(posterior)
        return probes.foreign(posterior, self.probes, self.layout, losses.at_anchor.cpu().numpy())

    def losses(self, posterior: LocalPosterior) -> probes.ProbeLosses:
        """The probes, prepared for a posterior."""
        like = self.latest
        short = prefix.shorten(posterior, like=None if like is None else like.posterior)
        self.latest = probes.ProbeLosses(short, self.probes, like=like)
        return self.latest

    def respond(
        self, component: str, restriction: Restriction, fold: Response, tell: Any
    ) -> xr.Dataset:
        """χ of one component, by the one way or the other."""
        if self.method == "chains":
            return self.chains(component, restriction, fold, tell)
        try:
            return self.gaussian(component, restriction, fold, tell)
        except NotGaussian as error:
            if self.method == "gaussian":
                raise GermError(
                    f"{component}: {error}: its posterior at this nβ and γ is another one; take "
                    "chains (method), or a larger γ"
                ) from error
            return self.chains(component, restriction, fold, tell)

    def gaussian(
        self, component: str, restriction: Restriction, fold: Response, tell: Any
    ) -> xr.Dataset:
        """χ of one component, from draws of the Gaussian.

        Raises:
            NotGaussian: It is too far from it.
        """
        posterior = self.posterior(restriction)
        if posterior.localization == 0:
            raise NotGaussian("there is no localization, γ = 0")
        if any(dtype.itemsize < 4 for dtype in posterior.coordinates.dtypes):
            raise NotGaussian("a difference quotient needs a model in float32")
        losses = self.losses(posterior)
        seed = int(self.settings.get("seed", 0))
        path = None
        if self.folder is not None:
            observables = {OBSERVABLE: (losses, fold)}
            settings = {"method": "gaussian", "seed": seed, "observables": observables}
            settings["draws"] = self.draws
            path = run_path(self.folder, component, losses.posterior, "auto", settings)
        return respond(
            losses, lambda: self.gradient(component, tell), fold.sizes, seed=seed,
            num_draws=self.draws, baseline=fold.baseline, path=path,
            fresh=bool(self.settings.get("fresh", False)), progress=tell,
        )  # fmt: skip

    def gradient(self, component: str, tell: Any) -> torch.Tensor:
        """∇L_n(w*) of one component: of all of them in one pass, the first time."""
        if not self.gradients:
            self.gradients = anchor_gradients(
                self.model, self.data, self.loss,
                {name: select(self.model, which) for name, which in self.chosen.items()},
                progress=lambda done, of: tell("gradient", done, of),
            )  # fmt: skip
        return self.gradients[component]

    def chains(
        self, component: str, restriction: Restriction, fold: Response | Means, tell: Any
    ) -> xr.Dataset:
        """The run of one component."""
        losses = self.losses(self.posterior(restriction))
        settings = {**self.settings, "observables": {OBSERVABLE: (losses, fold)}}
        store = None
        if self.folder is not None:
            settings_of_run = {k: v for k, v in settings.items() if k not in ("fresh", "resume")}
            store = run_path(
                self.folder, component, losses.posterior, self.sampler, settings_of_run
            )
        return sample(
            losses.posterior, self.sampler, store=store, progress=tell,
            provenance={"component": component}, **settings,
        )  # fmt: skip


def _check(centring: str, chains: int, draws: int | None) -> None:
    if centring not in CENTRINGS:
        raise GermError(f"expected centring to be one of {CENTRINGS}; got {centring!r}")
    if chains < MIN_CHAINS:
        raise GermError(
            f"expected at least {MIN_CHAINS} chains, whose spread is the standard error of a "
            f"susceptibility; got {chains}"
        )
    if draws is not None and draws < MIN_DRAWS:
        raise GermError(
            f"expected at least {MIN_DRAWS} draws a chain for a covariance; got {draws}: give more"
        )


def _check_method(method: str, sampler: str | AnySampler) -> None:
    if method not in METHODS:
        raise GermError(f"expected method to be one of {METHODS}; got {method!r}")
    if method == "gaussian" and sampler != "auto":
        raise GermError(
            f"expected no sampler with method='gaussian', whose draws are independent; got "
            f"{sampler!r}: leave one of them out"
        )


def _cheap(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The batch and the gradient that a language model's run has where none was asked for."""
    batch_size, gradient = settings.get("batch_size"), settings.get("gradient")
    return {
        "batch_size": BATCH_EXAMPLES if batch_size is None else batch_size,
        "gradient": "minibatch" if gradient is None else gradient,
    }


def _expand(model: nn.Module, components: Any) -> Mapping[str, Restriction]:
    if isinstance(components, Mapping):
        chosen: Mapping[str, Restriction] = {str(n): given for n, given in components.items()}
    else:
        from germ.components import expand

        chosen = expand(model, components)
    if not chosen:
        raise GermError("expected at least one component; got none")
    return chosen


def _teller(progress: Progress, number: int, total: int, component: str) -> Any:
    return lambda stage, done, of: progress(number, total, component, stage, done, of)


def _silent(*_: Any) -> None:
    """No progress is shown."""
