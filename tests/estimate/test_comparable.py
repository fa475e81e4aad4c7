from __future__ import annotations

import pytest
from tests.report.support import estimate

from germ.errors import GermError
from germ.estimate import comparable

ONE = {"nbeta": 30.0, "localization": 300.0, "num_examples": 512, "data": "ab" * 32,
       "restriction": "cd" * 32, "loss": "causal_lm", "num_coordinates": 70_000}  # fmt: skip


def test_equal_settings_may_stand_side_by_side():
    same = {"a": ONE, "b": {**ONE, "weights": "other"}}
    assert comparable.differences(same) == () and comparable.warning(()) is None
    comparable.check(same)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("nbeta", 300.0, "nβ differs: 30 (a), 300 (b)"),
        ("localization", 1.0, "γ differs: 300 (a), 1 (b)"),
        ("data", "ef" * 32, "the data differs: abababab… (a), efefefef… (b)"),
        ("restriction", "01" * 32, "the weights that move differs"),
        ("num_examples", 2_000, "512 (a), 2,000 (b)"),
        ("loss", "mse", "the loss differs: causal_lm (a), mse (b)"),
    ],
)
def test_each_setting_that_differs_is_named_and_refused(field, value, told):
    runs = {"a": ONE, "b": {**ONE, field: value}}
    (found,) = comparable.differences(runs)
    assert told in str(found)
    with pytest.raises(GermError, match="can be compared"):
        comparable.check(runs)


def test_many_runs_are_grouped():
    runs = {f"run{k}": {**ONE, "nbeta": 30.0 if k < 5 else 100.0} for k in range(7)}
    (found,) = comparable.differences(runs)
    assert str(found) == "nβ differs: 30 (run0, run1 and 3 more), 100 (run5, run6)"


def test_what_a_run_does_not_say_is_not_compared():
    assert comparable.differences({"a": ONE, "b": {"nbeta": 30.0}}) == ()


def test_estimates_tell_nbeta_and_localization():
    rows = {"a": estimate(1.0, 0.1), "b": estimate(2.0, 0.1, nbeta=100.0, localization=1.0)}
    assert [d.name for d in comparable.of_estimates(rows)] == ["nβ", "γ"]
