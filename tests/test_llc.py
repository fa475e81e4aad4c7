"""λ̂ from samples that were made by hand, so that every number of the result is known."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import xarray as xr

from germ.errors import GermError
from germ.estimate.llc import llc

NBETA, ANCHOR_LOSS, D = 20.0, 1.5, 10
CHAINS, DRAWS = 4, 400


def samples(
    difference: np.ndarray | None = None, virial: np.ndarray | None = None, **attrs: Any
) -> xr.Dataset:
    """White noise about λ = 4 and a virial of 1, unless told otherwise."""
    rng = np.random.default_rng(1)
    if difference is None:
        difference = (4 + rng.normal(size=(CHAINS, DRAWS))) / NBETA
    if virial is None:
        virial = 1 + 0.1 * rng.normal(size=difference.shape)
    warmup = np.full((len(difference), 30), 1e9)
    found = xr.Dataset(
        {
            "loss": (("chain", "draw"), ANCHOR_LOSS + difference),
            "loss_difference": (("chain", "draw"), difference),
            "virial": (("chain", "draw"), virial),
            "warmup_loss_difference": (("chain", "warmup_step"), warmup),
            "warmup_virial": (("chain", "warmup_step"), warmup),
        },
        attrs={
            "nbeta": NBETA, "localization": 3.0, "anchor_loss": ANCHOR_LOSS, "num_coordinates": D,
            "num_examples": 100, "num_gradients": 1234, "shared_batches": False,
            "statuses": ["OK"] * len(difference), **attrs,
        },
    )  # fmt: skip
    return found.assign_coords(chain=np.arange(len(difference)))


def test_the_value_and_what_goes_with_it():
    data = samples()
    found = llc(data)
    differences = NBETA * data["loss_difference"].values
    assert found.value == pytest.approx(differences.mean(), rel=1e-12)
    assert found.standard_error == pytest.approx((CHAINS * DRAWS) ** -0.5, rel=0.15)
    assert found.ess == pytest.approx(CHAINS * DRAWS, rel=0.2)
    assert found.chain_values == pytest.approx(differences.mean(axis=1))
    assert found.chains == (0, 1, 2, 3) and found.num_draws == CHAINS * DRAWS
    assert found.loss_difference == pytest.approx(found.value / NBETA)
    assert found.expected_loss == pytest.approx(ANCHOR_LOSS + found.value / NBETA)
    assert found.rhat == pytest.approx(1, abs=0.01)
    assert found.virial == pytest.approx(1, abs=4 * found.virial_error)
    assert abs(found.drift_z) < 3 and math.isnan(found.acceptance)
    assert (found.nbeta, found.localization, found.num_gradients) == (NBETA, 3.0, 1234)
    assert found.warnings == () and found.status == "ok"


def test_warmup_is_in_no_number():
    """It is 10⁹ in `samples`; without it nothing changes."""
    data = samples()
    bare = data.drop_vars(["warmup_loss_difference", "warmup_virial"])
    assert llc(data).to_dict() == llc(bare).to_dict()


def failing() -> xr.Dataset:
    data = samples()
    data["loss_difference"][1] = np.nan
    data["loss_difference"][3] = 1e6
    data.attrs["statuses"] = ["OK", "NAN", "OK", "DIVERGED"]
    return data


def test_failed_chains_are_refused():
    with pytest.raises(GermError, match=r"1: NAN, 3: DIVERGED.*drop_failed"):
        llc(failing())


def test_failed_chains_are_left_out_when_asked_and_that_is_said():
    data = failing()
    found = llc(data, drop_failed=True)
    assert found.chains == (0, 2) and found.statuses == ("OK", "NAN", "OK", "DIVERGED")
    kept = NBETA * data["loss_difference"].values[[0, 2]]
    assert found.value == pytest.approx(kept.mean()) and found.num_draws == kept.size
    assert found.status == "suspect" and "1, 3" in found.warnings[0]


def test_when_every_chain_failed_there_is_no_number():
    data = samples(statuses=["NAN"] * CHAINS)
    for drop in (False, True):
        with pytest.raises(GermError, match="NAN"):
            llc(data, drop_failed=drop)
    # Also where they failed before the first draw.
    with pytest.raises(GermError, match="NAN"):
        llc(data[["warmup_virial"]], drop_failed=True)


def test_a_selection_of_chains_keeps_its_statuses():
    data = failing()
    for chosen in ([0, 2], [2]):
        part = data.isel(chain=chosen)
        found = llc(part)
        assert found.chains == tuple(chosen)
        mean = NBETA * data["loss_difference"].values[chosen].mean()
        assert found.value == pytest.approx(mean)
    with pytest.raises(GermError, match="1: NAN"):
        llc(data.isel(chain=[1, 2]))


def warned(words: str, data: xr.Dataset) -> bool:
    found = llc(data)
    assert found.status == ("suspect" if found.warnings else "ok")
    return any(words in warning for warning in found.warnings)


def test_chains_that_disagree_are_named():
    rng = np.random.default_rng(2)
    apart = (4 + rng.normal(size=(CHAINS, DRAWS)) + np.arange(CHAINS)[:, None]) / NBETA
    assert warned("disagree", samples(apart)) and not warned("disagree", samples())


def test_too_few_draws_are_named():
    rng = np.random.default_rng(2)
    walk = np.cumsum(rng.normal(size=(CHAINS, DRAWS)), axis=1) / NBETA
    assert warned("too few", samples(walk)) and not warned("too few", samples())


@pytest.mark.parametrize(("virial", "words"), [(1.2, "heated"), (0.8, "spread out")])
def test_the_thermometer_is_read(virial, words):
    noise = 0.1 * np.random.default_rng(3).normal(size=(CHAINS, DRAWS))
    assert warned(words, samples(virial=virial + noise))
    # A deviation that is smaller than its error, or than 2% of λ̂, is no finding.
    assert not warned(words, samples(virial=virial + 1000 * noise))
    assert not warned(words, samples(virial=1 + (virial - 1) / 20 + noise))


def test_a_drift_is_named():
    rng = np.random.default_rng(4)
    ramp = np.linspace(0, 1, DRAWS)
    rising = (4 + rng.normal(size=(CHAINS, DRAWS)) + ramp) / NBETA
    assert warned("drifts by +0.5", samples(rising))
    assert warned("drifts by -0.5", samples(-rising + 10 / NBETA))


@pytest.mark.parametrize(("nbeta", "words"), [(NBETA, "not a minimum"), (200.0, "exceeds n")])
def test_a_negative_value_is_kept_and_explained(nbeta, words):
    rng = np.random.default_rng(5)
    data = samples((-4 + rng.normal(size=(CHAINS, DRAWS))) / nbeta, nbeta=nbeta)
    assert llc(data).value == pytest.approx(-4, abs=0.2)
    assert warned(words, data)
    around = samples(rng.normal(size=(CHAINS, DRAWS)) / nbeta, nbeta=nbeta)
    assert not warned("negative", around), "zero within its error"


def test_chains_that_share_batches_get_the_larger_error():
    rng = np.random.default_rng(6)
    common = (4 + rng.normal(size=(1, DRAWS)) + 0.1 * rng.normal(size=(CHAINS, DRAWS))) / NBETA
    own = llc(samples(common)).standard_error
    assert llc(samples(common, shared_batches=True)).standard_error > 1.5 * own


def test_one_chain_has_an_error_and_no_rhat():
    found = llc(samples().isel(chain=[0]))
    assert math.isnan(found.rhat) and found.standard_error > 0
    assert found.to_dict()["rhat"] is None


def test_the_control_that_sees_no_data():
    """nβ = 0: λ̂ is 0 without error, and ΔL is still what it is."""
    found = llc(samples(nbeta=0.0))
    assert found.value == 0 and found.standard_error == 0
    assert found.loss_difference == pytest.approx(4 / NBETA, rel=0.1)


def test_a_dictionary_for_json():
    found = llc(samples())
    text = json.dumps(found.to_dict(), allow_nan=False)
    back = json.loads(text)
    assert back["value"] == found.value and back["status"] == "ok" and back["acceptance"] is None


def test_the_line_that_is_printed():
    line = str(llc(samples()))
    value, error = line.removeprefix("LLC ").split(" (")[0].split(" ± ")
    assert float(value) == pytest.approx(4, abs=0.2) and float(error) == pytest.approx(
        0.025, abs=0.01
    )
    assert len(value.split(".")[1]) == len(error.split(".")[1]), "to the same place"
    assert "4 chains" in line and "R̂ 1.00" in line and "virial 1.00" in line and "⚠" not in line
    assert "⚠ 1" in str(llc(failing(), drop_failed=True))
    assert "1 chain," in str(llc(samples().isel(chain=[0])))


def test_acceptance_is_averaged_where_there_is_one():
    data = samples()
    data["acceptance"] = data["virial"] * 0 + 0.9
    assert llc(data).acceptance == pytest.approx(0.9)


def test_what_is_no_sample():
    for data in (
        samples().drop_attrs(),
        samples().drop_vars("loss_difference"),
        samples().isel(draw=slice(3)),
    ):
        with pytest.raises(GermError, match="expected"):
            llc(data)
