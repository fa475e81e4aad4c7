"""The loop of patterning: its random numbers, its verdicts, and once the whole of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from germ.errors import GermError
from germ.experiments import patterning
from germ.experiments.patterning_loop import VOCAB, Loop, Settings, response, unit_tilt
from germ.zoo.attention_only import AttentionOnlyConfig
from germ.zoo.train import TrainSettings

TINY = Settings(
    AttentionOnlyConfig(VOCAB, context=16, num_heads=1, d_model=8, d_head=8),
    TrainSettings(num_steps=30, batch_size=16, lr=1e-2, warmup=5),
    finetune_steps=5,
    tilt=0.3,
    num_random=2,
    num_replicas=1,
    contexts=8,
    chains=2,
    draws=20,
    chi_draws=40,
    nbeta=30.0,
)
EQUAL = np.full(4, 0.25)


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    return Loop(TINY, tmp_path_factory.mktemp("loop"), 0)


def test_mixtures_that_are_near_train_on_nearly_the_same_windows(loop: Loop):
    shares = np.array([0.3, 0.2, 0.25, 0.25])
    same, near = 0, 0
    for step in range(40):
        one, other = loop.windows(EQUAL, (0, step)), loop.windows(shares, (0, step))
        assert one.equal(loop.windows(EQUAL, (0, step)))
        same += int((one == other).all(1).sum())
        near += int((one == loop.windows(EQUAL, (1, step))).all(1).sum())
    # A twentieth of the windows changes sides; with other numbers nothing is the same.
    assert same / (40 * 16) == pytest.approx(0.95, abs=0.03)
    assert near <= 2


def test_every_batch_holds_the_shares(loop: Loop):
    shares = np.array([0.5, 0.25, 0.0, 0.25])
    for step in range(10):
        rng = np.random.default_rng((0, step))
        places = (np.arange(16) + rng.random()) / 16
        counts = np.histogram(places, [0, *np.cumsum(shares)])[0]
        assert np.abs(counts - 16 * shares).max() <= 1
        assert counts[2] == 0


def test_tilts_have_one_norm_and_leave_no_share_negative():
    direction = np.array([3.0, 1.0, -1.0, 0.0])
    tilt = unit_tilt(direction, 0.2, EQUAL)
    assert np.linalg.norm(tilt) == pytest.approx(0.2) and tilt.sum() == pytest.approx(0)
    far = unit_tilt(direction, 5.0, EQUAL)
    assert (EQUAL + far).min() > 0
    np.testing.assert_allclose(far / np.linalg.norm(far), tilt / 0.2)


def test_the_response_is_a_covariance_and_what_domains_share_is_no_noise():
    source = np.random.default_rng(0)
    trace = source.standard_normal((4, 50, 3)) * [1.0, 2.0, 0.5]
    chi, error = response(trace)
    flat = trace.reshape(-1, 3)
    phi = flat.mean(1)
    expected = [-np.cov(phi, flat[:, d] - phi)[0, 1] for d in range(3)]
    np.testing.assert_allclose(chi, expected, rtol=1e-9)
    assert sum(chi) == pytest.approx(0, abs=1e-12)
    # One domain whose loss moves more than the mean: weight on it lowers λ̂.
    assert chi[1] < 0 < chi[2] and min(error) > 0
    alike = np.repeat(source.standard_normal((4, 50, 1)), 3, axis=2)
    assert np.abs(response(alike)).max() < 1e-12


def rows(slope: float, noise: float, even: float = 0.0) -> list[dict[str, Any]]:
    """Three heads of which the measured change is slope·predicted + even + noise."""
    source = np.random.default_rng(0)
    found: list[dict[str, Any]] = []
    for i in range(3):
        response = source.standard_normal(3)
        for sign in (1.0, -1.0):
            predicted = sign * np.abs(response) * np.eye(3)[i] + sign * 0.1 * response
            measured = slope * predicted + even + noise * source.standard_normal(3)
            found.append(
                {
                    "kind": "pattern",
                    "target": i,
                    "sign": sign,
                    "name": f"{i}{sign}",
                    "predicted": predicted.tolist(),
                    "measured": measured.tolist(),
                }
            )
    for kind in ("random", "replica"):
        values = {"predicted": source.standard_normal(3).tolist()} if kind == "random" else {}
        for _ in range(2):
            change = noise * source.standard_normal(3)
            found.append({"kind": kind, "name": kind, "measured": change.tolist(), **values})
    return found


def test_the_verdict_on_planted_agreement():
    heads = ["a", "b", "c"]
    good = patterning.summary(rows(0.5, 0.01), heads)
    assert good["own_correlation"] > 0.99 and good["own_signs"] == 6
    assert good["own_slope"] == pytest.approx(0.5, rel=0.1)
    assert good["even_part"] < 0.1
    wrong = patterning.summary(rows(-0.5, 0.01), heads)
    assert wrong["own_signs"] == 0 and wrong["own_correlation"] < -0.99
    # What any mixture does, whatever its direction, is told apart.
    shifted = patterning.summary(rows(0.5, 0.01, even=2.0), heads)
    assert shifted["even_part"] > 3 and shifted["odd_signs"] >= 8
    assert shifted["odd_slope"] == pytest.approx(0.5, rel=0.1)
    assert shifted["own_slope"] == pytest.approx(0.5, rel=0.3)


def test_other_settings_are_not_mixed(loop: Loop):
    with pytest.raises(GermError, match="settings"):
        Loop(TINY, loop.folder, 1)


@pytest.mark.slow
def test_the_whole_of_it(tmp_path: Path):
    told: list[str] = []
    page = patterning.run(TINY, tmp_path, seed=0, progress=lambda *a: told.append(a[0]))
    assert len(page.data["rows"]) == 2 * (4 + 2 + 1)
    assert set(page.data["summaries"]) == {"continued", "scratch"}
    for row in page.data["rows"]:
        assert np.isfinite(row["measured"]).all()
        if row["kind"] == "pattern":
            # The tilt was chosen to move this head this way.
            assert row["sign"] * row["predicted"][row["target"]] > 0
    again = patterning.run(TINY, tmp_path, seed=0, progress=lambda *_: None)
    assert again.data == page.data
    assert {"page", "markdown", "data"} <= set(page.write(tmp_path / "page"))
