"""The transformer of in-context regression: what it reads, what it may see, its size."""

from __future__ import annotations

import pytest
import torch

from germ.errors import GermError
from germ.zoo.in_context import PRESETS, InContextConfig, InContextRegressor, tokens_of


def test_a_prediction_sees_the_pairs_before_it_and_nothing_after():
    torch.manual_seed(0)
    config = InContextConfig(dim=3, length=5, num_heads=2, d_model=8, d_mlp=8)
    model = InContextRegressor(config).double()
    x, y = torch.randn(2, 5, 3).double(), torch.randn(2, 5).double().requires_grad_()
    x.requires_grad_()
    for k in range(5):
        gx, gy = torch.autograd.grad(model(tokens_of(x, y))[0, k], (x, y))
        assert gx[0, : k + 1].abs().sum(1).min() > 0 and not gx[0, k + 1 :].any()
        assert not gy[0, k:].any() and (gy[0, :k] != 0).all()
        assert not gx[1].any() and not gy[1].any()


def test_the_published_size():
    num = sum(p.numel() for p in InContextRegressor(PRESETS["stages"]).parameters())
    assert num == pytest.approx(52_000, rel=0.01)
    with torch.device("meta"):
        large = InContextRegressor(PRESETS["transient"])
    # 2.65 million published, of an MLP whose width is not said: half of it is attention.
    assert 2e6 < sum(p.numel() for p in large.parameters()) < 4e6


def test_sizes_that_no_model_has():
    with pytest.raises(GermError, match="at least 1"):
        InContextConfig(dim=0)
    with pytest.raises(GermError, match="divide"):
        InContextConfig(num_heads=3)
