r"""Deep linear networks W_L ⋯ W_1: at the most singular point of a fibre, and at given weights.

$$ K(W_1, \dots, W_L) = \lVert W_L \cdots W_1 - C \rVert^2 $$

Noise, inputs and outputs with full covariance matrices change K by bounded factors only, and so
change neither λ nor m.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations, pairwise
from typing import Any

from germ.errors import GermError
from germ.exact.coefficient import Coefficient

AOYAGI = "Aoyagi 2024, Neural Networks 172 (deep linear networks)"


def deep_linear(widths: Sequence[int], rank: int) -> Coefficient:
    r"""λ and m of a deep linear network whose truth has rank r.

    With M_i = H_i − r; Σ the ℓ+1 least of them, as many as first give sum(Σ) < ℓ·min(others);
    S = sum(Σ), M = ⌈S/ℓ⌉, a = S − (M−1)ℓ:

    $$ \lambda = \tfrac12\bigl[r(H_0 + H_L) - r^2\bigr] + \frac{a(\ell-a)}{4\ell}
       - \frac{\ell(\ell-1)}{4}\Bigl(\frac S\ell\Bigr)^2 + \frac12\sum_{i<j\in\Sigma} M_i M_j,
       \qquad m = a(\ell - a) + 1. $$

    This is the least λ on the fibre W_L ⋯ W_1 = C, the one that decides the free energy. It is the
    local λ where every layer and every product of consecutive layers has rank r; elsewhere on the
    fibre λ may be larger: see `deep_linear_at`.

    Args:
        widths: Widths H_0 … H_L.
        rank: r.

    Returns:
        λ and m, exactly.

    Raises:
        GermError: Widths that no network has, or a rank out of range.

    Example:
        >>> print(deep_linear([10, 10, 10, 10], rank=5))
        λ = 46, m = 3

    References:
        Aoyagi 2024, Neural Networks 172 (deep linear); Aoyagi & Watanabe 2005 (two layers).
    """
    _check(widths, rank)
    regular = Fraction(rank * (widths[0] + widths[-1]) - rank**2, 2)
    excess = sorted(width - rank for width in widths)
    # A least prefix exists: that of all of them has no others to fail against.
    num = next(
        num
        for num in range(2, len(excess) + 1)
        if num == len(excess) or sum(excess[:num]) < (num - 1) * excess[num]
    )
    chosen, ell = excess[:num], num - 1
    total = sum(chosen)
    a = total - (-(-total // ell) - 1) * ell
    pairs = Fraction(sum(x * y for x, y in combinations(chosen, 2)), 2)
    square = Fraction(ell * (ell - 1), 4) * Fraction(total, ell) ** 2
    rest = Fraction(a * (ell - a), 4 * ell) - square + pairs
    m = a * (ell - a) + 1
    return Coefficient(
        regular + rest,
        m,
        "Aoyagi's formula",
        AOYAGI,
        (
            f"rank {rank} of {'-'.join(map(str, widths))}: "
            f"r(H_0 + H_L − r)/2 = {regular} for the {2 * regular} directions that C determines",
            f"what is left is a network of widths {[w - rank for w in widths]} at zero; "
            f"the widths that count are {chosen} (ℓ = {ell}, a = {a}): λ = {rest}, m = {m}",
        ),
    )


def deep_linear_at(weights: Sequence[Any]) -> Coefficient:
    r"""The local λ and m at given weights, where it can be decided.

    The target is their own product: K(W) = ‖W_L ⋯ W_1 − W*_L ⋯ W*_1‖² near W*. Up to analytic
    changes of variables K depends on the ranks of all products W*_j ⋯ W*_i alone, and (proofs in
    docs/exact.md)

    1. *strip*: r = rank(W*_L ⋯ W*_1) gives r(H_0 + H_L − r)/2 and leaves widths H_i − r and all
       ranks lowered by r, with product 0;
    2. *merge*: two consecutive layers count as one free matrix where the upper has full row rank
       or the lower full column rank: there (B, A) ↦ BA is a submersion;
    3. *drop*: with product 0, a last layer of full column rank and a first of full row rank can be
       left out.

    Then one layer is regular, two are `reduced_rank_at`'s, and any number of zero layers is
    Aoyagi's. What else can remain is, in general, an open problem.

    Args:
        weights: W_1, …, W_L, each (outputs, inputs), in the order in which they act: NumPy arrays,
            PyTorch tensors, or nested sequences. Integers and fractions are taken exactly; the
            ranks of floats are read off their singular values.

    Returns:
        λ and m.

    Raises:
        GermError: Shapes that do not chain, a rank that floats leave open, or a point that none of
            the rules decides.

    Example:
        >>> print(deep_linear_at([[[1, 0], [0, 1]], [[0, 0], [0, 0]]]))
        λ = 2, m = 1
    """
    from germ.exact.ranks import rank_table

    return of_ranks(rank_table(weights))


def of_ranks(ranks: dict[tuple[int, int], int]) -> Coefficient:
    """The local λ at a point with these ranks: see `deep_linear_at`.

    Args:
        ranks: By (i, j), i ≤ j: the rank of W_j ⋯ W_{i+1}; at (i, i) the width H_i.

    Raises:
        GermError: None of the rules decides.
    """
    num = max(j for _, j in ranks)
    nodes = list(range(num + 1))
    r = ranks[0, num]
    rank = {pair: value - r for pair, value in ranks.items()}
    steps = [f"ranks of the layers {[ranks[i, i + 1] for i in range(num)]}, of the product {r}"]
    regular = Fraction(r * (ranks[0, 0] + ranks[num, num] - r), 2)
    if r:
        widths = [rank[i, i] for i in nodes]
        steps.append(f"rank {r} of the product: λ = {regular}, and widths {widths} are left")
    nodes = _reduced(nodes, rank, steps)
    widths = [rank[i, i] for i in nodes]
    layers = [rank[pair] for pair in pairwise(nodes)]
    if min(widths) == 0:
        # An empty hidden layer (or no input, or no output) is no network: nothing is left.
        rest, m, how = Fraction(0), 1, "nothing is left"
    elif len(layers) == 1:
        rest, m, how = Fraction(widths[0] * widths[1], 2), 1, "one layer: regular"
    elif len(layers) == 2:
        rest, m = two_layers(widths, layers, 0)
        how = f"two layers of ranks {layers} and product 0"
    elif not any(layers):
        found = deep_linear(widths, 0)
        rest, m, how = found.value, found.multiplicity, "all layers zero: Aoyagi's formula"
    else:
        raise GermError(
            f"expected weights at which a rule decides λ; after reduction layers of widths "
            f"{widths} and ranks {layers} with product 0 are left. In general the local λ is an "
            "open problem (Lehalleur & Rimányi 2024, arXiv 2411.19920): deep_linear(widths, rank) "
            "is a lower bound; germ.exact.ideal of the product's entries may decide small networks"
        )
    steps.append(f"{how}: λ = {rest}, m = {m}")
    source = AOYAGI + "; reduction: docs/exact.md"
    return Coefficient(regular + rest, m, "local reduction", source, tuple(steps))


def two_layers(widths: Sequence[int], layers: Sequence[int], r: int) -> tuple[Fraction, int]:
    r"""λ and m at a point (A, B) of ranks a, b whose product has rank r.

    $$ \lambda = \tfrac12\bigl[MN - (N-b)(M-a)\bigr] + \lambda_0(M-a,\ H-a-b+r,\ N-b) $$

    with λ₀ of a two-layer network of these widths at zero, and its m (0 and 1 if a width is 0).
    Proof: docs/exact.md. Free of `reduced_rank`, which is the case a = b = r.
    """
    (into, hidden, out), (a, b) = widths, layers
    left = (into - a, hidden - a - b + r, out - b)
    smooth = Fraction(into * out - left[0] * left[2], 2)
    if min(left) == 0:
        return smooth, 1
    found = deep_linear(left, 0)
    return smooth + found.value, found.multiplicity


def _reduced(nodes: list[int], rank: dict[tuple[int, int], int], steps: list[str]) -> list[int]:
    """Merge and drop layers of a network with product 0 until neither applies."""
    while len(nodes) > 2:
        widths = [rank[i, i] for i in nodes]
        layers = [rank[pair] for pair in pairwise(nodes)]
        if layers[-1] == widths[-2]:
            steps.append(f"the last layer (rank {layers[-1]}) is injective: it is left out")
            nodes = nodes[:-1]
        elif layers[0] == widths[1]:
            steps.append(f"the first layer (rank {layers[0]}) is surjective: it is left out")
            nodes = nodes[1:]
        else:
            for k in range(1, len(nodes) - 1):
                if layers[k] == widths[k + 1] or layers[k - 1] == widths[k - 1]:
                    steps.append(f"layers {k} and {k + 1} of {widths} count as one free matrix")
                    nodes = nodes[:k] + nodes[k + 1 :]
                    break
            else:
                return nodes
    return nodes


def _check(widths: Sequence[int], rank: int) -> None:
    if len(widths) < 2 or min(widths) < 1:
        raise GermError(f"expected two or more widths, each at least 1; got {list(widths)}")
    if not 0 <= rank <= min(widths):
        raise GermError(f"expected 0 <= rank <= {min(widths)}, the least width; got {rank}")
