"""The passages: they fit, every probe has some, half are the strongest, and it is said which."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support_susceptibility import fake

from germ.report import token_choice
from germ.report.token_choice import passages
from germ.report.token_view import read

DATA = fake(4, 3, tokens=310)
VIEW = read(DATA)


def num_tokens(chosen) -> int:
    return sum(len(passage.scored) for passage in chosen)


@pytest.mark.parametrize("most", [96, 300, 700])
def test_they_fit_and_every_probe_has_as_many(most):
    chosen = passages(VIEW, most)
    assert num_tokens(chosen) <= most
    counts = np.bincount(VIEW.row_probe[[passage.row for passage in chosen]], minlength=3)
    assert (counts == counts[0]).all() and counts[0] == most // 96


def test_there_is_always_one_of_each_probe_and_never_more_than_there_are():
    assert len(passages(VIEW, 0)) == 3
    assert len(passages(VIEW, 10**6)) == 30


def test_a_passage_knows_its_tokens():
    for passage in passages(VIEW, 700):
        assert passage.scored[0] == -1 and (passage.scored[1:] >= 0).all()
        ids = VIEW.ids[passage.row, passage.start + 1 : passage.stop]
        assert (VIEW.token_id[passage.scored[1:]] == ids).all()


def test_half_are_the_strongest_and_no_single_component_decides():
    chi = 0.001 * DATA["chi"].values
    error = np.full_like(chi, 1e-6)
    in_example = (DATA["token_probe"] == DATA["probe"][1]).values & (DATA["example"] == 7).values
    chi[1:, in_example] *= 50
    # One component that is a thousand times larger everywhere else does not hide the others.
    chi[0] = np.where(in_example, 1.0, 2.0)
    data = DATA.assign(chi=(DATA.chi.dims, chi), standard_error=(DATA.standard_error.dims, error))
    chosen = [p for p in passages(read(data), 3 * 4 * 32) if VIEW.row_probe[p.row] == 1]
    assert len(chosen) == 4
    assert sum(passage.strongest for passage in chosen) == 2
    (found,) = [p for p in chosen if VIEW.row_example[p.row] == 7]
    assert found.strongest


def test_a_long_example_is_cut_into_passages(monkeypatch):
    monkeypatch.setattr(token_choice, "LONGEST", 11)
    chosen = passages(VIEW, 10**6)
    assert max(p.stop - p.start for p in chosen) == 11
    assert len(chosen) == 3 * token_choice.MOST


def test_padding_and_stretches_without_susceptibilities_are_no_passages(monkeypatch):
    monkeypatch.setattr(token_choice, "LONGEST", 8)
    short = DATA.assign(tokens=DATA.tokens.where(DATA.context < 20, -1))
    short = short.isel(token=((DATA.position >= 8) & (DATA.position < 20)).values)
    for passage in passages(read(short), 10**6):
        assert passage.stop <= 20 and passage.stop > 8
