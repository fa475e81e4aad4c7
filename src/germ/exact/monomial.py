r"""Normal crossings: K = u_1^{k_1} ··· u_d^{k_d} with the Jacobian |u_1^{h_1} ··· u_d^{h_d}|.

$$ \lambda = \min_j \frac{h_j + 1}{k_j}, \qquad m = \#\{j : (h_j + 1)/k_j = \lambda\} $$

over the j with k_j > 0 (Watanabe 2009, *Algebraic Geometry and Statistical Learning Theory*,
Theorem 6.6 and ch. 4): the poles of ∫ |u^k|^z |u^h| du, one factor for each variable.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from germ.errors import GermError
from germ.exact.coefficient import Coefficient

SOURCE = "Watanabe 2009, Algebraic Geometry and Statistical Learning Theory, ch. 4"


def monomial(powers: Sequence[int], jacobian: Sequence[int] | None = None) -> Coefficient:
    """λ and m of |u^k| under the measure |u^h| du, at 0.

    Args:
        powers: k, the exponents of K itself: (2, 4) is x²y⁴.
        jacobian: h, by default zeros.

    Raises:
        GermError: Negative exponents, no positive one, or lists of different lengths.

    Examples:
        >>> print(monomial([2, 4]))
        λ = 1/4, m = 1
        >>> print(monomial([4, 2], jacobian=[1, 0]))
        λ = 1/2, m = 2
    """
    weights = [0] * len(powers) if jacobian is None else list(jacobian)
    if len(weights) != len(powers):
        raise GermError(
            f"expected a Jacobian exponent for each of {len(powers)} variables; got {len(weights)}"
        )
    if min([*powers, *weights], default=0) < 0 or max(powers, default=0) < 1:
        raise GermError(
            f"expected exponents >= 0 with one of them positive; got {list(powers)}, "
            f"Jacobian {weights}"
        )
    ratios = [Fraction(h + 1, k) for k, h in zip(powers, weights, strict=True) if k]
    least = min(ratios)
    step = f"(h + 1)/k over the variables of K: {', '.join(map(str, ratios))}"
    return Coefficient(least, ratios.count(least), "normal crossings", SOURCE, (step,))
