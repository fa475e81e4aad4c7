"""The benchmark's own machinery: judging, resuming, the peer's loop, the table."""

from __future__ import annotations

import json
import math
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.truth import __main__ as program
from benchmarks.truth import peer
from benchmarks.truth.estimators import Outcome, Setting
from benchmarks.truth.judge import Run, runs_of, verdict, wilson
from benchmarks.truth.quadratic import Quadratic
from benchmarks.truth.table import render

CASE = Quadratic(name="d 3", dim=3, num_examples=400)


def run(value: float, error: float = 0.1, **changes) -> Run:
    about = dict(
        exact=10.0, exact_error=0.0, known=12.0, warned=False, failed=False,
        num_gradients=5, seconds=1.0,
    )  # fmt: skip
    return Run(value, error, **{**about, **changes})


def test_wrong_and_silent_means_off_by_both_and_no_warning():
    assert run(10.6).silent
    assert not run(10.4).silent, "within 5%"
    assert not run(10.6, 0.3).silent, "within three stated errors"
    assert not run(10.6, warned=True).silent, "it said so"
    assert not run(10.6, exact_error=0.5).silent, "the reference is no better"
    assert not run(math.nan, math.nan, failed=True, warned=True).silent


def test_an_interval_covers_or_not():
    assert run(10.19).covered and not run(10.21).covered
    assert run(10.21, exact_error=0.1).covered
    assert not run(math.nan, math.nan, failed=True).covered


def test_a_verdict_counts_failures_against_the_estimator():
    found = verdict([run(10.0), run(10.5), run(13.0), run(math.nan, failed=True, warned=True)])
    assert (found.runs, found.failed, found.intervals, found.covered) == (4, 1, 3, 1)
    assert found.median_error == pytest.approx(0.05) and found.worst == pytest.approx(0.3)
    assert found.within == pytest.approx(0.5)
    assert found.silent == 1  # 13.0; 10.5 is off by 5% and no more
    assert found.median_to_known == pytest.approx((10.5 - 12) / 12)


def test_nothing_but_failures_gives_no_numbers():
    found = verdict([run(math.nan, failed=True)])
    assert math.isnan(found.median_error) and found.within == 0.0
    assert found.coverage == (0.0, 1.0)


@pytest.mark.parametrize(("hits", "trials"), [(0, 20), (10, 20), (19, 20), (200, 200)])
def test_wilson_inverts_the_score_test(hits, trials):
    for bound in wilson(hits, trials):
        if 0 < bound < 1:
            z = (hits / trials - bound) / math.sqrt(bound * (1 - bound) / trials)
            assert abs(z) == pytest.approx(1.96)


class Counted:
    """An estimator that counts its calls and can be made to break off."""

    def __init__(self, breaks_at: int | None = None) -> None:
        self.calls = 0
        self.breaks_at = breaks_at

    def __call__(self, setting: Setting, seed: int) -> Outcome:
        self.calls += 1
        if self.calls == self.breaks_at:
            raise KeyboardInterrupt
        return Outcome(1.0 + seed, 0.1, (), False, 7, 50, 0.5, notes={"step_size": math.inf})


def go(estimators, folder, *, resume):
    return program.run_case(
        CASE, estimators, quick=True, seeds=2, folder=folder, resume=resume, tell=lambda _: None
    )


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    first, second = Counted(), Counted(breaks_at=2)
    with pytest.raises(KeyboardInterrupt):
        go({"a": first, "b": second}, tmp_path, resume=False)
    again = {"a": Counted(), "b": Counted()}
    found = go(again, tmp_path, resume=True)
    assert (again["a"].calls, again["b"].calls) == (0, 1), "what was done is not done again"
    whole = go({"a": Counted(), "b": Counted()}, tmp_path / "other", resume=False)
    assert found == whole
    assert not list(tmp_path.glob("*.part"))


def test_without_resume_nothing_old_is_taken(tmp_path):
    go({"a": Counted()}, tmp_path, resume=True)
    again = Counted()
    go({"a": again}, tmp_path, resume=False)
    assert again.calls == 2


def test_other_settings_are_another_run(tmp_path):
    paths = {
        program.part_path(tmp_path, case, name, quick, seed)
        for case in (
            CASE,
            Quadratic(name="d 4", dim=4),
            Quadratic(name="t", dim=3, full_batch=True),
        )
        for name in ("a", "b")
        for quick in (True, False)
        for seed in (0, 1)
    }
    assert len(paths) == 24


def test_a_batch_that_is_given_is_another_run_of_the_same_posterior(tmp_path):
    one, other = CASE, Quadratic(name="d 3", dim=3, num_examples=400, batch_size=16)
    assert one.key == other.key and Setting(other).batch_size == 16
    paths = {program.part_path(tmp_path, case, "a", False, 0) for case in (one, other)}
    assert len(paths) == 2


def test_more_seeds_take_what_fewer_left(tmp_path):
    program.run_case(CASE, {"a": Counted()}, quick=True, seeds=1, folder=tmp_path, resume=True,
                     tell=lambda _: None)  # fmt: skip
    more = Counted()
    found = go({"a": more}, tmp_path, resume=True)
    assert more.calls == 1 and [outcome["value"] for outcome in found["a"]] == [1.0, 2.0]


def test_rows_that_are_not_run_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "CASES", (CASE,))
    monkeypatch.setattr(program, "PARTS", tmp_path / "parts")
    monkeypatch.setattr(program, "GERM", {"a": Counted(), "b": Counted()})
    monkeypatch.setattr(program, "PEER", {})
    common = ["--seeds", "1", "--out", str(tmp_path)]
    for arguments, names in (
        (["--estimators", "a"], ["a"]),
        (["--estimators", "b", "--keep"], ["a", "b"]),
        (["--estimators", "b"], ["b"]),
    ):
        assert program.main([*common, *arguments]) == 0
        report = json.loads((tmp_path / "truth.json").read_text())
        assert report["estimators"] == names
        assert set(report["cases"][0]["estimators"]) == set(names)


def test_main_runs_and_the_table_holds_every_row(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        program, "CASES", (CASE, Quadratic(name="d 2 only", dim=2, num_examples=300, offset=0.3))
    )
    monkeypatch.setattr(program, "PARTS", tmp_path / "parts")
    monkeypatch.setattr(peer, "available", lambda: False)
    arguments = ["--quick", "--cases", "d 3", "d 2", "--out", str(tmp_path / "out")]
    assert program.main([*arguments, "--estimators", "auto, 200"]) == 0
    report = json.loads((tmp_path / "out" / "truth.json").read_text())
    assert [case["name"] for case in report["cases"]] == ["d 3", "d 2 only"]
    runs = runs_of(report, "germ auto, 200 draws", name="d 3")
    assert len(runs) == 1 and runs[0].exact == pytest.approx(CASE.expectation().value)
    text = (tmp_path / "out" / "truth.md").read_text()
    assert text == render(report)
    for expected in ("germ auto, 200 draws", "### quadratic: d 3", "smoke test", "not installed",
                     "python -m benchmarks.truth"):  # fmt: skip
        assert expected in text, expected
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|") and "nan" not in line, line


def test_a_failed_run_is_in_the_table(tmp_path):
    failed = Outcome(math.nan, math.nan, ("DIVERGED",), True, 7, 50, 0.5)
    good = Outcome(1.5, 0.1, (), False, 7, 50, 0.5)
    outcomes = go({"x": lambda _, seed: failed if seed else good}, tmp_path, resume=False)
    known = program.references.expectation(CASE, {})
    report = {
        "command": "c", "date": "d", "python": "3", "torch": "2", "numpy": "2", "cpu": "c",
        "cores": 2, "threads": 1, "load": 0.0, "peer": "p", "note": "", "nuts": [],
        "cpu_minutes": 1.0, "quick": False, "seeds": 2,
        "estimators": ["x"], "cases": [{**program.describe(CASE, known), "estimators": outcomes}],
    }  # fmt: skip
    text = render(json.loads(json.dumps(report)))
    assert "| 1/2 |" in text  # failed of all, in the summary


def test_words_that_name_no_case_are_refused(capsys):
    assert program.main(["--cases", "no such case"]) == 2
    assert "no such case" in capsys.readouterr().out


def test_the_peers_feed_replays_one_pass():
    feed = peer.Feed(Setting(CASE), 64, seed=0)
    seen = torch.cat([feed.batches[i] for i in range(len(feed.batches))])
    assert len(seen.unique()) == 384, "400 examples, the odd ones dropped"
    first, again = feed.batch(0), feed.batch(6)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], feed.batch(1)[0])


def test_levels_off():
    noise = np.random.default_rng(0).standard_normal(200)
    assert peer._levels_off(5 + noise)
    assert not peer._levels_off(np.linspace(0, 50, 200) + noise)
    assert not peer._levels_off(np.full(200, np.nan))


def test_the_peers_loop_on_a_stand_in(monkeypatch):
    """With exact Langevin steps for its optimizer the loop finds the known expectation."""

    class Langevin(torch.optim.Optimizer):
        def __init__(self, params, lr, nbeta, localization):
            super().__init__(params, {})
            self.settings = (nbeta, localization)
            self.start = [p.detach().clone() for p in self.param_groups[0]["params"]]
            assert lr in peer.SWEEP

        @torch.no_grad()
        def step(self):
            nbeta, localization = self.settings
            for p, start in zip(self.param_groups[0]["params"], self.start, strict=True):
                slope = nbeta * p.grad + localization * (p - start)
                p.add_(-0.5 * 1e-3 * slope + 1e-3**0.5 * torch.randn_like(p))

    optim: Any = types.ModuleType("devinterp.optim")
    optim.SGMCMC = types.SimpleNamespace(get_method=lambda name: Langevin)
    monkeypatch.setitem(sys.modules, "devinterp", types.ModuleType("devinterp"))
    monkeypatch.setitem(sys.modules, "devinterp.optim", optim)
    case = Quadratic(name="t", dim=3, num_examples=300, full_batch=True)
    found = [peer.run(Setting(case), seed, "sgld", swept=True) for seed in range(3)]
    mean = sum(outcome.value for outcome in found) / 3
    # ε·a = 0.05: Euler's bias is 1.3%; the Monte Carlo error of three runs about 7%.
    assert mean == pytest.approx(case.expectation().value, rel=0.3)
    assert found[0].num_gradients == 4 * 300 + 200 and found[0].batch_size == 300
