"""The diagonal metric: curvature of U seen at the posterior's own scale, not only at w*.

At a singular w* many directions are flat to second order and stiff a little further out; a metric
measured at the point itself takes steps there that fall off the cliff. And a Hessian's diagonal
says little where directions are correlated: a coordinate that is flat alone can be stiff with
others. So the metric is the one that *equilibrates* the curvature of U over draws from its own
Gaussian, q = N(w*, D): every row of D^½ ∇²U D^½ has length one,

    Σ_j D_i·(∂²U/∂w_i∂w_j)²·D_j = 1,

the fixed point of a_i = Σ_j (∂²U/∂w_i∂w_j)²/a_j, D = 1/a. Gradients suffice, in antithetic pairs:

    a_i ← mean of ((∂_i U(w* + D^½ξ) − ∂_i U(w* − D^½ξ))/2)².

Where curvature is diagonal, a is that diagonal. A mean of squares cannot cancel as the signed
estimate of a diagonal does, so few pairs do. (Equilibration: van der Sluis 1969; Dauphin, de Vries
& Bengio 2015, arXiv 1502.04390, with gradients at a point and no scale.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from germ import rng
from germ.batches import batch_indices
from germ.gradients import losses_and_grad
from germ.posterior import LocalPosterior
from germ.types import Batch, Preconditioner, Sampler


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
        """The curvature a (d,), positive, that equilibrates U around w*.

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
            measured = total / num_pairs
            # Geometric averaging damps both the iteration and the noise of few pairs.
            floor = max(self.posterior.localization, 1e-6 * float(measured.max()), 1e-12)
            measured = measured.clamp(min=floor)
            weight = 1.0 if number == 0 else 0.5
            curvature = torch.exp((1 - weight) * curvature.log() + weight * measured.log())
        return self._shrink(curvature, num_rounds)

    def pilot(
        self, sampler: Sampler, num_steps: int, on_step: Callable[[], None] | None = None
    ) -> Tensor | None:
        """Where one chain stands after a few steps from w*, shape (d,); None if it runs away.

        Its gradients are anchored whatever the run's will be: the pilot is to go where the
        posterior is, not where heat would take it.
        """
        posterior = self.posterior
        state = sampler.init(posterior.anchor[None].clone())
        for step in range(num_steps):
            batch = self._batch(-10_000 - step)
            grad = posterior.nbeta * self._difference(state.position, batch)
            grad = grad + posterior.localization * (state.position - posterior.anchor)
            state = sampler.step(state, grad, self._noise(-10_000 - step)[None])
            if not state.position.isfinite().all():
                return None
            if on_step is not None:
                on_step()
        return state.position[0]

    def rise(self, place: Tensor) -> float:
        """nβ·(L_B(w) − L_B(w*)) at a place (d,), on one batch."""
        batch = self._batch(-5000)
        with torch.no_grad():
            here = self.posterior.example_losses(place, batch)
            there = self.posterior.example_losses(self.posterior.anchor, batch)
        self.num_gradients += 1  # two forward passes
        return self.posterior.nbeta * float((here - there).double().mean())

    def typical(self, metric: Preconditioner) -> Tensor:
        """A draw from N(w*, D), shape (d,)."""
        return self.posterior.anchor + metric.sqrt(self._noise(-999)[None])[0]

    def _noise(self, index: int) -> Tensor:
        source = rng.generator(self.seed, rng.PROBE, index)
        like = self.posterior.anchor
        return torch.randn(like.shape, generator=source, dtype=like.dtype).to(like.device)

    def _batch(self, index: int) -> Batch:
        num = self.posterior.data.num_examples
        return self.posterior.batch(
            batch_indices(num, self.batch_size, self.seed, index, rng.MEASURING)
        )

    def _difference(self, position: Tensor, batch: Batch) -> Tensor:
        """∇L_B(w) − ∇L_B(w*) at one position (1, d)."""
        at_anchor = losses_and_grad(self.posterior, self.posterior.anchor[None], batch)[1]
        self.num_gradients += 2
        return losses_and_grad(self.posterior, position, batch)[1] - at_anchor

    def _moved(self, scale: Tensor, index: int) -> Tensor:
        """D^½ξ."""
        return scale * self._noise(index)

    def _seen(self, half: Tensor) -> Tensor:
        """Half the difference of two gradients of U, in the basis in which D is diagonal."""
        return half

    def _pair(self, scale: Tensor, index: int) -> Tensor:
        """Squares of (∇U(w* + D^½ξ) − ∇U(w* − D^½ξ))/2, (d,)."""
        posterior, moved, batch = self.posterior, self._moved(scale, index), self._batch(index)
        ahead = losses_and_grad(posterior, (posterior.anchor + moved)[None], batch)[1][0]
        behind = losses_and_grad(posterior, (posterior.anchor - moved)[None], batch)[1][0]
        self.num_gradients += 2
        half = posterior.nbeta * (ahead - behind) / 2 + posterior.localization * moved
        return self._seen(half).square()

    def _energy(self, scale: Tensor, index: int) -> float:
        """Mean of U(w* ± D^½ξ) − U(w*), over the pair, on one batch."""
        posterior, moved, batch = self.posterior, self._moved(scale, index), self._batch(index)
        with torch.no_grad():
            base = posterior.example_losses(posterior.anchor, batch)
            found = 0.0
            for way in (moved, -moved):
                losses = posterior.example_losses(posterior.anchor + way, batch)
                found += 0.5 * posterior.nbeta * float((losses - base).double().mean())
        self.num_gradients += 1  # three forward passes
        return found + 0.5 * posterior.localization * float(moved.square().sum())

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
