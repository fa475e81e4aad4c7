"""What a person sees of one estimate."""

from __future__ import annotations

from tests.report.support import estimate

from germ.cli.screen import Screen
from germ.estimate.budget import ErrorBudget
from germ.estimate.locality import Locality


def test_the_estimate_its_budget_how_local_it_is_and_its_warnings(capsys):
    found = estimate(
        40.0, 0.5, budget=ErrorBudget(40.0, 0.5, 100.0, step_size=0.3, drift=-1.2),
        locality=Locality(0.31, 2.04, 0.01), warnings=("look out",),
    )  # fmt: skip
    Screen(json=False).estimate(found, "run: x.zarr")
    first, second, third, *rest = capsys.readouterr().out.splitlines()
    assert first == str(found) and first.startswith("LLC 40.0 ± 1.3 (90%: 37.8 … 42.2) at nβ 30")
    assert second.strip() == "± 1.3: Monte Carlo 0.5, step size +0.3, heating 0, drift -1.2"
    assert "L ~ distance^2, 31% of the way to knowing nothing" in third
    assert [line.strip() for line in rest] == ["run: x.zarr", "⚠ look out"]
