"""The rankings: by a bound, beside the same computed the long way."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.support_susceptibility import fake

from germ.report.token_ranking import Rankings
from germ.report.token_view import read

DATA = fake(4, 2, tokens=310, seed=3)


def ranked(**changes) -> Rankings:
    return Rankings(read(DATA.assign(**changes)))


def test_a_noisy_token_does_not_come_first_because_it_is_noisy():
    chi, error = DATA["chi"].values.copy(), DATA["standard_error"].values.copy()
    error[:] = 0.01
    chi[0, :4], error[0, :4] = [9.0, 8.0, -9.0, -8.0], [5.0, 0.5, 5.0, 0.5]
    found = ranked(chi=(DATA.chi.dims, chi), standard_error=(DATA.chi.dims, error))
    assert found.tokens(0, 1, 3)[0] == 1 and found.tokens(0, -1, 3)[0] == 3
    for sign in (1, -1):
        assert not {0, 2} & set(found.tokens(0, sign, 1000).tolist())


def test_nothing_within_two_errors_is_listed():
    found = ranked(standard_error=abs(DATA.chi) * 0.51)
    assert not any(found.tokens(i, sign, 5).size for i in range(4) for sign in (1, -1))
    assert not any(found.kinds(i, sign, 5, 1) for i in range(4) for sign in (1, -1))


@pytest.mark.parametrize("sign", [1, -1])
def test_kinds_are_means_over_occurrences(sign):
    found = ranked().kinds(1, sign, 5, at_least=4)
    frame = pd.DataFrame(
        {"token": DATA.token_id, "chi": DATA.chi[1], "error": DATA.standard_error[1]}
    ).astype({"chi": float, "error": float})
    groups = frame.groupby("token").agg(
        count=("chi", "size"), mean=("chi", "mean"), error=("error", "mean"), spread=("chi", "std")
    )
    groups["bound"] = sign * groups["mean"] - 2 * groups["error"]
    expected = groups.query("count >= 4 and bound > 0").nlargest(5, "bound")
    assert len(expected) >= 3
    assert [kind.token for kind in found] == expected.index.tolist()
    for name in ("count", "mean", "error", "spread"):
        values = [getattr(kind, name) for kind in found]
        np.testing.assert_allclose(values, expected[name], rtol=1e-6)


def test_the_planted_structure_is_what_comes_out():
    # Even components answer to tokens that begin a word: `·…` in the tokenizer's own names.
    from germ.zoo import bundled

    for component, size in enumerate(DATA.attrs["planted"]["a"]):
        if not size:
            continue
        kinds = ranked().kinds(component, 1, 5, at_least=4)
        names = [bundled.tokenizer().id_to_token(kind.token) or "" for kind in kinds]
        assert len(names) == 5 and all(name.startswith("Ġ") for name in names)


def test_a_component_in_a_line():
    chi = np.tile(np.array([3.0, -3.0, -4.0, 1.0, 0.0]), (4, 124))
    found = ranked(chi=(DATA.chi.dims, chi), standard_error=(DATA.chi.dims, np.ones_like(chi)))
    line = found.summaries[0]
    assert (line.positive, line.negative) == pytest.approx((0.2, 0.4))
    assert line.strength == 4.0  # |z| is 0, 1, 3, 3, 4 in equal parts
    assert (line.mean, line.spread) == pytest.approx((-0.6, np.sqrt(35 / 5 - 0.36)))


def test_components_are_ordered_by_signal_to_noise_and_not_by_size():
    chi = np.ones((4, 620)) * np.array([[1.0], [100.0], [1.0], [5.0]])
    error = np.array([[0.1], [100.0], [0.01], [1.0]]) * np.ones_like(chi)
    found = ranked(chi=(DATA.chi.dims, chi), standard_error=(DATA.chi.dims, error))
    assert found.by_strength() == [2, 0, 3, 1]
