"""What a profile reads off rungs whose λ̂ is known in closed form."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from tests.report.support import estimate

from germ.errors import GermError
from germ.estimate.locality import Locality
from germ.estimate.profile import Rung, assemble

LADDER = [float(x) for x in np.geomspace(1e2, 1e5, 7)]


def rung(nbeta: float, value: float, error: float = 0.05, gamma: float = 1.0, **more: Any) -> Rung:
    changes = {
        "nbeta": nbeta,
        "localization": gamma,
        "loss_difference": value / max(nbeta, 1e-9),
        **more,
    }
    changes.setdefault("anchor_loss", 0.0)
    changes.setdefault("expected_loss", changes["anchor_loss"] + changes["loss_difference"])
    return Rung(nbeta, gamma, "ok", estimate(value, error, **changes))


def profile(rungs: list[Rung], **more: Any) -> Any:
    return assemble(rungs, num_examples=100_000, num_coordinates=40, **more)


def regular(gamma: float = 1.0, **more: Any) -> list[Rung]:
    """K = ½Σ h w² of twenty directions: λ̂ = ½Σ nβh/(nβh + γ), λ = 10."""
    curvatures = np.geomspace(0.1, 10, 20)
    found = []
    for nbeta in LADDER:
        scaled = nbeta * curvatures
        found.append(rung(nbeta, float((scaled / (scaled + gamma)).sum() / 2), gamma=gamma, **more))
    return found


def test_a_regular_minimum_is_read_off():
    found = profile(regular())
    assert found.reading.plateau.found
    assert found.value == pytest.approx(10, rel=0.01)
    low, high = found.reading.extrapolation.interval
    assert low < 10 < high and high - low < 0.5
    assert "λ = 10" in str(found)


def test_every_localization_is_read_by_itself_and_the_narrowest_stands():
    found = profile([*regular(gamma=300.0), *regular()])
    assert [reading.localization for reading in found.readings] == [300.0, 1.0]
    assert len(found.at(300.0)) == len(LADDER)
    assert found.reading.localization == 1.0


def test_order_does_not_matter():
    rungs = regular()
    assert str(profile(rungs)) == str(profile(rungs[::-1]))


def test_an_expected_loss_that_stands_still_only_restates_the_loss():
    rungs = [
        rung(nbeta, 2.0 * nbeta, 0.01 * nbeta, anchor_loss=1.5, expected_loss=3.5)
        for nbeta in LADDER
    ]
    reading = profile(rungs).reading
    assert reading.plateau.verdict == "no plateau" and reading.extrapolation is None
    assert any("E[L] is 3.5 at every nβ" in warning for warning in reading.warnings)
    assert math.isnan(profile(rungs).value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"virial": 1.3}, "heated"),
        ({"temperature": 1.2}, "heated"),
        ({"value": math.nan}, "finite"),
    ],
)
def test_a_rung_that_cannot_be_trusted_takes_no_part(changes, reason):
    rungs = regular()
    value = changes.pop("value", 50.0)
    rungs[2] = rung(LADDER[2], value, **changes)
    found = profile(rungs)
    assert reason in found.rungs[2].excluded
    assert found.value == pytest.approx(10, rel=0.01)
    assert any("left out" in warning for warning in found.reading.warnings)


def test_a_failed_rung_says_why():
    rungs = regular()
    rungs[0] = Rung(LADDER[0], 1.0, "failed: chain 0 is NaN")
    found = profile(rungs)
    assert found.rungs[0].excluded == "failed: chain 0 is NaN"
    assert found.reading.plateau.found


def test_what_descends_is_told_from_a_minimum():
    # 2e-5·nβ: 2 at the highest rung, as with noise in the data. The loss is not 0 there.
    rungs = [
        rung(r.nbeta, r.estimate.value - 2e-5 * r.nbeta, anchor_loss=5.0)
        for r in regular()
        if r.estimate is not None
    ]
    found = profile(rungs)
    low, high = found.reading.extrapolation.interval
    assert low < 10 < high
    # The same numbers where the loss is 0 at w*: nothing can descend, the value is lower.
    exact = profile([rung(r.nbeta, r.estimate.value) for r in rungs if r.estimate is not None])
    assert exact.value < found.value


def test_above_n_a_warning_unless_the_loss_is_zero():
    noisy = assemble(regular(anchor_loss=5.0), num_examples=1000, num_coordinates=40)
    assert any("exceed n = 1,000" in warning for warning in noisy.reading.warnings)
    exact = assemble(regular(), num_examples=1000, num_coordinates=40)
    assert not exact.reading.warnings


def test_where_nothing_local_is_measured_is_said():
    rungs = regular()
    rungs[0] = rung(LADDER[0], 9.9, locality=Locality(0.8, 1.0, 0.1))
    assert any("nothing local" in warning for warning in profile(rungs).reading.warnings)


def test_it_is_json():
    rungs = [*regular(), rung(0.0, 0.0, gamma=1.0)]
    found = json.loads(json.dumps(profile(rungs).to_dict(), allow_nan=False))
    assert len(found["rungs"]) == 8 and found["rungs"][0]["excluded"].startswith("control")
    assert found["readings"][0]["extrapolation"]["value"] == pytest.approx(10, rel=0.01)


def test_a_rung_twice_or_none_is_refused():
    with pytest.raises(GermError, match="once"):
        profile([*regular(), *regular()])
    with pytest.raises(GermError, match="at least one"):
        profile([])
