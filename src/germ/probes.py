"""Probes: data sets by name whose loss is observed, token by token, wherever a chain stands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from germ.data import Data, TokenData, as_data
from germ.errors import GermError
from germ.estimate.response import FORM, observed
from germ.excess import NUM_EXAMPLES, Excess
from germ.losses import probe as check_loss
from germ.losses import split, uniform_loss
from germ.plan import auto_batch_size
from germ.posterior import LocalPosterior
from germ.prefix import same_cut
from germ.types import Batch, Draw

WORSE = 1.0
"""Nats above what a model that knows nothing has: from there on, a probe's tokens look foreign."""


@dataclass(frozen=True)
class Probe:
    """A named data set whose loss is observed.

    Attributes:
        name: Its name.
        data: Its examples.
    """

    name: str
    data: Data


def read(probes: Mapping[str, Any], model: nn.Module, data: Data) -> tuple[Probe, ...]:
    """The probes, checked to go with a model and the data that it is sampled on.

    Args:
        probes: Data by name, each what `germ.data.as_data` takes.
        model: The model.
        data: What its posterior is of.

    Raises:
        GermError: There is none; or one, which is named, is no data, has tokens that the model
            does not know, or another context than `data`.
    """
    if not probes:
        raise GermError("expected at least one probe, a data set by name whose loss is observed")
    return tuple(_read_one(str(name), given, model, data) for name, given in probes.items())


def _read_one(name: str, given: Any, model: nn.Module, data: Data) -> Probe:
    try:
        found = as_data(given)
    except GermError as error:
        raise GermError(f"probe {name!r}: {error}") from error
    context, here = getattr(data, "context", None), getattr(found, "context", None)
    if context is not None and here is None:
        raise GermError(f"probe {name!r}: expected rows of tokens, as the data are; got {found}")
    if here != context:
        raise GermError(
            f"probe {name!r}: expected examples of {context} tokens, as the data have; got {here}: "
            f"cut both to one context"
        )
    vocabulary = vocabulary_size(model)
    if isinstance(found, TokenData) and vocabulary is not None:
        try:
            found._check_vocabulary(vocabulary)
        except GermError as error:
            raise GermError(f"probe {name!r}: {error}") from error
    return Probe(name, found)


def vocabulary_size(model: nn.Module) -> int | None:
    """Number of tokens that a model knows, where its configuration says so."""
    config = getattr(model, "config", None) or getattr(model, "cfg", None)
    for name in ("vocab_size", "d_vocab"):
        size = getattr(config, name, None)
        if isinstance(size, int):
            return size
    return None


@dataclass(frozen=True)
class Layout:
    """Where each observed loss comes from: one entry a token, probes one after another.

    Attributes:
        names: Of the probes.
        sizes: Tokens of each.
        probe: Which probe, as a number, (tokens,).
        example: Which example of its probe.
        position: Index of the predicted token in its example; 0 where there are no tokens.
        token_id: The predicted token; of a classifier the label; −1 where there is neither.
        row: The row of `tokens`, or of all examples put one after another.
        tokens: The probes' input ids, (examples, context); None where there are none.
        example_probe: Which probe each example is of, (examples,).
        example_index: Its number within the probe.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    probe: np.ndarray
    example: np.ndarray
    position: np.ndarray
    token_id: np.ndarray
    row: np.ndarray
    tokens: np.ndarray | None
    example_probe: np.ndarray
    example_index: np.ndarray


def layout(posterior: LocalPosterior, probes: Sequence[Probe]) -> Layout:
    """See which losses the probes have.

    Raises:
        GermError: The model and its loss cannot process a probe, which is named.
    """
    columns: list[dict[str, np.ndarray]] = []
    inputs: list[np.ndarray] = []
    start = 0
    for number, probe in enumerate(probes):
        batch = posterior.placed(probe.data.batch(torch.arange(1)))
        try:
            losses = check_loss(posterior.model, posterior.loss, batch, 1)
        except GermError as error:
            raise GermError(f"probe {probe.name!r}: {error}") from error
        num, per = probe.data.num_examples, losses.numel()
        whole = probe.data.batch(torch.arange(num))
        ids, tokens = _predicted(whole, num, per)
        if tokens is not None:
            inputs.append(tokens)
        shift = 1 if tokens is not None else 0
        example = np.repeat(np.arange(num), per)
        columns.append(
            {
                "probe": np.full(num * per, number),
                "example": example,
                "position": np.tile(np.arange(per) + shift, num),
                "token_id": ids,
                "row": example + start,
            }
        )
        start += num
    joined = {name: np.concatenate([c[name] for c in columns]) for name in columns[0]}
    nums = [probe.data.num_examples for probe in probes]
    return Layout(
        names=tuple(probe.name for probe in probes),
        sizes=tuple(len(c["probe"]) for c in columns),
        tokens=np.concatenate(inputs) if len(inputs) == len(probes) else None,
        example_probe=np.repeat(np.arange(len(probes)), nums),
        example_index=np.concatenate([np.arange(num) for num in nums]),
        **joined,
    )


def _predicted(whole: Batch, num: int, per: int) -> tuple[np.ndarray, np.ndarray | None]:
    """What each loss predicts, and the input ids of a language model."""
    if isinstance(whole, Mapping) and "input_ids" in whole:
        ids = whole["input_ids"].cpu().numpy()
        if ids.shape == (num, per + 1):
            return ids[:, 1:].reshape(-1), ids
    try:
        _, targets = split(whole)
    except GermError:
        return np.full(num * per, -1), None
    whole_number = isinstance(targets, Tensor) and not targets.is_floating_point()
    if whole_number and targets.numel() == num * per:
        return targets.cpu().numpy().reshape(-1).astype(np.int64), None
    return np.full(num * per, -1), None


class ProbeLosses:
    """ℓ(w) − ℓ(w*) of every token of every probe, wherever a chain stands (a `DrawObservable`).

    Held in pieces of a size that the model's own batches have; what a posterior can compute of them
    once and for all (`LocalPosterior.attach`) it does.

    Attributes:
        posterior: The posterior they are prepared for.
        at_anchor: ℓ(w*), (tokens,), float64.
    """

    wants_halves = False  # φ is taken of examples of its own.

    def __init__(
        self,
        posterior: LocalPosterior,
        probes: Sequence[Probe],
        *,
        chunk_size: int | None = None,
        like: ProbeLosses | None = None,
    ) -> None:
        """Prepare the probes for a posterior and see their losses at w*.

        Args:
            posterior: The posterior.
            probes: The probes.
            chunk_size: Examples a call; None is as many as a batch has by default.
            like: Those of the same probes for another component of the same model, whose work is
                used again where it can be.

        Raises:
            GermError: A loss is not finite at w*; the probe is named.
        """
        self.posterior = posterior
        self._probes = tuple(probes)
        self._excess = Excess(posterior, like=None if like is None else like._excess)
        if like is not None and same_cut(like.posterior, posterior):
            self._pieces, self.at_anchor = like._pieces, like.at_anchor
            return
        size = chunk_size or auto_batch_size(posterior)
        self._pieces: list[Batch] = []
        at_anchor: list[Tensor] = []
        with torch.no_grad():
            for probe in probes:
                for indices in torch.arange(probe.data.num_examples).split(size):
                    batch = posterior.placed(probe.data.batch(indices))
                    self._pieces.append(posterior.attach(batch))
                    at_anchor.append(self._losses(posterior.anchor, self._pieces[-1]))
                    if not bool(at_anchor[-1].isfinite().all()):
                        raise GermError(
                            f"probe {probe.name!r}: expected finite losses at w*; got NaN or inf"
                        )
        self.at_anchor = torch.cat(at_anchor)

    def at(self, posterior: LocalPosterior, position: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """What `germ.estimate.response.Response` folds."""
        parts = [self._losses(position, piece) for piece in self._pieces]
        losses = torch.cat(parts) - self.at_anchor
        return observed(*self._excess.at(position, draw), losses)

    def identity(self) -> dict[str, Any]:
        """What tells these from others: the content of the probes, and how φ is estimated."""
        found = [probe.data.fingerprint() for probe in self._probes]
        return {"probes": found, "excess_examples": NUM_EXAMPLES, "form": FORM}

    def token_losses(self, position: Tensor) -> Tensor:
        """ℓ(w) of every token of every probe at `position` (d,): (tokens,), float64."""
        with torch.no_grad():
            return torch.cat([self._losses(position, piece) for piece in self._pieces])

    @property
    def excess(self) -> Excess:
        """What estimates φ of the same posterior."""
        return self._excess

    def _losses(self, position: Tensor, piece: Batch) -> Tensor:
        return self.posterior.token_losses(position, piece).double().reshape(-1)


def foreign(
    posterior: LocalPosterior, probes: Sequence[Probe], layout: Layout, at_anchor: np.ndarray
) -> list[str]:
    """Sentences on probes whose tokens look as if another tokenizer had made them.

    The model has a higher loss on them than one that knows nothing, log(vocabulary).
    """
    example = posterior.placed(probes[0].data.batch(torch.arange(1)))
    with torch.no_grad():
        ceiling = uniform_loss(posterior.loss, posterior.model, example)
    said = []
    for number, name in enumerate(layout.names):
        mean = float(at_anchor[layout.probe == number].mean())
        if math.isfinite(ceiling) and mean > ceiling + WORSE:
            said.append(
                f"probe {name!r} has a loss of {mean:.2f} nats at w*, where a model that knows "
                f"nothing has {ceiling:.2f}: are its tokens those of another tokenizer?"
            )
    return said
