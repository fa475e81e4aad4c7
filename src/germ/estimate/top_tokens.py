"""Which tokens a component, or a principal component, answers to most, with their context."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from germ.errors import GermError

WINDOW = 8
"""Tokens of context on each side."""


def top_tokens(
    data: xr.Dataset, values: xr.DataArray, *, num: int = 10, window: int = WINDOW
) -> list[dict[str, Any]]:
    """The tokens with the largest values and those with the smallest, in context.

    Args:
        data: As of `germ.susceptibility`.
        values: A value of each token, dims (token,): a row of χ, or a principal component's scores.
        num: Of each sign.
        window: Tokens of context on each side.

    Returns:
        For each: value, sign, rank, probe, example, position, token_id, and the ids `left` and
        `right` of its context (empty where the data have no input ids).

    Raises:
        GermError: The values are not of these tokens.
    """
    if values.dims != ("token",) or values.sizes["token"] != data.sizes["token"]:
        raise GermError(
            f"expected a value of each of {data.sizes['token']} tokens; got dims {values.dims} of "
            f"shape {values.shape}"
        )
    order = np.argsort(values.values, kind="stable")
    found = []
    for sign, chosen in (("+", order[::-1][:num]), ("-", order[:num])):
        for rank, token in enumerate(chosen.tolist()):
            left, right = context(data, token, window)
            found.append(
                {
                    "sign": sign,
                    "rank": rank + 1,
                    "value": float(values.values[token]),
                    "token": token,
                    "probe": str(data["token_probe"].values[token]),
                    "example": int(data["example"].values[token]),
                    "position": int(data["position"].values[token]),
                    "token_id": int(data["token_id"].values[token]),
                    "left": left,
                    "right": right,
                }
            )
    return found


def context(data: xr.Dataset, token: int, window: int = WINDOW) -> tuple[list[int], list[int]]:
    """Ids to the left and to the right of a token in its example."""
    if "tokens" not in data:
        return [], []
    row = data["tokens"].values[int(data["row"].values[token])]
    at = int(data["position"].values[token])
    return row[max(0, at - window) : at].tolist(), row[at + 1 : at + 1 + window].tolist()
