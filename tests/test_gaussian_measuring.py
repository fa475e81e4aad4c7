"""The LLC from weighted draws, against the closed form of a Gaussian posterior, and chains."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests import test_gaussian_response as near
from tests import test_responding as known

import germ
from germ.errors import GermError
from germ.gaussian_measuring import gaussian_llc


def posterior(moving: str, num: int, **changes: Any) -> germ.LocalPosterior:
    settings: dict[str, Any] = {"nbeta": near.NBETA, "localization": near.LOCALIZATION}
    return germ.LocalPosterior.from_model(
        known.Weights(), tuple(part[:num] for part in known.DATA), loss=known.quadratics,
        restrict=known.COMPONENTS[moving], **{**settings, **changes},
    )  # fmt: skip


@pytest.mark.parametrize("num", [60, 400])
def test_equals_the_closed_form(num):
    data = tuple(part[:num] for part in known.DATA)
    for moving in ("first", "all"):
        H, slope, S, m = near.posterior(known.MOVING[moving], near.NBETA, data)
        truth = near.NBETA * float(0.5 * torch.trace(H @ (S + torch.outer(m, m))) + slope @ m)
        one = posterior(moving, num)
        seeds = [gaussian_llc(one, draws=32, seed=seed) for seed in range(12)]
        z = np.array([(found.value - truth) / found.standard_error for found in seeds])
        assert abs(z.mean()) * 12**0.5 < 4
        # The square of 12 normal numbers is within 0.25 to 2.4 of 1 but once in a thousand.
        assert 0.25 < np.square(z).mean() < 2.8
        assert seeds[0].standard_error < 0.5 * abs(truth)
        assert gaussian_llc(one, draws=32, seed=3) == seeds[3]


def test_what_is_refused():
    with pytest.raises(GermError, match="at least 8 draws"):
        gaussian_llc(posterior("all", 60), draws=4)
    with pytest.raises(GermError, match="γ > 0"):
        gaussian_llc(posterior("all", 60, localization=0.0))
    with pytest.raises(GermError, match="worth 0% of the posterior's own"):
        gaussian_llc(posterior("all", 60, nbeta=2000.0))
