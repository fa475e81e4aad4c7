"""`germ experiment superposition`: crossings, a whole run and its resumption, odd pages."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest

from germ.errors import GermError
from germ.experiments import superposition as experiment
from germ.experiments import superposition_local as local
from germ.experiments.superposition_page import page
from germ.experiments.superposition_phases import PHASES
from germ.experiments.superposition_posterior import overtakes, share


def row(n: int, **some: float) -> dict:
    shares = [0.0] * len(PHASES)
    for name, value in some.items():
        shares[PHASES.index({"five": "5", "plus": "5+", "six": "6", "four": "4"}[name])] = value
    return {"n": n, "shares": shares, "log_evidence": -1.0, "acceptance": 0.7, "stages": 3,
            "agrees": None}  # fmt: skip


def test_where_six_overtakes():
    e = math.e
    rows = [row(100, five=1.0), row(200, five=e, plus=e, six=2.0), row(300, five=1.0, six=e**3)]
    # Log-odds −1 and 3, and linear between.
    assert overtakes(rows, 1000) == pytest.approx(225)
    assert share(rows[1], "5", "5+") == pytest.approx(2 * e)
    # The last crossing counts; without one there is none.
    back = [row(1, five=0.4, six=0.6), row(2, five=0.6, six=0.4), row(4, five=0.4, six=0.6)]
    assert overtakes(back, 1000) == pytest.approx(3)
    assert math.isnan(overtakes(back[:2], 1000))


SETTINGS = replace(
    experiment.PRESETS["quick"], grid=(50, 400), effort=experiment.tempering.Effort(40, 1, 4),
    places=(experiment.Place(200, 10.0, 2, 20, (1e-4, 20)),), kinds=("5", "6"),
    chains=experiment.chains.Effort(4, 4, 4, 4),
    plateau_chains=experiment.chains.Effort(4, 4, 4, 4), plateau_draws=10,
    plan=experiment.training.Plan(60, 20, 0.02, 10, 0.05, 6),
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run but for germ's own estimates, which take longest and are tested elsewhere."""
    made = {"statuses": ["OK"], "value": 8.0, "error": 0.1, "total": 0.2, "low": 5.0, "high": 9.0,
            "virial": 1.0, "warnings": [], "chains": [7.5, 8.5]}  # fmt: skip
    folder = tmp_path_factory.mktemp("superposition")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "estimate", lambda *_: dict(made))
        return folder, experiment.run(SETTINGS, folder, seed=3, progress=lambda *_: None)


def test_a_run_goes_on_and_other_settings_are_refused(finished, monkeypatch):
    folder, first = finished

    def silent(*_):
        return None

    kept = sorted(path.name for path in (folder / "runs").iterdir())
    assert len(kept) == 2 + 3 * 2 + 2 + 1 and not [name for name in kept if "part" in name]
    (folder / "runs" / kept[0]).unlink()
    for name in ("measure", "train"):
        monkeypatch.setattr(experiment, name, lambda *_: pytest.fail("computed again"))
    again = experiment.run(SETTINGS, folder, seed=3, progress=silent)
    assert again.data == json.loads(json.dumps(first.data))
    with pytest.raises(GermError, match="of others"):
        experiment.run(replace(SETTINGS, grid=(60, 400)), folder, seed=3, progress=silent)
    (folder / "runs" / kept[0]).write_text("{")
    with pytest.raises(GermError, match="damaged"):
        experiment.run(SETTINGS, folder, seed=3, progress=silent)


def test_a_page_of_failures_is_still_a_page(finished, tmp_path):
    _, found = finished
    estimates = copy.deepcopy(found.data["estimates"])
    failed = {"statuses": ["DIVERGED"], "value": None, "warnings": []}
    for each in estimates:
        each["kinds"]["5"]["germ"] = failed
    estimates[0]["kinds"]["6"]["germ"]["low"] = 7.9
    trained = copy.deepcopy(found.data["training"])
    trained["stays"] = trained["stays"][:1]
    never = [
        {
            "data_seed": seed,
            "scale": scale,
            "seed": 0,
            "rows": [row(50, five=1.0), row(400, four=1.0)],
        }
        for seed, scale in ((None, 1.0), (0, 1.0), (0, 0.5))
    ]
    other = page(never, estimates, trained, asdict(SETTINGS), 0)
    other.write(tmp_path)
    summary = other.data["summary"]
    assert summary["posterior"]["data"]["without"] == 1
    five, six = summary["estimates"]
    assert five["failed"] == 2 and five["germ"]["value"] is None
    assert six["failed"] == 0 and six["germ"]["value"] == 8.0
    assert "refused 2 (chains diverged)" in other.text


@pytest.mark.slow
def test_germ_beside_chains_of_another_kind():
    """All of it, germ's estimate included, beside the exact local expectation."""
    place = experiment.Place(5000, 10.0, 1, 150)
    effort = experiment.chains.Effort(24, 60, 120, 10)
    found = experiment.measure(place, ("6",), effort, 0)["kinds"]["6"]
    # The 90% interval, twice as wide, and the chains' own error.
    half = max(found["germ"]["high"] - found["germ"]["value"],
               found["germ"]["value"] - found["germ"]["low"])  # fmt: skip
    assert abs(found["germ"]["value"] - found["free"]["value"]) < 2 * half
    assert np.isfinite(found["held"]["value"]) and found["free"]["error"] < 0.3
