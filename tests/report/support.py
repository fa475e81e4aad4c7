"""Measurements made up, for what is printed and drawn of them."""

from __future__ import annotations

import math
from typing import Any

from germ.estimate.budget import ErrorBudget
from germ.estimate.llc import LLC
from germ.estimate.locality import Locality
from germ.measuring import Measurement


def estimate(value: float, error: float, **changes: Any) -> LLC:
    """An estimate of that value and error."""
    fields: dict[str, Any] = {
        "value": value, "standard_error": error, "budget": ErrorBudget(value, error, 100.0),
        "temperature": math.nan, "locality": Locality(math.nan, 2.0, 0.1),
        "chain_values": (value,), "chains": (0,),
        "statuses": ("OK",), "ess": 100.0, "rhat": 1.0, "virial": 1.0, "virial_error": 0.01,
        "drift": 0.0, "drift_z": 0.0, "expected_loss": 2.0 + value / 30, "anchor_loss": 2.0,
        "loss_difference": value / 30, "nbeta": 30.0, "localization": 300.0,
        "num_coordinates": 10, "num_draws": 400, "num_gradients": 900, "acceptance": math.nan,
        "warnings": (),
    }  # fmt: skip
    return LLC(**{**fields, **changes})


def measurement(step: int | str, found: LLC | None, *, stored: bool = False) -> Measurement:
    """A measurement with that estimate, or one that failed."""
    status = "error: NaN" if found is None else found.status
    return Measurement(step, f"model@{step}", "data", status, found, stored=stored)
