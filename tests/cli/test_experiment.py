"""`germ experiment`: the list, a page from beginning to end, and mistakes in one line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
from matplotlib.figure import Figure
from tests.cli.support import call, call_json, refused

from germ.errors import GermError
from germ.experiments import catalogue
from germ.report.page import Page


@dataclass(frozen=True)
class Settings:
    size: int


@pytest.fixture
def tiny(monkeypatch):
    """An experiment of a moment, found as the real ones are."""
    module = ModuleType("germ.experiments.tiny")

    def run(settings: Settings, out: Any, *, seed: int, progress: Any) -> Page:
        progress("draws", 1, settings.size)
        figure = Figure()
        figure.add_subplot().plot([1, 2])
        data = {"size": settings.size, "seed": seed}
        return Page("Tiny", "Shown: ![it](it.png)", {"it": figure}, data)

    vars(module).update(
        NAME="tiny", SUMMARY="One line.", PRESETS={"small": Settings(1), "paper": Settings(9)},
        COST={"small": "a moment", "paper": "a year on a GPU"}, run=run,
    )  # fmt: skip
    monkeypatch.setattr(catalogue, "MODULES", {"tiny": "tiny"})
    monkeypatch.setattr(catalogue, "get", lambda name: module)


def test_without_a_name_they_are_listed():
    found = call_json("experiment")["experiments"]
    assert [each["name"] for each in found] == list(catalogue.MODULES)
    for each in found:
        module = catalogue.get(each["name"])
        assert each["name"] == module.NAME and each["summary"] == module.SUMMARY
        assert set(each["presets"]) == set(module.PRESETS) >= {"small"}
    assert call_json("experiment", "list")["experiments"] == found
    shown = call("experiment", "list").stdout
    for each in found:
        assert each["name"] in shown
        for cost in each["presets"].values():
            assert (
                cost in shown
                and "GiB" in cost
                and any(unit in cost for unit in ("minute", "hour", "day", "month"))
            )


def test_what_it_costs_is_said_before_it_starts(tiny, tmp_path, monkeypatch):
    def fails(*args: Any, **kwargs: Any) -> Page:
        raise GermError("stopped at once")

    monkeypatch.setattr(catalogue.get("tiny"), "run", fails)
    result = call("experiment", "tiny", "--preset", "paper", "--out", str(tmp_path))
    assert result.exit_code == 2 and "stopped at once" in result.stderr
    assert "a year on a GPU" in result.stdout


def test_a_page_is_written_where_it_says(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = call_json("experiment", "tiny", "--preset", "paper", "--seed", "3")
    assert found["data"] == {"size": 9, "seed": 3} and found["title"] == "Tiny"
    assert found["files"]["page"] == "runs/tiny-paper/page.html"
    assert json.loads((tmp_path / found["files"]["data"]).read_text()) == found["data"]
    lines = call("experiment", "tiny", "--out", str(tmp_path / "here")).stdout.splitlines()
    assert lines[0] == "tiny, small: a moment" and lines[1] == "Tiny"
    assert "minutes" in lines[2] and str(tmp_path / "here" / "page.html") in lines[3]


def test_mistakes_are_one_line(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    assert "one of small, paper; got 'huge'" in refused("experiment", "tiny", "--preset", "huge")
    place = str(tmp_path / "file" / "folder")
    assert "cannot write" in refused("experiment", "tiny", "--out", place)


def test_an_experiment_that_is_none():
    assert "expected an experiment, one of toy-posteriors" in refused("experiment", "nonsense")
