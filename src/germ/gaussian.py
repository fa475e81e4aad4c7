r"""Where localization decides: draws of N(w*, 1/γ), and what the loss does at them.

A single head of a language model at nβ = 30, γ = 300 hardly sees the data: its posterior is the
Gaussian of the localization times a weight exp(−nβφ) that varies by some per cent. There is then
nothing to walk to. Independent draws of the Gaussian, weighted, are exact, and gradients at them
say of a covariance what a chain's draws say only with much noise. For X, Y standard normal with
correlation t, and smooth f and g (Houdré, Pérez-Abreu and Surgailis 1998),

$$ \mathrm{Cov}(f(X), g(X)) = \int_0^1 \mathbf E[\nabla f(X)\cdot\nabla g(Y_t)]\,dt, $$

so that a covariance is the mean of directional derivatives of g along gradients of f: that part
which is linear on both sides comes out without any noise, and the rest without the product of both
sides' spreads. Reflection, (X, Y) and (−X, −Y) together, removes what is odd. On a head of the
bundled model a token's covariance so has 1/28 of the noise of plain draws at the same number of
evaluations (`benchmarks/gaussian_noise.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from germ import rng
from germ.excess import Excess
from germ.gradients import losses_and_grad
from germ.plan import auto_batch_size
from germ.posterior import LocalPosterior

NUM_EXAMPLES = 32
"""Examples of a gradient at a draw. More hardly lower the noise, which is the draw's own: per draw
9.1e-6 with 32, 8.6e-6 with 64, 7.7e-6 with 512 (`layers.1.head.6` of the bundled model)."""

ALL_EXAMPLES = 2 * NUM_EXAMPLES
"""Up to so many examples a gradient is of all of them: without their noise, and for little more
than what a few cost with the correction at w*."""

SIGNS = (1.0, -1.0)


class Reflected(NamedTuple):
    """A draw and its reflection.

    Attributes:
        phi: φ̂ at w* ± X/√γ, (2,).
        halves: φ̂ from each half of its examples, (2, 2).
        along: An unbiased estimate of ∇φ there, independent of φ̂ and of `own`'s, (2, d).
        position: w* ± Y/√γ, (2, d).
        own: `along`·∇L_n at `position`, (2,): how L_n itself moves.
    """

    phi: Tensor
    halves: Tensor
    along: Tensor
    position: Tensor
    own: Tensor


class Gaussian:
    """Draws of the Gaussian that localization makes of a posterior.

    Attributes:
        posterior: The posterior, shortened or not.
    """

    def __init__(
        self,
        posterior: LocalPosterior,
        excess: Excess,
        gradient: Callable[[], Tensor],
        *,
        seed: int,
    ) -> None:
        """Prepare draws.

        Args:
            posterior: The posterior; γ > 0.
            excess: Estimates φ.
            gradient: Gives ∇L_n(w*) over all the data, (d,); asked for when first needed.
            seed: Of all randomness; a draw depends on it and on its number alone.
        """
        self.posterior = posterior
        self._make_gradient = gradient
        self._excess = excess
        self._seed = seed
        self._phi: dict[int, tuple[Tensor, Tensor]] = {}
        self._size = auto_batch_size(posterior)

    def draw(self, number: int) -> Reflected:
        """The draw of a number, which is the same whenever it is asked for."""
        x = self._normal(number, 0)
        source = rng.generator(self._seed, rng.GAUSSIAN, number, 2)
        t = float(torch.rand((), generator=source, dtype=torch.float64))
        y = t * x + (1 - t * t) ** 0.5 * self._normal(number, 1)
        phi, halves = self.phi(number)
        along = self._gradients(self._around(x), number, 3)
        position = torch.stack(self._around(y))
        # Of other examples, so that the product of both gradients has no bias.
        there = self._gradients(list(position), number, 4)
        own = (along.double() * there.double()).sum(1)
        return Reflected(phi, halves, along, position, own)

    def phi(self, number: int) -> tuple[Tensor, Tensor]:
        """φ̂ at both ends of a draw, (2,), and from each half of its examples, (2, 2)."""
        if number in self._phi:
            return self._phi[number]
        key = {
            name: torch.tensor(value)
            for name, value in (("seed", self._seed), ("chain", 0), ("step", number))
        }
        with torch.no_grad():
            found = [self._excess.at(at, key) for at in self._around(self._normal(number, 0))]
        phi, halves = zip(*found, strict=True)
        self._phi[number] = torch.stack(phi), torch.stack(halves)
        return self._phi[number]

    def _around(self, displacement: Tensor) -> list[Tensor]:
        return [self.posterior.anchor + sign * displacement for sign in SIGNS]

    @cached_property
    def _gradient(self) -> Tensor:
        return self._make_gradient()

    def _normal(self, number: int, what: int) -> Tensor:
        anchor = self.posterior.anchor
        source = rng.generator(self._seed, rng.GAUSSIAN, number, what, device=anchor.device)
        noise = torch.randn(
            anchor.shape, generator=source, dtype=anchor.dtype, device=anchor.device
        )
        return self.posterior.localization**-0.5 * noise

    def _gradients(self, positions: list[Tensor], number: int, what: int) -> Tensor:
        """∇L_n at positions: from some examples, less theirs at w*, plus that of all there."""
        num = self.posterior.data.num_examples
        if num <= ALL_EXAMPLES:
            return torch.stack([self._mean(position, torch.arange(num)) for position in positions])
        source = rng.generator(self._seed, rng.GAUSSIAN, number, what)
        indices = torch.randint(num, (NUM_EXAMPLES,), generator=source)
        correction = self._gradient - self._mean(self.posterior.anchor, indices)
        return torch.stack([self._mean(at, indices) + correction for at in positions])

    def _mean(self, position: Tensor, indices: Tensor) -> Tensor:
        total = torch.zeros_like(position)
        for some in indices.split(self._size):
            batch = self.posterior.batch(some)
            total += len(some) * losses_and_grad(self.posterior, position[None], batch)[1][0]
        return total / len(indices)
