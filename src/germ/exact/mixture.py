r"""Mixtures of unit normals in one dimension whose truth is a single N(0, 1), and a general bound.

Write N(b, 1)/N(0, 1) = Σ_k b^k He_k(x)/k!. The He_k are orthogonal, so K is, up to bounded factors,
the sum over k of the squares of the coefficients: λ is that of the ideal they generate.
"""

from __future__ import annotations

from fractions import Fraction

from germ.errors import GermError
from germ.exact.bound import UpperBound
from germ.exact.coefficient import Coefficient

WATANABE = "Watanabe 2009, Algebraic Geometry and Statistical Learning Theory"


def emerging_component() -> Coefficient:
    """(1−a)·N(0, 1) + a·N(b, 1) near a = b = 0, where the truth is N(0, 1).

    The coefficients are a·b^k, k ≥ 1: the ideal is (ab), and K behaves as a²b². The prior of the
    weight a must be positive and smooth around 0; for a ≥ 0 only, half of the neighbourhood is
    left, which changes neither λ nor m.

    Returns:
        λ = 1/2, m = 2.
    """
    return Coefficient(
        Fraction(1, 2),
        2,
        "ideal of Hermite coefficients",
        WATANABE,
        ("coefficients a·b^k, k ≥ 1: the ideal (ab), K ~ a²b²: λ = 1/2, m = 2",),
    )


def split_component() -> Coefficient:
    """a·N(b₁, 1) + (1−a)·N(b₂, 1) near b₁ = b₂ = 0; a in (0, 1) is fixed, the truth is N(0, 1).

    With u = a·b₁ + (1−a)·b₂ the second coefficient is a/(1−a)·b₁² modulo u, and all others lie in
    (u, b₁²): K behaves as u² + b₁⁴.

    Returns:
        λ = 3/4, m = 1, whatever a is.
    """
    return Coefficient(
        Fraction(3, 4),
        1,
        "ideal of Hermite coefficients",
        WATANABE,
        ("coefficients a·b₁^k + (1−a)·b₂^k: the ideal (u, b₁²), K ~ u² + b₁⁴: λ = 1/2 + 1/4",),
    )


def mixture_bound(
    components: int, truth: int, num_parameters: int, concentration: Fraction | int = 1
) -> UpperBound:
    r"""λ of a mixture of i components where the truth has j is at most this.

    $$ \lambda \le \tfrac12 \min\bigl(jr + j - 1 + \varphi(i - j),\ ri + j - 1\bigr) $$

    The first: i − j components of weight zero, each weight with density ∝ a^{φ−1} near 0. The
    second: all i components of positive weight, several on top of one of the truth's.

    Args:
        components: i.
        truth: j, from 1 to i.
        num_parameters: r, the parameters of one component (which must be regular).
        concentration: φ > 0, of the Dirichlet prior of the weights; 1 is the uniform prior.

    Returns:
        The bound; λ itself is known in few cases.

    Raises:
        GermError: A count out of range.

    References:
        Drton & Plummer 2017, J. R. Stat. Soc. B 79 (sBIC); Rousseau & Mengersen 2011.
    """
    i, j, r = components, truth, num_parameters
    if not 1 <= j <= i or r < 1 or concentration <= 0:
        raise GermError(
            "expected 1 <= truth <= components, num_parameters >= 1 and concentration > 0; "
            f"got {j}, {i}, {r} and {concentration}"
        )
    phi = Fraction(concentration)
    value = min(j * r + j - 1 + phi * (i - j), Fraction(r * i + j - 1)) / 2
    return UpperBound(
        value,
        "empty components, or components that coincide",
        "Drton & Plummer 2017, J. R. Stat. Soc. B 79",
    )
