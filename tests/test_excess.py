"""φ at a draw: of examples drawn for it, without bias, the same whenever it is asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.support import Quadratic
from torch import Tensor

from germ.excess import ALL_EXAMPLES, NUM_EXAMPLES, Excess
from germ.posterior import LocalPosterior

PLACE = torch.tensor([0.7, -0.4], dtype=torch.float64)


def skew(model: Any, batch: Tensor) -> Tensor:
    """Not 0 at w*, so that what is not paired is seen."""
    w = model.weight
    return 0.5 * (batch @ w).square() + batch.sum(1) * w[0] + batch[:, 0]


def posterior(num_examples: int) -> LocalPosterior:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(num_examples, 2, dtype=torch.float64, generator=generator)
    model = Quadratic((1.0, 1.0), dtype=torch.float64)
    return LocalPosterior.from_model(model, x, loss=skew, nbeta=1.0, localization=1.0)


def key(step: int, chain: int = 0, seed: int = 0) -> dict[str, Tensor]:
    return {name: torch.tensor(v) for name, v in (("seed", seed), ("chain", chain), ("step", step))}


def truth(local: LocalPosterior) -> Tensor:
    batch = local.batch(torch.arange(local.data.num_examples))
    at = local.example_losses(PLACE, batch) - local.example_losses(local.anchor, batch)
    return at.mean()


def test_of_few_examples_it_is_exact():
    local = posterior(ALL_EXAMPLES)
    phi, halves = Excess(local).at(PLACE, key(3))
    torch.testing.assert_close(phi, truth(local))
    assert bool((halves == phi).all())


def test_of_many_it_is_unbiased_and_so_is_the_product_of_its_halves():
    local = posterior(3 * ALL_EXAMPLES)
    excess, num = Excess(local), 1500
    found = [excess.at(PLACE, key(step)) for step in range(num)]
    phi, halves = (torch.stack(part) for part in zip(*found, strict=True))
    torch.testing.assert_close(halves.mean(1), phi)
    exact = truth(local)
    assert (phi.mean() - exact).abs() < 4 * phi.std() / num**0.5
    product = halves.prod(1)
    error = product.std() / num**0.5
    assert (product.mean() - exact**2).abs() < 4 * error
    # The test would see the noise of one φ̂, which its square has.
    assert phi.var() > 4 * error, "blind"
    assert phi.var() == pytest.approx(_variance_of_an_example(local) / NUM_EXAMPLES, rel=0.25)


def _variance_of_an_example(local: LocalPosterior) -> float:
    batch = local.batch(torch.arange(local.data.num_examples))
    one = local.example_losses(PLACE, batch) - local.example_losses(local.anchor, batch)
    return float(one.var())


def test_it_depends_on_seed_chain_and_step_alone():
    local = posterior(2 * ALL_EXAMPLES)
    first, again = Excess(local), Excess(local)
    for step in (5, 9, 2):
        again.at(PLACE, key(step))
    expected = first.at(PLACE, key(7, chain=1))[0]
    torch.testing.assert_close(again.at(PLACE, key(7, chain=1))[0], expected, rtol=1e-12, atol=0.0)
    for other in (key(8, chain=1), key(7), key(7, chain=1, seed=1)):
        assert again.at(PLACE, other)[0] != expected
