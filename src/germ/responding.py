"""The run behind susceptibilities: one stored run a component, its draws folded as they come.

Memory and disk are O(components × tokens), never × draws. Every component sees the same batches and
noise keys, the same probes, and what can be computed once for several of them is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from germ import prefix, probes
from germ.data import Data, as_data
from germ.diagnostics import average
from germ.errors import GermError
from germ.estimate.response import MIN_CHAINS, MIN_DRAWS, Baseline, Means, Response
from germ.losses import causal_lm, resolve_loss
from germ.measuring import run_path
from germ.posterior import LocalPosterior
from germ.responses import Susceptibility
from germ.restriction import Restriction
from germ.sampling import sample
from germ.setup import AnySampler
from germ.types import LossFn

CENTRINGS = ("restricted", "full")

CHAINS, DRAWS = 4, 50
"""Few draws and far apart: a draw costs a forward pass over all probes."""

THIN, WARMUP = 5, 50
"""Measured on heads of the bundled model (nβ = 30, γ = 300): φ forgets where it was within 3 to 5
steps of the calibrated sampler (autocorrelation 0.34, 0.19, 0.03 after 1, 2, 3 steps; 0.06 after 5
of SGLD at ε = 10⁻³), and stands at its mean after 12. `ess` says whether it was so."""

BATCH_EXAMPLES = 16
"""Sequences a step. At the nβ and γ of language models the noise of plain gradients of so few heats
by a millionth (`germ calibrate --batch-size 16 --gradient minibatch`): what is bought is steps."""

FEW = 0.5
"""Effective draws as a share of all draws below which it is said that they are too close."""

OBSERVABLE = "response"

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
    chains: int = CHAINS,
    draws: int = DRAWS,
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
        chains: Number of chains, at least 2; their spread gives the standard errors.
        draws: Draws a chain.
        thin: Steps from one draw to the next.
        warmup: Steps before the first draw.
        progress: Told how it goes along.
        told: Told each component's run as it is done.
        settings: More arguments of `germ.sample`: batch_size, gradient, seed, fresh and so on.

    Returns:
        The susceptibilities.

    Raises:
        GermError: There is no such component; a probe does not fit, and is named; or there are too
            few chains or draws for a covariance.
        SamplingFailed: A chain failed.
    """
    _check(centring, chains, draws)
    resolved = resolve_loss("causal_lm" if loss is None else loss)
    given = {"chains": chains, "draws": draws, "thin": thin, "warmup": warmup, "precision": None}
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
    )
    chosen = _expand(model, components)
    observed = run.see(probes, next(iter(chosen.values())))
    total = len(chosen) + (centring == "full")
    tell = progress or _silent
    baseline = None
    if centring == "full":
        found = run.go("all", None, Means(run.layout.sizes), _teller(tell, 0, total, "all"))
        fields = ("gap", "error", "probe_gap", "probe_error")
        baseline = Baseline(*(torch.from_numpy(found[f"{OBSERVABLE}_{f}"].values) for f in fields))
    fold = Response(run.layout.sizes, baseline)
    parts: dict[str, xr.Dataset] = {}
    for number, (component, restriction) in enumerate(chosen.items(), total - len(chosen)):
        teller = _teller(tell, number, total, component)
        parts[component] = run.go(component, restriction, fold, teller)
        if told is not None:
            told(component, parts[component])
    tell(total, total, "", "draws", 1, 1)
    about = {"model": name, "centring": centring}
    return Susceptibility(_assemble(run, parts, about, observed))


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
    probes: tuple[probes.Probe, ...] = ()
    layout: probes.Layout = None  # type: ignore[assignment]
    latest: probes.ProbeLosses | None = None

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

    def go(
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


def _check(centring: str, chains: int, draws: int) -> None:
    if centring not in CENTRINGS:
        raise GermError(f"expected centring to be one of {CENTRINGS}; got {centring!r}")
    if chains < MIN_CHAINS:
        raise GermError(
            f"expected at least {MIN_CHAINS} chains, whose spread is the standard error of a "
            f"susceptibility; got {chains}"
        )
    if draws < MIN_DRAWS:
        raise GermError(
            f"expected at least {MIN_DRAWS} draws a chain for a covariance; got {draws}: give more"
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


def _assemble(
    run: _Run, parts: Mapping[str, xr.Dataset], about: dict[str, Any], said: list[str]
) -> xr.Dataset:
    where, losses = run.layout, run.latest
    assert losses is not None
    names = np.array(where.names, dtype=str)
    signs = np.array([1.0, -1.0], dtype=np.float32)[:, None, None]

    def stacked(field: str) -> np.ndarray:
        return np.stack([part[f"{OBSERVABLE}_{field}"].values for part in parts.values()])

    variables: dict[str, Any] = {
        "chi": (("component", "token"), stacked("chi")),
        "standard_error": (("component", "token"), stacked("error")),
        "chi_half": (("half", "component", "token"), stacked("chi") + signs * stacked("noise")),
        "chi_probe": (("component", "probe"), stacked("chi_probe")),
        "standard_error_probe": (("component", "probe"), stacked("error_probe")),
        "loss_variance": ("component", stacked("variance")),
        "loss_variance_error": ("component", stacked("variance_error")),
        "loss_at_anchor": ("token", losses.at_anchor.float().cpu().numpy()),
    }
    found = [_effective(part) for part in parts.values()]
    variables["ess"] = ("component", np.array([ess for ess, _ in found]))
    variables["ess_square"] = ("component", np.array([ess for _, ess in found]))
    if where.tokens is not None:
        variables["tokens"] = (("probe_example", "context"), where.tokens)
    first = next(iter(parts.values())).attrs
    return xr.Dataset(
        variables,
        coords={
            "component": np.array(list(parts), dtype=str),
            "probe": names,
            "token_probe": ("token", names[where.probe]),
            "example": ("token", where.example),
            "position": ("token", where.position),
            "token_id": ("token", where.token_id),
            "row": ("token", where.row),
            "example_probe": ("probe_example", names[where.example_probe]),
            "example_index": ("probe_example", where.example_index),
        },
        attrs={
            **about,
            "nbeta": first["nbeta"],
            "localization": first["localization"],
            "num_draws": int(next(iter(parts.values())).sizes["draw"]),
            "chains": int(next(iter(parts.values())).sizes["chain"]),
            "settings": {
                k: first[k] for k in ("sampler", "batch_size", "gradient", "thin", "warmup", "seed")
            },
            "units": UNITS,
            "warnings": [*said, *_too_close(parts, found)],
        },
    )


def _too_close(parts: Mapping[str, xr.Dataset], found: list[tuple[float, float]]) -> list[str]:
    """A sentence on the component whose draws depend on each other most, where they do."""
    (name, part), (ess, _) = min(
        zip(parts.items(), found, strict=True), key=lambda pair: pair[1][0]
    )
    num = part["loss_difference"].size
    if not ess < FEW * num:
        return []
    return [
        f"{name}: {num} draws are worth {ess:.0f} independent ones of φ; take them further apart "
        "(thin), or more of them"
    ]


def _effective(samples: xr.Dataset) -> tuple[float, float]:
    """Effective number of draws behind the mean of φ̂, and behind that of its square.

    The noise of the batch makes φ̂ forget faster than the chain does; the distance from w* has none.
    """
    several = [np.asarray(samples[name].values, float) for name in ("loss_difference", "distance")]
    means = [average(series).ess for series in several]
    squares = [average(np.square(series - series.mean())).ess for series in several]
    return min(means), min(squares)


def _teller(progress: Progress, number: int, total: int, component: str) -> Any:
    return lambda stage, done, of: progress(number, total, component, stage, done, of)


def _silent(*_: Any) -> None:
    """No progress is shown."""
