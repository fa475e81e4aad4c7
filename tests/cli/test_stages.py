from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from tests.cli.support import call, call_json, refused
from tests.development.test_staging import STEPS, rows, run

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command, whether or not the application has it yet."""
    from germ.cli import app
    from germ.cli.stages import stages

    if "stages" not in {command.name for command in app.registered_commands}:
        monkeypatch.setattr(app, "registered_commands", [*app.registered_commands])
        app.command("stages")(stages)


def write_csv(path: str, seeds: int = 3) -> None:
    llc, loss = run(seeds)
    lines = ["model_seed,step,llc,sampled_loss"]
    for k in range(seeds):
        for step, value, at in zip(STEPS, llc[k], loss[k], strict=True):
            lines.append(f"{k},{step:.0f},{value},{at + value / 30}")
    Path(path).write_text("\n".join(lines) + "\n")


def test_a_sweep_folder_is_read_and_its_stages_are_put_beside_it():
    llc, loss = run()
    rows(llc[0], loss[0]).write("sweep")
    found = call_json("stages", "sweep")
    assert [stage["kind"] for stage in found["stages"]] == ["A", "A", "B", "A"]
    assert {path.name for path in Path("sweep").iterdir()} == {
        "sweep.csv", "sweep.json", "stages.csv", "stages.json", "stages.png",
    }  # fmt: skip
    table = list(csv.DictReader(Path("sweep/stages.csv").read_text().splitlines()))
    assert [float(row["llc_change"]) for row in table] == pytest.approx(
        [stage["llc_change"] for stage in found["stages"]], rel=1e-5
    )
    again = call_json("stages", "sweep/sweep.json", "--out", "there")
    assert again["stages"] == found["stages"], "the same from JSON"


def test_a_table_of_seeds_and_nbeta_give_the_loss():
    write_csv("table.csv")
    result = call("stages", "table.csv", "--nbeta", "30", "--out", "there")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["stage", "from", "to", "Δλ̂", "ΔL(w*)", "type"]
    assert [line.split()[-1] for line in lines[1:5]] == ["A", "A", "B", "A"]
    assert json.loads(Path("there/stages.json").read_text())["num_seeds"] == 3
    without = call_json("stages", "table.csv", "--out", "there")
    assert without["stages"][0]["kind"] == "λ̂ rises", "without nβ there is no L(w*)"


def test_several_sweeps_are_several_seeds():
    llc, loss = run(2)
    for k in range(2):
        rows(llc[k], loss[k]).write(f"seed{k}")
    assert call_json("stages", "seed0", "seed1", "--out", "there")["num_seeds"] == 2


def test_what_is_refused():
    assert "there is no nothing" in refused("stages", "nothing")
    Path("empty.csv").write_text("a,b\n1,2\n")
    assert "columns step and value" in refused("stages", "empty.csv")
    Path("bad.csv").write_text("step,llc\n1,x\n")
    assert "line 2" in refused("stages", "bad.csv")
    Path("bad.json").write_text("{}")
    assert "sweep.json" in refused("stages", "bad.json")
    Path("few.csv").write_text("step,llc\n" + "\n".join(f"{k},{k}" for k in range(1, 6)))
    assert "at least 8 checkpoints" in refused("stages", "few.csv")
    write_csv("table.csv")
    assert "level from" in refused("stages", "table.csv", "--level", "1")
