"""The diagonal metric: curvature of U seen at the posterior's own scale, not only at w*.

At a singular w* many directions are flat to second order and stiff a little further out; a metric
measured at the point itself takes steps there that fall off the cliff. So the metric is that of
the best diagonal Gaussian around w* (Opper & Archambeau 2009, eq. 7): the fixed point of

    a_i = E_q[∂²U/∂w_i²],     q = N(w*, diag(1/a))

and by Stein's identity the expectation needs gradients only, in antithetic pairs:

    a_i ← mean of ξ_i·(∂_i U(w* + D^½ξ) − ∂_i U(w* − D^½ξ)) / (2·D_i^½),    D = 1/a.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from germ import rng
from germ.gradients import losses_and_grad
from germ.posterior import LocalPosterior
from germ.types import Batch


@dataclass
class MetricFit:
    """Fits the metric with gradients of minibatches.

    Attributes:
        posterior: The posterior.
        batch_size: Examples a gradient.
        seed: The run's seed.
        num_gradients: Gradients of a batch spent so far.
    """

    posterior: LocalPosterior
    batch_size: int
    seed: int
    num_gradients: int = 0

    def fit(
        self, num_rounds: int, num_pairs: int, on_pair: Callable[[], None] | None = None
    ) -> Tensor:
        """The curvature a (d,), positive, of the best diagonal Gaussian around w*.

        Args:
            num_rounds: Rounds of the fixed-point iteration.
            num_pairs: Antithetic pairs a round, each on a batch of its own.
            on_pair: Called after each pair.

        Returns:
            Curvatures a_i of U; the metric is D = 1/a.
        """
        curvature = torch.full_like(self.posterior.anchor, self._isotropic())
        for number in range(num_rounds):
            total = torch.zeros_like(curvature)
            scale = self._shrink(curvature, number).rsqrt()
            for pair in range(num_pairs):
                index = number * num_pairs + pair
                total += self._pair(scale, index)
                if on_pair is not None:
                    on_pair()
            measured = (total / num_pairs).abs()
            # Geometric averaging damps both the iteration and the noise of few pairs.
            floor = max(self.posterior.localization, 1e-6 * float(measured.max()), 1e-12)
            measured = measured.clamp(min=floor)
            weight = 1.0 if number == 0 else 0.5
            curvature = torch.exp((1 - weight) * curvature.log() + weight * measured.log())
        return self._shrink(curvature, num_rounds)

    def noise(self, curvature: Tensor, num_pairs: int, *, anchored: bool) -> float:
        """Mean over coordinates of D_i·Var(∂_i Û): gradient noise in units of the temperature.

        Measured where chains will be, at draws from N(w*, D), since anchored gradients have no
        noise at w* itself. A step of size ε adds about ε/4 of it to the virial ratio.

        Args:
            curvature: a; D = 1/a.
            num_pairs: Pairs of batches, each pair at a draw of its own.
            anchored: Whether ∇L_B(w*) is taken off, as an anchored gradient does.

        Returns:
            The noise, without unit.
        """
        posterior, total = self.posterior, 0.0
        for pair in range(num_pairs):
            index = -1000 - pair
            displaced = posterior.anchor + curvature.rsqrt() * self._noise(index)
            halves = []
            for side in (0, 1):
                batch = self._batch(-2000 - 2 * pair - side)
                grad = losses_and_grad(posterior, displaced[None], batch)[1][0]
                self.num_gradients += 1
                if anchored:
                    grad = grad - losses_and_grad(posterior, posterior.anchor[None], batch)[1][0]
                    self.num_gradients += 1
                halves.append(grad)
            variance = 0.5 * (halves[0] - halves[1]).square()
            total += float((posterior.nbeta**2 * variance / curvature).double().mean())
        return total / num_pairs

    def typical(self, curvature: Tensor) -> Tensor:
        """A draw from N(w*, 1/a), shape (d,)."""
        return self.posterior.anchor + curvature.rsqrt() * self._noise(-999)

    def _noise(self, index: int) -> Tensor:
        source = rng.generator(self.seed, rng.PROBE, index)
        like = self.posterior.anchor
        return torch.randn(like.shape, generator=source, dtype=like.dtype).to(like.device)

    def _batch(self, index: int) -> Batch:
        num = self.posterior.data.num_examples
        if self.batch_size >= num:
            return self.posterior.batch(torch.arange(num))
        return self.posterior.batch(
            rng.batch_indices(num, self.batch_size, self.seed, index, chain=-2)
        )

    def _pair(self, scale: Tensor, index: int) -> Tensor:
        posterior, noise = self.posterior, self._noise(index)
        batch = self._batch(index)
        ahead = losses_and_grad(posterior, (posterior.anchor + scale * noise)[None], batch)[1][0]
        behind = losses_and_grad(posterior, (posterior.anchor - scale * noise)[None], batch)[1][0]
        self.num_gradients += 2
        return posterior.nbeta * noise * (ahead - behind) / (2 * scale) + (
            posterior.localization * noise.square()
        )

    def _energy(self, scale: Tensor, index: int) -> float:
        """Mean of U(w* ± D^½ξ) − U(w*), over the pair, on one batch."""
        posterior, noise = self.posterior, self._noise(index)
        batch = self._batch(index)
        with torch.no_grad():
            base = posterior.example_losses(posterior.anchor, batch)
            found = 0.0
            for sign in (1, -1):
                losses = posterior.example_losses(posterior.anchor + sign * scale * noise, batch)
                found += 0.5 * posterior.nbeta * float((losses - base).double().mean())
        self.num_gradients += 1  # three forward passes
        return found + 0.5 * posterior.localization * float((scale * noise).square().sum())

    def _isotropic(self) -> float:
        """The curvature a of an isotropic Gaussian whose energy is about d/2."""
        d = self.posterior.num_coordinates
        curvature = max(self.posterior.localization, 1e-8)
        for _ in range(40):
            scale = torch.full_like(self.posterior.anchor, curvature**-0.5)
            energy = self._energy(scale, -1)
            if energy <= d:
                return curvature
            # A quadratic would be there in one step; steeper walls need several.
            factor = energy / (0.5 * d) if math.isfinite(energy) else 100.0
            curvature *= min(max(factor, 2.0), 100.0)
        return curvature

    def _shrink(self, curvature: Tensor, number: int) -> Tensor:
        """The curvature, scaled up until a draw from its Gaussian has an energy of at most d."""
        d = self.posterior.num_coordinates
        for _ in range(20):
            energy = self._energy(curvature.rsqrt(), -2 - number)
            if energy <= d:
                break
            curvature = curvature * 2
        return curvature
