"""One battery of promises that every sampler keeps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from tests.support import (
    assert_mean,
    copy_of,
    flat_weights,
    net_data,
    net_posterior,
    quadratic_posterior,
    same_bits,
)
from torch import Tensor, nn

import germ
from germ import sampling
from germ.accumulate import Covariance, Moments
from germ.errors import GermError
from germ.posterior import LocalPosterior
from germ.samplers import (
    BAOAB,
    HMC,
    MALA,
    SGLD,
    SGNHT,
    Diagonal,
    Kronecker,
    LeimkuhlerMatthews,
    RMSpropSGLD,
    Rotation,
)

Make = Callable[[float, Diagonal], Any]

SAMPLERS: dict[str, Make] = {
    "sgld": lambda step, metric: SGLD(step * metric.scale[0].item()),
    "sgld diagonal": lambda step, metric: SGLD(step, metric),
    "lm": lambda step, metric: LeimkuhlerMatthews(step * metric.scale[0].item()),
    "lm diagonal": lambda step, metric: LeimkuhlerMatthews(step, metric),
    "baoab": lambda step, metric: BAOAB(
        step * metric.scale[0].item(), friction=metric.scale[0].item() ** -0.5
    ),
    "baoab diagonal": lambda step, metric: BAOAB(step, metric),
    "baoab kronecker": lambda step, metric: BAOAB(step, turned(metric)),
    "sgnht": lambda step, metric: SGNHT(
        step * metric.scale[0].item(), friction=metric.scale[0].item() ** -0.5
    ),
    "sgnht diagonal": lambda step, metric: SGNHT(step, metric),
    "rmsprop": lambda step, metric: RMSpropSGLD(
        step * metric.scale[0].item(), nbeta=20.0, localization=1 / metric.scale[0].item()
    ),
    "hmc": lambda step, metric: HMC(step * metric.scale[0].item(), num_leapfrog_steps=2),
    "hmc diagonal": lambda step, metric: HMC(step, 2, metric),
    "mala": lambda step, metric: MALA(step * metric.scale[0].item()),
    "mala diagonal": lambda step, metric: MALA(step, metric),
    "auto": lambda step, metric: "auto",
}

every_sampler = pytest.mark.parametrize("name", SAMPLERS)
every_exact_sampler = pytest.mark.parametrize("name", [n for n in SAMPLERS if n != "rmsprop"])


def turned(metric: Diagonal) -> Kronecker:
    """The same metric in a basis that is turned as far as the number of coordinates lets it."""
    d = len(metric.scale)
    rows = max(k for k in range(1, int(d**0.5) + 1) if d % k == 0)
    source = torch.Generator().manual_seed(0)
    left, right = (
        torch.linalg.qr(torch.randn(size, size, generator=source, dtype=torch.float64))[0]
        for size in (rows, d // rows)
    )
    return Kronecker([Rotation((rows, d // rows), left, right)], metric.scale)


def make(name: str, posterior: LocalPosterior, step: float = 0.05) -> Any:
    """The sampler with a step that is `step` in the units of the localization."""
    scale = torch.full_like(posterior.anchor, 1 / posterior.localization)
    return SAMPLERS[name](step, Diagonal(scale))


def draw(name: str, posterior: LocalPosterior, step: float = 0.05, **settings: Any) -> xr.Dataset:
    settings = {"chains": 3, "draws": 12, "warmup": 5, "batch_size": 8, "seed": 1, **settings}
    return germ.sample(posterior, make(name, posterior, step), **settings)


@every_sampler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_of_the_weights_is_kept(name, dtype):
    posterior = net_posterior(dtype)
    seen = draw(name, posterior, observables={"weights": flat_weights})
    assert seen["weights"].dtype == (np.float32 if dtype == torch.float32 else np.float64)
    for series in ("loss", "loss_difference", "virial", "distance"):
        assert seen[series].dtype == np.float64 and np.isfinite(seen[series]).all()


@every_exact_sampler
def test_half_precision_weights_move_by_less_than_their_spacing(name):
    """At γ = 10⁸ the posterior is 10⁻⁴ wide, and bfloat16 near 1 has steps of 2⁻⁸.

    The weights the model sees stay what they are; the position, in single precision, moves.
    """
    posterior = quadratic_posterior(
        (0.5, 1.0, 2.0, 1.0), nbeta=1.0, localization=1e8, center=(1.0, -1.0, 1.5, -1.5),
        dtype=torch.bfloat16,
    )  # fmt: skip
    seen = draw(name, posterior, 0.8, draws=30, warmup=12, observables={"weights": flat_weights})
    anchor = flat_weights(posterior.model).detach().numpy()
    assert (seen["weights"].values == anchor).all()
    assert seen["weights"].dtype == np.float32
    scale = (seen["distance"].values ** 2).mean() * 1e8 / 4
    assert 0.5 < scale < 2
    assert len(np.unique(seen["distance"].values[0])) > 20


@every_sampler
def test_what_is_masked_keeps_its_bits(name):
    mask = torch.tensor([[True, False, True], [False] * 3, [True] * 3])
    posterior = net_posterior(restrict={"outer.weight": mask, "head.bias": torch.ones(2) > 0})
    seen = draw(name, posterior, observables={"weights": flat_weights})["weights"].values
    mine = {"outer.weight": mask, "head.bias": torch.ones(2, dtype=torch.bool)}
    parts = [
        mine.get(key, torch.zeros(p.shape, dtype=torch.bool)).reshape(-1)
        for key, p in posterior.model.named_parameters()
    ]
    moves = torch.cat(parts).numpy()
    anchor = flat_weights(posterior.model).detach().numpy()
    assert moves.sum() == posterior.num_coordinates == 7
    assert (seen[..., ~moves] == anchor[~moves]).all()
    assert (seen[..., moves] != anchor[moves]).any(axis=1).all()


@every_sampler
@pytest.mark.parametrize("together", [1, 3])
def test_the_model_is_never_written_to(name, together):
    posterior = net_posterior()
    model, before = posterior.model, copy_of(posterior.model)
    flags = [p.requires_grad for p in model.parameters()]
    storage = [p.data_ptr() for p in model.parameters()]
    anchor = posterior.anchor.clone()
    draw(name, posterior, chains_per_call=together, draws=4, warmup=2, observables={"norm": norm})
    assert all(torch.equal(before[key], now) for key, now in model.state_dict().items())
    assert torch.equal(posterior.anchor, anchor)
    assert [p.requires_grad for p in model.parameters()] == flags
    assert [p.data_ptr() for p in model.parameters()] == storage
    assert all(p.grad is None for p in model.parameters()) and model.training


@every_sampler
@pytest.mark.parametrize("together", [1, 3])
def test_the_same_seed_gives_the_same_bits(name, together):
    settings = {"chains_per_call": together, "draws": 4, "warmup": 2}
    torch.manual_seed(1)  # the user's own generator plays no part
    one = draw(name, net_posterior(), **settings)
    torch.manual_seed(2)
    two = draw(name, net_posterior(), **settings)
    assert same_bits(one, two)
    other = draw(name, net_posterior(), seed=2, **settings)
    assert (one["distance"].values[:, 1:] != other["distance"].values[:, 1:]).all()
    distances = one["distance"].values[:, -1]
    assert len(set(distances)) == len(distances), "and no two chains are the same"


WAYS = [(1, 1), (2, 2), (5, 2), (5, 5)]  # chains, and how many in a call
BATCHES = {"shared": {}, "own": {"share_batches": False}, "minibatch": {"gradient": "minibatch"}}
CASES = [
    (name, batches)
    for name in SAMPLERS
    for batches in (["shared"] if name[:3] in ("hmc", "mal") else BATCHES)
]


@pytest.mark.parametrize(("name", "batches"), CASES)
def test_a_chain_is_the_same_chain_whoever_runs_beside_it(name, batches):
    """For any number of chains in any grouping: to rounding; one at a time: to the bit."""
    posterior = net_posterior(torch.float64)
    settings = {**BATCHES[batches], "draws": 4, "warmup": 2}
    reference = draw(name, posterior, chains=5, chains_per_call=1, **settings)
    for chains, together in WAYS:
        seen = draw(name, posterior, chains=chains, chains_per_call=together, **settings)
        for series in ("loss", "loss_difference", "virial", "distance", "warmup_virial"):
            expected = reference[series].values[:chains]
            np.testing.assert_allclose(seen[series], expected, rtol=1e-7, atol=1e-10)
            if together == 1:
                assert (seen[series].values == expected).all()


@every_exact_sampler
def test_the_temperature_without_data(name):
    """nβ = 0: the Gaussian of the localization, whatever the loss; E‖w − w*‖² = d/γ."""
    posterior = quadratic_posterior((0.1, 1.0, 5.0, 0.0), nbeta=0.0, localization=7.0)
    seen = draw(
        name, posterior, 0.8, chains=64, chains_per_call=64, draws=40, warmup=20, thin=2, seed=11
    )  # fmt: skip
    bias = 1 / (1 - 0.8 / 4) if name.startswith("sgld") else 1.0
    assert_mean(seen["distance"] ** 2, bias * 4 / 7, resolves=0.1)
    assert_mean(seen["virial"], bias, resolves=0.18)
    expected = 0.5 * bias / 7 * 6.1
    assert_mean(seen["loss_difference"], expected, resolves=0.15)


@pytest.mark.parametrize("kind", [SGLD, LeimkuhlerMatthews, BAOAB, SGNHT, HMC, MALA])
@pytest.mark.parametrize("step", [0.0, -0.1, math.nan, math.inf])
def test_a_step_size_that_is_none_is_refused(kind, step):
    with pytest.raises(GermError, match="step_size"):
        kind(step)


def test_other_settings_that_are_none():
    with pytest.raises(GermError, match="num_leapfrog_steps"):
        HMC(0.1, num_leapfrog_steps=0)
    for jitter in (-0.1, 1.0, math.nan):
        with pytest.raises(GermError, match="jitter"):
            HMC(0.1, jitter=jitter)
    for friction in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(GermError, match="friction"):
            BAOAB(0.1, friction=friction)
        with pytest.raises(GermError, match="friction"):
            SGNHT(0.1, friction=friction)
        with pytest.raises(GermError, match="thermal_mass"):
            SGNHT(0.1, thermal_mass=friction)
    for scale in ([1.0, 0.0], [1.0, -1.0], [1.0, math.nan], [1.0, math.inf], [[1.0]]):
        with pytest.raises(GermError, match="preconditioner"):
            Diagonal(torch.tensor(scale))


@pytest.mark.parametrize("kind", [SGLD, LeimkuhlerMatthews, BAOAB, SGNHT, HMC, MALA])
@pytest.mark.parametrize("size", [1, 5])
def test_a_metric_of_the_wrong_size_is_refused(kind, size):
    with pytest.raises(GermError, match="coordinates"):
        sampler = kind(0.01, preconditioner=Diagonal(torch.ones(size)))
        germ.sample(net_posterior(), sampler, chains=1, draws=4)


@pytest.mark.parametrize("kind", [SGLD, LeimkuhlerMatthews, BAOAB, SGNHT, HMC, MALA])
def test_a_metric_of_another_precision_changes_no_dtype(kind):
    posterior = net_posterior()
    metric = Diagonal(torch.full((posterior.num_coordinates,), 0.1, dtype=torch.float64))
    settings = {"chains": 2, "draws": 4, "observables": {"weights": flat_weights}}
    seen = germ.sample(posterior, kind(0.01, preconditioner=metric), **settings)
    assert seen["weights"].dtype == np.float32
    single = Diagonal(metric.scale.float())
    again = germ.sample(posterior, kind(0.01, preconditioner=single), **settings)
    np.testing.assert_allclose(seen["weights"], again["weights"], atol=1e-5)


@pytest.mark.parametrize("name", [n for n in SAMPLERS if n != "auto"])
def test_warmup_and_thinning_only_choose_what_is_kept(name):
    """Draws after a warmup of 7, every third, are those of a run that kept everything.

    Not so of `auto`, which goes on measuring gradient noise through its warmup.
    """
    posterior = net_posterior()
    every = draw(name, posterior, warmup=0, draws=7 + 13, observables={"norm": norm})
    some = draw(name, posterior, warmup=7, draws=5, thin=3, observables={"norm": norm})
    for series in ("loss", "loss_difference", "virial", "distance", "norm"):
        assert some[series].shape == (3, 5)
        assert (some[series].values == every[series].values[:, 7::3]).all()
    for series in ("loss", "loss_difference", "virial", "distance"):
        assert (some[f"warmup_{series}"].values == every[series].values[:, :7]).all()
    assert "warmup_norm" not in some and "warmup_loss" not in every


class Interrupt:
    """Presses Ctrl-C after so many steps."""

    def __init__(self, after: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.left, self.error = after, error

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.left -= stage in ("warmup", "draws")
        if self.left < 0:
            raise self.error


def norm(model: Any) -> Tensor:
    return model.head.weight.norm()


def pair(model: Any) -> tuple[Tensor, Tensor]:
    return model.head.weight.reshape(-1), model.head.bias


OBSERVED: dict[str, Any] = {
    "norm": norm,
    "moments": (norm, Moments()),
    "both": (pair, Covariance()),
}


@every_sampler
def test_interrupted_runs_end_with_the_same_bits(name, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "BLOCK_STEPS", 5)
    settings = {"observables": OBSERVED, "chains_per_call": 2, "draws": 8, "thin": 2}
    whole = draw(name, net_posterior(), **settings)
    folder = tmp_path / "run.zarr"
    for after in (3, 14):  # in warmup, and among the draws
        with pytest.raises(KeyboardInterrupt):
            draw(name, net_posterior(), store=folder, progress=Interrupt(after), **settings)
    assert germ.load(folder).attrs["status"] == "interrupted"
    resumed = draw(name, net_posterior(), store=folder, **settings)
    assert same_bits(whole, resumed)
    assert resumed.attrs["statuses"] == whole.attrs["statuses"]
    assert resumed.attrs["step_size"] == whole.attrs["step_size"]
    assert same_bits(whole, germ.load(folder))


class Killed(BaseException):
    """Nothing catches it, as nothing catches a SIGKILL: no last commit is made."""


@every_sampler
def test_killed_runs_end_with_the_same_bits(name, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "BLOCK_STEPS", 3)
    monkeypatch.setattr(sampling, "COMMIT_SECONDS", 0.0)
    settings = {"observables": OBSERVED, "draws": 8}
    whole = draw(name, net_posterior(), **settings)
    folder = tmp_path / "run.zarr"
    for after in (1, 4, 8):
        with pytest.raises(Killed):
            draw(
                name, net_posterior(), store=folder, progress=Interrupt(after, Killed),
                **settings,
            )  # fmt: skip
    resumed = draw(name, net_posterior(), store=folder, **settings)
    assert same_bits(whole, resumed)


@every_sampler
def test_a_stored_run_of_another_sampler_is_not_reused(name, tmp_path):
    posterior, folder = net_posterior(), tmp_path / "run.zarr"
    first = draw(name, posterior, store=folder)
    assert same_bits(first, draw(name, posterior, store=folder))
    for other in SAMPLERS:
        if other != name:
            with pytest.raises(GermError):
                draw(other, posterior, store=folder)
    if name != "auto":
        with pytest.raises(GermError):
            draw(name, posterior, step=0.0501, store=folder)
    assert same_bits(first, germ.load(folder)), "and what was refused changed nothing"


def full_loss(model: nn.Module) -> Tensor:
    x, y = net_data(dtype=torch.float64)
    return (model(x) - y).square().mean()


@every_sampler
def test_observables_see_the_weights_of_the_loss(name):
    """The loss and observables of one draw are those of the same weights, folded ones too."""
    posterior = net_posterior(torch.float64)

    def weight_and_loss(model: nn.Module) -> tuple[Tensor, Tensor]:
        return flat_weights(model), full_loss(model).reshape(1)

    seen = draw(
        name, posterior, batch_size=24, thin=2,
        observables={
            "again": full_loss,
            "weights": flat_weights,
            "moments": (flat_weights, Moments()),
            "both": (weight_and_loss, Covariance()),
        },
    )  # fmt: skip
    np.testing.assert_allclose(seen["again"], seen["loss"], rtol=1e-10)
    difference = seen["again"] - full_loss(posterior.model).item()
    np.testing.assert_allclose(difference, seen["loss_difference"], rtol=1e-6, atol=1e-12)
    moved = seen["weights"].values - flat_weights(posterior.model).detach().numpy()
    np.testing.assert_allclose(np.linalg.norm(moved, axis=-1), seen["distance"], rtol=1e-10)
    weights, loss = seen["weights"].values, seen["loss"].values
    np.testing.assert_allclose(seen["moments_mean"], weights.mean(1), rtol=1e-9)
    np.testing.assert_allclose(seen["moments_variance"], weights.var(1, ddof=1), rtol=1e-7)
    for chain in range(3):
        expected = np.cov(weights[chain].T, loss[chain])[:-1, -1:]
        np.testing.assert_allclose(seen["both_covariance"][chain], expected, rtol=1e-5, atol=1e-12)


@every_sampler
def test_the_virial_is_that_of_the_same_weights(name):
    """(w − w*)·∇U/d at each draw, by a gradient of one's own."""
    posterior = net_posterior(torch.float64)
    seen = draw(name, posterior, batch_size=24, observables={"weights": flat_weights})
    anchor = flat_weights(posterior.model).detach()
    everything = posterior.batch(torch.arange(24))
    for chain, step in ((0, 3), (2, 11)):
        position = torch.tensor(seen["weights"].values[chain, step], requires_grad=True)
        energy = posterior.nbeta * posterior.example_losses(position, everything).mean()
        energy = energy + 0.5 * posterior.localization * (position - anchor).square().sum()
        (grad,) = torch.autograd.grad(energy, position)
        expected = ((position - anchor) @ grad).item() / len(position)
        assert seen["virial"].values[chain, step] == pytest.approx(expected, rel=1e-8)
