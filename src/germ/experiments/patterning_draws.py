r"""λ̂ of a head, and how it differs between models, from draws of the localization's Gaussian.

With q = N(w*, 1/γ) and a loss tilted towards domains, L_h = L + Σ h_d(ℓ_d − L),

$$ \hat\lambda(h) = n\beta\,\frac{\mathbf E_q[\psi_h\varphi]}{\mathbf E_q[\psi_h]}, \qquad
   \psi_h = e^{-n\beta(\varphi + \sum_d h_d(\ell_d - \ell_d(w^*) - \varphi))}. $$

`germ.susceptibility` gives λ̂ too, beside gradients that λ̂ does not need: here a draw costs a
quarter, and a difference of two models has an error of its own. Every model has the same draws of
w − w*, so that most of their noise is common.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from germ import rng
from germ.posterior import LocalPosterior

STREAM = 13548
"""Not the draws that χ is made of: a prediction would share its noise with what is measured."""


def trace(posterior: LocalPosterior, num_domains: int, *, draws: int, seed: int) -> np.ndarray:
    """ℓ_d(w) − ℓ_d(w*) of every domain at w* ± x/√γ, (draws, 2, domains).

    Args:
        posterior: Its data are the domains, one after the other, of equal size; γ > 0.
        num_domains: How many.
        draws: Draws, each with its reflection.
        seed: Of the draws.
    """
    batch = posterior.batch(torch.arange(posterior.data.num_examples))

    def losses(position: Tensor) -> Tensor:
        found = posterior.example_losses(position, batch).double()
        return found.reshape(num_domains, -1).mean(1)

    anchor, rows = posterior.anchor, []
    with torch.no_grad():
        at_anchor = losses(anchor)
        for number in range(draws):
            source = rng.generator(seed, rng.GAUSSIAN, number, STREAM, device=anchor.device)
            noise = torch.randn(
                anchor.shape, generator=source, dtype=anchor.dtype, device=anchor.device
            )
            step = posterior.localization**-0.5 * noise
            rows.append(torch.stack([losses(anchor + step), losses(anchor - step)]) - at_anchor)
    return torch.stack(rows).cpu().numpy()


def shares(differences: np.ndarray, nbeta: float, tilt: Any = None) -> np.ndarray:
    """The share of each draw in λ̂, (draws,): the pseudo-values of the delete-one jackknife.

    Their mean is λ̂ and their spread its error; and those of the difference of two models are the
    differences of theirs.

    Args:
        differences: What `trace` gave, (draws, 2, domains).
        nbeta: nβ.
        tilt: h, (domains,); none by default.
    """
    phi = differences.mean(-1)
    felt = phi if tilt is None else phi + (differences - phi[..., None]) @ np.asarray(tilt)
    weight = np.exp(-nbeta * (felt - felt.mean()))
    top, bottom = (weight * phi).sum(1), weight.sum(1)
    num = len(phi)
    whole = nbeta * top.sum() / bottom.sum()
    without = nbeta * (top.sum() - top) / (bottom.sum() - bottom)
    return num * whole - (num - 1) * without


def mean_and_error(values: Any) -> tuple[float, float]:
    """Of pseudo-values (draws,)."""
    values = np.asarray(values, dtype=np.float64)
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)
