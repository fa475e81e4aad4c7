"""What the page takes of a data set, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support_susceptibility import fake, fake_checkpoints

from germ.errors import GermError
from germ.report.token_view import is_signal, read

DATA = fake(3, 2, tokens=62)


def test_every_token_is_where_its_example_has_it():
    view = read(DATA)
    assert view.chi.shape == (1, 3, 124) and view.steps == [None]
    assert (view.ids[view.row, view.position] == view.token_id).all()
    assert (view.row_probe[view.row] == view.probe_of).all()


def test_rows_are_found_by_example_whatever_their_order():
    mixed = DATA.isel(probe_example=[2, 0, 3, 1], token=np.r_[100:124, 0:100])
    view = read(mixed)
    assert (view.ids[view.row, view.position] == view.token_id).all()
    plain = read(DATA.drop_vars("example_index"))
    assert (plain.ids[plain.row, plain.position] == plain.token_id).all()


def test_checkpoints_lead_and_what_lacks_them_is_the_same_at_each():
    data = fake_checkpoints((0, 10, 100), components=3, probes=2, tokens=62)
    view = read(data.assign(loss_at_anchor=DATA["loss_at_anchor"]))
    assert view.chi.shape == (3, 3, 124) and view.steps == [0, 10, 100]
    assert (view.chi[0] == 0).all() and (view.loss == DATA["loss_at_anchor"].values).all()


def test_signal_is_two_standard_errors():
    chi = np.array([2.0, -2.0, 1.99, 0.0, 1.0])
    found = is_signal(chi, np.array([1.0, 1.0, 1.0, 0.0, 0.0]))
    assert found.tolist() == [True, True, False, False, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.drop_vars("tokens"), r"lacks \['tokens'\].*germ.susceptibility"),
        (lambda d: d.drop_vars("position"), r"lacks \['position'\]"),
        (lambda d: d.isel(component=[]), "no component"),
        (lambda d: d.isel(token=[]), "no token"),
        (lambda d: d.assign(chi=d.chi * np.nan), "finite numbers in chi"),
        (lambda d: d.assign(standard_error=-d.standard_error), "0 and more in standard_error"),
        (lambda d: d.assign(chi=d.chi[0]), "expected chi with dimensions"),
        (lambda d: d.isel(context=slice(0, 9)), "expected positions from 0 to 8"),
        (lambda d: d.isel(probe_example=[0, 2, 3]), "example 1 of probe number 0 is not among"),
        (lambda d: d.isel(probe=[0]), "expected tokens of the probes"),
    ],
)
def test_what_is_no_such_data_set_is_refused(change, message):
    with pytest.raises(GermError, match=message):
        read(change(DATA))
