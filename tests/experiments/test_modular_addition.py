"""`germ experiment modular-addition`: the whole of it, small, and going on where it was stopped."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from germ.errors import GermError
from germ.experiments import modular_addition as experiment
from germ.experiments import modular_grokking, modular_memory, modular_moduli
from germ.experiments.modular_network import Training
from germ.experiments.modular_published import Published

TRAINING = Training(4, 8, num_steps=80, batch_size=16)
SHORT = Published(num_steps=10)
SETTINGS = experiment.Settings(
    modular_moduli.Moduli(
        (5, 7), (5,), (0.5, 1.0, 10.0), 2, 0, training=TRAINING, published=SHORT, draws=8
    ),
    modular_memory.Memory(
        5, decays=(1e-3,), num_seeds=1, training=TRAINING, published=SHORT, draws=8
    ),
    modular_grokking.Grokking(
        5, num_seeds=1, num_records=5, num_own=2, training=TRAINING, notebook=SHORT, draws=8
    ),
)


def silent(*_: object) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("modular")
    return out, experiment.run(SETTINGS, out, seed=0, progress=silent)


@pytest.mark.slow
def test_every_part_is_measured_at_its_temperatures(done):
    out, page = done
    data = page.data
    assert [(row["operation"], row["modulus"]) for row in data["by_modulus"]] == [
        ("addition", 5), ("addition", 7), ("random", 5), ("random", 7),
    ]  # fmt: skip
    swept, other = data["by_modulus"][:2]
    assert list(swept["networks"][0]["published"]) == ["0.5", "1", "10"]
    assert list(other["networks"][0]["published"]) == ["1", "10"]
    size = int(0.9 * 25) * 10
    found = swept["networks"][1]["published"]["10"]["nbeta"]
    assert found == pytest.approx(size / math.log(size))
    assert {each["operation"] for each in data["memorising"][0]["networks"]} == {
        "addition", "random",
    }  # fmt: skip
    records = data["paths"][0]["records"]
    assert [r["step"] for r in records] == [0, 20, 40, 60, 80]
    assert [r["own"] is not None for r in records] == [True, False, False, False, True]
    assert all(r["notebook"]["nbeta"] == 2.0 for r in records)
    paths = page.write(out)
    assert json.loads(paths["data"].read_text(encoding="utf-8"))["summary"]


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_others_are_refused(done, monkeypatch):
    out, first = done
    for part in (modular_moduli, modular_memory, modular_grokking):
        monkeypatch.setattr(part, "measure", lambda *_: pytest.fail("measured again"))
    again = experiment.run(SETTINGS, out, seed=0, progress=silent)
    assert again.text == first.text
    with pytest.raises(GermError, match="of others"):
        changed = replace(SETTINGS, memory=replace(SETTINGS.memory, draws=9))
        experiment.run(changed, out, seed=0, progress=silent)
    (out / "runs" / "memory-000.json").write_text("{", encoding="utf-8")
    with pytest.raises(GermError, match="damaged"):
        experiment.run(SETTINGS, out, seed=0, progress=silent)


def test_presets_have_their_cost():
    assert set(experiment.COST) == set(experiment.PRESETS) == {"quick", "small", "paper"}
