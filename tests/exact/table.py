"""Known learning coefficients: the question, λ, m, and E[nβK] at finite nβ where it was computed.

E is under the uniform prior on [−1, 1]^d, at nβ = 10², 10⁴, 10⁶, to four digits.
"""

from __future__ import annotations

from fractions import Fraction as F
from typing import Any, NamedTuple

NBETAS = (1e2, 1e4, 1e6)


class Row(NamedTuple):
    """One row.

    Attributes:
        number: Its number in the table; several rows of a family share one.
        ask: The function of `germ.exact` that is asked.
        arguments: Of that function.
        value: λ.
        multiplicity: m.
        expected: E[nβK] at `NBETAS`.
        source: Where λ and m are from.
    """

    number: int
    ask: str
    arguments: tuple[Any, ...]
    value: F
    multiplicity: int
    source: str
    expected: tuple[float, ...] = ()


def _k(number, expression, value, m, source, *expected, at=None):
    expected = expected * 3 if len(expected) == 1 else expected
    arguments = (expression,) if at is None else (expression, at)
    return Row(number, "polynomial", arguments, F(value), m, source, expected)


def _rrr(number, sizes, value, m, source="Aoyagi & Watanabe 2005"):
    return Row(number, "reduced_rank", sizes, F(value), m, source)


def _dln(number, widths, rank, value, m):
    return Row(number, "deep_linear", (widths, rank), F(value), m, "Aoyagi 2024")


RULE = "normal crossing or Newton polyhedron"

POLYNOMIALS = [
    _k(1, "x^2", "1/2", 1, RULE),
    _k(2, "x^4", "1/4", 1, RULE),
    _k(3, "x^6", "1/6", 1, RULE),
    _k(4, "x^2+y^2", 1, 1, RULE, 1.0),
    _k(5, "x^2*y^2", "1/2", 2, RULE, 0.3478, 0.4105, 0.4366),
    _k(6, "x^2*y^4", "1/4", 1, RULE, 0.2043, 0.2372, 0.2461),
    _k(7, "x^4*y^4", "1/4", 2, RULE, 0.1368, 0.1756, 0.1946),
    _k(8, "x^2*y^6", "1/6", 1, "devinterp, powers [1, 3]", 0.1421, 0.1617, 0.1656),
    _k(9, "x^4*y^6", "1/6", 1, "devinterp, powers [2, 3]"),
    _k(10, "x^6*y^6", "1/6", 2, "devinterp, powers [3, 3]"),
    _k(11, "x^2+y^4", "3/4", 1, RULE, 0.75),
    _k(12, "x^4+y^4", "1/2", 1, RULE, 0.5),
    _k(13, "x^2+y^6", "2/3", 1, RULE, 0.6667),
    _k(14, "x^6+y^6", "1/3", 1, RULE, 0.3333),
    _k(15, "(x^2+y^2)^2", "1/2", 1, "blow-up"),
    _k(16, "(x^2+y^2+z^2)^3", "1/2", 1, "r/(2k) for a power of a norm"),
    _k(17, "(x^2-y^3)^2", "5/12", 1, "cusp", 0.3717, 0.3912, 0.4009),
    _k(18, "(x^2-y^5)^2", "7/20", 1, "cusp", 0.3276, 0.3399, 0.3451),
    _k(19, "x^2*(x^2-y^3)^2", "5/18", 1, "resolution", 0.2368, 0.2649, 0.2733),
    _k(20, "x^2*y^2*(x+y)^2", "1/3", 1, "blow-up", 0.2365, 0.3011, 0.3198),
    _k(21, "(x^2-y^2)^2", "1/2", 2, "row 5, rotated"),
    _k(22, "x^4+x^2*y^2", "1/2", 2, RULE, 0.3753, 0.4204, 0.4417),
    _k(23, "x^2*y^2+x^6+y^6", "1/2", 2, RULE, 0.3969, 0.4284, 0.4461),
    _k(24, "x^4+x^2*y^4", "3/8", 1, RULE, 0.3239, 0.3505, 0.3623),
    _k(25, "(x+y^2)^2+y^6", "2/3", 1, "change of variables", 0.6667),
    _k(26, "x^2*y^2*z^2", "1/2", 3, RULE, 0.2268, 0.3278, 0.3757),
    _k(27, "x^2*y^2*z^2*w^2", "1/2", 4, RULE, 0.1371, 0.2532, 0.3177),
    _k(28, "((x-1)*(x^2+y^2)^2)^2", "1/4", 1, "devinterp notebook"),
    _k(29, "((x-1)*(x^2+y^2)^2)^2", "1/2", 1, "devinterp notebook", at={"x": 1, "y": "3/10"}),
    _k(30, "x^2-y^2", 1, 2, "two-sided: of |x² − y²|"),
]

REDUCED_RANK = [  # (inputs, outputs, hidden, rank)
    _rrr(31, (2, 2, 2, 0), "3/2", 1),
    _rrr(32, (2, 2, 2, 1), 2, 2),
    _rrr(33, (3, 3, 3, 0), "7/2", 2),
    _rrr(34, (3, 3, 3, 1), 4, 1),
    _rrr(35, (3, 3, 3, 2), "9/2", 2),
    _rrr(36, (3, 3, 3, 3), "9/2", 1),
    _rrr(37, (5, 5, 3, 0), "13/2", 2),
    _rrr(38, (5, 5, 4, 0), 8, 1),
    _rrr(39, (4, 8, 3, 0), 6, 1),
    _rrr(40, (8, 4, 3, 0), 6, 1),
    _rrr(41, (3, 4, 8, 0), 6, 1),
    _rrr(42, (4, 4, 2, 1), 5, 2),
    _rrr(43, (10, 5, 5, 3), 20, 1),
    *(
        _rrr(44, (n, m, 1, 0), F(min(n, m), 2), 2 if n == m else 1, "product rule")
        for n, m in ((1, 1), (2, 2), (3, 5), (7, 4))
    ),
]

DEEP_LINEAR = [
    _dln(45, (2, 2, 2, 2), 0, "3/2", 3),
    _dln(46, (3, 3, 3, 3), 0, 3, 1),
    _dln(47, (3, 3, 3, 3), 1, 4, 3),
    _dln(48, (3, 3, 3, 3), 2, "9/2", 3),
    _dln(49, (5, 5, 5, 5, 5), 0, 8, 4),
    _dln(50, (4, 2, 3, 5), 1, 5, 1),
    _dln(51, (10, 10, 10, 10, 10), 5, "91/2", 4),
    *(_dln(52, (5, 10, 10, 10, 10, 5), rank, "25/2", 1) for rank in (0, 2, 5)),
    _dln(53, (2, 3, 4, 5), 1, 4, 1),
]

OTHERS = [
    *(
        Row(54, "tanh", (hidden,), F(value), m, "Aoyagi")
        for hidden, value, m in (
            (1, "1/2", 2), (2, "2/3", 1), (3, "5/6", 1),
            (4, "1", 2), (5, "11/10", 1), (9, "3/2", 2),
        )
    ),
    Row(55, "emerging_component", (), F(1, 2), 2, "Hermite coefficients"),
    Row(56, "split_component", (), F(3, 4), 1, "Hermite coefficients"),
    Row(57, "superposition", (6, 5, 0), F(7), 1, "Chen et al. 2023"),
    Row(57, "superposition", (6, 5, 1), F(17, 2), 1, "Chen et al. 2023"),
    Row(57, "superposition", (6, 6, 0), F(17, 2), 1, "Chen et al. 2023"),
]  # fmt: skip

ROWS = [*POLYNOMIALS, *REDUCED_RANK, *DEEP_LINEAR, *OTHERS]
