"""Refined LLCs: closed forms, many components and data sets in one call, failures as rows."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest
import torch
from tests.component_models import VOCAB, build
from tests.support import MAX_Z, Quadratic, quadratic_loss
from torch import Tensor, nn

import germ
from germ.data import as_data
from germ.errors import GermError
from germ.refining import Refined, named_data, refine
from germ.samplers import LeimkuhlerMatthews

HESSIAN = torch.tensor([[2.0, 0.5, 0.9], [0.5, 1.0, 0.2], [0.9, 0.2, 3.0]])
NBETA, LOCALIZATION = 20.0, 4.0


def block(*indices: int) -> dict[str, Tensor]:
    mask = torch.zeros(3, dtype=torch.bool)
    mask[list(indices)] = True
    return {"weight": mask}


def assert_value(estimate: germ.LLC | None, truth: float, resolves: float) -> None:
    assert estimate is not None and estimate.ess > 400
    error = estimate.standard_error
    assert MAX_Z * error <= resolves, f"blind: {error}"
    assert abs(estimate.value - truth) <= MAX_Z * error, f"{estimate.value} ± {error}, not {truth}"


def test_a_block_of_a_quadratic_has_the_llc_of_its_own_hessian():
    """½ tr(nβ H_CC (nβ H_CC + γ)⁻¹): the other weights stay, and are not averaged over."""
    parts = {"0": block(0), "0 and 2": block(0, 2), "all": block(0, 1, 2)}
    found = refine(
        Quadratic(HESSIAN), torch.zeros(1, 3), components=parts, loss=quadratic_loss,
        nbeta=NBETA, localization=LOCALIZATION, sampler=LeimkuhlerMatthews(0.015),
        chains=64, draws=80, warmup=30, thin=2, chains_per_call=64,
    )  # fmt: skip
    covariance = torch.linalg.inv(NBETA * HESSIAN + LOCALIZATION * torch.eye(3))
    for name, indices in {"0": [0], "0 and 2": [0, 2], "all": [0, 1, 2]}.items():
        h = NBETA * HESSIAN[indices][:, indices]
        truth = 0.5 * float(torch.trace(h @ torch.linalg.inv(h + LOCALIZATION * torch.eye(len(h)))))
        assert_value(found[name, "data"].estimate, truth, resolves=0.15)
        assert found.num_parameters[name] == len(indices)
    # The marginal of the full posterior is another number, which the test can tell from it.
    marginal = 0.5 * float(NBETA * HESSIAN[0, 0] * covariance[0, 0])
    restricted = 0.5 * NBETA * 2 / (NBETA * 2 + LOCALIZATION)
    first = found["0", "data"].estimate
    assert first is not None
    assert abs(marginal - restricted) > MAX_Z * first.standard_error


class Product(nn.Module):
    """L = x²y², at (0, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(1))
        self.y = nn.Parameter(torch.ones(1))


def product_loss(model: Any, batch: Tensor) -> Tensor:
    return (model.x * model.y).square().expand(len(batch))


def test_a_product_restricted_to_one_factor_is_regular():
    """x²y² has λ = 1/2 with multiplicity 2; in x alone, at y = 1, it is x²: 1/2 at any nβ."""
    found = refine(
        Product(), torch.zeros(1, 1), components="x", loss=product_loss, nbeta=1000.0,
        localization=1e-3, sampler=LeimkuhlerMatthews(2e-4), chains=32, draws=150, warmup=40,
        thin=2, chains_per_call=32,
    )  # fmt: skip
    assert_value(found["x", "data"].estimate, 0.5, resolves=0.1)


def tokens(seed: int) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(seed)
    return {"input_ids": torch.randint(VOCAB, (8, 6), generator=source)}


FAST: dict[str, Any] = {
    "sampler": LeimkuhlerMatthews(1e-4), "chains": 2, "draws": 6, "warmup": 2,
    "nbeta": 10.0, "localization": 10.0,
}  # fmt: skip


def test_every_component_on_every_data_set_and_again_from_its_runs(tmp_path):
    model, sets = build("lens"), {"a": tokens(1), "b": tokens(2)}
    settings = {**FAST, "folder": tmp_path, "name": "tiny"}
    found = refine(model, sets, components="layers.0.heads,mlp+embed", **settings)
    pairs = [(row.step, row.data) for row in found.rows]
    names = [*(f"layers.0.head.{h}" for h in range(3)), "mlp+embed"]
    assert pairs == [(name, of) for name in names for of in ("a", "b")]
    assert not found.failed and not any(row.stored for row in found.rows)
    assert len({row.estimate.value for row in found.rows if row.estimate}) == 8
    assert {row.estimate.num_coordinates for row in found.rows[:6] if row.estimate} == {
        found.num_parameters["layers.0.head.0"]
    }
    alone = germ.LocalPosterior.from_model(
        model, sets["b"], restrict="layers.0.head.2", nbeta=10.0, localization=10.0
    )
    samples = germ.sample(alone, FAST["sampler"], chains=2, draws=6, warmup=2)
    assert found["layers.0.head.2", "b"].estimate == germ.llc(samples)
    again = refine(model, sets, components="layers.0.heads,mlp+embed,embed", **settings)
    assert [row.stored for row in again.rows] == [True] * 8 + [False] * 2
    assert [r.estimate for r in again.rows[:8]] == [r.estimate for r in found.rows]


def test_a_component_that_fails_is_a_row_that_says_why(tmp_path):
    model = build("lens")
    model.unused = nn.Parameter(torch.ones(3))
    found = refine(model, tokens(1), components="unused, layers.1.head.0", **FAST)
    assert [row.step for row in found.failed] == ["unused"]
    assert "does not" in found["unused", "data"].status and found.rows[1].estimate is not None
    table = str(found).splitlines()
    assert len(table) == 3 and "–" in table[1] and "weights that may move" in table[1]
    rows = list(csv.DictReader(found.to_csv().splitlines()))
    assert [row["component"] for row in rows] == ["unused", "layers.1.head.0"]
    assert rows[0]["value"] == "" and float(rows[1]["value"]) == found.rows[1].estimate.value
    paths = found.write(tmp_path)
    assert (
        json.loads(paths[1].read_text())["rows"][1]["num_parameters"] == 3 * (16 * 5 + 5) + 5 * 16
    )
    hot = {**FAST, "sampler": LeimkuhlerMatthews(1e9)}
    failed = refine(model, tokens(1), components="layers.1.head.0", **hot)
    assert failed.rows[0].status.startswith("failed: 2 of 2 chains")


def test_what_no_row_can_survive_is_raised():
    model = build("lens")
    with pytest.raises(GermError, match=r"nearest names are .*layers"):
        refine(model, tokens(1), components="layers.0.haed.1", **FAST)
    with pytest.raises(GermError, match=r"none of 6 pairs.*nbeta"):
        refine(model, tokens(1), **{**FAST, "nbeta": -1.0})
    with pytest.raises(GermError, match="at least one component"):
        refine(model, tokens(1), components={}, **FAST)
    with pytest.raises(KeyError):
        Refined((), {})["embed", "data"]


def test_one_data_set_or_several():
    one, other = tokens(1), as_data(tokens(2))
    assert [*named_data(one)] == ["data"] and [*named_data(other)] == ["data"]
    assert [*named_data((torch.zeros(3, 2), torch.zeros(3)))] == ["data"]
    found = named_data({"x": one, "y": other})
    assert [*found] == ["x", "y"] and found["y"] is other
