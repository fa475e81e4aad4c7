"""What the pages read of a data set of susceptibilities, checked and as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from germ.errors import GermError

if TYPE_CHECKING:
    import xarray as xr

SIGNAL = 2.0
"""Standard errors that a susceptibility has to be away from zero to be shown as signal."""

_VARIABLES = (
    "chi", "standard_error", "chi_probe", "standard_error_probe", "loss_at_anchor", "tokens",
)  # fmt: skip
_COORDINATES = (
    "component", "probe", "token_probe", "example", "position", "token_id", "example_probe",
)  # fmt: skip


@dataclass(frozen=True)
class TokenView:
    """Susceptibilities as arrays; without checkpoints there is one, whose step is `None`.

    Attributes:
        components: Names, in order.
        probes: Names, in order.
        steps: The step of each checkpoint, or `[None]`.
        chi: (checkpoint, component, token).
        error: Its standard errors, the same shape.
        chi_probe: (checkpoint, component, probe): the mean over the tokens of a probe.
        error_probe: Its standard errors.
        loss: (checkpoint, token): the token's loss at the anchor, in nats.
        probe_of: (token,): index of its probe.
        example: (token,): its example, counted within the probe.
        row: (token,): its example as a row of `ids`.
        position: (token,): where in its example the predicted token stands.
        token_id: (token,): the predicted token.
        ids: (example, context): token ids; negative where there is none.
        row_probe: (example,): index of the probe it belongs to.
        row_example: (example,): its number within the probe.
        attrs: How it was measured.
        ess: (checkpoint, component): effective draws of φ, where they are known.
    """

    components: list[str]
    probes: list[str]
    steps: list[Any]
    chi: np.ndarray
    error: np.ndarray
    chi_probe: np.ndarray
    error_probe: np.ndarray
    loss: np.ndarray
    probe_of: np.ndarray
    example: np.ndarray
    row: np.ndarray
    position: np.ndarray
    token_id: np.ndarray
    ids: np.ndarray
    row_probe: np.ndarray
    row_example: np.ndarray
    attrs: Mapping[str, Any]
    ess: np.ndarray | None = None

    def signal(self, checkpoint: int, component: int) -> np.ndarray:
        """Which tokens (token,) are at least `SIGNAL` standard errors from zero."""
        return is_signal(self.chi[checkpoint, component], self.error[checkpoint, component])


def is_signal(chi: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Where |χ| is at least `SIGNAL` standard errors; never where χ is 0.

    Example:
        >>> is_signal(np.array([0.5, -0.5, 0.0]), np.array([0.2, 0.3, 0.0])).tolist()
        [True, False, False]
    """
    return (np.abs(chi) >= SIGNAL * error) & (chi != 0)


def read(dataset: xr.Dataset) -> TokenView:
    """Check a data set of susceptibilities and take its arrays.

    Args:
        dataset: What `germ.susceptibility` made, with or without a dimension `checkpoint`.

    Raises:
        GermError: It lacks a variable or a coordinate, has no component, probe or token, holds
            numbers that are not finite or errors below zero, or tokens of examples it has not.
    """
    missing = [name for name in _VARIABLES if name not in dataset]
    missing += [name for name in _COORDINATES if name not in dataset.coords]
    if missing:
        raise GermError(
            f"expected susceptibilities with their tokens; the data set lacks {missing}; "
            "give the `data` of what germ.susceptibility returned"
        )
    for name in ("component", "probe", "token"):
        if not dataset.sizes.get(name):
            raise GermError(f"expected susceptibilities; the data set has no {name}")
    probes = [str(name) for name in dataset["probe"].values]
    row_probe = _indices(dataset["example_probe"].values, probes)
    probe_of = _indices(dataset["token_probe"].values, probes)
    example = dataset["example"].values.astype(int)
    row_example = _count_within(row_probe)
    if "example_index" in dataset.coords:
        row_example = dataset["example_index"].values.astype(int)
    if "checkpoint" in dataset.dims:
        steps = [step.item() for step in dataset["checkpoint"].values]
    else:
        steps, dataset = [None], dataset.expand_dims("checkpoint")
    view = TokenView(
        components=[str(name) for name in dataset["component"].values],
        probes=probes,
        steps=steps,
        chi=_array(dataset, "chi", "checkpoint", "component", "token"),
        error=_array(dataset, "standard_error", "checkpoint", "component", "token"),
        chi_probe=_array(dataset, "chi_probe", "checkpoint", "component", "probe"),
        error_probe=_array(dataset, "standard_error_probe", "checkpoint", "component", "probe"),
        loss=_array(dataset, "loss_at_anchor", "checkpoint", "token"),
        probe_of=probe_of,
        example=example,
        row=_rows(probe_of, example, row_probe, row_example),
        position=dataset["position"].values.astype(int),
        token_id=dataset["token_id"].values.astype(int),
        ids=_tokens(dataset),
        row_probe=row_probe,
        row_example=row_example,
        attrs=dict(dataset.attrs),
        ess=_array(dataset, "ess", "checkpoint", "component") if "ess" in dataset else None,
    )
    if (view.position < 0).any() or (view.position >= view.ids.shape[1]).any():
        raise GermError(
            f"expected positions from 0 to {view.ids.shape[1] - 1}, within the examples' context, "
            f"got {view.position.min()} to {view.position.max()}"
        )
    return view


def _array(dataset: xr.Dataset, name: str, *dims: str) -> np.ndarray:
    variable = dataset[name]
    if "checkpoint" not in variable.dims:
        variable = variable.expand_dims(checkpoint=dataset.sizes["checkpoint"])
    if set(variable.dims) != set(dims):
        raise GermError(f"expected {name} with dimensions {dims}, got {variable.dims}")
    values = np.asarray(variable.transpose(*dims).values)
    # How many draws count may be unknown; a susceptibility may not.
    if name != "ess" and not np.isfinite(values).all():
        raise GermError(f"expected finite numbers in {name}; some are NaN or infinite")
    if name.startswith("standard_error") and (values < 0).any():
        raise GermError(f"expected standard errors of 0 and more in {name}, got {values.min():g}")
    return values


def _tokens(dataset: xr.Dataset) -> np.ndarray:
    tokens = dataset["tokens"]
    if "checkpoint" in tokens.dims:
        tokens = tokens.isel(checkpoint=0)
    return np.asarray(tokens.transpose("probe_example", "context").values)


def _indices(names: np.ndarray, probes: list[str]) -> np.ndarray:
    place = {name: i for i, name in enumerate(probes)}
    found, inverse = np.unique(names.astype(str), return_inverse=True)
    unknown = [name for name in found if name not in place]
    if unknown:
        raise GermError(f"expected tokens of the probes {probes}, got some of {unknown}")
    return np.array([place[name] for name in found.tolist()], dtype=int)[inverse.reshape(-1)]


def _count_within(row_probe: np.ndarray) -> np.ndarray:
    """0, 1, 2, … for the examples of each probe, in order."""
    count = np.zeros(len(row_probe), dtype=int)
    for probe in np.unique(row_probe):
        mine = row_probe == probe
        count[mine] = np.arange(mine.sum())
    return count


def _rows(
    probe_of: np.ndarray, example: np.ndarray, row_probe: np.ndarray, row_example: np.ndarray
) -> np.ndarray:
    """The row of each token: that of its probe and its example."""
    place = {pair: i for i, pair in enumerate(zip(row_probe, row_example, strict=True))}
    row = np.array([place.get(pair, -1) for pair in zip(probe_of, example, strict=True)], dtype=int)
    if (row < 0).any():
        lost = int(np.flatnonzero(row < 0)[0])
        raise GermError(
            f"expected tokens of the stored examples; example {example[lost]} of probe number "
            f"{probe_of[lost]} is not among them"
        )
    return row
