"""The runs of all components, put together as one data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from torch import Tensor

from germ import probes
from germ.diagnostics import average

OBSERVABLE = "response"

FEW = 0.5
"""Effective draws as a share of all draws below which it is said that they are too close."""


class _Worth(NamedTuple):
    """What draws there are, what they are worth, and the refined LLC that they give.

    Attributes:
        method: `"gaussian"` or `"chains"`.
        num_draws: In all.
        groups: Independent ones, whose spread is the error: chains, or groups of draws.
        ess: Effective draws behind the mean of φ.
        ess_square: And behind that of its square.
        llc: λ̂ of the component.
        llc_error: Its standard error.
    """

    method: str
    num_draws: int
    groups: int
    ess: float
    ess_square: float
    llc: float
    llc_error: float


def assemble(
    parts: Mapping[str, xr.Dataset],
    where: probes.Layout,
    at_anchor: Tensor,
    about: Mapping[str, Any],
    said: list[str],
) -> xr.Dataset:
    """The data set of `germ.responses.Susceptibility`.

    Args:
        parts: What came of each component.
        where: Where each loss comes from.
        at_anchor: ℓ(w*), (tokens,).
        about: Attributes.
        said: Warnings so far.
    """
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
        "loss_at_anchor": ("token", at_anchor.float().cpu().numpy()),
    }
    found = [_worth(part) for part in parts.values()]
    for name in _Worth._fields:
        variables[name] = ("component", np.array([getattr(each, name) for each in found]))
    if where.tokens is not None:
        variables["tokens"] = (("probe_example", "context"), where.tokens)
    first = next(iter(parts.values())).attrs
    counts = Counter(each.method for each in found)
    one = len(counts) == 1
    methods = ", ".join(m if one else f"{m} ({n} components)" for m, n in counts.items())
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
            "methods": methods,
            "least_draws": min(each.num_draws for each in found),
            "least_groups": min(each.groups for each in found),
            "settings": _settings(parts),
            "warnings": [*said, *_too_close(parts, found)],
        },
    )


def _settings(parts: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """How each method was carried out."""
    names = {
        "gaussian": ("gradient_examples", "seed"),
        "chains": ("sampler", "batch_size", "gradient", "thin", "warmup", "seed"),
    }
    found: dict[str, Any] = {}
    for part in parts.values():
        method = _method(part)
        found.setdefault(method, {name: part.attrs[name] for name in names[method]})
    return found


def _method(part: xr.Dataset) -> str:
    return part.attrs.get("method", "chains")


def _worth(part: xr.Dataset) -> _Worth:
    """What the draws of a component are worth.

    The noise of the batch makes φ̂ of a chain forget faster than the chain does; the distance from
    w* has none.
    """
    if _method(part) == "gaussian":
        num = int(part.attrs["num_draws"])
        worth = float(part.attrs["share"]) * num
        values = (float(part[f"{OBSERVABLE}_{name}"]) for name in ("llc", "llc_error"))
        return _Worth("gaussian", num, int(part.attrs["groups"]), worth, worth, *values)
    series = [np.asarray(part[name].values, float) for name in ("loss_difference", "distance")]
    means = [average(each) for each in series]
    squares = [average(np.square(each - each.mean())) for each in series]
    nbeta, phi = float(part.attrs["nbeta"]), means[0]
    return _Worth(
        "chains",
        part["loss_difference"].size,
        part.sizes["chain"],
        min(each.ess for each in means),
        min(each.ess for each in squares),
        nbeta * phi.mean,
        nbeta * phi.standard_error,
    )


def _too_close(parts: Mapping[str, xr.Dataset], found: list[_Worth]) -> list[str]:
    """A sentence on the component whose chain's draws depend on each other most."""
    chained = [
        (each.ess, name, each.num_draws)
        for name, each in zip(parts, found, strict=True)
        if each.method == "chains"
    ]
    if not chained:
        return []
    ess, name, num = min(chained)
    if not ess < FEW * num:
        return []
    return [
        f"{name}: {num} draws are worth {ess:.0f} independent ones of φ; take them further apart "
        "(thin), or more of them"
    ]
