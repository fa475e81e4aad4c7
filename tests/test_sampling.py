"""`sample()`: what comes back, what is stored, what is reused and what is not."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from tests.support import Net, flat_weights, net_data, net_posterior, same_bits
from torch import Tensor, nn

import germ
from germ.accumulate import Moments
from germ.errors import GermError
from germ.samplers import HMC, MALA, SGLD, LeimkuhlerMatthews

SAMPLER = LeimkuhlerMatthews(2e-3)
SETTINGS: dict[str, Any] = {"chains": 2, "draws": 8, "warmup": 4, "batch_size": 6, "seed": 5}


def run(posterior: germ.LocalPosterior | None = None, sampler: Any = SAMPLER, **settings: Any):
    posterior = net_posterior() if posterior is None else posterior
    return germ.sample(posterior, sampler, **{**SETTINGS, **settings})


def test_what_comes_back():
    samples = run(thin=2)
    assert isinstance(samples, xr.Dataset)
    for name in ("loss", "loss_difference", "virial", "distance"):
        assert samples[name].dims == ("chain", "draw") and samples[name].shape == (2, 8)
        assert samples[f"warmup_{name}"].dims == ("chain", "warmup_step")
        assert samples[f"warmup_{name}"].shape == (2, 4)
    posterior = net_posterior()
    expected = {
        "num_coordinates": 32, "num_examples": 24, "nbeta": 20.0, "localization": 10.0,
        "sampler": "LeimkuhlerMatthews", "step_size": 2e-3, "shared_batches": True,
        "batch_size": 6, "gradient": "anchored", "thin": 2, "seed": 5, "statuses": ["OK", "OK"],
    }  # fmt: skip
    assert {key: samples.attrs[key] for key in expected} == expected
    x, y = net_data()
    loss = (posterior.model(x) - y).square().mean().item()
    assert samples.attrs["anchor_loss"] == pytest.approx(loss, rel=1e-6)
    # 24 examples at w* are 4 batches of 6; then 19 steps of 2 chains and the anchor.
    assert samples.attrs["num_gradients"] == 4 + (4 + 7 * 2 + 1) * 3


def test_chains_start_at_the_anchor():
    samples = run(warmup=0)
    assert (samples["distance"][:, 0] == 0).all()
    np.testing.assert_allclose(samples["loss_difference"][:, 0], 0, atol=1e-7)
    assert (samples["distance"][:, 1:] > 0).all()


def test_warmup_is_half_of_the_draws_unless_said():
    assert run(warmup=None, draws=9).sizes["warmup_step"] == 4
    assert run(warmup=None, draws=9, thin=3).sizes["warmup_step"] == 12
    assert "warmup_step" not in run(warmup=0).sizes


@pytest.mark.parametrize("batch_size", [24, 100])
def test_a_full_batch_has_no_noise_to_share(batch_size):
    samples = run(batch_size=batch_size)
    assert samples.attrs["shared_batches"] is False and samples.attrs["batch_size"] == 24
    other = run(batch_size=batch_size, gradient="minibatch", share_batches=False)
    assert same_bits(samples, other)


@pytest.mark.parametrize("sampler", [MALA(2e-3), HMC(1e-3, 2)])
def test_metropolis_samplers_see_all_the_data(sampler):
    whole = run(sampler=sampler, batch_size=24)
    pieces = run(sampler=sampler, batch_size=5)
    assert whole.attrs["gradient"] == "minibatch"
    assert whole["acceptance"].shape == (2, 8) and (whole["acceptance"] > 0.3).all()
    np.testing.assert_allclose(whole["distance"], pieces["distance"], rtol=1e-4)


def test_shared_batches_are_shared_and_own_ones_are_not():
    """At w* the loss of a batch shows which batch it was."""
    shared = run(chains=3, warmup=0)["loss"].values[:, 0]
    own = run(chains=3, warmup=0, share_batches=False)["loss"].values[:, 0]
    assert len(set(shared)) == 1 and len(set(own)) == 3


def test_the_paired_difference_has_less_noise_than_the_loss():
    samples = run(draws=60, batch_size=2)
    assert samples["loss_difference"].values.std() < 0.5 * samples["loss"].values.std()


@pytest.mark.parametrize(
    "settings",
    [
        {"chains": 0}, {"draws": 3}, {"warmup": -1}, {"thin": 0}, {"batch_size": 0},
        {"seed": -1}, {"gradient": "exact"}, {"chains_per_call": 0}, {"seed": 2**70},
    ],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range(settings, tmp_path):
    with pytest.raises(GermError, match=next(iter(settings))):
        run(**settings, store=tmp_path / "run.zarr")
    assert not (tmp_path / "run.zarr").exists()


@pytest.mark.parametrize("sampler", ["sgld", "Auto", ""])
def test_a_sampler_that_is_none(sampler):
    with pytest.raises(GermError, match="auto"):
        run(sampler=sampler)


def test_progress_is_told_of_every_stage():
    told: list[tuple[str, int, int]] = []
    run(sampler="auto", progress=lambda *args: told.append(args))
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages == ["anchor", "calibrate", "warmup", "draws"]
    for stage in stages:
        done = [d for s, d, _ in told if s == stage]
        totals = {t for s, _, t in told if s == stage}
        assert done == sorted(done) and totals == {done[-1]}


def test_the_automatic_sampler_says_what_it_chose():
    samples = run(sampler="auto")
    assert samples.attrs["sampler"] == "BAOAB"
    assert samples.attrs["step_size"] > 0 and "step_size" in samples.attrs["reasons"]


def test_it_estimates_what_llc_reads():
    assert germ.llc(run(draws=20)).num_draws == 40


# Stored runs.


def nudged(change: Callable[[Net], None]) -> germ.LocalPosterior:
    model = Net()
    with torch.no_grad():
        change(model)
    return germ.LocalPosterior.from_model(
        model, net_data(), loss="mse", nbeta=20.0, localization=10.0
    )


def weight(model: Net) -> None:
    model.head.bias[0] += 1e-6


def frozen_buffer(model: Net) -> None:
    model.offset[0] += 1e-6


def other_data() -> germ.LocalPosterior:
    x, y = net_data()
    y[3, 0] += 1e-6
    return germ.LocalPosterior.from_model(Net(), (x, y), loss="mse", nbeta=20.0, localization=10.0)


def masked(index: int) -> germ.LocalPosterior:
    mask = torch.zeros(2, dtype=torch.bool)
    mask[index] = True
    return net_posterior(restrict={"head.bias": mask})


def per_example(model: nn.Module, batch: Any) -> Tensor:
    return (model(batch[0]) - batch[1]).square().mean(1)


OTHERS: dict[str, Callable[[Path], Any]] = {
    "weights": lambda path: run(nudged(weight), store=path),
    "buffer": lambda path: run(nudged(frozen_buffer), store=path),
    "data": lambda path: run(other_data(), store=path),
    "fewer data": lambda path: run(net_posterior(num_examples=23), store=path),
    "restriction": lambda path: run(net_posterior(restrict="head"), store=path),
    "loss": lambda path: run(net_posterior(loss=per_example), store=path),
    "nbeta": lambda path: run(net_posterior(nbeta=20.5), store=path),
    "localization": lambda path: run(net_posterior(localization=9.0), store=path),
    "dtype": lambda path: run(net_posterior(torch.float64), store=path),
    "sampler": lambda path: run(sampler=SGLD(2e-3), store=path),
    "step": lambda path: run(sampler=LeimkuhlerMatthews(2.1e-3), store=path),
    "chains": lambda path: run(chains=3, store=path),
    "draws": lambda path: run(draws=9, store=path),
    "warmup": lambda path: run(warmup=5, store=path),
    "thin": lambda path: run(thin=2, store=path),
    "batch size": lambda path: run(batch_size=7, store=path),
    "gradient": lambda path: run(gradient="minibatch", store=path),
    "own batches": lambda path: run(share_batches=False, store=path),
    "seed": lambda path: run(seed=6, store=path),
    "observables": lambda path: run(observables={"w": flat_weights}, store=path),
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run.zarr"
    run(store=path)
    return path


@pytest.mark.parametrize("name", OTHERS)
def test_another_run_is_never_taken_for_this_one(name, stored):
    before = germ.load(stored)
    with pytest.raises(GermError):
        OTHERS[name](stored)
    assert same_bits(before, germ.load(stored))


def test_masks_of_equal_size_are_told_apart(tmp_path):
    run(masked(0), store=tmp_path / "run.zarr")
    with pytest.raises(GermError):
        run(masked(1), store=tmp_path / "run.zarr")


def no_work(stage: str, done: int, total: int) -> None:
    raise AssertionError(f"a run that is over was sampled again: {stage}")


@pytest.mark.parametrize("way", [{}, {"chains_per_call": 1}, {"resume": False}], ids=str)
def test_the_same_run_is_read_and_not_sampled_again(way, stored):
    samples = run(store=stored, progress=no_work, **way)
    assert same_bits(samples, run())
    for key in ("statuses", "nbeta", "num_gradients", "step_size", "anchor_loss"):
        assert samples.attrs[key] == run().attrs[key]
    found, again = germ.llc(samples), germ.llc(run())
    assert found == again


def test_a_fresh_run_replaces_what_is_there(tmp_path):
    path = tmp_path / "run.zarr"
    run(store=path, seed=6)
    assert same_bits(run(store=path, fresh=True), run())
    assert same_bits(germ.load(path), run())


def scaled(factor: float) -> Callable[[Any], Tensor]:
    return lambda model: factor * model.head.weight.norm()


@pytest.mark.parametrize(
    "other",
    [
        {"n": lambda m: m.head.bias.norm()},
        {"n": scaled(2.0)},
        {"n": (scaled(1.0), Moments())},
        {"m": scaled(1.0)},
    ],
    ids=["function", "closure", "folded", "name"],
)
def test_other_observables_are_not_taken_for_these(other, tmp_path):
    path = tmp_path / "run.zarr"
    run(store=path, observables={"n": scaled(1.0)})
    with pytest.raises(GermError):
        run(store=path, observables=other)
    run(store=path, observables={"n": scaled(1.0)}, progress=no_work)


def test_draws_that_are_further_apart_than_blocks(tmp_path):
    settings: dict[str, Any] = {"thin": 70, "draws": 4, "observables": {"w": flat_weights}}
    in_memory = run(**settings)
    assert in_memory.sizes["draw"] == 4 and in_memory.sizes["warmup_step"] == 4
    assert same_bits(in_memory, run(**settings, store=tmp_path / "run.zarr"))


def stop_after(steps: int) -> Callable[[str, int, int], None]:
    def progress(stage: str, done: int, total: int) -> None:
        if stage == "draws" and done == steps:
            raise KeyboardInterrupt

    return progress


def test_an_interrupted_run_may_be_refused_or_replaced(tmp_path):
    path = tmp_path / "run.zarr"
    with pytest.raises(KeyboardInterrupt):
        run(store=path, progress=stop_after(5))
    with pytest.raises(GermError, match="interrupted"):
        run(store=path, resume=False)
    with pytest.raises(GermError):
        run(store=path, seed=6)
    assert same_bits(run(store=path, fresh=True), run())


def test_an_interrupted_run_does_not_measure_again(tmp_path):
    path = tmp_path / "run.zarr"
    with pytest.raises(KeyboardInterrupt):
        run(sampler="auto", store=path, progress=stop_after(5))
    stages: set[str] = set()
    samples = run(sampler="auto", store=path, progress=lambda stage, *_: stages.add(stage))
    assert stages <= {"warmup", "draws"}
    whole = run(sampler="auto")
    assert same_bits(samples, whole) and samples.attrs["reasons"] == whole.attrs["reasons"]


def test_an_interruption_before_the_first_step_loses_nothing(tmp_path):
    def stop(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "run.zarr"
    with pytest.raises(KeyboardInterrupt):
        run(sampler="auto", store=path, progress=stop)
    assert same_bits(run(sampler="auto", store=path), run(sampler="auto"))


def test_an_error_lets_go_of_the_run(tmp_path):
    """Another try in the same process finds it unlocked."""

    def broken(stage: str, done: int, total: int) -> None:
        if stage == "draws":
            raise ZeroDivisionError

    path = tmp_path / "run.zarr"
    with pytest.raises(ZeroDivisionError):
        run(store=path, progress=broken)
    assert same_bits(run(store=path), run())


KILL = """
import os
import signal
import sys
import torch
torch.set_num_threads(1)
from tests import test_sampling

def kill(stage, done, total):
    if stage == "draws" and done == 150:
        os.kill(os.getpid(), signal.SIGKILL)

from germ import sampling
sampling.COMMIT_SECONDS = 0.0
test_sampling.run(
    store=sys.argv[1], draws=200, observables={"w": test_sampling.flat_weights}, progress=kill
)
"""


def test_a_run_killed_by_the_system_ends_with_the_same_bits(tmp_path):
    path = tmp_path / "run.zarr"
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"}
    killed = subprocess.run(
        [sys.executable, "-c", KILL, str(path)], env=environment, cwd=root, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert germ.load(path).attrs["status"] == "interrupted"
    settings: dict[str, Any] = {"draws": 200, "observables": {"w": flat_weights}}
    steps: list[int] = []
    resumed = run(store=path, progress=lambda _, done, __: steps.append(done), **settings)
    assert len(steps) < 4 + 200, "it went on, and did not start again"
    assert same_bits(resumed, run(**settings))


def test_a_posterior_may_be_used_again_with_other_settings():
    posterior = net_posterior()
    control = posterior.with_(nbeta=0.0)
    assert run(control).attrs["nbeta"] == 0.0 and run(posterior).attrs["nbeta"] == 20.0
    assert math.isclose(germ.llc(run(control)).value, 0.0)
