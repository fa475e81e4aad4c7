"""Random numbers are keyed by what they are for."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from germ import rng

LIKE = torch.zeros(1, 200)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("d", [1, 7, 40])
def test_a_chain_has_its_noise_whoever_runs_beside_it(d, dtype):
    like = torch.zeros(2, d, dtype=dtype)
    alone = rng.normal(5, range(3, 4), 11, like)
    together = rng.normal(5, range(0, 6), 11, like)
    assert together.shape == (6, d) and together.dtype == dtype
    assert torch.equal(together[3], alone[0])


def test_every_part_of_the_key_matters():
    base = rng.normal(1, range(2, 3), 3, LIKE)
    others = [
        rng.normal(2, range(2, 3), 3, LIKE),
        rng.normal(1, range(3, 4), 3, LIKE),
        rng.normal(1, range(2, 3), 4, LIKE),
        rng.normal(1, range(3, 4), 2, LIKE),  # (chain, step) is not their sum
    ]
    for other in others:
        assert abs(np.corrcoef(base[0], other[0])[0, 1]) < 4 / 200**0.5


def test_noise_is_standard_normal_and_white_along_steps_and_chains():
    noise = torch.stack([rng.normal(0, range(20), step, LIKE) for step in range(50)]).numpy()
    assert scipy.stats.kstest(noise.ravel(), "norm").pvalue > 1e-4
    for left, right in (
        (noise[:-1], noise[1:]),  # one step and the next
        (noise[:, :-1], noise[:, 1:]),  # one chain and the next
        (noise[..., :-1], noise[..., 1:]),  # one coordinate and the next
    ):
        products = (left * right).ravel()
        assert abs(products.mean()) < 4 * products.std() / products.size**0.5


def test_streams_do_not_share_numbers():
    """Noise, uniforms, batches and probes of equal keys come from different generators."""
    streams = (rng.NOISE, rng.UNIFORM, rng.BATCH, rng.PROBE, rng.START)
    seeds = {rng.generator(0, stream, 0, 0).initial_seed() for stream in streams}
    assert len(seeds) == len(streams)


def test_uniforms_are_two_a_chain_and_keyed():
    alone = rng.uniform(5, range(3, 4), 11, LIKE)
    together = rng.uniform(5, range(0, 6), 11, LIKE)
    assert together.shape == (2, 6) and torch.equal(together[:, 3], alone[:, 0])
    many = torch.cat([rng.uniform(0, range(4), step, LIKE) for step in range(300)], dim=1).numpy()
    for row in many:
        assert scipy.stats.kstest(row, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(many)[0, 1]) < 4 / many.shape[1] ** 0.5


def test_batches_are_uniform_independent_and_with_replacement():
    num, size, steps = 10, 6, 2000
    drawn = torch.stack([rng.batch_indices(num, size, 3, step) for step in range(steps)])
    counts = np.bincount(drawn.ravel().numpy(), minlength=num)
    assert scipy.stats.chisquare(counts).pvalue > 1e-4
    # In six of ten, repeats are the rule; and a step says nothing about the next.
    distinct = np.mean([len(set(row.tolist())) == size for row in drawn])
    expected = np.prod(1 - np.arange(size) / num)
    assert abs(distinct - expected) < 4 * (expected * (1 - expected) / steps) ** 0.5
    pairs = drawn[:-1, 0] * num + drawn[1:, 0]
    assert scipy.stats.chisquare(np.bincount(pairs.numpy(), minlength=num**2)).pvalue > 1e-4


def test_batches_are_keyed_by_seed_step_and_chain():
    base = rng.batch_indices(1000, 50, 3, 4)
    assert torch.equal(base, rng.batch_indices(1000, 50, 3, 4))
    for key in ((4, 4), (3, 5), (3, 4, 0), (3, 4, 1)):
        assert not torch.equal(base, rng.batch_indices(1000, 50, *key))
    assert not torch.equal(
        rng.batch_indices(1000, 50, 3, 4, 0), rng.batch_indices(1000, 50, 3, 4, 1)
    )


def test_nothing_of_this_moves_the_users_generator():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    rng.normal(0, range(3), 0, LIKE)
    rng.uniform(0, range(3), 0, LIKE)
    rng.batch_indices(10, 3, 0, 0)
    assert torch.equal(torch.get_rng_state(), before)
