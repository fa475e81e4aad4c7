"""The loop of patterning: its random numbers, and once the whole of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from germ.errors import GermError
from germ.experiments import patterning
from germ.experiments.patterning_loop import MODES, VOCAB, Loop, Settings, unit_tilt
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
    draws=8,
    chi_draws=16,
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


def test_other_settings_are_not_mixed(loop: Loop):
    with pytest.raises(GermError, match="settings"):
        Loop(TINY, loop.folder, 1)


@pytest.mark.slow
def test_the_whole_of_it(tmp_path: Path):
    told: list[str] = []
    page = patterning.run(TINY, tmp_path, seed=0, progress=lambda *a: told.append(a[0]))
    # Two heads, up and down, and two random mixtures; a replica where there is training.
    assert len(page.data["rows"]) == 3 * (4 + 2) + 2
    assert set(page.data["verdicts"]) == set(MODES)
    for row in page.data["rows"]:
        assert np.isfinite(row["measured"]).all()
        assert row["kind"] != "replica" or row["mode"] != "same"
        if row["kind"] == "pattern":
            # The tilt was chosen to move this head this way.
            assert row["sign"] * row["predicted"][row["target"]] > 0
    assert 0 < page.data["worth"] <= 1
    again = patterning.run(TINY, tmp_path, seed=0, progress=lambda *_: None)
    assert again.data == page.data
    assert {"page", "markdown", "data"} <= set(page.write(tmp_path / "page"))
