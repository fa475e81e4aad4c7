"""The behaviour of the checkpoints of a training run: every measure of each, as one table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from germ.component_calls import at_rest, logits_of
from germ.data import Data
from germ.development.essential_dynamics import (
    NUM_COMPONENTS,
    essential_dynamics,
    path_errors,
)
from germ.development.forward import DEFAULT_EXAMPLES, device_of, spaced_tokens
from germ.development.measures import DEFAULT, OUTPUTS, Measure, Setting, chosen
from germ.development.scores import MODEL, Score
from germ.errors import GermError
from germ.report import tables

COLUMNS = (
    "step", "model", "measure", "component", "value", "standard_error", "num_examples", "chance",
)  # fmt: skip

MAX_OUTPUTS = 2**24
"""Outputs of all checkpoints together that essential dynamics looks at."""

MAX_OUTPUT_EXAMPLES = 16

MAX_OF_ONE = 2**21
"""Outputs of one checkpoint: of large vocabularies a few positions, evenly spaced, are kept."""


@dataclass(frozen=True)
class Row:
    """A measured number of a checkpoint.

    Attributes:
        step: Of training, or the model's name where no step is known.
        model: What it was loaded from.
        score: The number and its error.
    """

    step: int | str
    model: str
    score: Score

    def to_dict(self) -> dict[str, Any]:
        """By column."""
        found = {"step": self.step, "model": self.model, **self.score.to_dict()}
        return {name: found[name] for name in COLUMNS}


@dataclass(frozen=True)
class Failure:
    """A measure that a checkpoint refused, and why."""

    step: int | str
    model: str
    measure: str
    reason: str

    def __str__(self) -> str:
        """In a line."""
        return f"{self.step}: {self.measure}: {self.reason}"


@dataclass(frozen=True)
class Behaviour:
    """The table.

    Attributes:
        rows: A row a checkpoint, measure and component.
        failures: What could not be measured.
        notes: What a reader should know: the shares of variance of essential dynamics.
    """

    rows: tuple[Row, ...]
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "rows": [row.to_dict() for row in self.rows],
            "failures": [vars(failure) for failure in self.failures],
            "notes": list(self.notes),
        }

    def to_csv(self) -> str:
        """The rows as comma-separated values."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in self.rows:
            writer.writerow("" if v is None else v for v in row.to_dict().values())
        return text.getvalue()

    def write(self, folder: str | Path) -> tuple[Path, Path]:
        """Write `behaviour.csv` and `behaviour.json`, each in one piece.

        Raises:
            GermError: They cannot be written.
        """
        return tables.write(folder, "behaviour", self.to_csv(), self.to_dict())


Checkpoint = tuple[int | str, str, nn.Module | Callable[[], nn.Module]]
"""Step, name, and the model or what loads it."""

Seen = tuple[int | str, str, np.ndarray]
"""Step, name, and outputs."""


def behaviour(
    checkpoints: Iterable[Checkpoint],
    data: Data,
    measures: str | Iterable[str] = DEFAULT,
    counted: Data | None = None,
    num_examples: int = DEFAULT_EXAMPLES,
    early: int | None = None,
    late: int | None = None,
    seed: int = 0,
    listener: Callable[[list[Row], list[Failure]], None] | None = None,
) -> Behaviour:
    """Measure the behaviour of checkpoints, each on the same rows of text.

    Args:
        checkpoints: Step, name and model of each, in order; in place of the model a function that
            loads it, so that one is in memory at a time.
        data: Rows of tokens.
        measures: Names of `germ.development.measures.NAMES`.
        counted: Rows that n-grams are counted in; by default `data`, the measured rows included.
        num_examples: So many rows are measured on, evenly spaced through the data.
        early: First position of the in-context score.
        late: Its second.
        seed: Of random tokens.
        listener: Is told a checkpoint's rows and failures as they come.

    Returns:
        The table.

    Raises:
        GermError: There is no such measure; the data is no text; or nothing could be measured.
    """
    wanted = chosen(measures if isinstance(measures, str) else list(measures))
    setting = Setting(
        spaced_tokens(data, num_examples),
        spaced_tokens(data if counted is None else counted),
        seed,
        early,
        late,
    )
    rows: list[Row] = []
    failures: list[Failure] = []
    outputs: list[Seen] = []
    for step, name, given in checkpoints:
        own, refused, seen = _measured(step, name, given, wanted, setting)
        outputs += seen
        if listener is not None:
            listener(own, refused)
        rows += own
        failures += refused
    notes: tuple[str, ...] = ()
    if outputs:
        try:
            paths, notes = _paths(outputs)
            rows += paths
        except GermError as error:
            failures.append(Failure(*outputs[-1][:2], OUTPUTS, str(error)))
    if not rows:
        raise GermError(failures[0].reason if failures else "expected models to measure, got none")
    return Behaviour(tuple(rows), tuple(failures), notes)


def _measured(
    step: int | str,
    name: str,
    given: nn.Module | Callable[[], nn.Module],
    wanted: dict[str, Measure | None],
    setting: Setting,
) -> tuple[list[Row], list[Failure], list[Seen]]:
    """The rows of one checkpoint, what it refused, and its outputs if they are wanted."""
    try:
        model = given if isinstance(given, nn.Module) else given()
    except GermError as error:
        return [], [Failure(step, name, "loading", str(error))], []
    rows: list[Row] = []
    failures: list[Failure] = []
    seen: list[Seen] = []
    for measure, function in wanted.items():
        try:
            if function is None:
                seen.append((step, name, _outputs(model, setting)))
            else:
                rows += [Row(step, name, score) for score in function(model, setting)]
        except GermError as error:
            failures.append(Failure(step, name, measure, str(error)))
    return rows, failures, seen


def _outputs(model: nn.Module, setting: Setting) -> np.ndarray:
    """Logits of a few rows, (examples, positions · vocabulary).

    Centred over the vocabulary: what is added to all logits alike changes no prediction.
    """
    every = max(1, len(setting.tokens) // MAX_OUTPUT_EXAMPLES)
    tokens = setting.tokens[::every][:MAX_OUTPUT_EXAMPLES]
    with torch.no_grad(), at_rest(model):
        logits = logits_of(model, tokens.to(device_of(model))).float()
    num, length, vocab = logits.shape
    kept = max(1, min(length, MAX_OF_ONE // (num * vocab)))
    logits = logits[:, torch.linspace(0, length - 1, kept).round().long()]
    return (logits - logits.mean(-1, keepdim=True)).flatten(1).cpu().numpy()


def _paths(outputs: list[Seen]) -> tuple[list[Row], tuple[str, ...]]:
    """The path of checkpoints, and what share of variance it shows."""
    if len(outputs) < 3:
        raise GermError(f"expected 3 checkpoints or more for a path of outputs, got {len(outputs)}")
    num = max(1, min(len(outputs[0][2]), MAX_OUTPUTS // (len(outputs) * outputs[0][2].shape[1])))
    stacked = np.stack([found[:num] for _, _, found in outputs])
    num_components = min(NUM_COMPONENTS, len(outputs) - 1)
    dynamics = essential_dynamics({"": stacked.reshape(len(outputs), -1)}, num_components)
    errors = path_errors({"": stacked}, num_components)[""]
    rows = [
        Row(step, name, Score(f"outputs PC{i + 1}", MODEL, float(value), float(error), num))
        for (step, name, _), path, error_path in zip(
            outputs, dynamics.paths[""], errors, strict=True
        )
        for i, (value, error) in enumerate(zip(path, error_path, strict=True))
    ]
    shares = ", ".join(f"{share:.1%}" for share in dynamics.explained)
    chance = ", ".join(f"{share:.1%}" for share in dynamics.random_walk)
    note = f"outputs: shares of variance {shares}; a random walk as long has {chance}"
    return rows, (note,)
