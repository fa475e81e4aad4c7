r"""Linear programmes in exact arithmetic: max c·y subject to A y ≤ b, y ≥ 0, where b ≥ 0.

With b ≥ 0 the start y = 0 is feasible, and Bland's rule (Bland 1977, *Math. Oper. Res.* 2:103)
keeps the simplex method from cycling: it always ends. There are as many rows as variables of the
polynomial, so fractions are affordable where a general solver's tolerances would not be.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from germ.errors import GermError

Number = int | Fraction


class Programme:
    """A programme at its optimum.

    The columns of y come first, then the slacks b − A y, which count as variables too.

    Attributes:
        value: max c·y, which is min b·w over the prices w ≥ 0 with w·A ≥ c.
    """

    def __init__(
        self,
        objective: Sequence[Number],
        matrix: Sequence[Sequence[Number]],
        bounds: Sequence[Number],
    ) -> None:
        """Solve it.

        Args:
            objective: c, one for each column.
            matrix: A, row by row.
            bounds: b >= 0, one for each row.

        Raises:
            GermError: It has no maximum.
        """
        self._num_columns = len(objective)
        size = len(matrix)
        self._rows = [
            [Fraction(a) for a in row] + [Fraction(i == j) for j in range(size)] + [Fraction(b)]
            for i, (row, b) in enumerate(zip(matrix, bounds, strict=True))
        ]
        self._basis = list(range(self._num_columns, self._num_columns + size))
        every = range(self._num_columns + size)
        self._costs = self._climb([Fraction(-c) for c in objective] + [Fraction(0)] * size, every)
        self.value = self._costs[-1]

    @property
    def solution(self) -> tuple[Fraction, ...]:
        """y, and then the slacks."""
        found = [Fraction(0)] * (len(self._costs) - 1)
        for row, j in zip(self._rows, self._basis, strict=True):
            found[j] = row[-1]
        return tuple(found)

    @property
    def prices(self) -> tuple[Fraction, ...]:
        """w, one for each row."""
        return tuple(self._costs[self._num_columns : -1])

    def positive_somewhere(self) -> frozenset[int]:
        """The columns, slacks included, that are positive in some optimal solution.

        By strict complementarity (Goldman and Tucker 1956) their constraints on the prices are
        those that hold with equality at *every* optimal w.
        """
        # With the columns of positive reduced cost left out, every solution stays optimal.
        allowed = [j for j, cost in enumerate(self._costs[:-1]) if cost == 0]
        positive = {j for j, y in enumerate(self.solution) if y > 0}
        for j in allowed:
            if j not in positive:
                self._climb([Fraction(-(i == j)) for i in range(len(self._costs) - 1)], allowed)
                positive |= {i for i, y in enumerate(self.solution) if y > 0}
        return frozenset(positive)

    def _climb(self, costs: list[Fraction], allowed: Sequence[int]) -> list[Fraction]:
        """Pivot until no allowed column improves; returns the row of reduced costs."""
        costs = [*costs, Fraction(0)]
        for row, j in zip(self._rows, self._basis, strict=True):
            if costs[j]:
                costs = _minus(costs, costs[j], row)
        while True:
            entering = next((j for j in allowed if costs[j] < 0), None)
            if entering is None:
                return costs
            ratios = [
                (row[-1] / row[entering], self._basis[i], i)
                for i, row in enumerate(self._rows)
                if row[entering] > 0
            ]
            if not ratios:
                raise GermError("expected a linear programme with a maximum; this one has none")
            pivot = min(ratios)[2]
            scale = self._rows[pivot][entering]
            self._rows[pivot] = chosen = [a / scale for a in self._rows[pivot]]
            for i, row in enumerate(self._rows):
                if i != pivot and row[entering]:
                    self._rows[i] = _minus(row, row[entering], chosen)
            costs = _minus(costs, costs[entering], chosen)
            self._basis[pivot] = entering


def rank(rows: Sequence[Sequence[Number]]) -> int:
    """The rank of a matrix."""
    left = [[Fraction(a) for a in row] for row in rows]
    found = 0
    for column in range(len(left[0]) if left else 0):
        pivot = next((i for i in range(found, len(left)) if left[i][column]), None)
        if pivot is None:
            continue
        left[found], left[pivot] = left[pivot], left[found]
        for i in range(found + 1, len(left)):
            if left[i][column]:
                left[i] = _minus(left[i], left[i][column] / left[found][column], left[found])
        found += 1
    return found


def _minus(row: list[Fraction], factor: Fraction, other: list[Fraction]) -> list[Fraction]:
    return [a - factor * b if b else a for a, b in zip(row, other, strict=True)]
