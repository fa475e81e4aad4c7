"""The published network: its ranks, its λ, and what the page says of a run."""

from __future__ import annotations

import pytest

from benchmarks import published_run as published
from germ.exact import deep_linear


def test_the_ranks_have_the_published_total_and_the_theorem_its_value():
    _, ranks = published.layer_ranks()
    assert min(ranks) == published.RANK and ranks == published.layer_ranks()[1]
    known = deep_linear(published.WIDTHS, published.RANK)
    assert (float(known.value), known.multiplicity) == (20546.5, 3)


def test_the_local_coefficient_by_counting_directions():
    """One layer of rank r among full ones: w* is a smooth point, and λ is half of what is seen.

    W_2 has rank 28 between a surjective A (395 × 455) and an injective B (297 × 125). The product
    moves in B·δ·A (125·395 directions), in δB on the image of W_2·A (28 columns, of which B itself
    makes 125 rows), and in δA on its kernel's complement likewise.
    """
    assert published.layer_ranks()[1][:3] == (395, 28, 125)
    seen = 125 * 395 + (297 - 125) * 28 + (455 - 395) * 28
    assert published.local_coefficient() == pytest.approx(seen / 2)


def test_the_page_holds_the_run_beside_the_published_one():
    estimate = {
        "value": 20000.0, "budget": {"total": 400.0, "monte_carlo": 300.0, "interval90": [0, 1]},
        "warnings": ["drifts"], "loss_difference": 4.3, "virial": 0.9, "temperature": None,
    }  # fmt: skip
    found = {
        "command": "c", "date": "d", "torch": "2", "cpu": "c", "threads": 1, "load": 1.0,
        "ranks": (1, 2), "local": 27935.5, "known": 20546.5, "scale": 3.1, "estimate": estimate,
        "attrs": {"num_gradients": 900, "batch_size": 512, "reasons": {"step_size": "0.01: most"},
                  "statuses": ["OK"]},
        "eighths": {"warmup_loss_difference": [1.0], "loss_difference": [2.0], "virial": [0.9]},
    }  # fmt: skip
    page = published.render(found)
    assert "| published SGLD, last tenth | 16304.3 | 79% | 58% | 30,000 | 500 | nothing |" in page
    assert "| germ auto | 20000 ± 400 | 97% | 72% | 900 | 512 | 1 warning(s) |" in page
    assert "- ⚠ drifts" in page and "warmup nβ ΔL: 1" in page
    failed = {**found, "estimate": None, "attrs": {**found["attrs"], "statuses": ["DIVERGED"]}}
    assert "gave no number: DIVERGED" in published.render(failed)
