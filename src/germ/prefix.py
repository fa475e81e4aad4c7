"""Nothing is computed below the lowest layer that moves: `shorten(posterior)`.

A posterior restricted to some layers is evaluated thousands of times, and each time the layers
below say what they said before. `shorten` returns an equivalent posterior that has what enters the
lowest moving block ready, for the examples of its data and for any batch that was `attach`ed to it,
and begins there. Losses, gradients, Hessian products and vectorized calls all go through it, and
are those of the whole model, to the bit where the same kernels run on the same batch.

The equality is not assumed: see `shorten`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from germ import rng
from germ.cut import Cut, find_cut
from germ.posterior import LocalPosterior
from germ.types import Batch

T = TypeVar("T")

DATA_BYTES = 2**30
"""Activations of the data are kept up to this size, and not at all beyond it. A constant: what a
run does must not depend on the memory that happens to be free when it starts or goes on."""

CHUNK = 32
"""Examples whose activations are captured together. Always the same ones, because the last bits of
a matrix product depend on the rows around: so an example's are the same whenever it is met."""

PROOF_EXAMPLES, PROOF_POSITIONS = 3, 2

PROOF_SCALE = 0.5
"""Perturbations in the proof, in units of a parameter's root mean square."""

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5}
"""Allowed |difference|/(1 + |loss|) in the proof, by the dtype of the hidden states; 1e-2 in half
precision. The same kernels run on the same numbers, so that what is seen is 0 as a rule. Nor may it
be more than a hundredth of what the perturbation did to the losses."""


class Attached(NamedTuple):
    """A batch and what reaches the cut on it; a tree of tensors, examples first, like any batch.

    Attributes:
        batch: The batch.
        hidden: What enters the first computed module, shape (examples, ...).
    """

    batch: Batch
    hidden: Tensor


def shorten(
    posterior: LocalPosterior,
    *,
    like: LocalPosterior | None = None,
    say: Callable[[str], None] | None = None,
) -> LocalPosterior:
    """An equivalent posterior that computes nothing below the lowest layer that moves.

    Proven, not assumed: at random positions away from w*, losses from the cut on must equal those
    of the whole model, to `TOLERANCES`. A model that carries something past its residual stream
    (values of the first layer that later ones read, a cache) fails, and is computed whole.

    Args:
        posterior: A posterior.
        like: One that was shortened before. Where model, data and cut are the same, as for two
            heads of a layer, what is known there of the data is not computed, nor held, twice.
        say: Told, in a line, what was done, or why nothing was.

    Returns:
        The shortened posterior, or `posterior` itself where there is nothing to gain or the proof
        failed. Its `identity()` is that of `posterior`.
    """
    tell = say or _silent
    if isinstance(posterior, Shortened):
        return posterior
    num = posterior.data.num_examples
    batch = posterior.batch(torch.arange(PROOF_EXAMPLES) % num)
    try:
        found = _find(posterior, batch)
    # Whatever a model does with its modules, the whole of it can still be computed.
    except Exception as error:
        found = f"a forward pass from the cut on failed ({type(error).__name__})"
    if isinstance(found, str):
        tell(f"the whole model is computed at every step: {found}")
        return posterior
    if like is not None and same_cut(found, like):
        assert isinstance(like, Shortened)
        chosen = torch.arange(PROOF_EXAMPLES) % num
        kept = like.activations.of(chosen, like._chunk)
        # The model may have been given other weights since.
        if torch.allclose(kept, _capture(found, found.cut, batch), 1e-3, 1e-4):
            found = replace(found, activations=like.activations)
    size = found.activations.num_bytes
    fits = size <= DATA_BYTES
    tell(
        f"nothing is computed below {type(found.cut.module).__name__} "
        f"({len(found.cut.skipped)} blocks skipped); activations of the data take "
        f"{size / 2**20:.0f} MiB" + ("" if fits else ", too much: they are computed at every step")
    )
    return found


def same_cut(one: LocalPosterior, other: LocalPosterior) -> bool:
    """Whether a batch that was attached to one posterior, while w* is what it was, fits the other.

    Both are whole, or both are cut at the same module of the same model, with the same data.
    """
    if not (isinstance(one, Shortened) and isinstance(other, Shortened)):
        return not isinstance(one, Shortened) and not isinstance(other, Shortened)
    return one.cut.module is other.cut.module and one.data is other.data


@dataclass(frozen=True)
class Shortened(LocalPosterior):
    """A posterior whose forward passes begin at a cut; made by `shorten`.

    Attributes:
        cut: Where they begin.
        activations: What enters there, for the examples of the data.
    """

    cut: Cut
    activations: Activations

    def apply(self, position: Tensor, function: Callable[..., T], *args: Any) -> T:
        """As `LocalPosterior.apply`; from the cut on if a batch with activations is among `args`.

        The function is given the batch as it was before. Without such a batch all is computed.
        """
        attached = [arg for arg in args if isinstance(arg, Attached)]
        if not attached:
            return super().apply(position, function, *args)
        args = tuple(arg.batch if isinstance(arg, Attached) else arg for arg in args)
        with self.cut.entered_with(attached[0].hidden):
            return super().apply(position, function, *args)

    def attach(self, batch: Batch) -> Attached:
        """`batch` with its activations at the cut, so that no layer below is computed again."""
        if isinstance(batch, Attached):
            return batch
        return Attached(batch, _capture(self, self.cut, batch))

    def batch(self, indices: Tensor) -> Batch:
        """The examples `indices`, with activations where those of all the data may be kept."""
        batch = super().batch(indices)
        if self.activations.num_bytes > DATA_BYTES:
            return batch
        return Attached(batch, self.activations.of(indices, self._chunk))

    def whole(self) -> LocalPosterior:
        """The posterior as it was before it was shortened."""
        return LocalPosterior(**{f.name: getattr(self, f.name) for f in fields(LocalPosterior)})

    def identity(self) -> dict[str, Any]:
        """That of the whole posterior: the same numbers, computed faster."""
        return self.whole().identity()

    def _chunk(self, indices: Tensor) -> Tensor:
        return _capture(self, self.cut, super().batch(indices))


@dataclass
class Activations:
    """Hidden states of the examples of a data set, captured when first asked for.

    A run that goes over its data first, as one with anchored gradients does, captures all of them
    there at no cost; one that does not pays for what it meets. Never more than one pass.

    Attributes:
        num_examples: n.
        example: Hidden states of one example, for their shape, dtype and device.
    """

    num_examples: int
    example: Tensor
    _kept: Tensor | None = None
    _known: set[int] = field(default_factory=set)

    @property
    def num_bytes(self) -> int:
        """Memory that those of all examples take."""
        return self.num_examples * self.example.nbytes

    def of(self, indices: Tensor, capture: Callable[[Tensor], Tensor]) -> Tensor:
        """Hidden states of the examples `indices`; `capture` makes those of a chunk of examples."""
        if self._kept is None:
            self._kept = self.example.new_empty((self.num_examples, *self.example.shape))
        if len(self._known) * CHUNK < self.num_examples:
            for chunk in sorted(set((indices // CHUNK).tolist()) - self._known):
                some = torch.arange(chunk * CHUNK, min((chunk + 1) * CHUNK, self.num_examples))
                self._kept[some[0] : some[-1] + 1] = capture(some)
                self._known.add(chunk)
        return self._kept[indices.to(self._kept.device)]


def _find(posterior: LocalPosterior, batch: Batch) -> Shortened | str:
    """The shortened posterior, proven on `batch`, or why there is none."""
    model = posterior.model
    cut = find_cut(
        model,
        posterior.coordinates.names,
        lambda: posterior.loss(model, batch),
        PROOF_EXAMPLES,
    )
    if isinstance(cut, str):
        return cut
    hidden = _capture(posterior, cut, batch)
    fewer = _capture(posterior, cut, pytree.tree_map(lambda leaf: leaf[:-1], batch))
    if len(fewer) != PROOF_EXAMPLES - 1 or not torch.allclose(hidden[:-1], fewer, 1e-3, 1e-4):
        return "the hidden states of an example depend on those beside it"
    example = hidden[0].clone()
    shortened = Shortened(
        **{f.name: getattr(posterior, f.name) for f in fields(LocalPosterior)},
        cut=cut,
        activations=Activations(posterior.data.num_examples, example),
    )
    difference, effect = _prove(posterior, shortened, batch, Attached(batch, hidden))
    tolerance = TOLERANCES.get(hidden.dtype, 1e-2)
    if effect == 0:
        return "no perturbation changed the losses, so that nothing can be proven"
    if not difference <= min(tolerance, 0.01 * effect):
        return (
            "losses of the whole model depend on more than what enters the lowest layer that "
            f"moves (they differ by {difference:.1g})"
        )
    return shortened


def _prove(
    posterior: LocalPosterior, shortened: Shortened, batch: Batch, attached: Attached
) -> tuple[float, float]:
    """Largest |difference| of losses at perturbed weights, and how far they moved from w*."""
    difference = effect = 0.0
    scale = torch.empty_like(posterior.anchor)
    for part in posterior.coordinates.slices().values():
        size = float(posterior.anchor[part].square().mean().sqrt())
        scale[part] = PROOF_SCALE * (size if size > 0 else 1.0)
    with torch.no_grad():
        at_anchor = posterior.token_losses(posterior.anchor, batch)
        for index in range(PROOF_POSITIONS):
            source = rng.generator(0, rng.PROBE, index)
            noise = torch.randn(scale.shape, generator=source, dtype=scale.dtype).to(scale.device)
            position = posterior.anchor + scale * noise
            whole = posterior.token_losses(position, batch)
            short = shortened.token_losses(position, attached)
            gap = (short - whole).abs() / (1 + whole.abs())
            difference = max(difference, float(gap.max().nan_to_num(nan=math.inf)))
            effect = max(effect, float((whole - at_anchor).abs().max()))
    return difference, effect


def _capture(posterior: LocalPosterior, cut: Cut, batch: Batch) -> Tensor:
    """What reaches the cut on `batch`, in chunks of examples."""
    leaves = [leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor)]
    parts = []
    for start in range(0, len(leaves[0]), CHUNK):
        stop = start + CHUNK
        part = pytree.tree_map(
            lambda leaf, a=start, b=stop: leaf[a:b] if isinstance(leaf, Tensor) else leaf, batch
        )
        parts.append(cut.capture(lambda part=part: posterior.loss(posterior.model, part)))
    return torch.cat(parts)


def _silent(_: str) -> None:
    """Nothing is said."""
