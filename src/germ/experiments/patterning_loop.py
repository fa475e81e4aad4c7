"""The loop of patterning: train on a mixture, measure heads, train again on another mixture.

Every model of an experiment begins at the same weights and draws its batches with the same random
numbers: a window is of the domain that a number between 0 and 1 falls into, and begins at a share
of it. Two mixtures that are nearly equal so train on nearly the same windows, and what differs
between the models is what the mixture did (common random numbers).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import germ
from germ import prefix
from germ.components import expand
from germ.errors import GermError
from germ.estimate.interpolation import worth
from germ.experiments.patterning_draws import mean_and_error, shares, trace
from germ.posterior import LocalPosterior
from germ.zoo import bundled
from germ.zoo.attention_only import AttentionOnly, AttentionOnlyConfig
from germ.zoo.train import TrainSettings, learning_rate, make_optimizer, next_token_loss

VOCAB = 128

MODES = {
    "same": "w* kept, posterior tilted",
    "continued": "going on from w*",
    "scratch": "from scratch",
}
"""What is done with a mixture. The first trains nothing: it is what χ itself speaks of."""


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
        nbeta: nβ.
        localization: γ. At nβ/γ = 0.1 weighted draws of the Gaussian are worth 0.6 to 0.95 of the
            posterior's own at a trained model, at 0.3 a tenth.
        draws: Draws of λ̂, each with its reflection.
        chi_draws: Of χ, and of λ̂ where the posterior alone is tilted.
        modes: Of `MODES`.
    """

    model: AttentionOnlyConfig
    train: TrainSettings
    finetune_steps: int
    tilt: float
    num_random: int
    num_replicas: int
    contexts: int
    components: str = "heads"
    nbeta: float = 30.0
    localization: float = 300.0
    draws: int = 48
    chi_draws: int = 96
    modes: tuple[str, ...] = tuple(MODES)


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
        """χ of every component on every domain, with errors, JSON-able."""
        settings = self.settings
        found = germ.susceptibility(
            model, self.data, probes=self.probes, components=settings.components,
            nbeta=settings.nbeta, localization=settings.localization, draws=settings.chi_draws,
            seed=self.seed,
        ).data  # fmt: skip
        return {
            "components": [str(name) for name in found["component"].values],
            "chi": found["chi_probe"].values.tolist(),
            "error": found["standard_error_probe"].values.tolist(),
            "method": found["method"].values.tolist(),
        }

    def measure(self, model: AttentionOnly) -> dict[str, Any]:
        """λ̂ of every component on the unchanged data, by draw, and the loss of every domain.

        Returns:
            `shares` (`patterning_draws.shares`) and `worth` by component, `loss` by domain.
        """
        nbeta = self.settings.nbeta
        found: dict[str, Any] = {"shares": {}, "worth": {}}
        for name, posterior in self._posteriors(model):
            draws = self._trace(posterior, self.settings.draws)
            found["shares"][name] = shares(draws, nbeta).tolist()
            found["worth"][name] = worth(torch.from_numpy(draws.mean(-1).ravel()), nbeta)
        with torch.no_grad():
            found["loss"] = {
                name: float(next_token_loss(model, rows)) for name, rows in self.probes.items()
            }
        return found

    def tilted(self, model: AttentionOnly, tilts: dict[str, Any]) -> dict[str, Any]:
        """λ̂ of every component, by draw, around one w* where the posterior's loss is tilted.

        Args:
            model: At w*.
            tilts: h by name.

        Returns:
            By name, `shares` by component; and under `""` those without a tilt.
        """
        found: dict[str, Any] = {name: {"shares": {}} for name in ("", *tilts)}
        for component, posterior in self._posteriors(model):
            draws = self._trace(posterior, self.settings.chi_draws)
            for name, part in found.items():
                values = shares(draws, self.settings.nbeta, tilts.get(name))
                part["shares"][component] = values.tolist()
        return found

    def _trace(self, posterior: LocalPosterior, draws: int) -> np.ndarray:
        return trace(posterior, len(self.domains), draws=draws, seed=self.seed)

    def _posteriors(self, model: AttentionOnly) -> Iterator[tuple[str, LocalPosterior]]:
        last = None
        for name, what in expand(model, self.settings.components).items():
            posterior = LocalPosterior.from_model(
                model, self.data, nbeta=self.settings.nbeta,
                localization=self.settings.localization, restrict=what,
            )  # fmt: skip
            last = prefix.shorten(posterior, like=last)
            yield name, last

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
        del wanted["modes"]  # Which are done is no part of how.
        if self.kept("settings", lambda: wanted) != wanted:
            raise GermError(
                f"expected {self.folder} to hold results of these settings; it holds those of "
                "others: choose another folder, or delete it"
            )


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


def changes(after: dict[str, Any], before: dict[str, Any]) -> tuple[list[float], list[float]]:
    """λ̂ after − λ̂ before of every component, and their errors.

    Draws are the same, so it is their differences that have a spread.
    """
    pairs = [
        mean_and_error(np.subtract(after["shares"][name], values))
        for name, values in before["shares"].items()
    ]
    return [change for change, _ in pairs], [error for _, error in pairs]
