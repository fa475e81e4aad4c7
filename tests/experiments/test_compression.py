"""`germ experiment compression`: quantization, critical bits, and planted correlations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from germ.experiments import compression, quantized, side_by_side
from germ.experiments.compression_page import page


def test_quantization_is_to_the_nearest_of_the_levels():
    weight = torch.randn(200, generator=torch.Generator().manual_seed(0))
    for k in (1, 3, 16):
        found = quantized.quantize(weight, k)
        unit = float(weight.abs().max()) / k
        assert len(found.unique()) <= 2 * k + 1
        assert float((found - weight).abs().max()) <= unit / 2 + 1e-6
    assert not quantized.quantize(torch.zeros(3), 4).any()


def test_the_curve_leaves_the_model_as_it_was():
    model = nn.Linear(4, 3)
    before = [p.detach().clone() for p in model.parameters()]

    @torch.no_grad()
    def distance() -> float:
        pairs = zip(model.parameters(), before, strict=True)
        return float(sum(((p - b) ** 2).sum() for p, b in pairs))

    found = quantized.curve(model, distance, (1, 16, 1024))
    assert found[0] > found[1] > found[2] > 0
    assert distance() == 0


def test_critical_bits():
    levels = (1, 2, 4, 8)
    bits = [math.log2(2 * k + 1) for k in levels]
    assert quantized.critical_bits([0.0, 0.0, 0.0, 0.0], 0.1, levels) == pytest.approx(bits[0])
    assert math.isnan(quantized.critical_bits([1.0, 1.0, 1.0, 0.2], 0.1, levels))
    # A dip below the tolerance before the last rise above it does not count.
    found = quantized.critical_bits([1.0, 0.0, 0.5, 0.0], 0.25, levels)
    assert found == pytest.approx((bits[2] + bits[3]) / 2)
    assert math.isnan(quantized.critical_bits([math.nan] * 4, 0.25, levels))


def planted(bits_of: np.ndarray, llc: np.ndarray) -> list[dict]:
    """Rows whose critical bits at 0.1 nats are about those given."""
    levels = list(quantized.LEVELS)
    grid = np.array([quantized.bits(k) for k in levels])
    rows = []
    for i, (b, value) in enumerate(zip(bits_of, llc, strict=True)):
        excess = 0.1 * np.exp2(2 * (b - grid))
        rows.append({
            "step": 2**i, "llc": float(value), "error": 0.5, "loss": 5.0 - 0.1 * i, "warnings": [],
            "excess": excess.tolist(), "levels": levels,
        })  # fmt: skip
    return rows


def test_a_planted_relation_is_found_and_an_absent_one_is_not(tmp_path):
    source = np.random.default_rng(0)
    llc = np.linspace(20, 80, 12)
    rows = planted(3 + llc / 20, llc)
    found = compression.compare(rows, 0.1)
    assert found["bits"] == pytest.approx((3 + llc / 20).tolist(), abs=0.35)
    assert found["rank"] == pytest.approx(1) and found["interval"][0] > 0.8
    assert found["linear"] > 0.98
    none = compression.compare(planted(3 + 4 * source.random(12), source.permutation(llc)), 0.1)
    assert none["interval"][0] < 0 < none["interval"][1]
    settings = {"contexts": 4}
    tolerances = {"0.1": found, "1e-09": compression.compare(rows, 1e-9)}
    data = {"rows": rows, "settings": settings, "tolerances": tolerances, "restatement": ["so"]}
    page(data | {"seed": 0}).write(tmp_path)


def test_finer_grids_cost_a_trained_model_less():
    from germ.zoo import bundled

    tokens = bundled.tokens("all", "train", context=32)[:4]
    found = compression.measure(12_000, tokens)["excess"]
    assert found[0] > 1 and abs(found[-1]) < 0.01


@pytest.mark.slow
def test_the_experiment_runs_and_goes_on(tmp_path, monkeypatch):
    settings = compression.Settings((0, 110), 4, 2, 8)
    first = compression.run(settings, tmp_path, seed=0, progress=lambda *_: None)
    monkeypatch.setattr(side_by_side, "cores", lambda: 1)  # In this process, where it is seen.
    monkeypatch.setattr(compression, "measure", lambda *_: pytest.fail("measured again"))
    again = compression.run(settings, tmp_path, seed=0, progress=lambda *_: None)
    assert again.data["rows"] == first.data["rows"]
