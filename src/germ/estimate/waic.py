r"""WAIC and the singular fluctuation, from per-example log-likelihoods folded while sampling.

    samples = germ.sample(posterior, observables=germ.waic_observables(posterior))
    print(germ.waic(samples))

Each draw costs one forward pass over all n examples; memory is O(n), whatever the draws.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from germ.accumulate import LogMeanExp, LogMeanExpSummary, Moments, MomentsSummary
from germ.errors import GermError
from germ.estimate.usable import usable
from germ.losses import identify
from germ.plan import auto_batch_size
from germ.posterior import LocalPosterior

NAME = "log_likelihood"
"""What the observable is called in the samples."""

UNRELIABLE = 0.4
"""Posterior variance of a log-likelihood above which WAIC is not to be trusted (Vehtari 2017)."""


@dataclass(frozen=True, repr=False)
class LogLikelihoods:
    """An observable: −ℓ_i for every example of a posterior's data, (n,).

    Attributes:
        posterior: Whose loss and data.
        batch_size: Examples a forward pass.
    """

    posterior: LocalPosterior
    batch_size: int

    def __call__(self, model: nn.Module) -> Tensor:
        """Minus the loss of each example, tokens averaged, in float64."""
        parts = []
        for start in range(0, self.posterior.data.num_examples, self.batch_size):
            stop = min(start + self.batch_size, self.posterior.data.num_examples)
            batch = self.posterior.batch(torch.arange(start, stop))
            losses = self.posterior.loss(model, batch)
            parts.append(losses.flatten(1).mean(1) if losses.dim() > 1 else losses)
        return -torch.cat(parts).double()

    def __repr__(self) -> str:
        """What tells it from another in a stored run, without addresses."""
        num = self.posterior.data.num_examples
        return f"LogLikelihoods({identify(self.posterior.loss)}, {num} examples)"


class PredictiveSummary(NamedTuple):
    """The summaries of `Moments` and `LogMeanExp`, side by side."""

    count: Tensor
    mean: Tensor
    squares: Tensor
    peak: Tensor
    total: Tensor


@dataclass(frozen=True)
class Predictive:
    """Mean, variance and log-mean-exp of each entry: all that WAIC needs, in one pass."""

    fields = ("mean", "variance", "log_mean_exp")

    def init(self, value: Tensor) -> PredictiveSummary:
        """The empty summary of values like `value`."""
        return _join(Moments().init(value), LogMeanExp().init(value))

    def update(self, summary: PredictiveSummary, value: Tensor) -> PredictiveSummary:
        """With one more value."""
        moments, densities = _part(summary)
        return _join(Moments().update(moments, value), LogMeanExp().update(densities, value))

    def merge(self, left: PredictiveSummary, right: PredictiveSummary) -> PredictiveSummary:
        """Of two streams."""
        (moments, densities), (more, others) = _part(left), _part(right)
        return _join(Moments().merge(moments, more), LogMeanExp().merge(densities, others))

    def result(self, summary: PredictiveSummary) -> dict[str, Tensor]:
        """`mean`, `variance` (unbiased) and `log_mean_exp`."""
        moments, densities = _part(summary)
        return Moments().result(moments) | LogMeanExp().result(densities)


def _join(moments: MomentsSummary, densities: LogMeanExpSummary) -> PredictiveSummary:
    return PredictiveSummary(*moments, densities.peak, densities.total)


def _part(summary: PredictiveSummary) -> tuple[MomentsSummary, LogMeanExpSummary]:
    count, mean, squares, peak, total = summary
    return MomentsSummary(count, mean, squares), LogMeanExpSummary(count, peak, total)


def waic_observables(
    posterior: LocalPosterior, *, batch_size: int | None = None
) -> dict[str, tuple[LogLikelihoods, Predictive]]:
    """What `germ.sample` must observe for `waic`: every example's log-likelihood, folded.

    Args:
        posterior: What is sampled; its loss must be −log p(example | w) in nats.
        batch_size: Examples a forward pass; None is `germ.plan.auto_batch_size`.

    Returns:
        Observables, to be passed on (with others, if you like).
    """
    size = auto_batch_size(posterior) if batch_size is None else batch_size
    return {NAME: (LogLikelihoods(posterior, size), Predictive())}


@dataclass(frozen=True)
class WAIC:
    """The widely applicable information criterion, per example.

    Attributes:
        value: WAIC = T_n + β·V_n/n, an estimate of the predictive loss on new examples, in nats.
        standard_error: Its Monte Carlo standard error, from the spread of the chains; NaN for one.
        data_error: Its standard error as an estimate for new examples: the spread over examples.
        training_loss: T_n = −(1/n) Σ log E_w[p(z_i|w)].
        functional_variance: V_n = Σ Var_w[log p(z_i|w)].
        singular_fluctuation: ν̂ = β·V_n/2.
        gibbs_loss: E_w[L_n(w)].
        beta: β = nβ/n; 1 is Bayes.
        num_examples: n.
        num_unreliable: Examples whose log-likelihood varies so much (variance > 0.4) that neither
            T_n nor V_n is well estimated for them.
    """

    value: float
    standard_error: float
    data_error: float
    training_loss: float
    functional_variance: float
    singular_fluctuation: float
    gibbs_loss: float
    beta: float
    num_examples: int
    num_unreliable: int

    def __str__(self) -> str:
        """One line: the value, its errors, ν̂, and a mark where examples are unreliable."""
        mark = f" ⚠ {self.num_unreliable} examples unreliable" if self.num_unreliable else ""
        return (
            f"WAIC {self.value:.6g} ± {self.standard_error:.2g} (Monte Carlo) "
            f"± {self.data_error:.2g} (examples), T_n {self.training_loss:.6g}, "
            f"ν̂ {self.singular_fluctuation:.4g} (β = {self.beta:g}){mark}"
        )

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON; NaN becomes None."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def waic(samples: xr.Dataset, *, drop_failed: bool = False) -> WAIC:
    r"""WAIC and the singular fluctuation.

    $$ T_n = -\frac1n \sum_i \log \mathbb E_w[p(z_i|w)], \quad
       V_n = \sum_i \mathrm{Var}_w[\log p(z_i|w)], \quad
       \mathrm{WAIC} = T_n + \frac{\beta}{n} V_n, \quad \hat\nu = \frac\beta2 V_n $$

    E[WAIC] equals the expected predictive loss up to o(1/n), for singular models too, under the
    posterior at any β (Watanabe 2010, JMLR 11, Theorem 1), if the prior does not depend on the
    data. Here the prior is the localization N(w*, 1/γ), and w* was trained: where γ is not small
    beside nβ times the curvature, WAIC does not see how w* itself is overfitted. Where an example
    is a sequence, log p(z|w) is minus the *mean* loss of its tokens, as in L_n.

    Args:
        samples: Of `germ.sample(posterior, observables=germ.waic_observables(posterior))`.
        drop_failed: Leave out chains that failed.

    Returns:
        The criterion and its parts.

    Raises:
        GermError: The observable is not in the samples, nβ is 0, or the samples cannot be used.
    """
    if f"{NAME}_log_mean_exp" not in samples:
        raise GermError(
            "expected samples with the log-likelihood of every example; sample with "
            "observables=germ.waic_observables(posterior)"
        )
    names = [f"{NAME}_{field}" for field in Predictive.fields]
    used = usable(samples, *names, drop_failed=drop_failed)
    n, nbeta = int(used.attrs["num_examples"]), float(used.attrs["nbeta"])
    if nbeta <= 0:
        raise GermError("expected samples at nbeta > 0; at 0 there is no posterior of the data")
    mean, variance, log_mean_exp = (used[name].values for name in names)
    draws, beta = used.sizes["draw"], nbeta / n
    per_example, pooled = _criterion(mean, variance, log_mean_exp, draws, beta)
    of_chains = [
        _criterion(mean[[i]], variance[[i]], log_mean_exp[[i]], draws, beta)[0].mean()
        for i in range(len(mean))
    ]
    spread = float(np.std(of_chains, ddof=1)) if len(of_chains) > 1 else math.nan
    training = -_log_mean_exp(log_mean_exp)
    return WAIC(
        value=float(per_example.mean()),
        standard_error=spread / len(of_chains) ** 0.5,
        data_error=float(per_example.std(ddof=1) / n**0.5) if n > 1 else math.nan,
        training_loss=float(training.mean()),
        functional_variance=float(pooled.sum()),
        singular_fluctuation=beta * float(pooled.sum()) / 2,
        gibbs_loss=-float(mean.mean()),
        beta=beta,
        num_examples=n,
        num_unreliable=int((pooled > UNRELIABLE).sum()),
    )


def _criterion(
    mean: np.ndarray, variance: np.ndarray, log_mean_exp: np.ndarray, draws: int, beta: float
) -> tuple[np.ndarray, np.ndarray]:
    """Of each example: its term of WAIC, and the variance of its log-likelihood over all chains."""
    chains = len(mean)
    within = (draws - 1) * variance.sum(axis=0)
    between = draws * np.square(mean - mean.mean(axis=0)).sum(axis=0)
    pooled = (within + between) / (chains * draws - 1)
    return -_log_mean_exp(log_mean_exp) + beta * pooled, pooled


def _log_mean_exp(values: np.ndarray) -> np.ndarray:
    """Over chains of equally many draws."""
    return np.logaddexp.reduce(values, axis=0) - math.log(len(values))
