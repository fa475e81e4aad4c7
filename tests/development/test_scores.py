from __future__ import annotations

import math

import numpy as np
import pytest

from germ.development.scores import mean, ratio
from germ.errors import GermError


def test_the_error_of_a_mean_is_sd_over_root_n():
    values = np.random.default_rng(0).normal(3, 2, 50)
    found = mean("loss", values)
    assert found.value == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(50))
    assert found.num_examples == 50


def test_the_error_of_a_ratio_is_that_of_repeated_experiments():
    source = np.random.default_rng(1)
    repeats, num = 2000, 60
    weights = source.integers(1, 20, (repeats, num)).astype(float)
    sums = 1.5 * weights + source.normal(0, 1, (repeats, num)) * weights
    found = [ratio("loss", s, w) for s, w in zip(sums, weights, strict=True)]
    spread = np.std([score.value for score in found])
    # The spread itself is known to 1/√(2·2000) = 1.6%; the linearised error is low by about 1/n.
    assert np.mean([score.standard_error for score in found]) == pytest.approx(spread, rel=0.07)


def test_examples_without_weight_count_for_nothing():
    one = ratio("loss", np.array([1.0, 4.0, 0.0]), np.array([1.0, 2.0, 0.0]))
    two = ratio("loss", np.array([1.0, 4.0]), np.array([1.0, 2.0]))
    assert one == two


def test_one_example_has_no_error_and_none_is_refused():
    assert math.isnan(mean("loss", np.array([1.0])).standard_error)
    assert mean("loss", np.array([1.0])).to_dict()["standard_error"] is None
    with pytest.raises(GermError, match="got none"):
        ratio("loss", np.array([0.0]), np.array([0.0]))
