"""The local posterior: what is sampled. It knows the mathematics and no sampler.

    p(w) ∝ exp(−nβ·L_n(w) − γ/2·‖w − w*‖²)

on the coordinates that may move; the others stay at w*.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from germ import fingerprint
from germ.data import Data, as_data
from germ.errors import GermError
from germ.losses import causal_lm, identify, probe, resolve_loss
from germ.restriction import Coordinates, Restriction, select
from germ.types import Batch, LossFn, Params

T = TypeVar("T")

LANGUAGE_MODEL_NBETA = 30.0
"""nβ for causal language models by default: the field's convention (Wang et al. 2410.02984)."""

LANGUAGE_MODEL_LOCALIZATION = 300.0
"""γ for causal language models by default (Baker et al. 2504.18274)."""

LOCALIZATION = 1.0
"""γ otherwise (Lau et al. 2308.12108)."""


@dataclass(frozen=True)
class LocalPosterior:
    """p(w) ∝ exp(−nβ·L_n(w) − γ/2·‖w − w*‖²) around trained weights w* (Lau et al. 2308.12108).

    L_n is the mean over examples of the mean over an example's tokens. Build one with
    `from_model`. Nothing here ever writes to the model.

    Attributes:
        model: The model; its weights are w*.
        data: The n examples of L_n.
        loss: Per-example losses, `loss(model, batch)`.
        coordinates: The coordinates that move.
        anchor: w* on the moving coordinates, shape (d,).
        nbeta: nβ, one number; L_n is in nats (or in the loss's unit), so nβ is in 1/nats.
        localization: γ ≥ 0.
    """

    model: nn.Module
    data: Data
    loss: LossFn
    coordinates: Coordinates
    anchor: Tensor
    nbeta: float
    localization: float

    @classmethod
    def from_model(
        cls,
        model: nn.Module,
        data: Any,
        *,
        loss: str | LossFn = "causal_lm",
        nbeta: float | str = "auto",
        localization: float | str = "auto",
        restrict: Restriction = None,
    ) -> LocalPosterior:
        """The local posterior of a model at its present weights.

        Args:
            model: Any module, in eval mode (or without dropout and batch norm).
            data: What `germ.data.as_data` takes: tensors, a PyTorch `Dataset` or `DataLoader`,
                a Hugging Face `Dataset`, or a `germ.data.Data`.
            loss: `"causal_lm"`, `"cross_entropy"`, `"mse"`, `"bce"`, or a function
                `loss(model, batch)` returning (examples,) or (examples, tokens), unreduced.
            nbeta: nβ > 0 (0 for the control that sees no data), or `"auto"`: 30 for causal
                language models, n/log n otherwise.
            localization: γ ≥ 0, or `"auto"`: 300 for causal language models, 1 otherwise.
            restrict: Which weights move: see `germ.restriction.select`.

        Returns:
            The posterior.

        Raises:
            GermError: The model is random or not finite, the loss is reduced, nβ or γ is
                negative, the restriction matches nothing, or the data are empty.
        """
        if not isinstance(model, nn.Module):
            raise GermError(f"expected a torch.nn.Module; got {type(model).__name__}")
        _refuse_random(model)
        loss_fn = resolve_loss(loss)
        data = as_data(data)
        coordinates = select(model, restrict)
        params = dict(model.named_parameters())
        _refuse_not_finite(params, dict(model.named_buffers()))
        is_lm = loss_fn is causal_lm
        posterior = cls(
            model=model,
            data=data,
            loss=loss_fn,
            coordinates=coordinates,
            anchor=coordinates.flatten(params),
            nbeta=_number("nbeta", nbeta, _auto_nbeta(data.num_examples, is_lm)),
            localization=_number(
                "localization",
                localization,
                LANGUAGE_MODEL_LOCALIZATION if is_lm else LOCALIZATION,
            ),
        )
        posterior._check_loss()
        return posterior

    def __post_init__(self) -> None:
        """Check nβ and γ.

        Raises:
            GermError: One is negative or not finite, or both are 0.
        """
        for name in ("nbeta", "localization"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise GermError(f"expected {name} >= 0 and finite; got {value}")
        if self.nbeta == 0 and self.localization == 0:
            raise GermError(
                "expected nbeta > 0 or localization > 0; with both 0 there is nothing to sample"
            )

    @property
    def num_coordinates(self) -> int:
        """d, the number of coordinates that move."""
        return self.coordinates.num_coordinates

    def apply(self, position: Tensor, function: Callable[..., T], *args: Any) -> T:
        """`function(model, *args)` with the model's weights at `position` (d,).

        Differentiable in `position`; weights that do not move take no part in the graph, so
        nothing is computed backward below the lowest moving layer.
        """
        # What `torch.func.functional_call` does, without walking the modules at every call, which
        # costs more than the gradient of a small model.
        params = {**self._params, **self.coordinates.unflatten(position, self._params)}
        places = self._places
        held = [holder[key] for holder, key, _ in places]
        try:
            for holder, key, name in places:
                holder[key] = params[name]
            return function(self.model, *args)
        finally:
            for (holder, key, _), original in zip(places, held, strict=True):
                holder[key] = original

    # Made once: walking a large model's modules at every call would cost more than small gradients.
    @functools.cached_property
    def _params(self) -> Params:
        return {name: p.detach() for name, p in self.model.named_parameters()}

    @functools.cached_property
    def _places(self) -> list[tuple[dict[str, Any], str, str]]:
        """Every place where a module holds a parameter (tied ones have several), and its name."""
        names = {id(p): name for name, p in self.model.named_parameters()}
        return [
            (module._parameters, key, names[id(p)])
            for module in self.model.modules()
            for key, p in module._parameters.items()
            if p is not None
        ]

    def example_losses(self, position: Tensor, batch: Batch) -> Tensor:
        """Loss of each example of `batch` at `position` (d,): shape (examples,)."""
        losses = self.token_losses(position, batch)
        return losses.flatten(1).mean(1) if losses.dim() > 1 else losses

    def token_losses(self, position: Tensor, batch: Batch) -> Tensor:
        """Losses of `batch` at `position` (d,), as the loss gives them.

        Shape (examples,), or (examples, tokens); nothing is averaged.
        """
        return self.apply(position, self.loss, batch)

    def attach(self, batch: Batch) -> Batch:
        """`batch`, with whatever of it can be computed once for all positions.

        Here that is nothing; see `germ.prefix.shorten`. Worth it for a batch that is evaluated at
        many positions, as probes are.
        """
        return batch

    def batch(self, indices: Tensor) -> Batch:
        """The examples `indices`, on the device of the moving coordinates."""
        return self.placed(self.data.batch(indices))

    def placed(self, batch: Batch) -> Batch:
        """Any batch, on the device of the moving coordinates."""
        device = self.coordinates.device
        return pytree.tree_map(
            lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, batch
        )

    def with_(self, **changes: float) -> LocalPosterior:
        """The same posterior with another `nbeta` or `localization`."""
        return replace(self, **changes)

    def identity(self) -> dict[str, Any]:
        """Everything that tells this posterior from another, JSON-able, with content hashes."""
        return {
            "nbeta": self.nbeta,
            "localization": self.localization,
            "num_coordinates": self.num_coordinates,
            "num_examples": self.data.num_examples,
            "weights": fingerprint.of_tensors(self.model.state_dict()),
            "model": hashlib.sha256(_structure(self.model).encode()).hexdigest(),
            "data": self.data.fingerprint(),
            "restriction": self.coordinates.fingerprint(),
            "loss": identify(self.loss),
            "first_losses": [float(f"{x:.5g}") for x in self._first_losses().tolist()],
        }

    def check_unchanged(self) -> None:
        """Refuse a model that was trained or loaded anew since the posterior was made.

        Raises:
            GermError: Its weights are no longer w*.
        """
        if not torch.equal(self.coordinates.flatten(self._params), self.anchor):
            raise GermError(
                "expected the model's weights as they were when the posterior was made; they "
                "have changed since: make the posterior again (LocalPosterior.from_model)"
            )

    def _first_losses(self) -> Tensor:
        # An eighth of a glance at the function itself: settings that live in neither weights nor
        # structure (a scale held as a plain attribute, a closure) change these.
        indices = torch.arange(min(4, self.data.num_examples))
        with torch.no_grad():
            return self.example_losses(self.anchor, self.batch(indices)).double().cpu()

    def _check_loss(self) -> None:
        """One look at the loss before anything long begins: what L_n must be, and is not always.

        Raises:
            GermError: It is reduced, not finite, random, couples examples, does not depend on
                the weights that move, or the model writes to its own buffers.
        """
        num = min(16, self.data.num_examples)
        batch = self.batch(torch.arange(num))
        before = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        raw = probe(self.model, self.loss, batch, num)
        again = probe(self.model, self.loss, batch, num)
        alone = probe(self.model, self.loss, self.batch(torch.arange(1)), 1)
        for name, buffer in self.model.named_buffers():
            if not torch.equal(buffer, before[name]):
                with torch.no_grad():
                    buffer.copy_(before[name])
                raise GermError(
                    f"expected a model that does not write to itself; its forward pass changes "
                    f"the buffer {name!r}: switch that off (call model.eval(), or drop the buffer)"
                )
        if not torch.isfinite(raw).all():
            bad = int((~torch.isfinite(raw.reshape(num, -1)).all(1)).nonzero()[0])
            raise GermError(
                f"expected finite losses at the anchor; example {bad} has NaN or inf: check the "
                "data and the loss"
            )
        if not torch.allclose(raw, again, rtol=1e-3, atol=1e-6):
            raise GermError(
                "expected a deterministic loss; two evaluations of the same batch at the same "
                "weights differ: switch off dropout or other randomness in the model"
            )
        tolerance = 2e-2 if any(d.itemsize < 4 for d in self.coordinates.dtypes) else 1e-3
        if not torch.allclose(raw[:1], alone, rtol=tolerance, atol=1e-5):
            raise GermError(
                "expected an example's loss to depend on that example alone; the first one's "
                "changes with the batch around it: replace batch statistics (batch norm, "
                "in-batch negatives) by fixed ones"
            )
        leaf = self.anchor.detach().requires_grad_()
        with torch.enable_grad():
            losses = self.example_losses(leaf, batch)
        if not losses.requires_grad:
            raise GermError(
                "expected a loss that depends on the weights that may move; it does not on "
                f"{self.coordinates.describe()}: restrict to weights that the forward pass uses, "
                "and compute the loss without torch.no_grad() or detach()"
            )


def _refuse_random(model: nn.Module) -> None:
    """Refuse, by name, modules that make L_n random or dependent on the rest of the batch."""
    for name, module in model.named_modules():
        if not module.training:
            continue
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            what = f"dropout is active in {name!r} (p={module.p})"
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            what = f"batch norm {name!r} is in train mode"
        elif isinstance(module, nn.RNNBase) and module.dropout > 0:
            what = f"dropout is active in {name!r} (p={module.dropout})"
        else:
            continue
        raise GermError(f"expected a model in eval mode; {what}: call model.eval() first")


def _auto_nbeta(num_examples: int, is_language_model: bool) -> float:
    if is_language_model:
        return LANGUAGE_MODEL_NBETA
    return num_examples / math.log(num_examples) if num_examples > 2 else 1.0


def _refuse_not_finite(params: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> None:
    for name, tensor in {**params, **buffers}.items():
        # Attention masks are buffers that may hold infinities; NaN is wrong everywhere.
        bad = ~tensor.isfinite() if name in params else tensor.isnan()
        if tensor.is_floating_point() and bad.any():
            raise GermError(
                f"expected finite weights; {name} holds NaN or infinite values: "
                "the checkpoint is damaged or training diverged"
            )


def _number(name: str, value: float | str, auto: float) -> float:
    if value == "auto":
        return float(auto)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise GermError(f"expected {name} to be a number or 'auto'; got {value!r}") from None


def _structure(model: nn.Module) -> str:
    config = getattr(model, "config", None)
    to_json = getattr(config, "to_json_string", None)
    return f"{model!r}{to_json() if callable(to_json) else repr(config)}"
