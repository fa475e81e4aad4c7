"""A sweep in parts is the sweep: the same numbers, one calibration, kept."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from torch import nn

from germ.experiments import side_by_side
from germ.experiments.sweep_in_parts import sweep_in_parts
from germ.sweeping import sweep

STEPS = (0, 10, 100)


def load(step: int) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    with torch.no_grad():
        model.weight.mul_(1 + step / 100)
    return model.eval()


def data() -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(1)
    x = torch.randn(64, 3, generator=source)
    return x, x.sum(1, keepdim=True) + 0.1 * torch.randn(64, 1, generator=source)


SETTINGS = {"loss": "mse", "chains": 2, "draws": 40, "seed": 3, "max_draws": 40}


@pytest.mark.parametrize("cores", [1, 2])
def test_it_is_the_sweep(tmp_path: Path, monkeypatch, cores):
    monkeypatch.setattr(side_by_side, "cores", lambda: cores)
    told = []
    found = sweep_in_parts(
        [(step, functools.partial(load, step)) for step in STEPS], data(), tmp_path / "parts",
        lambda *what: told.append(what), **SETTINGS,
    )  # fmt: skip
    whole = sweep(
        [(step, load(step)) for step in STEPS], data(), folder=tmp_path / "whole",
        calibrate_once=True, **SETTINGS,
    )  # fmt: skip
    assert [row.step for row in found.rows] == list(STEPS)
    for one, other in zip(found.rows, whole.rows, strict=True):
        assert one.estimate is not None and other.estimate is not None
        assert one.estimate.value == pytest.approx(other.estimate.value, rel=1e-4)
        assert one.estimate.nbeta == other.estimate.nbeta
    assert len(list((tmp_path / "parts").glob("*.zarr"))) == len(STEPS)
    assert told[0][0].startswith("λ̂ of the last")
