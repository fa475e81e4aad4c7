"""Losses and gradients of U at the chains' positions: from a batch, anchored or not.

    plain      ∇Û = nβ·∇L_B(w) + γ(w − w*)
    anchored   ∇Û = nβ·[∇L_B(w) − ∇L_B(w*) + ∇L_n(w*)] + γ(w − w*)

Both are unbiased. The anchored one (a control variate: Baker, Fearnhead, Fox & Nemeth 2019,
arXiv 1706.05439) has no noise at w* and little near it, so it does not heat the chain.

Losses are paired: L_B(w) − L_B(w*) on the *same* batch. The loss of every example at w* is
computed once, so pairing costs nothing afterwards. Chains that share a batch share ∇L_B(w*) too:
C chains cost C + 1 gradients a step. Integrators live elsewhere and know nothing of this.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from germ import rng
from germ.errors import GermError
from germ.posterior import LocalPosterior
from germ.tree import dot
from germ.types import Batch, Halves, PerChain, Positions

ESTIMATES = ("anchored", "minibatch")


class Evaluation(NamedTuple):
    """What one batch says at the chains' positions.

    Attributes:
        loss: L_B(w), shape (chains,), float64.
        difference: The estimate of L_n(w) − L_n(w*), shape (chains,), float64.
        grad: The estimate of ∇U(w), shape (chains, d).
        displacement: w − w*, shape (chains, d).
        halves: The same from each half of the batch alone, shape (chains, 2), float64; None where
            they were not asked for.
    """

    loss: PerChain
    difference: PerChain
    grad: Positions
    displacement: Positions
    halves: Halves | None = None


@dataclass(frozen=True)
class AnchorPass:
    """One pass over all the data at w*.

    Attributes:
        example_losses: Loss of each example, shape (n,), float64.
        grad: ∇L_n(w*) on the moving coordinates, shape (d,), or None if it was not asked for.
        num_gradients: Gradient evaluations it took.
    """

    example_losses: Tensor
    grad: Tensor | None
    num_gradients: int

    @property
    def loss(self) -> float:
        """L_n(w*)."""
        return self.example_losses.mean().item()


def losses_and_grad(
    posterior: LocalPosterior, positions: Positions, batch: Batch, *, own_batches: bool = False
) -> tuple[Tensor, Positions]:
    """Example losses (chains, examples) and ∇L_B (chains, d), without U's other terms.

    One chain is a plain backward pass; several are one vectorized call (`torch.func.vmap`).

    Args:
        posterior: The posterior.
        positions: Positions, shape (chains, d).
        batch: One batch for all chains or, if `own_batches`, one a chain, stacked.
        own_batches: Whether the leaves of `batch` have a leading chain dimension.

    Returns:
        Losses and gradients.
    """

    def mean_loss(position: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        losses = posterior.example_losses(position, batch)
        return losses.mean(), losses.detach()

    if len(positions) == 1:
        leaf = positions[0].detach().requires_grad_()
        if own_batches:
            batch = pytree.tree_map(lambda x: x[0], batch)
        with torch.enable_grad():
            mean, losses = mean_loss(leaf, batch)
        (grad,) = torch.autograd.grad(mean, leaf)
        return losses[None], grad[None]
    vectorized = torch.func.vmap(
        torch.func.grad_and_value(mean_loss, has_aux=True),
        in_dims=(0, 0 if own_batches else None),
    )
    with warnings.catch_warnings():
        # Kernels without a batching rule run chain by chain: slower, not wrong.
        warnings.filterwarnings("ignore", message="There is a performance drop")
        grads, (_, losses) = vectorized(positions.detach(), batch)
    return losses, grads.detach()


def anchor_pass(
    posterior: LocalPosterior,
    batch_size: int,
    *,
    with_grad: bool,
    chunk_size: int | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> AnchorPass:
    """Losses of all examples at w*, and ∇L_n(w*).

    Args:
        posterior: The posterior.
        batch_size: Examples of a batch, the unit that gradients are counted in.
        with_grad: Whether to compute the gradient, at the cost of n / batch_size gradients.
        chunk_size: Examples a call; None is `batch_size`. Speed and memory only.
        on_batch: Told (batches done, batches in all).

    Returns:
        The pass.

    Raises:
        GermError: The loss of some example is not finite.
    """
    parts, grad, num_gradients, seen = [], None, 0, 0
    anchor = posterior.anchor[None]
    num = posterior.data.num_examples
    chunk_size = batch_size if chunk_size is None else chunk_size
    total = -(-num // chunk_size)
    for index, batch in enumerate(_all_batches(posterior, chunk_size)):
        if with_grad:
            losses, g = losses_and_grad(posterior, anchor, batch)
            weight = losses.shape[1] / num
            grad = g[0].double() * weight if grad is None else grad.add_(g[0], alpha=weight)
            num_gradients += -(-losses.shape[1] // batch_size)
        else:
            with torch.no_grad():
                losses = posterior.example_losses(posterior.anchor, batch)[None]
        if not torch.isfinite(losses).all():
            bad = seen + int((~torch.isfinite(losses[0])).nonzero()[0])
            raise GermError(f"expected finite losses at the anchor; example {bad} has NaN or inf")
        seen += losses.shape[1]
        parts.append(losses[0].double().cpu())
        if on_batch is not None:
            on_batch(index + 1, total)
    grad = None if grad is None else grad.to(posterior.anchor.dtype)
    return AnchorPass(torch.cat(parts), grad, num_gradients)


def _all_batches(posterior: LocalPosterior, batch_size: int) -> Iterator[Batch]:
    for indices in torch.arange(posterior.data.num_examples).split(batch_size):
        yield posterior.batch(indices)


class BatchAtAnchor(NamedTuple):
    """A batch and what is known of it at w*.

    Attributes:
        batch: The examples.
        losses: Their losses at w*, (examples,) or, with own batches, (chains, examples).
        correction: ∇L_B(w*) − ∇L_n(w*), (d,) or (chains, d); None where it is not needed.
        own: Whether each chain has a batch of its own.
    """

    batch: Batch
    losses: Tensor
    correction: Tensor | None
    own: bool


@dataclass
class Gradients:
    """Estimates ΔL and ∇U from minibatches; counts what it spends.

    Attributes:
        posterior: The posterior.
        anchor: The pass over the data at w*.
        batch_size: Examples a batch; n or more means the full data, without noise.
        seed: The run's seed: batches are keyed by (seed, step), or (seed, chain, step).
        estimate: `"anchored"` or `"minibatch"`.
        shared: Whether all chains see the same batch at a step.
        together: Whether all chains come in one call. Then w* joins them there, and what lies below
            the lowest moving layer is computed once for all.
        num_gradients: Gradients of a batch evaluated so far.
    """

    posterior: LocalPosterior
    anchor: AnchorPass
    batch_size: int
    seed: int
    estimate: str = "anchored"
    shared: bool = True
    together: bool = False
    num_gradients: int = 0
    _all: BatchAtAnchor | None = None
    _half: tuple[Tensor, Tensor] | None = None

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            GermError: Unknown estimate, or an anchored one without ∇L_n(w*).
        """
        if self.estimate not in ESTIMATES:
            raise GermError(f"expected gradient to be one of {ESTIMATES}; got {self.estimate!r}")
        if self.batch_size < 1:
            raise GermError(f"expected batch_size >= 1; got {self.batch_size}")
        if self.estimate == "anchored" and self.anchor.grad is None and not self.full_batch:
            raise GermError("expected an anchor pass with its gradient for anchored gradients")

    @property
    def full_batch(self) -> bool:
        """Whether a batch is all the data, so that nothing is estimated."""
        return self.batch_size >= self.posterior.data.num_examples

    def draw(self, step: int, chains: range | None = None) -> BatchAtAnchor:
        """The batch of `step`: shared, or stacked for `chains` when each has its own."""
        num = self.posterior.data.num_examples
        if self.full_batch:
            if self._all is None:  # Collated once: it is the same at every step.
                batch = self.posterior.batch(torch.arange(num))
                self._all = BatchAtAnchor(batch, self.anchor.example_losses, None, own=False)
            return self._all
        if chains is None or self.shared:
            indices = rng.batch_indices(num, self.batch_size, self.seed, step)
            batch = self.posterior.batch(indices)
            return self._at_anchor(batch, self.anchor.example_losses[indices], own=False)
        rows = [rng.batch_indices(num, self.batch_size, self.seed, step, c) for c in chains]
        indices = torch.cat(rows)
        size = (len(chains), self.batch_size)
        batch = pytree.tree_map(lambda leaf: leaf.unflatten(0, size), self.posterior.batch(indices))
        losses = self.anchor.example_losses[indices].view(size)
        return self._at_anchor(batch, losses, own=True)

    def _at_anchor(self, batch: Batch, losses: Tensor, *, own: bool) -> BatchAtAnchor:
        if self.estimate == "minibatch" or (self.together and not own):
            return BatchAtAnchor(batch, losses, None, own)
        num = len(losses) if own else 1
        anchor = self.posterior.anchor.expand(num, -1)
        _, grad = losses_and_grad(self.posterior, anchor, batch, own_batches=own)
        self.num_gradients += num
        assert self.anchor.grad is not None
        correction = grad - self.anchor.grad
        return BatchAtAnchor(batch, losses, correction if own else correction[0], own)

    def at(
        self, positions: Positions, drawn: BatchAtAnchor, *, with_halves: bool = False
    ) -> Evaluation:
        """What the batch says at `positions` (chains, d).

        With anchored gradients the loss difference gets the same control variate,
        −(∇L_B(w*) − ∇L_n(w*))·(w − w*), whose mean over batches is zero.

        Args:
            positions: Where.
            drawn: The batch.
            with_halves: Whether to estimate the difference from each half of the batch, too; with
                anchored gradients that takes the gradient of one half at w*.
        """
        posterior = self.posterior
        correction = drawn.correction
        joined = positions
        if correction is None and self.estimate == "anchored" and not self.full_batch:
            joined = torch.cat([positions, posterior.anchor[None]])
        losses, grad = losses_and_grad(posterior, joined, drawn.batch, own_batches=drawn.own)
        self.num_gradients += len(joined)
        if len(joined) > len(positions):
            assert self.anchor.grad is not None
            correction = grad[-1] - self.anchor.grad
            losses, grad = losses[:-1], grad[:-1]
        losses = losses.double()
        paired = losses - drawn.losses.to(losses.device)
        difference = paired.mean(1)
        displacement = positions - posterior.anchor
        # One new vector, then in place: each of d numbers costs as much as the arithmetic on it.
        if correction is None:
            grad = posterior.nbeta * grad
        else:
            grad = (grad - correction).mul_(posterior.nbeta)
            difference = difference - dot(displacement, correction)
        grad.add_(displacement, alpha=posterior.localization)
        halves = self._halves(paired, drawn, displacement, correction) if with_halves else None
        return Evaluation(losses.mean(1), difference, grad, displacement, halves)

    def _halves(
        self,
        paired: Tensor,
        drawn: BatchAtAnchor,
        displacement: Positions,
        correction: Tensor | None,
    ) -> Halves:
        """ΔL(w) from each half of the batch, given the examples' differences (chains, examples).

        Examples are drawn independently: given w, the halves are independent, and unbiased. Each
        has the control variate of its own examples. That of the whole batch, taken off both, would
        set their noises against each other: products would come out too small by
        Var((c_a − c_b)·(w − w*))/4. Of all the data both are ΔL(w) itself.
        """
        if self.full_batch:
            return paired.mean(1, keepdim=True).expand(-1, 2)
        num = paired.shape[1]
        middle = num // 2
        if middle == 0:
            return paired.expand(-1, 2) * torch.nan
        halves = torch.stack([paired[:, :middle].mean(1), paired[:, middle:].mean(1)], dim=1)
        if correction is None:
            return halves
        first = self._half_correction(drawn, middle)
        second = (num * correction - middle * first) / (num - middle)
        return halves - torch.stack([dot(displacement, first), dot(displacement, second)], dim=1)

    def _half_correction(self, drawn: BatchAtAnchor, middle: int) -> Tensor:
        """∇L_a(w*) − ∇L_n(w*) of the first half, once for all groups of chains that share it."""
        if self._half is not None and self._half[0] is drawn.losses:
            return self._half[1]
        posterior, axis = self.posterior, 1 if drawn.own else 0
        part = pytree.tree_map(lambda leaf: leaf.narrow(axis, 0, middle), drawn.batch)
        num = len(drawn.losses) if drawn.own else 1
        anchor = posterior.anchor.expand(num, -1)
        _, grad = losses_and_grad(posterior, anchor, part, own_batches=drawn.own)
        self.num_gradients += num
        assert self.anchor.grad is not None
        correction = grad - self.anchor.grad
        self._half = drawn.losses, correction if drawn.own else correction[0]
        return self._half[1]


@dataclass
class FullPotential:
    """U(w) − U(w*) and ∇U(w) over all the data, for samplers that accept or reject.

    Attributes:
        posterior: The posterior.
        anchor: The pass over the data at w*.
        batch_size: Examples a call (memory only; the sum is over all).
        num_gradients: Gradients of a batch evaluated so far.
    """

    posterior: LocalPosterior
    anchor: AnchorPass
    batch_size: int
    num_gradients: int = 0
    _all: Batch | None = None

    def __call__(self, position: Positions) -> tuple[PerChain, Positions]:
        """The potential (chains,), float64, zero at w*; and its gradient (chains, d)."""
        posterior, num = self.posterior, self.posterior.data.num_examples
        difference = torch.zeros(len(position), dtype=torch.float64, device=position.device)
        grad = torch.zeros_like(position)
        start = 0
        for batch in self._batches():
            losses, g = losses_and_grad(posterior, position, batch)
            end = start + losses.shape[1]
            at_anchor = self.anchor.example_losses[start:end].to(losses.device)
            difference += (losses.double() - at_anchor).sum(1) / num
            grad += g * (losses.shape[1] / num)
            self.num_gradients += len(position)
            start = end
        displacement = position - posterior.anchor
        squared = displacement.double().square().sum(1)
        potential = posterior.nbeta * difference + 0.5 * posterior.localization * squared
        return potential, posterior.nbeta * grad + posterior.localization * displacement

    def _batches(self) -> Iterator[Batch]:
        if self.batch_size < self.posterior.data.num_examples:
            yield from _all_batches(self.posterior, self.batch_size)
            return
        if self._all is None:  # Collated once: it is the same at every call.
            self._all = next(_all_batches(self.posterior, self.batch_size))
        yield self._all
