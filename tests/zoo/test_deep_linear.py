"""The deep linear networks and what is known of them."""

import pytest
import torch

from germ.errors import GermError
from germ.zoo.deep_linear import (
    DeepLinear,
    regression_data,
    singular_truth,
)


def test_the_truth_has_the_rank_and_singular_values_asked_for():
    truth = singular_truth([7, 5, 6, 8], 3, seed=1, singular_values=(4.0, 0.25))
    values = torch.linalg.svdvals(truth.product().detach())
    torch.testing.assert_close(values[:3], torch.tensor([4.0, 1.0, 0.25]))
    assert values[3:].max() < 1e-5
    for weight in truth.parameters():
        assert torch.linalg.matrix_rank(weight.detach(), atol=1e-4) == 3


def hessian_rank(weights, target):
    """Rank of the Hessian of ‖W_L ⋯ W_1 − target‖² at `weights`, which must be a minimum."""
    sizes = [weight.numel() for weight in weights]

    def loss(flat):
        product = torch.eye(target.shape[1])
        for part, weight in zip(flat.split(sizes), weights, strict=True):
            product = part.view_as(weight) @ product
        return (product - target).square().sum()

    start = torch.cat([weight.flatten() for weight in weights])
    assert loss(start) < 1e-9
    return int(torch.linalg.matrix_rank(torch.autograd.functional.hessian(loss, start), atol=1e-3))


@pytest.mark.parametrize(("widths", "rank"), [((4, 3, 5), 1), ((3, 4, 3, 4), 2)])
def test_the_truth_is_at_the_most_singular_point(widths, rank):
    """The Hessian has rank r(H_0 + H_L − r), the least on the fibre; all else is flat."""
    truth = singular_truth(widths, rank, seed=0)
    weights = [weight.detach() for weight in truth.parameters()]
    target = truth.product().detach()
    assert hessian_rank(weights, target) == rank * (widths[0] + widths[-1] - rank)


def test_elsewhere_on_the_fibre_there_is_more_curvature():
    truth = singular_truth([4, 3, 5], 1, seed=0)
    first, last = (weight.detach() for weight in truth.parameters())
    # Where the last layer is blind, the first may be anything.
    blind = torch.linalg.svd(last)[2][1:].sum(0)[:, None]
    target = truth.product().detach()
    assert hessian_rank([first + blind, last], target) > hessian_rank([first, last], target)


def test_data_is_the_truth_and_noise():
    truth = singular_truth([3, 3], 2, seed=0)
    inputs, targets = regression_data(truth, 20_000, seed=3, input_scale=2.0, noise=0.5)
    residual = (targets - truth(inputs)).detach()
    # Five standard errors of a standard deviation over 60,000 numbers.
    assert abs(inputs.std() / 2.0 - 1) < 5 / (2 * 60_000) ** 0.5
    assert abs(residual.std() / 0.5 - 1) < 5 / (2 * 60_000) ** 0.5
    again, _ = regression_data(truth, 20_000, seed=3, input_scale=2.0)
    assert torch.equal(again, inputs)


def test_refusals_say_what_came():
    with pytest.raises(GermError, match=r"two or more widths.*\[3\]"):
        DeepLinear([3])
    with pytest.raises(GermError, match=r"rank <= 2.*got 3"):
        singular_truth([4, 2, 4], 3, seed=0)
    with pytest.raises(GermError, match="singular values"):
        singular_truth([4, 4], 2, seed=0, singular_values=(1.0, 0.0))
