"""Curvature of the loss: Hessian–vector products, their diagonal, the largest eigenvalue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from germ import rng
from germ.batches import batch_indices
from germ.posterior import LocalPosterior
from germ.types import Batch, Preconditioner

DIFFERENCE_STEP = 1e-3
"""Length of the central difference's step, relative to ‖w*‖, where double backward fails."""


@dataclass
class Curvature:
    """Curvature of L_n, estimated from minibatches keyed by (seed, probe).

    Attributes:
        posterior: The posterior; only its loss, data and anchor are used.
        batch_size: Examples a product.
        seed: The run's seed.
        num_gradients: Cost so far, in gradients of a batch; a product counts as two.
    """

    posterior: LocalPosterior
    batch_size: int
    seed: int
    num_gradients: int = 0
    double_backward: bool = True

    def product(self, vector: Tensor, batch: Batch, position: Tensor | None = None) -> Tensor:
        """H_B v, shape (d,): by double backward, or by central differences where that fails.

        Args:
            vector: v, shape (d,).
            batch: The examples.
            position: Where, shape (d,); None is w*.
        """
        position = self.posterior.anchor if position is None else position
        self.num_gradients += 2
        if self.double_backward:
            try:
                return self._exact_product(vector, batch, position)
            except RuntimeError as error:
                # Some fused kernels have no second derivative; a difference of gradients needs
                # none. Out-of-memory is not ours to paper over.
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                self.double_backward = False
        length = max(float(position.norm()), DIFFERENCE_STEP * position.numel() ** 0.5)
        step = DIFFERENCE_STEP * length / float(vector.norm())
        ahead = self._grad(position + step * vector, batch)
        behind = self._grad(position - step * vector, batch)
        return (ahead - behind) / (2 * step)

    def _exact_product(self, vector: Tensor, batch: Batch, position: Tensor) -> Tensor:
        # PyTorch's fused attention has no second derivative; its plain form has.
        with sdpa_kernel(SDPBackend.MATH):
            leaf = position.detach().requires_grad_()
            grad = self._grad(leaf, batch, create_graph=True)
            (product,) = torch.autograd.grad(grad, leaf, vector)
        return product

    def _grad(self, position: Tensor, batch: Batch, *, create_graph: bool = False) -> Tensor:
        leaf = position if create_graph else position.detach().requires_grad_()
        loss = self.posterior.example_losses(leaf, batch).mean()
        return torch.autograd.grad(loss, leaf, create_graph=create_graph)[0]

    def batches(self, num: int) -> Iterator[tuple[int, Batch]]:
        """`num` independent batches, numbered."""
        total = self.posterior.data.num_examples
        for probe in range(num):
            indices = batch_indices(total, self.batch_size, self.seed, probe, rng.MEASURING)
            yield probe, self.posterior.batch(indices)

    def diagonal(self, num_probes: int, on_probe: Callable[[], None] | None = None) -> Tensor:
        """The Hessian's diagonal by Hutchinson's estimate, E[z ∘ Hz] with z = ±1.

        Args:
            num_probes: Probes; the relative error falls as 1/√num_probes.
            on_probe: Called after each.

        Returns:
            The estimate, shape (d,); it can be negative.

        References:
            Bekas, Kokiopoulou & Saad 2007.
        """
        total = torch.zeros_like(self.posterior.anchor)
        for probe, batch in self.batches(num_probes):
            source = rng.generator(self.seed, rng.PROBE, probe)
            signs = torch.randint(2, total.shape, generator=source).to(total) * 2 - 1
            total += signs * self.product(signs, batch)
            if on_probe is not None:
                on_probe()
        return total / num_probes

    def largest(
        self,
        preconditioner: Preconditioner | None,
        num_iterations: int,
        on_probe: Callable[[], None] | None = None,
        position: Tensor | None = None,
    ) -> float:
        """The largest eigenvalue of D^(1/2)(nβH + γ)D^(1/2), by power iteration.

        The batch is fixed, so that the iteration converges. A lower bound that tightens with
        `num_iterations`. At `position` (d,), or w*.
        """
        posterior = self.posterior
        _, batch = next(self.batches(1))
        source = rng.generator(self.seed, rng.PROBE, -1)
        vector = torch.randn(posterior.anchor.shape, generator=source).to(posterior.anchor)
        vector = (vector / vector.norm())[None]
        value = 0.0
        for _ in range(num_iterations):
            scaled = vector if preconditioner is None else preconditioner.sqrt(vector)
            product = posterior.nbeta * self.product(scaled[0], batch, position)[None]
            product = product + posterior.localization * scaled
            product = product if preconditioner is None else preconditioner.sqrt(product)
            value = float(product.norm())
            if value == 0.0:
                return 0.0
            vector = product / value
            if on_probe is not None:
                on_probe()
        return value
