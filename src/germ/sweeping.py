"""Many models, one after another: each a stored run of its own, together a table."""

from __future__ import annotations

import contextlib
import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from germ import hub
from germ.data import Data, as_data
from germ.errors import GermError, SamplingFailed
from germ.estimate import comparable, restatement
from germ.estimate.control import Control, control, same_order, survives
from germ.losses import causal_lm, resolve_loss
from germ.measuring import Measurement, measure, run_path
from germ.one_calibration import OneCalibration
from germ.posterior import LocalPosterior
from germ.report import tables
from germ.setup import AnySampler
from germ.types import LossFn
from germ.weights import check_finite

Models = str | Sequence[str] | Iterable[tuple[int | str, nn.Module]]

COLUMNS = (
    "value", "standard_error", "anchor_loss", "expected_loss", "loss_difference", "rhat", "ess",
    "virial", "virial_error", "drift", "drift_z", "nbeta", "localization", "num_coordinates",
    "num_draws", "num_gradients", "acceptance",
)  # fmt: skip
"""The numbers of an estimate that a CSV file has a column for."""


class Listener:
    """Is told how a sweep goes along. These methods do nothing: override those you need."""

    def started(self, index: int, total: int, name: str) -> None:
        """The model `name` is next, after `index` others of `total`."""

    def stage(self, stage: str, done: int, total: int) -> None:
        """As `germ.sample` tells its `progress`."""

    def finished(self, row: Measurement) -> None:
        """A model is done."""


@dataclass(frozen=True)
class Sweep:
    """The table of a sweep.

    Attributes:
        rows: A measurement per model, in order of training.
        controls: The nβ = 0 control of each row (`germ.estimate.control`), where it was asked for.
        untrained_loss: Loss of an untrained model, where it is known.
    """

    rows: tuple[Measurement, ...]
    controls: tuple[Control | None, ...] = ()
    untrained_loss: float | None = None

    @property
    def failed(self) -> tuple[Measurement, ...]:
        """The models without an estimate."""
        return tuple(row for row in self.rows if row.estimate is None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the table must know that no single row tells.

        Settings that differ between rows; λ̂ that restates the loss; λ̂, or an order of models,
        that survives the control.
        """
        good = [(str(row.step), row.estimate) for row in self.rows if row.estimate is not None]
        differing = comparable.warning(comparable.of_estimates(dict(good)))
        if differing is not None:
            return (differing,)
        said: list[str | None] = []
        if len(good) >= restatement.MIN_CHECKPOINTS:
            found = restatement.restatement(
                [estimate for _, estimate in good],
                names=[step for step, _ in good],
                untrained_loss=self.untrained_loss,
            )
            said += found.warnings
        pairs = [
            (row, row.estimate, without)
            for row, without in zip(self.rows, self.controls, strict=False)
            if row.estimate is not None and without is not None
        ]
        for row, estimate, without in pairs:
            sentence = survives(estimate, without)
            said.append(None if sentence is None else f"{row.step}: {sentence}")
        said.append(same_order([e for _, e, _ in pairs], [c for _, _, c in pairs]))
        return tuple(sentence for sentence in said if sentence is not None)

    def to_dict(self) -> dict[str, Any]:
        """All rows, for JSON."""
        controls = [None if c is None else c.to_dict() for c in self.controls]
        return {
            "rows": [row.to_dict() for row in self.rows],
            "controls": controls,
            "warnings": list(self.warnings),
        }

    def to_csv(self) -> str:
        """The table as comma-separated values, one line a model; `value` is λ̂."""
        text = io.StringIO()
        head = ["step", "model", "data", "status", *COLUMNS, "warnings", "run", "control"]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(head)
        controls = [*self.controls, *[None] * (len(self.rows) - len(self.controls))]
        for row, without in zip(self.rows, controls, strict=True):
            found = {} if row.estimate is None else row.estimate.to_dict()
            numbers = ["" if found.get(name) is None else found[name] for name in COLUMNS]
            warnings = "; ".join(found.get("warnings", ()))
            beside = "" if without is None else without.value
            writer.writerow(
                [row.step, row.model, row.data, row.status, *numbers, warnings, row.run, beside]
            )
        return text.getvalue()

    def write(self, folder: str | Path, name: str = "sweep") -> tuple[Path, Path]:
        """Write `NAME.csv` and `NAME.json`, each in one piece.

        Raises:
            GermError: If they cannot be written.
        """
        return tables.write(folder, name, self.to_csv(), self.to_dict())

    def __str__(self) -> str:
        """The table as text."""
        return "\n".join([tables.header("step"), *(tables.line(r, r.step) for r in self.rows)])


def sweep(
    models: Models,
    data: Any = None,
    *,
    loss: str | LossFn | None = None,
    nbeta: float | str = "auto",
    localization: float | str = "auto",
    restrict: Any = None,
    sampler: str | AnySampler = "auto",
    folder: str | Path | None = None,
    drop_failed: bool = False,
    without_data: bool = False,
    sampler_for: Callable[[LocalPosterior], str | AnySampler] | None = None,
    calibrate_once: bool = False,
    load: Callable[[str], hub.Loaded] = hub.load,
    load_data: Callable[[hub.Loaded, Any], Data] = hub.load_data,
    listener: Listener | None = None,
    **settings: Any,
) -> Sweep:
    """The LLC of many models at the same settings, such as the checkpoints of a training run.

    One that fails is a row that says why, and the others go on. Runs in `folder` that are complete
    are used again and those that were interrupted go on, so the same call extends a sweep.

    Args:
        models: A pattern or several (`germ.checkpoints.expand`), or pairs (step, module).
        data: A name as for `germ.hub.load_data`, data, or None for what comes with the model.
        loss: By default the one that comes with the model.
        nbeta: nβ, as for `germ.LocalPosterior.from_model`.
        localization: γ, likewise.
        restrict: Which weights move, likewise.
        sampler: As for `germ.sample`.
        folder: Where the runs are kept; None keeps them in memory until they are measured.
        drop_failed: Leave out chains that failed, and say so, instead of failing the model.
        without_data: Whether to set the nβ = 0 control beside each estimate; forward passes only.
        sampler_for: In place of `sampler`, chooses one for each posterior, such as a calibration
            that is reused where it still holds.
        calibrate_once: With `sampler="auto"`: calibrate at the last model only, and test that at
            each other's w*, where it is made anew if it does not hold (`germ.one_calibration`).
        load: How a model's name becomes a model; `functools.partial(germ.hub.load, ...)`.
        load_data: How a data set's name becomes data for a model.
        listener: Told how it goes along.
        settings: More arguments of `germ.sample`: chains, draws, warmup, seed, fresh and so on.

    Returns:
        The table.

    Raises:
        GermError: There is no such data, a setting is out of range, nothing can be written to
            `folder`, or no model could be loaded.
    """
    if calibrate_once and (sampler != "auto" or sampler_for is not None):
        raise GermError('expected sampler="auto" to calibrate once; a sampler of yours is its own')
    targets = _targets(models)
    listener = listener or Listener()
    read_data = _DataReader(data, load_data)
    rows: list[Measurement] = []
    controls: list[Control | None] = []
    untrained: list[float] = []
    name_of_data = _name_of(data)
    begun = False

    def posterior_of(loaded: hub.Loaded, examples: Data) -> LocalPosterior:
        return LocalPosterior.from_model(
            loaded.model, examples, loss=loss_of(loaded, loss),
            nbeta=nbeta, localization=localization, restrict=restrict,
        )  # fmt: skip

    if calibrate_once:
        sampler_for = OneCalibration(folder, settings)
        step, model = targets[-1]
        name = model if isinstance(model, str) else str(step)
        # Late in training curvature is largest: what is stable there is stable elsewhere. If that
        # model cannot be loaded, its row will say so, and the first that can takes its place.
        with contextlib.suppress(GermError):
            last = _load(model, name, load)
            sampler_for(posterior_of(last, read_data(last)))

    def stage(stage: str, done: int, total: int) -> None:
        nonlocal begun
        begun = True
        listener.stage(stage, done, total)

    for index, (step, model) in enumerate(targets):
        name = model if isinstance(model, str) else str(step)
        listener.started(index, len(targets), name)
        run = None
        try:
            loaded = _load(model, name, load)
        except GermError as error:
            rows.append(Measurement(step, name, name_of_data, f"error: {error}"))
            controls.append(None)
            listener.finished(rows[-1])
            continue
        examples = read_data(loaded)  # Its errors are everybody's: no model would fare better.
        without = None
        try:
            posterior = posterior_of(loaded, examples)
            chosen = sampler if sampler_for is None else sampler_for(posterior)
            if folder is not None:
                run = run_path(folder, name, posterior, chosen, settings)
            row = measure(
                posterior, model=name, data=name_of_data, step=step, sampler=chosen, store=run,
                drop_failed=drop_failed, progress=stage, **settings,
            )  # fmt: skip
            begun = True
            untrained += _untrained(row, posterior, loaded)
            if without_data:
                without = control(posterior, seed=int(settings.get("seed", 0)))
        except SamplingFailed as error:
            begun = True
            row = Measurement(step, name, name_of_data, f"failed: {error}", run=run)
        except GermError as error:
            # A full disk, or a setting with which sampling never began, ends the sweep.
            if isinstance(error.__cause__, OSError) or not begun:
                raise
            row = Measurement(step, name, name_of_data, f"error: {error}", run=run)
        rows.append(row)
        controls.append(without)
        listener.finished(row)
    if not begun:
        first = rows[0].status.removeprefix("error: ")
        raise GermError(f"none of {len(rows)} models could be loaded: {first}")
    return Sweep(tuple(rows), tuple(controls) if without_data else (), min(untrained, default=None))


def _untrained(row: Measurement, posterior: LocalPosterior, loaded: hub.Loaded) -> list[float]:
    """What an untrained model's loss is at least: that at step 0, or log(vocabulary)."""
    found = []
    if row.step == 0 and row.estimate is not None:
        found.append(row.estimate.anchor_loss)
    if posterior.loss is causal_lm and loaded.vocab:
        found.append(math.log(loaded.vocab))
    return found


def loss_of(loaded: hub.Loaded, loss: str | LossFn | None) -> LossFn:
    """The loss asked for, or the one that came with a model.

    Raises:
        GermError: If there is neither.
    """
    if loss is not None:
        return resolve_loss(loss)
    if loaded.loss is None:
        raise GermError(
            f"{loaded.name} comes without a loss; give one: causal_lm, cross_entropy, mse, bce"
        )
    return loaded.loss


def _targets(models: Models) -> list[tuple[int | str, str | nn.Module]]:
    given = [models] if isinstance(models, str) else list(models)
    if not given:
        raise GermError("expected at least one model; got none")
    if all(isinstance(model, str) for model in given):
        return [*hub.expand([str(model) for model in given])]
    return [(step, model) for step, model in given]  # type: ignore[misc]


def _load(model: str | nn.Module, name: str, load: Callable[[str], hub.Loaded]) -> hub.Loaded:
    if isinstance(model, str):
        return load(model)
    check_finite(model, name)
    return hub.Loaded(model, name)


def _name_of(data: Any) -> str:
    if data is None:
        return "its own data"
    return str(data) if isinstance(data, str | Path) else type(data).__name__


class _DataReader:
    """Data for one model after another, read anew only where a model reads it otherwise."""

    def __init__(self, spec: Any, load: Callable[[hub.Loaded, Any], Data]) -> None:
        self.spec = spec
        self.load = load
        self.read: tuple[Any, Data] | None = None

    def __call__(self, loaded: hub.Loaded) -> Data:
        if self.spec is not None and not isinstance(self.spec, str | Path):
            return as_data(self.spec)
        if loaded.data is not None and self.spec is None:
            return loaded.data
        key = (_tokenizer_key(loaded.tokenizer), loaded.context, loaded.vocab)
        if self.read is None or self.read[0] != key:
            self.read = key, self.load(loaded, self.spec)
        return self.read[1]


def _tokenizer_key(tokenizer: Any) -> Any:
    """Equal for tokenizers that encode alike; a tokenizer that cannot be written down is itself."""
    fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
    write = getattr(fast, "to_str", None)
    return (write(), getattr(tokenizer, "eos_token_id", None)) if callable(write) else tokenizer
