"""Polynomials that are shown to be ≥ 0 near 0, and squares completed in them."""

from __future__ import annotations

from collections.abc import Iterator

from germ.exact import degeneracy, plane
from germ.exact.form import Element, Factor, even_positive
from germ.exact.newton import corners
from germ.exact.variables import component_indices, occurring, projected

MAX_TERMS = 60  # Factoring a longer polynomial of many variables may take minutes.


def nonnegative(f: Element) -> bool:
    """Whether f ≥ 0 near 0 has been shown. False says no more than that it has not."""
    if not f:
        return True
    if f.const():
        return bool(f.const() > 0)
    if f.LC > 0 and even_positive(f):
        return True
    if len(f) > MAX_TERMS:
        return False
    constant, irreducibles = f.factor_list()
    positive = bool(constant > 0)
    for irreducible, power in irreducibles:
        if power % 2 == 0:
            continue
        if _irreducible(-irreducible):
            positive = not positive
        elif not _irreducible(irreducible):
            return False
    return positive


def separated(f: Element) -> list[Element]:
    """The summands of f that have no variable in common."""
    monomials = list(f)
    groups = component_indices([{i for i, k in enumerate(a) if k} for a in monomials])
    return [f.ring.from_dict({monomials[i]: f[monomials[i]] for i in group}) for group in groups]


def completed_square(f: Element) -> tuple[str, Element] | None:
    """Write f = a·((x + b/2a)² + c/4a²) with a(0) ≠ 0 and c = 4a·(rest) − b² ≥ 0.

    Returns:
        The name of x, and c; None if there is no such variable, or c ≥ 0 is not shown.
    """
    return next((found for found in _squares(f) if nonnegative(found[1])), None)


def _irreducible(f: Element) -> bool:
    if f.const():
        return bool(f.const() > 0)
    if f.LC > 0 and even_positive(f):
        return True
    order = min(map(sum, f))
    if order % 2:
        return False
    parts = separated(f)
    if len(parts) > 1:
        return all(map(nonnegative, parts))
    indices = sorted(occurring([f]))
    if any(f[a] < 0 or any(i % 2 for i in a) for a in corners(f)):
        return False  # On a curve where a corner dominates, f is negative.
    if len(indices) == 2:
        try:
            names, moved = projected([Factor((f,), 1)], indices)
            return not plane.resolve(moved, (names[0], names[1])).odd
        except degeneracy.Undecided:
            return False
    if completed_square(f) is not None:
        return True  # The square's coefficient is that of a corner, or above one: positive.
    try:
        return all(z is degeneracy.Zeros.NONE for z in degeneracy.examine([f]).values())
    except degeneracy.Undecided:
        return False


def _squares(f: Element) -> Iterator[tuple[str, Element]]:
    for index, x in enumerate(f.ring.gens):
        if max(a[index] for a in f) == 2 and f.coeff(x**2):
            a, b, c = (_coefficient(f, index, k) for k in (2, 1, 0))
            yield str(f.ring.symbols[index]), 4 * a * c - b**2


def _coefficient(f: Element, index: int, power: int) -> Element:
    return f.ring.from_dict(
        {
            tuple(0 if i == index else k for i, k in enumerate(a)): c
            for a, c in f.items()
            if a[index] == power
        }
    )
