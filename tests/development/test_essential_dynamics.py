from __future__ import annotations

import numpy as np
import pytest

from germ.development.essential_dynamics import (
    essential_dynamics,
    path_errors,
    random_walk_shares,
)
from germ.errors import GermError


def planted(source: np.random.Generator, num_outputs: int) -> np.ndarray:
    """Two orthonormal directions."""
    return np.linalg.qr(source.normal(size=(num_outputs, 2)))[0].T


def test_a_planted_path_is_recovered():
    source = np.random.default_rng(0)
    directions = planted(source, 500)
    time = np.linspace(0, 1, 20)
    one = np.stack([5 * time, np.sin(3 * time)], axis=1)
    two = np.stack([3 * time, -np.sin(3 * time)], axis=1)
    found = essential_dynamics({"one": one @ directions, "two": two @ directions}, 3)
    assert found.explained[:2].sum() == pytest.approx(1) and found.explained[2] < 1e-20
    # Distances within and between runs are the planted ones, in root mean squares over outputs.
    planted_all = np.concatenate([one, two])
    paths = np.concatenate([found.paths["one"], found.paths["two"]])
    wanted = np.linalg.norm(planted_all[:, None] - planted_all, axis=-1) / np.sqrt(500)
    assert np.allclose(np.linalg.norm(paths[:, None] - paths, axis=-1), wanted, atol=1e-12)
    assert found.paths["one"][-1, 0] > 0


def test_the_shares_are_those_of_the_covariance():
    outputs = np.random.default_rng(1).normal(size=(12, 6)) * [5, 4, 3, 2, 1, 1]
    variance = np.linalg.eigvalsh(np.cov(outputs.T))[::-1]
    found = essential_dynamics({"run": outputs}, 4)
    assert np.allclose(found.explained, variance[:4] / variance.sum())


def test_a_checkpoint_and_an_ideal_are_projected_alike():
    source = np.random.default_rng(2)
    outputs = source.normal(size=(8, 40))
    found = essential_dynamics({"run": outputs}, 7)
    assert np.allclose(found.project(outputs), found.paths["run"])
    # With every direction kept, an ideal between two checkpoints lies between them.
    between = outputs[[2]] * 0.25 + outputs[[5]] * 0.75
    wanted = found.paths["run"][2] * 0.25 + found.paths["run"][5] * 0.75
    assert np.allclose(found.project(between)[0], wanted)


def test_smoothing_keeps_lines_and_takes_noise():
    source = np.random.default_rng(3)
    time = np.linspace(-1, 1, 200)
    noise = source.normal(size=200)
    clean = time[:, None] @ planted(source, 30)[:1] * 50
    found = essential_dynamics({"run": clean + noise[:, None] * planted(source, 30)[1:]}, 1)
    rough, smooth = found.paths["run"][:, 0], found.smoothed(3.0)["run"][:, 0]
    inner = slice(20, -20)

    def wobble(path: np.ndarray) -> float:
        line = np.polyval(np.polyfit(time[inner], path[inner], 1), time[inner])
        return float(np.std(path[inner] - line))

    # Gaussian weights of width σ leave 1/√(2σ√π) of white noise.
    assert wobble(smooth) / wobble(rough) == pytest.approx(1 / np.sqrt(6 * np.sqrt(np.pi)), rel=0.4)
    line = essential_dynamics({"run": clean}, 1)
    assert np.allclose(line.smoothed(3.0)["run"][inner], line.paths["run"][inner], atol=1e-9)


def test_random_walks_have_the_shares_that_they_are_said_to_have():
    long = random_walk_shares([400])
    assert long[:3] == pytest.approx([6 / (np.pi * k) ** 2 for k in (1, 2, 3)], rel=0.02)
    source = np.random.default_rng(4)
    steps = source.normal(size=(3, 15, 20_000))
    steps[:, 0] = 0.0
    walks = {str(i): np.cumsum(walk, axis=0) for i, walk in enumerate(steps)}
    found = essential_dynamics(walks, 5)
    assert found.explained == pytest.approx(found.random_walk, rel=0.05)


def test_errors_of_paths_are_those_of_other_examples():
    source = np.random.default_rng(5)
    time = np.linspace(0, 1, 6)
    num, width = 25, 4

    def draw() -> np.ndarray:
        """Each example moves along the path by an amount of its own, and has noise."""
        amount = 1 + source.normal(size=(1, num, 1)) * 0.5
        turn = source.normal(size=(1, num, width))
        moved = 3 * time[:, None, None] * amount * np.ones(width)
        return moved + np.sin(5 * time)[:, None, None] * turn

    repeats = [draw() for _ in range(150)]
    firsts = np.stack(
        [essential_dynamics({"r": r.reshape(6, -1)}, 1).paths["r"][:, 0] for r in repeats]
    )
    errors = np.stack([path_errors({"r": r}, 1)["r"][:, 0] for r in repeats])
    # A spread of 150 is known to 6%, and a jackknife is a little high.
    assert errors.mean() == pytest.approx(firsts.std(0).mean(), rel=0.2)


def test_a_single_example_has_no_error():
    assert np.isnan(
        path_errors({"r": np.random.default_rng(0).normal(size=(4, 1, 9))}, 1)["r"]
    ).all()


def test_what_has_no_path_is_refused():
    flat = np.zeros((4, 5))
    with pytest.raises(GermError, match="change from checkpoint"):
        essential_dynamics({"run": flat}, 1)
    with pytest.raises(GermError, match="1 to 3 components"):
        essential_dynamics({"run": flat}, 4)
    with pytest.raises(GermError, match="same inputs"):
        essential_dynamics({"one": flat, "two": flat[:, :3]}, 1)
    with pytest.raises(GermError, match="NaN"):
        essential_dynamics({"run": flat + np.nan}, 1)
    moving = essential_dynamics({"run": np.random.default_rng(6).normal(size=(4, 5))}, 1)
    with pytest.raises(GermError, match="5 outputs"):
        moving.project(flat[:, :3])
    with pytest.raises(GermError, match="width > 0"):
        moving.smoothed(0.0)
