r"""Factor analysis: Σ = D + ΛΛᵀ, D diagonal and positive, Λ with one row a covariate.

The truth has l factors with generic loadings Λ₀, the model k ≥ l, and the point is [Λ₀, 0]: the
extra factors are zero.
"""

from __future__ import annotations

from fractions import Fraction

from germ.errors import GermError
from germ.exact.bound import UpperBound
from germ.exact.coefficient import Coefficient

SOURCE = "Drton, Gross, Kosta, Leykin, Sullivant & Windisch 2025, arXiv 2511.15419"


def factor_analysis(covariates: int, factors: int, truth: int) -> Coefficient:
    r"""λ and m of a model of k factors where the truth has l, for k = l and k = l + 1.

    $$ \lambda = \frac{(k+2)m + l(m-k+1)}{4}, \qquad m_\lambda = 1 $$

    with m covariates. Modulo the directions that D and Λ₀ determine, what is left at [Λ₀, 0] are
    quadratic forms in the (m − l)(k − l) loadings of the extra factors; blowing up the point where
    they are all zero gives the formula. It is the λ where the forms have no worse zero elsewhere:

    - k = l: nothing is left; regular if m ≤ n(n+1)/2, n = m − l;
    - k = l + 1: the forms vanish on m lines only, transversally, if m ≤ n(n−1)/2 (the trisecant
      lemma for the Veronese variety and m general points on it), and the lines count for less.

    Args:
        covariates: m.
        factors: k.
        truth: l, the factors of the truth.

    Returns:
        λ and m, for generic loadings.

    Raises:
        GermError: Counts out of range, or a case that is not proved here: see
            `factor_analysis_bound`.

    Example:
        >>> print(factor_analysis(covariates=6, factors=2, truth=1))
        λ = 29/4, m = 1
    """
    bound = factor_analysis_bound(covariates, factors, truth)
    n = covariates - truth
    most = {0: n * (n + 1) // 2, 1: n * (n - 1) // 2}.get(factors - truth, 0)
    if covariates > most:
        raise GermError(
            f"expected factors = truth or truth + 1 and few enough factors for {covariates} "
            f"covariates; for {factors} factors and a truth of {truth} λ is not proved here: "
            "factor_analysis_bound gives an upper bound"
        )
    how = "regular" if factors == truth else "blow-up of the extra factor"
    step = f"m = {covariates}, k = {factors}, l = {truth}: {how}: λ = {bound.value}, m = 1"
    return Coefficient(bound.value, 1, how, f"{SOURCE}; docs/exact.md", (step,))


def factor_analysis_bound(covariates: int, factors: int, truth: int) -> UpperBound:
    """λ at [Λ₀, 0] is at most ((k+2)m + l(m−k+1))/4.

    Args:
        covariates: m.
        factors: k.
        truth: l, from 0 to k; generic loadings.

    Returns:
        The bound.

    Raises:
        GermError: Counts out of range.
    """
    m, k, low = covariates, factors, truth
    if m < 2 or k < 1 or not 0 <= low <= k <= m:
        raise GermError(
            "expected covariates >= 2, 1 <= factors <= covariates and 0 <= truth <= factors; "
            f"got {m}, {k} and {low}"
        )
    return UpperBound(
        Fraction((k + 2) * m + low * (m - k + 1), 4), "blow-up of the extra factors", SOURCE
    )
