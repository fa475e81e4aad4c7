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
            "num_examples": 100, "num_gradients": 1234, "shared_batches": False, "batch_size": 100,
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
    # The same R̂, and chains that differ by a hundredth of λ̂: no harm.
    high = apart + 400 / NBETA
    assert llc(samples(high)).rhat > 1.05 and not warned("disagree", samples(high))


def test_too_few_draws_are_named():
    rng = np.random.default_rng(2)
    walk = np.cumsum(rng.normal(size=(CHAINS, DRAWS)), axis=1) / NBETA
    assert warned("too few", samples(walk)) and not warned("too few", samples())


@pytest.mark.parametrize(("virial", "words"), [(1.2, "step is too large"), (0.8, "stationary")])
def test_the_thermometer_is_read(virial, words):
    noise = 0.1 * np.random.default_rng(3).normal(size=(CHAINS, DRAWS))
    noise -= noise.mean()
    assert warned(words, samples(virial=virial + noise))
    # A deviation that is smaller than its error, or than 7.5% of λ̂, is no finding.
    assert not warned(words, samples(virial=virial + 1000 * noise))
    assert not warned(words, samples(virial=1 + (virial - 1) / 20 + noise))


def test_heat_is_named_by_the_thermometer_that_saw_it():
    noise = 0.01 * np.random.default_rng(3).normal(size=(CHAINS, DRAWS))
    hot = samples(virial=1.2 + noise, batch_size=10)
    assert warned("heated, by gradient noise or too large a step", hot)
    assert warned("temperature 1.2", hot.assign(temperature=hot["virial"]))
    assert warned("heat may hide", samples(virial=0.8 + noise, batch_size=10))
    # All the data at every gradient: nothing there to heat, so it is the step.
    assert warned("step is too large", samples(virial=1.2 + noise, batch_size=100))


def test_a_drift_is_named():
    rng = np.random.default_rng(4)
    ramp = 2 * np.linspace(0, 1, DRAWS)
    rising = (4 + rng.normal(size=(CHAINS, DRAWS)) + ramp) / NBETA
    found = llc(samples(rising))
    assert found.drift == pytest.approx(1, abs=0.2)
    assert found.budget.drift == pytest.approx(-0.5, abs=0.1)
    assert warned("about -0.", samples(rising)) and warned("halves differ by +", samples(rising))
    assert warned("about +0.", samples(-rising + 10 / NBETA))
    assert not warned("stationary", samples())


def test_an_interval_too_wide_to_be_of_use_is_named():
    rng = np.random.default_rng(8)
    wide = (4 + 20 * rng.normal(size=(CHAINS, DRAWS))) / NBETA
    assert warned("90% interval", samples(wide)) and not warned("90% interval", samples())


@pytest.mark.parametrize(
    ("nbeta", "attrs", "words"),
    [
        (NBETA, {}, "not a minimum"),
        (NBETA, {"descent": 8.0}, "gains 8"),
        (200.0, {}, "exceeds n"),
    ],
)
def test_a_negative_value_is_kept_and_explained(nbeta, attrs, words):
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(CHAINS, DRAWS))
    # The losses of batches scatter more than paired differences do.
    loss = ANCHOR_LOSS + (-4 + 10 * rng.normal(size=noise.shape)) / nbeta
    data = samples((-4 + noise) / nbeta, nbeta=nbeta, **attrs)
    data["loss"] = (("chain", "draw"), loss)
    assert llc(data).value == pytest.approx(-4, abs=0.2)
    assert warned(words, data)
    around = samples(noise / nbeta, nbeta=nbeta)
    assert not warned("negative", around), "zero within its error"


def test_a_negative_value_of_unpaired_differences_is_explained():
    """Then a difference is as noisy as the loss of a batch."""
    rng = np.random.default_rng(5)
    assert warned("unpaired", samples((-4 + rng.normal(size=(CHAINS, DRAWS))) / NBETA))


def test_a_point_that_is_no_minimum_is_named():
    assert warned("w* is not a minimum", samples(descent=2.0))
    known: dict[str, Any]
    for known in ({"descent": 0.3}, {"descent": math.nan}, {}):
        assert not warned("minimum", samples(**known))


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
    found = llc(samples())
    line = str(found)
    value, error = line.removeprefix("LLC ").split(" (")[0].split(" ± ")
    assert float(value) == pytest.approx(found.value, abs=0.01)
    assert float(error) == pytest.approx(found.budget.total, rel=0.1)
    low, high = (float(x) for x in line.split("(90%: ")[1].split(")")[0].split(" … "))
    assert (low, high) == pytest.approx(found.interval, abs=0.01)
    assert len({len(x.split(".")[1]) for x in (value, error)}) == 1, "to the same place"
    assert f"nβ 20, γ 3, ΔL {found.loss_difference:.3g}" in line
    assert "4 chains" in line and "R̂ 1.00" in line and "virial 1.00" in line and "⚠" not in line
    assert "⚠ 1" in str(llc(failing(), drop_failed=True))
    assert "1 chain," in str(llc(samples().isel(chain=[0])))


def test_the_error_that_is_printed_holds_the_biases():
    noise = 0.01 * np.random.default_rng(3).normal(size=(CHAINS, DRAWS))
    found = llc(samples(virial=1.2 + noise))
    assert found.budget.total > 10 * found.standard_error
    assert f"± {found.budget.total:.2f}" in str(found)


def test_estimates_of_the_same_samples_are_equal_also_where_they_hold_nan():
    first, again = (llc(samples(descent=float("nan")).isel(chain=[0])) for _ in range(2))
    assert math.isnan(first.rhat) and math.isnan(first.budget.not_a_minimum)
    assert first == again


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
