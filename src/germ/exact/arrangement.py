r"""Products of distances to linear subspaces: hyperplane and subspace arrangements.

Let N_k be the distance to a subspace V_k of ℝ^d, and K ≍ Π N_k^{p_k}. Blowing up every
intersection W of the V_k, the small ones first, gives normal crossings, with one divisor for each
W; along it K vanishes to the order Σ{p_k : V_k ⊇ W} and the Jacobian to codim W − 1, and divisors
meet if and only if their W form a chain. So

    λ = min_W codim W / Σ{p_k : V_k ⊇ W},   m = the longest chain of W that attain it

(De Concini and Procesi 1995, Selecta Math. 1:459; Mustață 2006, Trans. AMS 358:5015; Li 2009,
Michigan Math. J. 58:535).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from germ.exact.coefficient import Coefficient
from germ.exact.degeneracy import Undecided
from germ.exact.form import Factor
from germ.exact.straight import gradient

SOURCE = "De Concini and Procesi 1995, Selecta Math. 1:459; Mustață 2006, Trans. AMS 358:5015"
MAX_FLATS = 2_000

Flat = tuple[tuple[Fraction, ...], ...]
"""The equations of a subspace in reduced row echelon form, which names it uniquely."""


def arrangement(factors: Sequence[Factor]) -> Coefficient:
    """λ and m of Π N^p, where every generator is a linear form.

    Raises:
        Undecided: Some generator is not, or there are too many intersections.
    """
    if any(sum(a) != 1 for factor in factors for f in factor.generators for a in f):
        raise Undecided("the factors are not all linear")
    spaces = [(_echelon([gradient(f) for f in k.generators]), k.power) for k in factors]
    flats: set[Flat] = {()}
    for equations, _ in spaces:
        flats |= {_echelon([*flat, *equations]) for flat in flats}
        if len(flats) > MAX_FLATS:
            raise Undecided("the subspaces have too many intersections")
    flats.discard(())
    orders = {
        flat: sum(power for equations, power in spaces if _contains(equations, flat))
        for flat in flats
    }
    ratios = {flat: Fraction(len(flat), order) for flat, order in orders.items()}
    least = min(ratios.values())
    attained = sorted((flat for flat in flats if ratios[flat] == least), key=len)
    longest: dict[Flat, int] = {}
    for flat in attained:  # By codimension, so that every larger space comes first.
        below = [n for other, n in longest.items() if other != flat and _contains(other, flat)]
        longest[flat] = 1 + max(below, default=0)
    m = max(longest.values())
    step = (
        f"arrangement of {len(spaces)} subspaces with {len(flats)} intersections: codim/order is "
        f"least, {least}, at codimensions {sorted({len(flat) for flat in attained})}; the longest "
        f"chain of these has length {m}"
    )
    return Coefficient(least, m, "arrangement of subspaces", SOURCE, (step,))


def _contains(equations: Flat, flat: Flat) -> bool:
    """Whether the subspace of the equations contains the flat."""
    return _echelon([*flat, *equations]) == flat


def _echelon(rows: Sequence[Sequence[Fraction]]) -> Flat:
    left = [list(row) for row in rows]
    done = 0
    for column in range(len(left[0]) if left else 0):
        pivot = next((i for i in range(done, len(left)) if left[i][column]), None)
        if pivot is None:
            continue
        left[done], left[pivot] = left[pivot], left[done]
        scale = left[done][column]
        left[done] = [a / scale for a in left[done]]
        for i, row in enumerate(left):
            if i != done and row[column]:
                left[i] = [a - row[column] * b for a, b in zip(row, left[done], strict=True)]
        done += 1
    return tuple(tuple(row) for row in left[:done])
