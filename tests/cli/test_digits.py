"""A model that is no language model, from the command line and from Python."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from tests.cli.support import FAST, call_json

import germ
from germ.samplers import LeimkuhlerMatthews

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.py"


@pytest.fixture(scope="module")
def digits():
    """The module of the example, with a training that takes a moment."""
    spec = importlib.util.spec_from_file_location("digits_example", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_classifier_from_the_command_line_and_from_python_are_one(digits, folder):
    state = torch.random.get_rng_state()
    model, data, loss = digits.digits()
    assert torch.equal(torch.random.get_rng_state(), state)
    images, classes = data
    assert (model(images).argmax(1) == classes).float().mean() > 0.99
    posterior = germ.LocalPosterior.from_model(model, data, loss=loss)
    sampler = LeimkuhlerMatthews(1e-2)
    expected = germ.llc(germ.sample(posterior, sampler, chains=2, draws=8, warmup=2))
    (run,) = call_json("llc", f"{EXAMPLE}:digits", *FAST)["runs"]
    assert run["estimate"]["value"] == expected.value
    assert run["estimate"]["num_coordinates"] == 64 * 32 + 32 + 32 * 10 + 10
    assert Path(run["run"]).name.startswith("digits-digits-")
