r"""Reduced-rank regression y = B A x: two linear layers (Aoyagi & Watanabe 2005)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from germ.errors import GermError
from germ.exact.coefficient import Coefficient

SOURCE = "Aoyagi & Watanabe 2005, Neural Networks 18 (reduced-rank regression)"


def reduced_rank(inputs: int, outputs: int, hidden: int, rank: int) -> Coefficient:
    r"""λ and m of reduced-rank regression, the least on the fibre BA = C.

    With M inputs, N outputs, H hidden units and r the rank of C:

    1. N+r ≤ M+H, M+r ≤ N+H, H+r ≤ M+N: with o = 1 if M+N+H+r is odd, else 0,
       λ = [2(H+r)(M+N) − (M−N)² − (H+r)² + o]/8, m = 1 + o;
    2. M+H < N+r: λ = (HM − Hr + Nr)/2, m = 1;
    3. N+H < M+r: λ = (HN − Hr + Mr)/2, m = 1;
    4. M+N < H+r: λ = MN/2, m = 1.

    Args:
        inputs: M.
        outputs: N.
        hidden: H.
        rank: r, at most each of the others.

    Returns:
        λ and m. Elsewhere on the fibre λ may be larger: see `reduced_rank_at`.

    Raises:
        GermError: A size below 1, or a rank out of range.

    Example:
        >>> print(reduced_rank(inputs=2, outputs=2, hidden=2, rank=0))
        λ = 3/2, m = 1
    """
    m, n, h, r = inputs, outputs, hidden, rank
    if min(m, n, h) < 1:
        raise GermError(f"expected inputs, outputs and hidden units of at least 1; got {m, n, h}")
    if not 0 <= r <= min(m, n, h):
        raise GermError(f"expected 0 <= rank <= {min(m, n, h)}, the least size; got {r}")
    multiplicity = 1
    if m + h < n + r:
        case, value = "case 2, M+H < N+r", Fraction(h * m - h * r + n * r, 2)
    elif n + h < m + r:
        case, value = "case 3, N+H < M+r", Fraction(h * n - h * r + m * r, 2)
    elif m + n < h + r:
        case, value = "case 4, M+N < H+r", Fraction(m * n, 2)
    else:
        odd = (m + n + h + r) % 2
        case = f"case 1, M+N+H+r is {'odd' if odd else 'even'}"
        value = Fraction(2 * (h + r) * (m + n) - (m - n) ** 2 - (h + r) ** 2 + odd, 8)
        multiplicity = 1 + odd
    step = f"M = {m}, N = {n}, H = {h}, r = {r}: {case}: λ = {value}, m = {multiplicity}"
    return Coefficient(value, multiplicity, "Aoyagi–Watanabe formula", SOURCE, (step,))


def reduced_rank_at(first: Any, second: Any) -> Coefficient:
    r"""The local λ and m of ‖BA − B*A*‖² near (A*, B*).

    With a, b, r the ranks of A*, B* and B*A*:

    $$ \lambda = \tfrac12\bigl[MN - (N-b)(M-a)\bigr]
       + \lambda_{AW}(M-a,\ N-b,\ H-a-b+r,\ 0), $$

    without the second term where one of its sizes is 0; m is that of the second term, or 1. The
    first term counts the directions in which BA can move to first order; the second is the
    network of hidden units that neither map sees, between the inputs that A* and the outputs that
    B* leave free. Proof: docs/exact.md.

    Args:
        first: A*, (hidden, inputs): a NumPy array, a PyTorch tensor or nested sequences. Integers
            and fractions are taken exactly; the rank of floats is read off singular values.
        second: B*, (outputs, hidden).

    Returns:
        λ and m, the same at every point with these ranks.

    Raises:
        GermError: Shapes that do not chain, or floats whose rank is not clear.

    Example:
        >>> print(reduced_rank_at([[1, 0], [0, 1]], [[0, 0], [0, 0]]))
        λ = 2, m = 1
        >>> print(reduced_rank_at([[0, 0], [0, 0]], [[0, 0], [0, 0]]))
        λ = 3/2, m = 1
    """
    from germ.exact.ranks import rank_table

    ranks = rank_table([first, second])
    m, h, n = (ranks[i, i] for i in range(3))
    a, b, r = ranks[0, 1], ranks[1, 2], ranks[0, 2]
    free_inputs, free_outputs, unseen = m - a, n - b, h - a - b + r
    num = m * n - free_inputs * free_outputs
    steps = [
        f"ranks a = {a}, b = {b}, of the product r = {r}",
        f"BA moves to first order in MN − (N−b)(M−a) = {num} directions: λ = {Fraction(num, 2)}",
    ]
    value, multiplicity = Fraction(num, 2), 1
    if min(free_inputs, free_outputs, unseen) > 0:
        rest = reduced_rank(free_inputs, free_outputs, unseen, 0)
        value, multiplicity = value + rest.value, rest.multiplicity
        steps += [f"H − a − b + r = {unseen} hidden units are unseen by both:", *rest.steps]
    else:
        steps.append("no input, output or hidden unit is unseen: the fibre is smooth here")
    source = f"{SOURCE}; reduction: docs/exact.md"
    return Coefficient(value, multiplicity, "local reduction", source, tuple(steps))
