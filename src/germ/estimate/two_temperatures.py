r"""λ from the expected loss at two temperatures, without L(w*) (Watanabe 2013, Corollary 3)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import xarray as xr

from germ.diagnostics import average
from germ.errors import GermError
from germ.estimate.usable import combined_error, same_posterior, usable


@dataclass(frozen=True)
class TwoTemperatures:
    """λ̂ between two temperatures.

    Attributes:
        value: λ̂.
        standard_error: Its Monte Carlo standard error.
        nbetas: The two nβ, the smaller first.
        expected_losses: E[L_n] at each.
    """

    value: float
    standard_error: float
    nbetas: tuple[float, float]
    expected_losses: tuple[float, float]

    def __str__(self) -> str:
        """One line: the value, its error, the temperatures."""
        low, high = self.nbetas
        return f"λ̂ {self.value:.5g} ± {self.standard_error:.2g} (nβ {low:g} and {high:g})"

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self)


def two_temperatures(
    first: xr.Dataset, second: xr.Dataset, *, drop_failed: bool = False
) -> TwoTemperatures:
    r"""λ̂ from two runs of one posterior at different nβ.

    $$ \hat\lambda = \frac{\mathbb E_1[nL_n] - \mathbb E_2[nL_n]}{1/\beta_1 - 1/\beta_2}
       = \frac{\mathbb E_1[L_n] - \mathbb E_2[L_n]}{1/n\beta_1 - 1/n\beta_2} $$

    L_n(w*) cancels, so w* need not be the minimum: nL_n ≈ nL_0 + λ/β whatever L_0 is. What is
    averaged is `anchor_loss + loss_difference`, which has the expectation of the loss and, being
    paired on each batch, far less noise than `loss`. The localization's bias remains, and with
    multiplicity m the value is near λ − (m−1)/log nβ.

    Args:
        first: Samples at one nβ.
        second: Samples of the same posterior at another (`LocalPosterior.with_(nbeta=...)`).
            Give it a seed of its own: with the same seed the errors are added up, not combined.
        drop_failed: Leave out chains that failed.

    Returns:
        The estimate.

    Raises:
        GermError: Equal nβ, one of them 0, runs of different posteriors, or unusable samples.
    """
    runs = [usable(run, "loss_difference", drop_failed=drop_failed) for run in (first, second)]
    runs.sort(key=lambda run: float(run.attrs["nbeta"]))
    same_posterior(runs)
    low, high = (float(run.attrs["nbeta"]) for run in runs)
    if not 0 < low < high:
        raise GermError(
            f"expected two different nbeta above 0; got {low:g} and {high:g}: sample again at "
            "another one (LocalPosterior.with_(nbeta=...))"
        )
    means = [
        average(run["loss_difference"].values, shared_batches=bool(run.attrs["shared_batches"]))
        for run in runs
    ]
    scale = 1 / (1 / low - 1 / high)
    errors = [mean.standard_error for mean in means]
    seeds = [int(run.attrs["seed"]) for run in runs]
    expected = [
        float(run.attrs["anchor_loss"]) + mean.mean for run, mean in zip(runs, means, strict=True)
    ]
    return TwoTemperatures(
        value=scale * (expected[0] - expected[1]),
        standard_error=combined_error([scale, scale], errors, seeds),
        nbetas=(low, high),
        expected_losses=(expected[0], expected[1]),
    )
