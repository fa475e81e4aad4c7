r"""Addition modulo p by a network with quadratic units: what can be proved of its λ.

$$ f_k(a, b) = \sum_{h=1}^H V_{kh}\,(u_{ha} + v_{hb})^2, \qquad a, b, k \in \mathbb Z/p $$

with all p² pairs seen and squared error on the p outputs.
"""

from __future__ import annotations

from fractions import Fraction

from germ.errors import GermError
from germ.exact.bound import UpperBound
from germ.exact.coefficient import Coefficient


def modular_addition_bound(modulus: int, hidden: int) -> UpperBound:
    r"""λ at any zero of the loss is at most half of min(p³, H(3p − 2)).

    K is a sum of p³ squares (one for each pair and output), so λ ≤ p³/2. And it does not change
    under (u, v, V) → (su, sv, V/s²) and (u, v) → (u + c, v − c) of each unit, so it depends on at
    most 3p − 2 of a unit's 3p parameters.

    Args:
        modulus: p.
        hidden: H.

    Returns:
        The bound. Where twice this is the rank of the Jacobian of f at w*, it is λ itself.

    Raises:
        GermError: A count out of range.
    """
    if modulus < 2 or hidden < 1:
        raise GermError(f"expected modulus >= 2 and hidden >= 1; got {modulus} and {hidden}")
    p = modulus
    return UpperBound(
        Fraction(min(p**3, hidden * (3 * p - 2)), 2),
        "number of equations, and of parameters modulo symmetry",
        "derived: docs/exact.md",
    )


def idle_unit(modulus: int) -> Coefficient:
    r"""λ and m of a single quadratic unit at zero whose truth is zero.

    K = ‖V‖²·Σ_{ab}(u_a + v_b)⁴, separate variables: p/2 for V, and (2p−1)/4 for the 2p − 1
    directions that u_a + v_b sees. The smaller is the latter.

    Args:
        modulus: p.

    Returns:
        λ = (2p−1)/4, m = 1.

    Raises:
        GermError: p is below 2.
    """
    if modulus < 2:
        raise GermError(f"expected modulus >= 2; got {modulus}")
    outer = Coefficient(Fraction(modulus, 2), 1, "sum of squares", "Watanabe 2009")
    inner = Coefficient(Fraction(2 * modulus - 1, 4), 1, "sum of fourth powers", "Watanabe 2009")
    return outer * inner
