r"""Bayesian influence: covariances of losses over draws, pooled over chains, with their errors.

$$ \mathrm{BIF}(z_i, \phi) = -\mathrm{Cov}_\gamma(\ell_i, \phi), \qquad
   \text{normalised: } -\mathrm{Corr}_\gamma(\ell_i, \phi) $$

(Kreer et al. 2025, arXiv 2509.26544.) Where the posterior is $\exp(-\sum_i \beta_i \ell_i(w) -
\gamma/2 \|w - w^*\|^2)$ with $\beta_i = n\beta/n$, BIF is $\partial E[\phi]/\partial\beta_i$: more
weight on $z_i$ moves the expectation of $\phi$ that way. A positive covariance of two losses says
that more weight on one example lowers the loss of the other.

To leading order in $1/(n\beta)$ it is the damped influence function of classical statistics:
$\mathrm{Cov}(\ell_i, \ell_q) \approx g_i^\top (n\beta H + \gamma)^{-1} g_q$.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from germ.errors import GermError

MIN_CHAINS = 2
"""A standard error by leaving out one chain needs two."""

MIN_ESS = 20.0
"""Effective draws below which a covariance is refused: a correlation of nothing with nothing is
then 0.2 and more."""

FEW_ESS = 100.0
"""Effective draws below which correlations are said to be rough: ±0.1."""


@dataclass(frozen=True)
class Pooled:
    """Covariance and correlation of every x with every y over all draws of all chains.

    Attributes:
        covariance: Unbiased, shape (x, y), in the product of the units (nats²).
        covariance_error: Its standard error, by leaving out one chain at a time.
        correlation: Shape (x, y); 0 where x or y never changed.
        correlation_error: Its standard error, likewise.
    """

    covariance: np.ndarray
    covariance_error: np.ndarray
    correlation: np.ndarray
    correlation_error: np.ndarray


def pooled(moments: Mapping[str, np.ndarray]) -> Pooled:
    r"""Put chains together about the mean of all of them, with a jackknife over chains.

    All draws of all chains count as one long series, so that chains that stand apart add to the
    covariance (`stack` in the release of the paper). The error is that of the delete-one-chain
    jackknife, $\sqrt{\tfrac{C-1}{C} \sum_c (\theta_{-c} - \bar\theta)^2}$: autocorrelation within a
    chain is in it. It takes chains for independent; those that share minibatches are nearly so
    where gradients are anchored.

    Args:
        moments: The fields of `germ.cross_moments.CrossMoments`, each with a first dimension
            chain: count (chain,), mean_x (chain, x), mean_y (chain, y), products (chain, x, y),
            squares_x (chain, x), squares_y (chain, y).

    Raises:
        GermError: Fewer than two chains, or fewer than two draws in one.
    """
    counts = np.asarray(moments["count"], dtype=np.float64)
    num_chains = len(counts)
    if num_chains < MIN_CHAINS or counts.min() < 2:
        raise GermError(
            f"expected at least {MIN_CHAINS} chains of at least 2 draws for a covariance with a "
            f"standard error; got {num_chains} of {counts.min():.0f}: sample more"
        )
    total = counts.sum()
    share = counts / total
    # Sums of each chain about the mean of all: then leaving one out is a subtraction.
    # Counted from the first chain's, so that what never moves is exactly 0 and not a rounding.
    dx, dy = (moments[name] - moments[name][0] for name in ("mean_x", "mean_y"))
    dx, dy = dx - share @ dx, dy - share @ dy
    sum_x, sum_y = counts[:, None] * dx, counts[:, None] * dy
    squares_x = moments["squares_x"] + sum_x * dx
    squares_y = moments["squares_y"] + sum_y * dy
    products = moments["products"].sum(0) + sum_x.T @ dy
    all_x, all_y = squares_x.sum(0), squares_y.sum(0)

    # The mean of the C estimates and the sum of their squared deviations, one at a time: C more
    # arrays (x, y) would be as much memory again as the moments.
    means = [np.zeros_like(products), np.zeros_like(products)]
    spreads = [np.zeros_like(products), np.zeros_like(products)]
    for chain in range(num_chains):
        left = total - counts[chain]
        sx, sy = sum_x[chain], sum_y[chain]
        one = products - moments["products"][chain] - np.outer(sx, dy[chain])
        one -= np.outer(sx, sy) / left
        varied_x = all_x - squares_x[chain] - sx**2 / left
        varied_y = all_y - squares_y[chain] - sy**2 / left
        for i, found in enumerate((one / (left - 1), _correlation(one, varied_x, varied_y))):
            delta = found - means[i]
            means[i] += delta / (chain + 1)
            spreads[i] += delta * (found - means[i])
    factor = (num_chains - 1) / num_chains
    errors = [np.sqrt(factor * np.maximum(spread, 0.0)) for spread in spreads]
    correlation = _correlation(products, all_x, all_y)
    return Pooled(products / (total - 1), errors[0], correlation, errors[1])


def _correlation(products: np.ndarray, squares_x: np.ndarray, squares_y: np.ndarray) -> np.ndarray:
    scale = np.sqrt(np.outer(np.maximum(squares_x, 0.0), np.maximum(squares_y, 0.0)))
    found = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    return np.clip(found, -1.0, 1.0)


def refuse_few(ess: float, what: str) -> None:
    """Refuse a covariance of too few effective draws.

    Args:
        ess: Effective independent draws over all chains.
        what: Of what, for the message.

    Raises:
        GermError: If they are fewer than `MIN_ESS`.
    """
    if not ess >= MIN_ESS:
        raise GermError(
            f"expected at least {MIN_ESS:.0f} effective draws for a covariance; got {ess:.0f} "
            f"({what}): take more draws, or put more steps between them (thin)"
        )
