"""The toy-posteriors page: its numbers against independent integrals, and its files."""

import json
import math

import numpy as np
import pytest
from scipy.integrate import quad

from germ.experiments import (
    catalogue,
    toy_basins,
    toy_competition,
    toy_hessian,
    toy_jump,
    toy_landscapes,
    toy_posteriors,
)
from germ.experiments.toy_section import Effort
from germ.numerical import split

LITTLE = Effort(num_points=60, num_replicas=8, smallest=1e-12)


@pytest.fixture(scope="module")
def sections():
    """All five, as small as they still mean something."""
    return {
        "jump": toy_jump.section(5),
        "basins": toy_basins.section(LITTLE, 0),
        "landscapes": toy_landscapes.section(LITTLE, 0),
        "competition": toy_competition.section(5),
        "hessian": toy_hessian.section(5),
    }


def test_the_posterior_jumps(sections):
    data = sections["jump"].data
    before, at, after = data["right_share"].values()
    assert before < 0.05 and after > 0.95
    assert at == pytest.approx(0.5, abs=1e-6)
    # The formula without a constant is within a few per cent, and with it within one in a thousand.
    assert data["predicted_by_lambda"] == pytest.approx(10_500, rel=0.05)
    assert data["predicted_with_constant"] == pytest.approx(10_500, rel=1e-3)


def test_the_others_are_integrated_out():
    # One of them by scipy, at a w where it is neither idle nor Gaussian.
    w, n, gap = np.array([0.05]), 3.0, 0.01
    stiffness = float(toy_jump.switch(w)[0])
    one, _ = quad(lambda v: math.exp(-n * stiffness * v**2) / 2, -1, 1)
    expected = -n * float(toy_jump.loss(w, gap)[0]) + toy_jump.NUM_OTHERS * math.log(one)
    assert toy_jump.log_marginal(w, n, gap)[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
def test_the_jump_in_all_21_variables():
    n, gap = 10_500.0, 0.00905

    def potential(points):
        w, others = points[:, 0], points[:, 1:]
        return toy_jump.loss(w, gap) + toy_jump.switch(w) * (others**2).sum(1)

    bounds = [(0.0, 1.0)] + [(-1.0, 1.0)] * toy_jump.NUM_OTHERS
    found = split(potential, bounds, 1e-5, seed=1).integral(n)
    exact = toy_jump.log_mass(n, gap, toy_jump.RIGHT)
    assert found.log_z_error < 1
    assert abs(found.log_z - exact) < 4 * found.log_z_error


def test_basins_and_landscapes_hold_their_exact_values(sections):
    for basin in sections["basins"].data["basins"]:
        assert basin["lambda"] == f"1/{basin['power']}"
        assert abs(basin["measured"] - basin["lambda_float"]) < 4 * basin["error"]
    found = sections["landscapes"].data["landscapes"]
    values = [each["exact"]["lambda_float"] for each in found]
    assert values == sorted(values, reverse=True) and len(set(values)) == 4
    for each in found:
        off = abs(each["measured"] - each["exact"]["lambda_float"])
        assert off < 4 * each["noise"] + each["form"]
    assert [round(each["mean"], 4) for each in found] == [1.0, 0.4105, 0.3912, 0.2372]


def test_each_term_of_the_formula_brings_the_crossing_nearer(sections):
    data = sections["competition"].data
    actual = data["crossings"][-1]
    off = [abs(each - actual) / actual for each in data["predicted"].values()]
    assert off == sorted(off, reverse=True) and off[-1] < 0.03
    # At n = 10⁵ the formula of the ordinary side is exact to what e^{−n/4} leaves.
    right = data["free_energy_right"][-1], data["predicted_right"][-1]
    assert right[0] == pytest.approx(right[1], abs=1e-5)


def test_potential_of_the_competition_is_what_its_constants_assume():
    n = 50.0
    left, _ = quad(
        lambda y: quad(lambda x: math.exp(-n * ((x + 0.5) * y) ** 2) / 4, -1, 0)[0], -1, 1
    )
    found = toy_competition.free_energies(
        toy_competition.potential, toy_competition.LEFT, [n], within=toy_competition.SQUARE
    )
    assert found.values[0] == pytest.approx(n * toy_competition.GAP - math.log(left), abs=1e-6)


def test_equal_hessians_unequal_posteriors(sections):
    data = sections["hessian"].data
    for duel, same in zip(data["duels"], (True, True, False), strict=True):
        one, other = (data["basins"][duel[key]] for key in ("first", "second"))
        assert (one["eigenvalues"] == other["eigenvalues"]) is same
        assert other["exact"]["lambda_float"] < one["exact"]["lambda_float"]
        assert duel["share"][-1] > 0.8  # n = 10⁶
    sharper = data["basins"]["100*x^2+y^8"]
    assert sharper["eigenvalues"] == [0, 200]
    # ∫∫ of 100x² + y⁸ and of x² + y² by hand, n = 10⁶, both far inside the square.
    n = 1e6
    ratio = math.sqrt(math.pi / (100 * n)) * 2 * math.gamma(9 / 8) * n ** (-1 / 8) / (math.pi / n)
    assert data["duels"][2]["share"][-1] == pytest.approx(ratio / (1 + ratio), abs=1e-5)


def test_page_is_written_and_complete(sections, tmp_path, monkeypatch):
    for name, section in sections.items():
        module = getattr(toy_posteriors, f"toy_{name}")
        monkeypatch.setattr(module, "section", lambda *_, section=section: section)
    told = []
    page, paths = catalogue.run(
        "toy-posteriors", tmp_path, progress=lambda *each: told.append(each)
    )
    assert told[-1] == ("done", 5, 5)
    assert set(page.figures) == set(sections)
    html = paths["page"].read_text()
    assert html.count("data:image/png;base64,") == 5
    assert html.count("<table>") == 6
    data = json.loads(paths["data"].read_text())
    assert data["jump"]["lambda_right"] == 10.5
    # What looks like HTML in the text is text: "L < t" and not a tag.
    assert "L &lt; t" in html and "**" not in html


def test_presets():
    assert set(toy_posteriors.PRESETS) == {"small", "fine"}
