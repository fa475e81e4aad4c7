"""The streaming summary equals the numbers of the whole stream, however it is split."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
import torch
from torch import Tensor

from germ.cross_moments import CrossMoments, CrossSummary
from germ.estimate.influence import pooled


def stream(num: int = 60) -> list[tuple[Tensor, Tensor]]:
    source = torch.Generator().manual_seed(1)
    common = torch.randn(num, 1, generator=source)
    x = 100 + common + torch.randn(num, 3, generator=source)
    y = common * torch.tensor([1.0, -2.0]) + torch.randn(num, 2, generator=source)
    return list(zip(x, y, strict=True))


def fold(pairs: list[tuple[Tensor, Tensor]]) -> CrossSummary:
    cross = CrossMoments()
    return reduce(cross.update, pairs, cross.init(stream(1)[0]))


@pytest.mark.parametrize("cuts", [(20, 40), (0, 60), (1, 2), (59, 60)])
def test_any_split_gives_the_covariance_and_correlation_of_the_whole(cuts: tuple[int, int]):
    pairs, cross = stream(), CrossMoments()
    a, b, c = (fold(pairs[i:j]) for i, j in zip((0, *cuts), (*cuts, 60), strict=True))
    left = cross.merge(cross.merge(a, b), c)
    right = cross.merge(a, cross.merge(b, c))
    x, y = (torch.stack(part).double().numpy() for part in zip(*pairs, strict=True))
    whole = np.corrcoef(x.T, y.T)[:3, 3:]
    for summary in (left, right, fold(pairs)):
        sums = cross.result(summary)
        scale = torch.outer(sums["squares_x"], sums["squares_y"]).sqrt()
        np.testing.assert_allclose((sums["products"] / scale).numpy(), whole, rtol=1e-9)
        np.testing.assert_allclose(
            (sums["products"] / (sums["count"] - 1)).numpy(),
            np.cov(x.T, y.T)[:3, 3:],
            rtol=1e-9,
        )


def test_an_update_leaves_the_summary_before_it_as_it_was():
    pairs, cross = stream(5), CrossMoments()
    before = fold(pairs[:3])
    kept = [part.clone() for part in before]
    cross.update(before, pairs[3])
    assert all(torch.equal(one, two) for one, two in zip(before, kept, strict=True))


def test_chains_together_are_one_stream():
    pairs = stream()
    parts = [fold(pairs[:10]), fold(pairs[10:35]), fold(pairs[35:])]
    moments = {
        name: np.stack([CrossMoments().result(part)[name].numpy() for part in parts])
        for name in CrossMoments.fields
    }
    x, y = (torch.stack(part).double().numpy() for part in zip(*pairs, strict=True))
    found = pooled(moments)
    np.testing.assert_allclose(found.covariance, np.cov(x.T, y.T)[:3, 3:], rtol=1e-9)
    np.testing.assert_allclose(found.correlation, np.corrcoef(x.T, y.T)[:3, 3:], rtol=1e-9)
