"""Influence on Gaussian posteriors, where every covariance is known, and against retraining."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

import germ
from germ.data import as_data
from germ.influencing import influence
from germ.samplers import LeimkuhlerMatthews
from germ.zoo.attention_only import PRESETS, AttentionOnly

NUM = 5


class Point(nn.Module):
    """Two blocks of weights, at w* = 0."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.right = nn.Parameter(torch.zeros(1, dtype=torch.float64))


def quadratic(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    """ℓ_i = ½ w'A_i w + a_i'w."""
    matrices, vectors = batch
    w = torch.cat([model.left, model.right])
    return 0.5 * torch.einsum("nij,i,j->n", matrices, w, w) + vectors @ w


def gaussian() -> tuple[Tensor, Tensor]:
    """Positive A_i, and a_i whose mean is 0, so that w* = 0 is the minimum of L_n."""
    source = torch.Generator().manual_seed(5)
    roots = torch.randn(NUM, 3, 3, generator=source, dtype=torch.float64)
    vectors = torch.randn(NUM, 3, generator=source, dtype=torch.float64)
    return roots @ roots.mT + 0.3 * torch.eye(3), vectors - vectors.mean(0)


def exact(nbeta: float, gamma: float) -> np.ndarray:
    """Cov(ℓ_i, ℓ_j) = ½tr(A_i S A_j S) + a_i'S a_j."""
    matrices, vectors = (part.numpy() for part in gaussian())
    cov = np.linalg.inv(nbeta * matrices.mean(0) + gamma * np.eye(3))
    turned = matrices @ cov
    return 0.5 * np.einsum("iab,jba->ij", turned, turned) + vectors @ cov @ vectors.T


SETTINGS: dict[str, Any] = {
    "loss": quadratic, "nbeta": 8.0, "localization": 2.0, "chains": 10, "draws": 100, "thin": 6,
    "warmup": 40, "sampler": LeimkuhlerMatthews(0.06),
}  # fmt: skip


SHORT = {**SETTINGS, "chains": 2, "draws": 40, "thin": 3}


@pytest.fixture(scope="module")
def measured() -> Any:
    return influence(Point(), gaussian(), **SETTINGS)


def test_covariances_and_correlations_of_a_gaussian_posterior(measured: Any):
    truth = exact(8.0, 2.0)
    scale = np.sqrt(np.outer(np.diag(truth), np.diag(truth)))
    data = measured.data.isel(component=0)
    error = data.covariance_error.values
    assert (4 * error / scale).max() < 0.5, "blind"
    assert np.abs((data.covariance.values - truth) / error).max() < 4
    off = ~np.eye(NUM, dtype=bool)
    z = (data.correlation.values - truth / scale)[off] / data.correlation_error.values[off]
    assert np.abs(z).max() < 4
    assert np.diag(data.correlation.values) == pytest.approx(1.0)
    # The quadratic terms are seen: without them the answer is another.
    matrices, vectors = (part.numpy() for part in gaussian())
    cov = np.linalg.inv(8.0 * matrices.mean(0) + 2.0 * np.eye(3))
    linear = vectors @ cov @ vectors.T
    assert (np.abs(data.covariance.values - linear) / error).max() > 5


def test_the_sign_of_bif_and_of_removal(measured: Any):
    cov = measured.data["covariance"]
    assert np.array_equal(measured.bif.values, -cov.values)
    np.testing.assert_allclose(measured.removal().values, 8.0 / NUM * cov.values)
    # Removing an example can only raise its own expected loss.
    assert (np.diag(measured.removal().values[0]) > 0).all()


def test_the_mean_of_a_query_set_is_the_mean_over_its_rows(measured: Any):
    data = measured.data.isel(component=0)
    np.testing.assert_allclose(
        data.covariance_set.values[:, 0], data.covariance.values.mean(1), rtol=1e-9
    )
    # L_n itself: Var of a mean is not a mean of variances.
    truth = exact(8.0, 2.0)
    expected = truth.mean(1) / np.sqrt(np.diag(truth) * truth.mean())
    z = (data.correlation_set.values[:, 0] - expected) / data.correlation_error_set.values[:, 0]
    assert np.abs(z).max() < 4


def test_watching_in_another_order_or_less_changes_nothing():
    whole = influence(Point(), gaussian(), **SHORT).data.covariance.values[0]
    order = [3, 0, 4]
    matrices, vectors = gaussian()
    queries = {"b": (matrices[2:], vectors[2:]), "a": (matrices[:1], vectors[:1])}
    found = influence(Point(), gaussian(), train=order, query=queries, **SHORT).data
    assert found.train_example.values.tolist() == order
    assert found.query_name.values.tolist() == ["b"] * 3 + ["a"]
    np.testing.assert_allclose(found.covariance.values[0], whole[np.ix_(order, [2, 3, 4, 0])])
    assert found.query_set.values.tolist() == ["b", "a"]


def test_only_the_weights_that_move_carry_influence():
    matrices, vectors = gaussian()
    matrices[:2, 2:, :], matrices[:2, :, 2:], vectors[:2, 2] = 0, 0, 0  # left alone
    matrices[2:, :2, :], matrices[2:, :, :2], vectors[2:, :2] = 0, 0, 0  # right alone
    vectors[:2] -= vectors[:2].mean(0)
    vectors[2:] -= vectors[2:].mean(0)
    found = influence(Point(), (matrices, vectors), restrict="left", **SHORT).data
    assert found.component.values.tolist() == ["left"]
    values = found.covariance.values[0]
    assert (values[2:] == 0).all() and (values[:, 2:] == 0).all()
    assert (np.diag(values)[:2] > 0).all()


class Logistic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def ridge_logistic(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, y = batch
    penalty = 0.05 * model.weight.square().sum()
    return nn.functional.binary_cross_entropy_with_logits(model(x), y, reduction="none") + penalty


def fitted(x: Tensor, y: Tensor) -> Logistic:
    model = Logistic()
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=100, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = ridge_logistic(model, (x, y)).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return model


@pytest.fixture(scope="module")
def logistic() -> tuple[Logistic, Tensor, Tensor, Any, Tensor, Tensor]:
    source = torch.Generator().manual_seed(2)
    x = torch.randn(34, 3, generator=source, dtype=torch.float64)
    noise = torch.randn(34, generator=source, dtype=torch.float64)
    y = (x @ torch.tensor([1.5, -1.0, 0.5]).double() + noise > 0).double()
    train, query = (x[:24], y[:24]), (x[24:], y[24:])
    model = fitted(*train)
    found = influence(
        model, train, query=query, loss=ridge_logistic, nbeta=4000.0, localization=1.0, chains=8,
        draws=150, thin=5, warmup=50, sampler=LeimkuhlerMatthews(1.5e-3),
    )  # fmt: skip
    return model, *train, found, *query


@pytest.mark.slow
def test_removal_foretells_leave_one_out_retraining(logistic: Any):
    model, x, y, found, xq, yq = logistic
    before = ridge_logistic(model, (xq, yq)).detach()
    changes = []
    for i in range(len(x)):
        keep = [j for j in range(len(x)) if j != i]
        after = ridge_logistic(fitted(x[keep], y[keep]), (xq, yq)).detach()
        changes.append((after - before).numpy())
    truth, predicted = np.stack(changes), found.removal().values[0]
    ranks = np.corrcoef(rankdata(truth), rankdata(predicted))[0, 1]
    assert ranks > 0.95
    slope = (truth * predicted).sum() / np.square(predicted).sum()
    # Leaving out one of 24 is not infinitesimal: a leverage of some percent makes the slope > 1.
    assert 0.9 < slope < 1.3


@pytest.mark.slow
def test_the_damped_influence_function_is_the_leading_term(logistic: Any):
    model, x, y, found, xq, yq = logistic

    def gradients(x: Tensor, y: Tensor) -> np.ndarray:
        rows = torch.autograd.functional.jacobian(
            lambda w: ridge_logistic(_at(w), (x, y)), model.weight.detach()
        )
        return np.asarray(rows)

    hessian = np.asarray(
        torch.autograd.functional.hessian(
            lambda w: ridge_logistic(_at(w), (x, y)).mean(), model.weight.detach()
        )
    )
    damped = np.linalg.inv(4000.0 * hessian + 1.0 * np.eye(3))
    leading = gradients(x, y) @ damped @ gradients(xq, yq).T
    data = found.data.isel(component=0)
    error = data.covariance_error.values
    assert np.median(error) < 0.1 * leading.std(), "blind"
    # What is left out is of the order 1/nβ of it.
    assert np.abs((data.covariance.values - leading) / np.hypot(error, 0.01 * leading)).max() < 4.5


def _at(weight: Tensor) -> Any:
    class At:
        def __init__(self) -> None:
            self.weight = weight

        def __call__(self, x: Tensor) -> Tensor:
            return x @ weight

    return At()


def test_runs_are_found_again_and_others_are_not_taken_for_them(tmp_path: Path):
    settings = {**SHORT, "folder": tmp_path}
    first = influence(Point(), gaussian(), **settings)
    again = influence(Point(), gaussian(), **settings)
    assert first.data.identical(again.data)
    assert len(list(tmp_path.iterdir())) == 1
    matrices, vectors = gaussian()
    influence(Point(), gaussian(), query=(matrices[:2], 2 * vectors[:2]), **settings)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_refused():
    with pytest.raises(germ.GermError, match="effective draws"):
        influence(Point(), gaussian(), **{**SETTINGS, "chains": 2, "draws": 5, "thin": 1})
    with pytest.raises(germ.GermError, match="at least 2 chains"):
        influence(Point(), gaussian(), **{**SETTINGS, "chains": 1})
    with pytest.raises(germ.GermError, match="0 to 4; got 1 to 9"):
        influence(Point(), gaussian(), train=[1, 9], **SETTINGS)
    with pytest.raises(germ.GermError, match="per_token expected a loss of every token"):
        influence(Point(), gaussian(), per_token=True, **SETTINGS)
    with pytest.raises(germ.GermError, match="leave one out"):
        influence(Point(), gaussian(), components="heads", restrict="left", **SETTINGS)


def test_too_many_pairs_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("germ.influencing.MAX_PAIRS", 20)
    with pytest.raises(germ.GermError, match=r"at most 20 pairs of examples; got 5 × 5"):
        influence(Point(), gaussian(), **SETTINGS)


def test_tokens_of_a_language_model():
    torch.manual_seed(0)
    model = AttentionOnly(PRESETS["tiny"]).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(5.0)  # its tokens then differ in what they answer to
    rows = torch.randint(32, (6, 10))
    found = influence(
        model, rows, train=as_data(rows[:3]),
        query={"same": as_data(rows[1:2]), "other": as_data(rows[4:])}, per_token=True,
        components="layers.1,layers.1.head.0", chains=2, draws=40, thin=2, warmup=10,
        sampler=LeimkuhlerMatthews(4e-3),
    )  # fmt: skip
    assert found.data.component.values.tolist() == ["layers.1", "layers.1.head.0"]
    data = found.data.isel(component=1)
    assert data.sizes["train"] == 3 * 9 and data.sizes["query"] == 3 * 9
    # Row 1 of one side is row 0 of the other: each token goes with itself.
    np.testing.assert_allclose(np.diag(data.correlation.values[9:18, :9]), 1.0, rtol=1e-9)
    assert data.train_position.values[:9].tolist() == list(range(1, 10))
    assert data.train_token_id.values[:9].tolist() == rows[0, 1:].tolist()
    top = found.most(3, num=1, component="layers.1.head.0")[0]
    assert top["row"] == 12 and top["correlation"] == pytest.approx(1.0)
    left = "".join(f"<{i}>" for i in rows[1, :4].tolist())
    text = found.text(12, lambda ids: "".join(f"<{i}>" for i in ids))
    assert text == f"{left}⟦<{int(rows[1, 4])}>⟧"
    with pytest.raises(germ.GermError, match="expected a component, one of"):
        found.most(3, component="layers.0")
    with pytest.raises(germ.GermError, match=r"expected a query, one of \['same', 'other'\]"):
        found.most("none")


def test_files(measured: Any, tmp_path: Path):
    import csv

    import xarray as xr

    paths = measured.write(tmp_path / "new", num=2)
    kept = xr.open_zarr(paths["zarr"], consolidated=False)
    np.testing.assert_array_equal(kept.covariance.values, measured.data.covariance.values)
    rows = list(csv.DictReader(paths["csv"].read_text().splitlines()))
    # The set and its five rows, two of each sign.
    assert len(rows) == (1 + NUM) * 4
    of_two = [r for r in rows if r["query_example"] == "2" and r["sign"] == "+"]
    assert of_two[0]["example"] == "2" and float(of_two[0]["correlation"]) == pytest.approx(1)
