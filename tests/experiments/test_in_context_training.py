"""Training in-context regression: goes on to the bit, learns, refuses another's folder."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from germ.development.regression_predictors import dmmse
from germ.errors import GermError
from germ.experiments import in_context_training as training
from germ.experiments.in_context_llc import outputs_of, sequences
from germ.zoo.in_context import InContextConfig

PLAN = training.Plan(
    InContextConfig(dim=2, length=3, num_heads=2, d_model=16, d_mlp=16), 60, 32, 1e-2, 4, 3, 20
)


class _Stopped(Exception):
    pass


def test_a_training_that_was_killed_goes_on_to_the_bit(tmp_path):
    training.train(PLAN, 3, tmp_path / "whole", 4)

    def stop(step: int, _: int) -> None:
        if step == 40:
            raise _Stopped

    with pytest.raises(_Stopped):
        training.train(PLAN, 3, tmp_path / "cut", 4, stop)
    training.train(PLAN, 3, tmp_path / "cut", 4)
    for (step, one), (_, other) in zip(
        training.models(PLAN, tmp_path / "whole"), training.models(PLAN, tmp_path / "cut"),
        strict=True,
    ):  # fmt: skip
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b), step


def test_another_training_of_the_folder_is_refused(tmp_path):
    training.train(replace(PLAN, num_steps=2), 0, tmp_path)
    with pytest.raises(GermError, match="of others"):
        training.train(replace(PLAN, num_steps=2), 1, tmp_path)
    (tmp_path / "step0000002.safetensors").write_bytes(b"cut")
    with pytest.raises(GermError, match="damaged"):
        list(training.models(replace(PLAN, num_steps=2), tmp_path))


def test_one_task_is_learned(tmp_path):
    plan = replace(PLAN, num_steps=400, batch_size=64)
    training.train(plan, 0, tmp_path, 1)
    tasks = training.tasks_of(plan, 1)
    assert tasks is not None
    inputs, wanted = sequences(plan, 512, 9, tasks)
    losses = [
        float((outputs_of(m, inputs) - wanted).square().mean())
        for _, m in training.models(plan, tmp_path)
    ]
    # With one task dMMSE knows it: what is left is the noise, σ² = 0.125.
    x = inputs[:, ::2, 1:].double()
    ideal = dmmse(x, wanted.double(), tasks.double(), training.NOISE_VARIANCE)
    assert float((ideal - wanted).square().mean()) == pytest.approx(0.125, rel=0.15)
    assert losses[-1] < 0.3 < losses[0]


def test_checkpoints_are_even_in_log_step_and_in_step():
    steps = replace(PLAN, num_steps=1000, num_log=7, num_linear=4).checkpoints
    assert steps[0] == 0 and steps[-1] == 1000
    assert {1, 3, 10, 32, 100, 316, 250, 500, 750} <= set(steps)
