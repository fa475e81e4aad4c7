"""Susceptibilities from draws of the localization's Gaussian, against posteriors that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate
from tests import test_responding as known
from torch import Tensor, nn

import germ
from germ import responses
from germ.anchor_gradients import anchor_gradients
from germ.errors import GermError
from germ.gaussian_response import FIRST, rounded
from germ.responding import susceptibility
from germ.restriction import select
from germ.samplers import HMC, LeimkuhlerMatthews

NBETA, LOCALIZATION = 3.0, 12.0
"""Here data and localization pull about alike: weights of draws are worth 60 to 90%."""


def run(data: Any = known.DATA, **changes: Any) -> responses.Susceptibility:
    settings: dict[str, Any] = {
        "probes": known.PROBES, "components": known.COMPONENTS, "loss": known.quadratics,
        "nbeta": NBETA, "localization": LOCALIZATION, "method": "gaussian", "draws": 192,
    }  # fmt: skip
    return susceptibility(known.Weights(), data, **{**settings, **changes})


def posterior(
    moving: list[int], nbeta: float, data: Any = known.DATA
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean loss's Hessian and slope on the moving coordinates, the posterior's covariance, mean."""
    H = data[0].mean(0)[moving][:, moving]
    slope = data[1].mean(0)[moving]
    S = torch.linalg.inv(nbeta * H + LOCALIZATION * torch.eye(len(moving), dtype=H.dtype))
    return H, slope, S, -nbeta * S @ slope


def chi(moving: list[int], nbeta: float, data: Any = known.DATA) -> np.ndarray:
    """Closed form for every example of every probe."""
    H, slope, S, m = posterior(moving, nbeta, data)

    def covariance(C: Tensor, c: Tensor) -> Tensor:
        return 0.5 * torch.einsum("ij,nji->n", H @ S, C @ S) + (c + C @ m) @ S @ (slope + H @ m)

    parts = [(A[:, moving][:, :, moving], a[:, moving]) for A, a in known.PROBES.values()]
    own = covariance(H[None], slope[None])
    return torch.cat([own - covariance(*part) for part in parts]).numpy()


@pytest.mark.parametrize("num", [60, 400])
def test_equals_the_closed_form(num):
    """Of few examples, all of them at every draw; of many, some, by three independent samples."""
    data = tuple(part[:num] for part in known.DATA)
    found = run(data).data
    for name, moving in known.MOVING.items():
        truth, flat = chi(moving, NBETA, data), chi(moving, 0.0, data)
        one = found.sel(component=name)
        error = one["standard_error"].values
        assert (np.abs(one["chi"].values - truth) < 4.5 * error).all(), name
        # What the data do to the posterior is seen: without the weights this would fail.
        seen = np.sqrt(np.mean(np.square((truth - flat) / error)))
        assert seen > 1.5, "blind to the weights"
        H, slope, S, m = posterior(moving, NBETA, data)
        excess = 0.5 * torch.trace(H @ (S + torch.outer(m, m))) + slope @ m
        llc = float(NBETA * excess)
        assert abs(float(one["llc"]) - llc) < 4 * float(one["llc_error"])
        assert 4 * float(one["llc_error"]) < 0.5 * abs(llc)
        for number, part in enumerate((truth[:6], truth[6:])):
            gap = float(one["chi_probe"][number]) - part.mean()
            assert abs(gap) < 4 * float(one["standard_error_probe"][number])


@pytest.mark.slow
def test_errors_are_the_spread_over_seeds():
    seeds = [run(draws=32, seed=seed, components={"last": known.COMPONENTS["last"]}).data
             for seed in range(20)]  # fmt: skip
    spread = np.stack([each["chi"].values[0] for each in seeds]).std(0, ddof=1)
    said = np.sqrt(np.mean([np.square(each["standard_error"].values[0]) for each in seeds], axis=0))
    # 20 seeds know a standard deviation to 16%, and tokens are many.
    assert np.median(said / spread) == pytest.approx(1.0, abs=0.2)
    halves = np.stack([np.diff(each["chi_half"].values[:, 0], axis=0)[0] / 2 for each in seeds])
    assert np.median(halves.std(0) / spread) == pytest.approx(1.0, abs=0.25)


@pytest.mark.slow
def test_full_centring_takes_the_means_of_the_run_of_all_weights():
    chosen = {"first": known.COMPONENTS["first"]}
    chains = {"chains": 16, "warmup": 10, "thin": 1}
    found = run(components=chosen, centring="full", **chains).data
    means = []
    for moving in (known.MOVING["first"], known.MOVING["all"]):
        H, slope, S, m = posterior(moving, NBETA)

        def of(C: Tensor, c: Tensor, moving: Any = moving, S: Tensor = S, m: Tensor = m) -> Tensor:
            C, c = C[:, moving][:, :, moving], c[:, moving]
            return 0.5 * torch.einsum("nij,ji->n", C, S + torch.outer(m, m)) + c @ m

        losses = torch.cat([of(*part) for part in known.PROBES.values()])
        means.append((0.5 * torch.trace(H @ (S + torch.outer(m, m))) + slope @ m, losses))
    (phi, losses), (phi_all, losses_all) = means
    change = phi * ((phi - losses) - (phi_all - losses_all))
    truth = chi(known.MOVING["first"], NBETA) + change.numpy()
    error = found["standard_error"].values[0]
    assert (np.abs(found["chi"].values[0] - truth) < 4.5 * error).all()
    assert (np.abs(change.numpy()) > 4 * error).any(), "blind to the centring"


class Point(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1, dtype=torch.float64))


def curves(model: Any, batch: Tensor) -> Tensor:
    """w + w² + … + w⁴ of each example, by its coefficients: neither even nor quadratic."""
    powers = torch.cat([model.w**k for k in range(1, 5)])
    return batch @ powers


def test_equals_an_integral_where_nothing_is_gaussian():
    data = torch.tensor([[0.3, 1.0, 0.8, 1.5]], dtype=torch.float64)
    probe = torch.tensor(
        [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [-1, 2, 1, 1]],
        dtype=torch.float64,
    )
    found = susceptibility(
        Point(), data.repeat(4, 1), probes={"powers": probe}, components={"w": None}, loss=curves,
        nbeta=2.0, localization=10.0, method="gaussian", draws=1024,
    ).data  # fmt: skip

    def polynomial(row: Any, w: float) -> float:
        return float(sum(c * w ** (k + 1) for k, c in enumerate(row)))

    own = data[0].tolist()

    def mean(f: Any) -> float:
        def weighted(w: float) -> float:
            return f(w) * np.exp(-2.0 * polynomial(own, w) - 5.0 * w * w)

        return integrate.quad(weighted, -4, 4, epsabs=1e-12)[0]

    total = mean(lambda w: 1.0)

    def covariance(f: Any, g: Any) -> float:
        both = mean(lambda w: f(w) * g(w)) / total
        return both - mean(f) / total * mean(g) / total

    phi = lambda w: polynomial(own, w)  # noqa: E731
    truth = np.array(
        [
            covariance(phi, phi) - covariance(phi, lambda w, row=row: polynomial(row, w))
            for row in probe.tolist()
        ]
    )
    # A difference quotient of w³ and w⁴ over a quarter of the width is off by a hundredth of what
    # these powers add.
    error = found["standard_error"].values[0]
    assert (np.abs(found["chi"].values[0] - truth) < 4 * error + 0.003 * np.abs(truth)).all()
    assert (error < 0.12 * np.abs(truth).max()).all()
    gap = float(found["llc"][0]) - 2.0 * mean(phi) / total
    assert abs(gap) < 4 * float(found["llc_error"][0])


def test_agrees_with_chains_on_a_language_model():
    torch.manual_seed(0)
    model = known.AttentionOnly(
        known.AttentionOnlyConfig(
            vocab_size=30, context=12, num_layers=2, num_heads=2, d_model=8, d_head=4
        )
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)  # So that attention does something.
    settings: dict[str, Any] = {
        "probes": known.TEXTS, "components": "layers.0.head.1", "nbeta": 60.0,
        "localization": 100.0,
    }  # fmt: skip
    data = known.rows(40, 0)
    ours = susceptibility(model, data, **settings, draws=128).data
    theirs = susceptibility(
        model,
        data,
        **settings,
        sampler=LeimkuhlerMatthews(2e-3),
        chains=16,
        draws=50,
        warmup=20,
        thin=4,
        batch_size=40,
    ).data
    assert ours.attrs["methods"] == "gaussian" and theirs.attrs["methods"] == "chains"
    gap = (ours["chi"] - theirs["chi"]).values[0]
    scale = np.hypot(ours["standard_error"].values, theirs["standard_error"].values)[0]
    # Tokens share draws, so that a rare common error is one chance, not many.
    assert np.sqrt(np.mean(np.square(gap / scale))) < 1.6
    assert np.corrcoef(ours["chi"].values[0], theirs["chi"].values[0])[0, 1] > 0.8
    assert abs(float(ours["llc"][0] - theirs["llc"][0])) < 4 * float(
        np.hypot(ours["llc_error"], theirs["llc_error"])[0]
    )


def test_where_it_is_no_gaussian_chains_take_over(tmp_path):
    chosen = {"components": {"last": known.COMPONENTS["last"]}}
    small = {"draws": 8, "chains": 2, "warmup": 2, "thin": 1, "nbeta": 400.0}
    found = run(**chosen, **small, method="auto")
    assert found.data.attrs["methods"] == "chains"
    assert found.data["llc_error"].values[0] > 0
    with pytest.raises(GermError, match=r"last: draws of the Gaussian.* worth .*% as much"):
        run(**chosen, **small)
    assert run(**chosen, method="auto", draws=8).data.attrs["methods"] == "gaussian"


def test_how_many_draws():
    chosen = {"components": {"first": known.COMPONENTS["first"]}, "draws": None}
    few = run(**chosen).data
    num = int(few["num_draws"][0])
    error, value = few["standard_error"].values[0], few["chi"].values[0]
    reliable = 1 - np.square(error).mean() / value.var()
    assert (reliable >= 0.9 and FIRST <= num < 64) or num == 64
    assert [rounded(n) for n in (8, 9, 16, 17, 33)] == [8, 9, 16, 32, 48]
    assert int(run(**{**chosen, "draws": 17}).data["num_draws"][0]) == 32


def test_kept_and_gone_on_with_to_the_bit(tmp_path, monkeypatch):
    monkeypatch.setattr("germ.gaussian_response.KEEP_EVERY", 0.0)
    whole = run(draws=12)
    seen = 0

    def stop(index: int, total: int, name: str, stage: str, done: int, of: int) -> None:
        nonlocal seen
        seen += stage == "draws" and name == "last"
        if seen == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(draws=12, folder=tmp_path, progress=stop)
    assert len(list(tmp_path.glob(".last*.partial.npz"))) == 1

    def again(index: int, total: int, name: str, stage: str, done: int, of: int) -> None:
        assert name != "first", "it was drawn again"
        assert not (name == "last" and stage == "draws") or done >= 7, "it began again"

    for progress in (again, None):
        known.same(run(draws=12, folder=tmp_path, progress=progress), whole)
    assert not list(tmp_path.glob(".*"))
    assert len(list(tmp_path.glob("*.zarr"))) == 3
    other = run(draws=12, folder=tmp_path, seed=1)
    assert not np.array_equal(other.data["chi"], whole.data["chi"])


def test_what_is_refused():
    with pytest.raises(GermError, match="method to be one of"):
        run(method="exact")
    with pytest.raises(GermError, match="no sampler with method='gaussian'"):
        run(sampler=HMC(0.03, 4))
    with pytest.raises(GermError, match="all: there is no localization"):
        run(components={"all": None}, localization=0.0)


def test_gradients_of_all_components_in_one_pass():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    x, labels = torch.randn(30, 3, dtype=torch.float64), torch.arange(30) % 3
    mask = torch.rand(4, 3) > 0.5
    chosen = {"first": {"0.weight": mask}, "out": "2", "bias": ["0.bias", "2.bias"]}
    loss = nn.functional.cross_entropy(net(x), labels)
    wanted = dict(zip((n for n, _ in net.named_parameters()),
                      torch.autograd.grad(loss, list(net.parameters())), strict=True))  # fmt: skip
    coordinates = {name: select(net, which) for name, which in chosen.items()}
    found = anchor_gradients(
        net, germ.data.as_data((x, labels)), germ.losses.resolve_loss("cross_entropy"), coordinates
    )
    torch.testing.assert_close(found["first"], wanted["0.weight"][mask])
    torch.testing.assert_close(
        found["out"], torch.cat([wanted["2.weight"].flatten(), wanted["2.bias"]])
    )
    torch.testing.assert_close(found["bias"], torch.cat([wanted["0.bias"], wanted["2.bias"]]))
