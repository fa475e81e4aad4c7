"""Which variables a polynomial has, and which polynomials hang together by them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from germ.exact.form import Element, Factor


def occurring(polynomials: Iterable[Element]) -> set[int]:
    """The indices of the variables that occur."""
    return {i for f in polynomials for monomial in f for i, a in enumerate(monomial) if a}


def component_indices(sets: Sequence[set[int]]) -> list[list[int]]:
    """The positions of the sets, in groups that have no element in common."""
    groups: list[tuple[set[int], list[int]]] = []
    for position, members in enumerate(sets):
        apart = [group for group in groups if not group[0] & members]
        touching = [group for group in groups if group[0] & members]
        union = members.union(*(group[0] for group in touching))
        positions = sorted([position, *(i for group in touching for i in group[1])])
        groups = [*apart, (union, positions)]
    return sorted(positions for _, positions in groups)


def projected(
    factors: Sequence[Factor], indices: Sequence[int]
) -> tuple[list[str], tuple[Factor, ...]]:
    """The same in a ring of these variables alone, and their names."""
    from sympy.polys.rings import ring

    names = [str(factors[0].generators[0].ring.symbols[i]) for i in indices]
    domain = factors[0].generators[0].ring.domain
    # Fresh names: x and X1 would do, and a variable called "I" or "lambda" would not.
    target = ring([f"x{k}" for k in range(len(indices))], domain)[0]
    moved = tuple(
        Factor(
            tuple(
                target.from_dict({tuple(a[i] for i in indices): c for a, c in f.items()})
                for f in factor.generators
            ),
            factor.power,
        )
        for factor in factors
    )
    return names, moved
