r"""A tanh network with one input and one output whose truth is zero.

$$ f(x) = \sum_{i=1}^H a_i \tanh(b_i x), \qquad q(y \mid x) = N(0, 1) $$
"""

from __future__ import annotations

import math
from fractions import Fraction

from germ.errors import GermError
from germ.exact.coefficient import Coefficient


def tanh(hidden: int) -> Coefficient:
    r"""The learning coefficient of a sum of H tanh units whose truth is zero.

    With i = ⌊√H⌋:

    $$ \lambda = \frac{H + i^2 + i}{4i + 2}, \qquad m = 2 \text{ if } i^2 = H, \text{ else } 1. $$

    K is, up to bounded factors, Σ_k (Σ_i a_i b_i^{2k−1})², a Vandermonde matrix type singularity;
    the value is that at a = b = 0, the least on the fibre.

    Args:
        hidden: H ≥ 1.

    Returns:
        λ and m.

    Raises:
        GermError: No hidden unit.

    Example:
        >>> print(tanh(4))
        λ = 1, m = 2

    References:
        Aoyagi 2019, Entropy 21, 561, for singularities of this type; used by Wei et al. 2022
        (arXiv 2010.11560).
    """
    if hidden < 1:
        raise GermError(f"expected at least one hidden unit; got {hidden}")
    i = math.isqrt(hidden)
    m = 2 if i * i == hidden else 1
    value = Fraction(hidden + i * i + i, 4 * i + 2)
    return Coefficient(
        value,
        m,
        "Vandermonde matrix type singularity",
        "Aoyagi 2019, Entropy 21, 561 (singularities of this type)",
        (f"H = {hidden}, i = ⌊√H⌋ = {i}: λ = (H + i² + i)/(4i + 2) = {value}, m = {m}",),
    )
