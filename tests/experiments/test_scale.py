"""`germ experiment scale`: planted laws, factors and correlations are found; a page; a sweep."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from germ.checkpoints import expand
from germ.errors import GermError
from germ.experiments import (
    benchmark_scores,
    local_neox,
    power_law,
    published_tables,
    replicates,
    scale,
    scale_page,
    subset_factors,
)
from germ.experiments.published_tables import Series

STEPS = np.array([0, 1000, 2000, 4000, 8000, 16_000, 32_000, 50_000, 64_000, 80_000, 143_000])


def law(llc: np.ndarray) -> np.ndarray:
    return 3.0 + 0.5 * (llc / 200) ** -4.0


def noise(source: np.random.Generator, n: int, sd: float = 0.004) -> np.ndarray:
    """AR(1) with correlation 0.4 and deviation `sd`."""
    values = np.zeros(n)
    values[0] = source.standard_normal()
    for i in range(1, n):
        values[i] = 0.4 * values[i - 1] + math.sqrt(1 - 0.16) * source.standard_normal()
    return sd * values


def test_a_planted_power_law_is_found_exactly_without_noise():
    llc = np.linspace(150.0, 280.0, 14)
    found = power_law.fit(llc, law(llc), num_resamples=20)
    assert found.exponent == pytest.approx(4.0, rel=0.0088)  # half a place of the grid
    assert found.floor == pytest.approx(3.0, abs=0.005)
    assert found(llc) == pytest.approx(law(llc), abs=2e-3)


def test_intervals_of_the_power_law_cover_serially_correlated_noise():
    source, llc = np.random.default_rng(3), np.linspace(150.0, 280.0, 20)
    covered = 0
    for i in range(40):
        found = power_law.fit(llc, law(llc) + noise(source, 20), seed=i, num_resamples=200)
        low, high = found.exponent_interval
        covered += low <= 4.0 <= high
    # Nominal 38 of 40. Blocks of three of twenty points are known to cover less: above 70% here.
    assert covered >= 28


def test_power_laws_refuse_what_has_none():
    with pytest.raises(GermError, match="5 or more checkpoints"):
        power_law.fit(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0]))
    with pytest.raises(GermError, match="positive"):
        power_law.fit(np.array([-1.0, 2, 3, 4, 5]), np.arange(5.0))


def planted_subsets(source: np.random.Generator, second: float) -> Series:
    """log λ̂ = a common trend + second · a contrast of its own trend + noise of 0.01."""
    t = np.linspace(0, 1, 12)
    contrast = np.array([3.0, -1, -1, -1])
    table = np.outer(t, np.ones(4)) + second * np.outer(t**2, contrast)
    table += 0.01 * source.standard_normal(table.shape)
    return Series(np.arange(12), ("maths", "b", "c", "d"), np.exp(5 + table))


def test_a_contrast_between_subsets_is_told_from_the_common_rise():
    source = np.random.default_rng(0)
    one = subset_factors.factors(planted_subsets(source, 0.0))
    two = subset_factors.factors(planted_subsets(source, 0.1))
    assert one.levels > 0.98 and two.levels > 0.98
    # Curves that only rise do nearly as well: the reason for the other columns.
    assert one.surrogates > 0.9
    assert two.left > 5 * one.left and two.contrast > 0.95 > one.contrast
    assert two.loadings["maths"] == pytest.approx(3 / math.sqrt(12), abs=0.03)


def test_the_share_that_the_loss_explains():
    source = np.random.default_rng(1)
    loss = 4 - np.outer(np.linspace(0, 1, 15), np.ones(13)) + 0.2 * source.standard_normal((1, 13))
    loss += 0.05 * source.standard_normal(loss.shape)
    restating = subset_factors.explained(np.exp(6 - 0.5 * loss), loss)
    assert restating.over_time == pytest.approx(1) and restating.contrast == pytest.approx(1)
    own = np.exp(5 + 0.05 * source.standard_normal(loss.shape))
    other = subset_factors.explained(own, loss)
    assert other.contrast < 0.05 and other.intervals["contrast"][0] < 0.02


def test_correlation_given_the_loss():
    source = np.random.default_rng(2)
    loss = np.linspace(5, 3, 400)
    hidden, step = source.standard_normal(400), np.arange(400.0)
    llc = 100 - 20 * loss + hidden
    restated = -loss + source.standard_normal(400)
    added = -loss + hidden + source.standard_normal(400)
    kind = "given the loss"
    assert benchmark_scores.correlation([llc, restated, loss, step], "plain") > 0.4
    # 4 deviations of a correlation of 400 pairs.
    assert abs(benchmark_scores.correlation([llc, restated, loss, step], kind)) < 0.2
    truth = 1 / math.sqrt(2)
    assert benchmark_scores.correlation([llc, added, loss, step], kind) == pytest.approx(
        truth, abs=4 * (1 - truth**2) / 20
    )
    assert math.isnan(benchmark_scores.correlation([llc, 0 * llc, loss, step], "plain"))


def test_means_over_replicates():
    found = replicates.mean_correlation([0.5, 0.6, float("nan"), 0.7])
    assert found.num == 3 and found.low < 0.5 < 0.7 < found.high and found.apart
    assert math.isnan(replicates.mean([1.0]).low) and not replicates.mean([1.0]).apart
    # t with 2 degrees of freedom: 4.303 standard errors.
    assert replicates.mean([0.0, 1.0, 2.0]).high == pytest.approx(
        1 + 4.303 / math.sqrt(3), abs=1e-3
    )


def write_tables(folder: Path) -> None:
    """Tables of the published form, with the law above."""
    folder.mkdir()
    source = np.random.default_rng(5)
    pile, subsets, scores = ["step,model,llc,test_loss"], ["model,subset,step,llc"], ["Model,A,B"]
    losses = ["models,llc/x,llc/y,llc/z,loss/x,loss/y,loss/z"]
    steps = sorted({*STEPS.tolist(), 3000, 5000, 6000, 7000, 10_000, 20_000})
    for size in ("70m", "160m", "410m"):
        for step in steps:
            llc = 60 + 25 * math.log(1 + step / 50)
            loss = float(law(np.array(llc))) + 0.003 * source.standard_normal()
            pile.append(f"{step},pythia-{size},{llc},{loss}")
            scores.append(f"pythia-{size}/{step},{-loss},{source.random()}")
            for i, name in enumerate("xyz"):
                each = llc * (1 + 0.02 * i + 0.01 * source.standard_normal())
                subsets.append(f"pythia-{size},{name},{step},{each}")
            if size == "70m":
                losses.append(
                    f"pythia-70m_{step:05d},{llc},{llc},{llc + 1},{loss},{1.1 * loss},{loss + 0.1}"
                )
    pile.append("143000,pythia-410m,,")
    for name, lines in zip(published_tables.FILES, (pile, subsets, losses, scores), strict=True):
        (folder / name).write_text("\n".join(lines) + "\n")


def test_the_page_with_tables_of_the_published_form(tmp_path, monkeypatch):
    write_tables(tmp_path / "reference")
    monkeypatch.delenv(published_tables.VARIABLE, raising=False)
    monkeypatch.setattr(local_neox, "available", lambda: False)
    page = scale.run(scale.PRESETS["quick"], tmp_path, seed=0, progress=lambda *_: None)
    paths = page.write(tmp_path)
    assert {"laws", "scores", "data"} <= set(paths) and "germ[hf]" in page.text
    found = page.data["tables"]["laws"]
    assert list(found) == ["70m", "160m", "410m"]
    for each in found.values():
        low, high = each["law"]["exponent_interval"]
        assert low < 4 < high
    # A score that is the loss goes with λ̂; a random one does not.
    plain = {e["benchmark"]: e for e in page.data["tables"]["scores"] if e["kind"] == "plain"}
    assert plain["A"]["mean"]["low"] > 0.9 and abs(plain["B"]["mean"]["value"]) < 0.6


def test_without_tables_the_page_says_where_they_are(tmp_path, monkeypatch):
    monkeypatch.delenv(published_tables.VARIABLE, raising=False)
    assert published_tables.find(tmp_path) is None
    data = {"seed": 0, "tables": None, "fresh": None, "command": local_neox.command()}
    text = scale_page.page(data).text
    assert "GERM_REFERENCE=FOLDER" in text and published_tables.PILE in text
    monkeypatch.setenv(published_tables.VARIABLE, str(tmp_path))
    with pytest.raises(GermError, match="lacks"):
        published_tables.find(tmp_path)


def test_damaged_tables_are_refused(tmp_path):
    write_tables(tmp_path / "reference")
    (tmp_path / "reference" / published_tables.PILE).write_text("a,b\n1,2\n")
    with pytest.raises(GermError, match="step, model, llc, test_loss"):
        published_tables.read(tmp_path / "reference")


def test_the_command_for_pythia_names_real_revisions():
    words = local_neox.command().split("'")
    names = [spec for _, spec in expand(words[1])]
    assert names[0] == "EleutherAI/pythia-70m@step0"
    assert names[-1] == "EleutherAI/pythia-70m@step143000"


@pytest.mark.slow
@pytest.mark.hf
def test_the_command_runs_on_a_local_hub_cache_and_extends(tmp_path):
    size = local_neox.Size(context=8, num_examples=8, batch_size=8, chains=2, draws=8)
    first = local_neox.exercise(tmp_path, steps=(0, 512), size=size)
    assert [row["step"] for row in first["rows"]] == ["0", "512"]
    assert all(math.isfinite(float(row["value"])) for row in first["rows"])
    # 1024 tokens, random weights: the loss is log 1024 but for their size.
    assert float(first["rows"][0]["anchor_loss"]) == pytest.approx(math.log(1024), abs=0.3)
    more = local_neox.exercise(tmp_path, steps=(0, 512, 1000), size=size)
    assert more["rows"][:2] == first["rows"] and len(more["rows"]) == 3
