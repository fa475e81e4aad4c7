"""The loop of patterning: train on a mixture, measure heads, train again on another mixture.

Every model of an experiment begins at the same weights and draws its batches with the same random
numbers: a window is of the domain that a number between 0 and 1 falls into, and begins at a share
of it. Two mixtures that are nearly equal so train on nearly the same windows, and what differs
between the models is what the mixture did (common random numbers).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import germ
from germ import prefix
from germ.components import expand
from germ.diagnostics import average
from germ.errors import GermError
from germ.estimate.influence import pooled
from germ.posterior import LocalPosterior
from germ.samplers import LeimkuhlerMatthews
from germ.types import Draw
from germ.zoo import bundled
from germ.zoo.attention_only import AttentionOnly, AttentionOnlyConfig
from germ.zoo.train import TrainSettings, learning_rate, make_optimizer, next_token_loss

STEP_SIZE = 1e-3
"""Of Leimkuhler–Matthews: the same at every model, so that their noise is common too. At γ = 100
the slowest directions relax in twenty steps."""


VOCAB = 128

BATCH = 32
"""Contexts in a batch of the sampler; gradients are anchored, so that it heats little."""


@dataclass(frozen=True)
class Settings:
    """How large everything is.

    Attributes:
        model: Sizes of the model.
        train: How it is trained.
        finetune_steps: Steps of going on from the trained weights, at a tenth of the learning rate.
        tilt: Norm of h of every pattern and of every random tilt.
        num_random: Random tilts of the same norm: the control.
        num_replicas: Retrainings on the same mixture with other batches: the noise of training.
        contexts: Contexts of each domain that λ̂ and χ are measured on.
        components: Patterns of the components that are aimed at.
        nbeta: nβ. At the field's 30 and γ = 300 heads this small hardly answer to the data at all:
            (nβ)²·χ was 0.05 ± 0.03 for λ̂ near 1.
        localization: γ.
        chains: Chains of every run.
        draws: Draws of every chain, of λ̂.
        chi_draws: Draws of every chain, of χ.
    """

    model: AttentionOnlyConfig
    train: TrainSettings
    finetune_steps: int
    tilt: float
    num_random: int
    num_replicas: int
    contexts: int
    components: str = "heads"
    nbeta: float = 300.0
    localization: float = 100.0
    chains: int = 4
    draws: int = 100
    chi_draws: int = 100


class Loop:
    """Trains and measures, and keeps what took long in a folder."""

    def __init__(self, settings: Settings, folder: Path, seed: int) -> None:
        """Read the text.

        Raises:
            GermError: The folder holds results of other settings.
        """
        self.settings, self.folder, self.seed = settings, folder, seed
        self.domains = bundled.domains()
        self.streams = {name: characters(name) for name in self.domains}
        self.probes = {name: self._spread(stream) for name, stream in self.streams.items()}
        # The data are exactly the probes: L is the mean of their losses.
        self.data = torch.cat(list(self.probes.values()))
        self._check()

    def train(
        self, shares: np.ndarray, *, start: AttentionOnly | None = None, batches: int = 0
    ) -> AttentionOnly:
        """A model trained on a mixture, from scratch or on from `start`.

        Args:
            shares: Share of each domain, summing to 1.
            start: Weights to go on from, for `finetune_steps` at a tenth of the learning rate.
            batches: Which sequence of random numbers the batches are drawn with.
        """
        given = self.settings.train
        num_steps = given.num_steps if start is None else self.settings.finetune_steps
        torch.manual_seed(self.seed)
        model = AttentionOnly(self.settings.model)
        if start is not None:
            model.load_state_dict(start.state_dict())
        optimizer = make_optimizer(model, given)
        for step in range(num_steps):
            rate = learning_rate(step, given) if start is None else 0.1 * given.lr
            for group in optimizer.param_groups:
                group["lr"] = rate
            key = (self.seed, batches, int(start is not None), step)
            loss = next_token_loss(model, self.windows(shares, key))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), given.clip)
            optimizer.step()
            optimizer.zero_grad()
        return model.eval()

    def windows(self, shares: np.ndarray, key: tuple[int, ...]) -> Tensor:
        """The batch of a step (examples, context)."""
        num, context = self.settings.train.batch_size, self.settings.model.context
        rng = np.random.default_rng(key)
        # Stratified: so many of each domain as its share says, give or take one.
        places = (np.arange(num) + rng.random()) / num
        which = np.searchsorted(np.cumsum(shares)[:-1], places, side="right")
        begins = rng.random(num)
        rows = []
        for domain, begin in zip(which.tolist(), begins.tolist(), strict=True):
            stream = self.streams[self.domains[domain]]
            start = int(begin * (len(stream) - context))
            rows.append(stream[start : start + context])
        return torch.stack(rows)

    def chi(self, model: AttentionOnly) -> dict[str, Any]:
        """χ of every component on every domain, with errors, JSON-able: see `response`."""
        rows = [response(trace) for trace in self._traces(model, self.settings.chi_draws).values()]
        names = list(expand(model, self.settings.components))
        return {"components": names, "chi": [r[0] for r in rows], "error": [r[1] for r in rows]}

    def measure(self, model: AttentionOnly) -> dict[str, Any]:
        """λ̂ of every component on the unchanged data, with its error, and the loss of every domain.

        φ is the mean over all the data at every draw, not over a batch of them.
        """
        values, errors = {}, {}
        for name, trace in self._traces(model, self.settings.draws).items():
            found = average(self.settings.nbeta * trace.mean(-1))
            values[name], errors[name] = found.mean, found.standard_error
        with torch.no_grad():
            losses = {
                name: float(next_token_loss(model, rows)) for name, rows in self.probes.items()
            }
        return {"llc": values, "error": errors, "loss": losses}

    def _traces(self, model: AttentionOnly, draws: int) -> dict[str, np.ndarray]:
        """For every component, ℓ_d(w) − ℓ_d(w*) of every domain at every draw (chain, draw, d)."""
        settings, last = self.settings, None
        found = {}
        for name, what in expand(model, settings.components).items():
            posterior = germ.LocalPosterior.from_model(
                model, self.data, nbeta=settings.nbeta, localization=settings.localization,
                restrict=what,
            )  # fmt: skip
            last = posterior = prefix.shorten(posterior, like=last)
            samples = germ.sample(
                posterior, LeimkuhlerMatthews(STEP_SIZE), chains=settings.chains, draws=draws,
                thin=5, warmup=60, batch_size=BATCH, seed=self.seed,
                observables={"domains": DomainLosses(posterior, self.probes)},
            )  # fmt: skip
            found[name] = samples["domains"].values
        return found

    def kept(self, name: str, make: Any) -> Any:
        """A result from its file, or made and written; JSON-able."""
        path = self.folder / f"{name}.json"
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        result = make()
        part = path.with_suffix(".part")
        part.write_text(json.dumps(result), encoding="utf-8")
        os.replace(part, path)
        return result

    def _spread(self, stream: Tensor) -> Tensor:
        """Contexts spread evenly over a domain."""
        context, num = self.settings.model.context, self.settings.contexts
        starts = torch.linspace(0, len(stream) - context, num).long()
        return torch.stack([stream[start : start + context] for start in starts.tolist()])

    def _check(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GermError(f"cannot write {self.folder}: {error.strerror or error}") from error
        wanted = json.loads(json.dumps({**asdict(self.settings), "seed": self.seed}))
        if self.kept("settings", lambda: wanted) != wanted:
            raise GermError(
                f"expected {self.folder} to hold results of these settings; it holds those of "
                "others: choose another folder, or delete it"
            )


class DomainLosses:
    """The mean loss of every domain at a draw, less that at w* (a `DrawObservable`)."""

    def __init__(self, posterior: LocalPosterior, probes: Mapping[str, Tensor]) -> None:
        """Prepare all domains as one batch, of equal parts."""
        self.num = len(probes)
        self.batch = posterior.attach({"input_ids": torch.cat(list(probes.values()))})
        self.posterior = posterior
        self.at_anchor = self._means(posterior.anchor)

    def at(self, posterior: LocalPosterior, position: Tensor, draw: Draw) -> Tensor:
        """Of one chain, (domains,), in nats."""
        return self._means(position) - self.at_anchor

    def identity(self) -> dict[str, Any]:
        """The data of the posterior say the rest."""
        return {"domains": self.num}

    def _means(self, position: Tensor) -> Tensor:
        with torch.no_grad():
            losses = self.posterior.token_losses(position, self.batch).double()
        return losses.reshape(self.num, -1).mean(1)


def response(trace: np.ndarray) -> tuple[list[float], list[float]]:
    """χ_d = −Cov(φ, ℓ_d − φ) and its standard error, from ℓ_d(w) − ℓ_d(w*) (chain, draw, d).

    The domains are all the data, so that φ is their mean at the same draw: what batches and draws
    do to all domains alike cancels in the difference, and so in the error.
    """
    phi = trace.mean(-1, keepdims=True)
    other = trace - phi
    dx, dy = phi - phi.mean(1, keepdims=True), other - other.mean(1, keepdims=True)
    found = pooled(
        {
            "count": np.full(len(trace), float(trace.shape[1])),
            "mean_x": phi.mean(1), "mean_y": other.mean(1),
            "products": np.einsum("cdp,cdq->cpq", dx, dy),
            "squares_x": np.square(dx).sum(1), "squares_y": np.square(dy).sum(1),
        }
    )  # fmt: skip
    return (-found.covariance[0]).tolist(), found.covariance_error[0].tolist()


def characters(domain: str) -> Tensor:
    """The bytes of a domain's text; those that are not ASCII are all one.

    A vocabulary of 128 in place of 1024: most of a small model's time goes into its logits.
    """
    text = np.frombuffer(bundled.text(domain, "train").encode(), dtype=np.uint8)
    return torch.from_numpy(np.minimum(text, VOCAB - 1).astype(np.int64))


def unit_tilt(direction: np.ndarray, norm: float, base: np.ndarray) -> np.ndarray:
    """A tilt along `direction` of that norm, shortened where a share would become negative."""
    tilt = direction - direction.mean()
    tilt = norm * tilt / np.linalg.norm(tilt)
    room = np.min(np.where(tilt < 0, base / np.maximum(-tilt, 1e-300), np.inf))
    return tilt * min(1.0, 0.95 * float(room))


def changes(after: Mapping[str, Any], before: Mapping[str, Any]) -> np.ndarray:
    """λ̂ after − λ̂ before, (component,)."""
    return np.array([after["llc"][name] - before["llc"][name] for name in before["llc"]])
