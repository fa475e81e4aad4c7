"""φ = L_n(w) − L_n(w*) at a draw, from more examples than a step can afford.

A step's batch is small, for a gradient is dear and its noise is harmless. But in a covariance the
noise of φ̂ counts in full: with batches of 32 of the bundled language model it is 2.4 to 3.8 times
φ's own variance, and the square of a susceptibility's error as many times too large. A draw, which
comes once in several steps and costs a forward pass over all probes, can look at more: M examples
of the data, drawn anew for every draw of every chain, paired with their losses at w*.

A fixed subset would be no way out: its φ is that of another data set, off by more than φ's spread,
and no standard error would show it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from germ import rng
from germ.plan import auto_batch_size
from germ.posterior import LocalPosterior
from germ.types import Draw

NUM_EXAMPLES = 128
"""M. The best is √(r·c): r = 76 to 120 the variance of an example's difference over that of φ, on
two heads of the bundled model, and c = 150 to 300 the cost of the rest of a draw in examples."""

ALL_EXAMPLES = 2 * NUM_EXAMPLES
"""Up to so many examples φ is taken of all of them: without noise, at twice the cost or less."""


class Excess:
    """Estimates φ at draws.

    Attributes:
        at_anchor: ℓ_i(w*) of every example met so far, NaN elsewhere, (n,), float64.
    """

    def __init__(self, posterior: LocalPosterior, *, like: Excess | None = None) -> None:
        """Prepare for a posterior.

        Args:
            posterior: The posterior, shortened or not.
            like: That of the same model and data with other moving weights: losses at w* are the
                same for all.
        """
        num = posterior.data.num_examples
        self.posterior = posterior
        self.at_anchor = like.at_anchor if like is not None else _unknown(num)
        self._chunk_size = auto_batch_size(posterior)

    def at(self, position: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """φ̂, a scalar, and φ̂ from each half of the examples, (2,); float64.

        The examples depend on (seed, chain, step) alone, so on nothing that decides where the chain
        stands: given w the halves are independent, and unbiased. Of all the data they are equal.
        """
        num = self.posterior.data.num_examples
        if num <= ALL_EXAMPLES:
            phi = self._differences(position, torch.arange(num)).mean()
            return phi, phi.expand(2)
        seed, chain, step = (int(draw[name]) for name in ("seed", "chain", "step"))
        source = rng.generator(seed, rng.OBSERVED, chain, step)
        indices = torch.randint(num, (NUM_EXAMPLES,), generator=source)
        halves = self._differences(position, indices).view(2, -1).mean(1)
        return halves.mean(), halves

    def _differences(self, position: Tensor, indices: Tensor) -> Tensor:
        """ℓ_i(w) − ℓ_i(w*), (examples,)."""
        parts = []
        for some in indices.split(self._chunk_size):
            here = self.posterior.example_losses(position, self.posterior.batch(some)).double()
            parts.append(here - self._there(some).to(here.device))
        return torch.cat(parts)

    def _there(self, indices: Tensor) -> Tensor:
        """ℓ_i(w*), seen once, among neighbours that are always the same.

        The last bits of a matrix product depend on the rows around; and a run that goes on is to
        have those of one that was never stopped.
        """
        size, num = self._chunk_size, len(self.at_anchor)
        for number in (indices[self.at_anchor[indices].isnan()] // size).unique().tolist():
            some = torch.arange(number * size, min((number + 1) * size, num))
            batch = self.posterior.batch(some)
            losses = self.posterior.example_losses(self.posterior.anchor, batch)
            self.at_anchor[some] = losses.double().to(self.at_anchor.device)
        return self.at_anchor[indices]


def _unknown(num: int) -> Tensor:
    return torch.full((num,), torch.nan, dtype=torch.float64)
