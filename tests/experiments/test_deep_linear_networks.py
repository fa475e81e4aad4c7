"""The `dln` experiment: its generator, what it measures, resuming, the page."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from germ.errors import GermError
from germ.exact import deep_linear
from germ.experiments import deep_linear_networks as dln
from germ.experiments.deep_linear_page import AUTO, PUBLISHED, errors, page_of, scatter, summary
from germ.experiments.rank_reduced import SizeClass, draw, examples

TINY = SizeClass("tiny", (2, 5), (2, 4), 64, 5e-6, 40, num_nets=2)
SETTINGS = dln.Settings((TINY,), draws=8)


def silent(stage: str, done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def networks():
    return [draw(dln.CLASSES["1K"], seed) for seed in range(60)]


def test_widths_and_layers_lie_in_the_published_ranges(networks):
    for network in networks:
        assert 3 <= len(network.widths) <= 5, "2 to 4 layers"
        assert all(5 <= width < 50 for width in network.widths)
    assert {len(network.widths) for network in networks} == {3, 4, 5}


def test_layers_have_the_ranks_they_say(networks):
    reduced = layers = 0
    for network in networks:
        for parameter, rank in zip(network.model.parameters(), network.layer_ranks, strict=True):
            weight = parameter.detach().double().numpy()
            values = np.linalg.svd(weight, compute_uv=False)
            assert (values > 1e-5).sum() == rank >= 1
            layers += 1
            reduced += rank < min(weight.shape)
        product = network.model.product().detach().double().numpy()
        assert np.linalg.matrix_rank(product, tol=1e-5) == network.rank
    # Half of them are given a lower rank, or the same once in so many times.
    assert 0.35 < reduced / layers < 0.6


def test_weights_are_haikus(networks):
    full = [
        p.detach() * p.shape[1] ** 0.5
        for n in networks
        for p, rank in zip(n.model.parameters(), n.layer_ranks, strict=True)
        if rank == min(p.shape)
    ]
    every = torch.cat([weight.flatten() for weight in full])
    assert every.abs().max() < 2.001
    assert float(every.std()) == pytest.approx(0.8796, abs=0.01)  # of a normal cut off at ±2


def test_the_local_coefficient_is_never_below_the_least(networks):
    differs = 0
    for network in networks:
        assert network.least == deep_linear(network.widths, network.rank)
        if network.local is None:
            assert "open problem" in network.undecided
            continue
        assert network.local.value >= network.least.value
        differs += network.local.value > network.least.value
        if len(set(network.layer_ranks)) == 1 and network.rank == network.layer_ranks[0]:
            assert network.local.value == network.least.value
    assert differs > 5, "the subtlety of the published benchmark"


def test_large_networks_do_not_look_for_a_local_coefficient():
    network = draw(SizeClass("big", (600, 700), (2, 3), 1000, 1e-7, 10), 0)
    assert network.local is None and "300,000" in network.undecided


def test_a_seed_is_a_network():
    one, again, other = (draw(dln.CLASSES["10K"], seed) for seed in (3, 3, 4))
    assert one.widths == again.widths and one.layer_ranks == again.layer_ranks
    for left, right in zip(one.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(left, right)
    assert one.widths != other.widths


def test_examples_are_uniform_and_noise_free(networks):
    inputs, targets = examples(networks[0], 20_000, seed=0)
    assert float(inputs.min()) < -9.99 and float(inputs.max()) > 9.99
    assert float(inputs.square().mean()) == pytest.approx(100 / 3, rel=0.01)
    assert torch.equal(targets, networks[0].model(inputs))


def test_a_run_writes_a_page_and_goes_on(tmp_path):
    told = []
    page = dln.run(SETTINGS, tmp_path, seed=5, progress=lambda *about: told.append(about))
    files = sorted((tmp_path / "runs").iterdir())
    assert [file.name for file in files] == [f"tiny-{seed:03d}.json" for seed in (5, 6)]
    assert told[-1] == ("networks of tiny", 2, 2)
    before = [file.stat().st_mtime_ns for file in files]
    files[1].unlink()
    again = dln.run(SETTINGS, tmp_path, seed=5, progress=silent)
    assert [file.stat().st_mtime_ns == time for file, time in zip(files, before, strict=True)] == [
        True, False,
    ]  # fmt: skip

    def lasting(rows):
        # All but how long it took.
        return [
            {**row, "estimates": {k: {**v, "seconds": 0} for k, v in row["estimates"].items()}}
            for row in rows
        ]

    assert lasting(again.data["rows"]) == lasting(page.data["rows"])
    written = page.write(tmp_path)
    assert json.loads(written["data"].read_text())["summary"]["tiny"]["networks"] == 2
    html = written["page"].read_text()
    assert html.count("data:image/png") == 2 and "<table>" in html


def test_runs_of_other_settings_are_not_taken(tmp_path):
    few = replace(TINY, num_nets=1)
    dln.run(dln.Settings((few,), draws=8), tmp_path, seed=0, progress=silent)
    with pytest.raises(GermError, match="other"):
        dln.run(dln.Settings((few,), draws=10), tmp_path, seed=0, progress=silent)
    next((tmp_path / "runs").glob("*.json")).write_text("{")
    with pytest.raises(GermError, match="damaged"):
        dln.run(dln.Settings((few,), draws=8), tmp_path, seed=0, progress=silent)


def row(value, local: str | None = "10", least="10", error=0.5, warnings=()):
    def known(text):
        return None if text is None else {"lambda": text, "lambda_float": float(text)}

    estimates = {
        PUBLISHED: {"value": None if value is None else 0.9 * value, "statuses": ["OK"]},
        AUTO: {"value": value, "standard_error": error, "warnings": list(warnings)},
    }
    return {
        "class": "tiny", "least": known(least), "local": known(local), "expected": 9.5,
        "estimates": estimates, "undecided": "",
    }  # fmt: skip


def test_a_summary_compares_with_the_local_coefficient():
    rows = [row(10.0), row(24.0, local="20"), row(9.0, local=None, least="8"), row(None)]
    found = summary(rows, "tiny")
    assert (found["networks"], found["decided"], found["local_above_least"]) == (4, 3, 1)
    assert found[AUTO]["failed"] == 1 and found[AUTO]["estimates"] == 3
    assert found[AUTO]["median_error"] == pytest.approx(-0.125)  # of 0, −0.2, −0.125
    assert found[AUTO]["median_absolute_error_to_least"] == pytest.approx(0.125)  # 0, 1.4, 0.125
    assert found[AUTO]["spearman"] == pytest.approx(1.0)


def test_pages_of_odd_results_are_still_pages(tmp_path):
    for rows in ([row(None)], [row(-3.0)], [row(1e9), row(10.0, warnings=("w",))]):
        page_of(rows, [TINY], 0).write(tmp_path)
        assert scatter(rows).axes and errors(rows).axes


def test_presets_are_the_published_classes():
    assert list(dln.PRESETS["paper"].classes) == list(dln.CLASSES.values())
    assert all(size.num_nets == 100 for size in dln.CLASSES.values())
    for size in dln.PRESETS["small"].classes:
        assert replace(size, num_nets=100) == dln.CLASSES[size.name]
