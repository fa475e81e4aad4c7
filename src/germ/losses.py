r"""Losses: callables `loss(model, batch)` that return one number per example, or per token.

$$ L_n(w) = \frac1n \sum_{i=1}^n \frac1{T} \sum_{t=1}^{T} \ell_{it}(w) $$

where the loss returns $\ell$, of shape (examples,) or (examples, tokens), **unreduced**: the mean
is taken later, since the same numbers also give per-example differences, variances and covariances.
Losses here are computed in at least float32 whatever the model's dtype, modify nothing in place and
never look at a value, so they run under `torch.func.vmap` and `functional_call`.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from germ import imports
from germ.batches import describe_batch
from germ.errors import GermError
from germ.types import Batch, LossFn

Losses = Float[Tensor, "examples"] | Float[Tensor, "examples tokens"]
Criterion = str | Callable[..., Any]

TARGETS = ("y", "target", "targets", "label", "labels")
"""Keys under which a batch that is a mapping may hold its targets."""


def causal_lm(model: Callable[..., Any], batch: Batch) -> Float[Tensor, "examples tokens"]:
    """Next-token cross-entropy of a causal language model, in nats.

    Args:
        model: Takes tokens (examples, context), by the name `input_ids` if it has that argument,
            and returns logits (examples, context, vocabulary) or an object with `.logits`.
        batch: `{"input_ids": int64 (examples, context)}`, without padding.

    Returns:
        Losses of shape (examples, context - 1): entry t is -log p(token t+1 | tokens up to t).

    Raises:
        GermError: If the batch holds no `input_ids`, or the model returns no logits of that shape.
    """
    if not isinstance(batch, Mapping) or "input_ids" not in batch:
        raise GermError(
            'the causal_lm loss expected a batch {"input_ids": tokens}, got '
            f"{describe_batch(batch)}; give token ids (examples, context), "
            "or choose another loss"
        )
    tokens = batch["input_ids"]
    logits = logits_of(model, tokens)
    if logits.ndim != 3 or logits.shape[:2] != tokens.shape:
        raise GermError(
            f"the causal_lm loss expected logits of shape {(*tokens.shape, 'vocabulary')}, "
            f"got {tuple(logits.shape)}; let the model return logits at every token"
        )
    # The last position predicts nothing. Giving it a placeholder target and dropping it afterwards
    # spares the copy of all logits that slicing them first would cost.
    targets = F.pad(tokens[:, 1:], (0, 1))
    losses = F.cross_entropy(_full(logits).flatten(0, 1), targets.flatten(), reduction="none")
    return losses.unflatten(0, tuple(tokens.shape))[:, :-1]


@dataclass(frozen=True)
class Supervised:
    """The loss of a model that maps inputs to targets; made by `supervised`.

    Attributes:
        criterion: A name in `CRITERIA`, or a function of (outputs, targets).
    """

    criterion: Criterion

    def __call__(self, model: Callable[..., Any], batch: Batch) -> Losses:
        """Losses of the batch, of shape (examples,) or (examples, tokens)."""
        inputs, targets = split(batch)
        outputs = _full(_predictions(model, inputs))
        if isinstance(self.criterion, str):
            return CRITERIA[self.criterion](outputs, targets)
        options = {"reduction": "none"} if "reduction" in _parameters(self.criterion) else {}
        losses = self.criterion(outputs, targets, **options)
        check_losses(losses, len(outputs))
        return losses


def supervised(criterion: Criterion) -> Supervised:
    """A loss for batches of inputs and targets.

    A batch is a pair (inputs, targets), or a mapping of two entries of which one is named as in
    `TARGETS`. Inputs that are themselves a mapping are passed to the model by name.

    Args:
        criterion: `"cross_entropy"`, `"mse"` (mean over output dimensions, no factor 1/2), `"bce"`
            (of logits, mean over output dimensions), or a function of (outputs, targets) that
            returns a loss per example. A function with an argument `reduction` is given "none".

    Raises:
        GermError: If there is no such criterion, or it reduces over examples.

    Example:
        >>> batch = torch.ones(5, 3), torch.zeros(5, 2)
        >>> supervised("mse")(nn.Linear(3, 2), batch).shape
        torch.Size([5])
    """
    if isinstance(criterion, str) and criterion not in CRITERIA:
        raise GermError(f"expected a criterion among {sorted(CRITERIA)}, got {criterion!r}")
    reduction = getattr(criterion, "reduction", "none")
    if reduction != "none":
        raise GermError(
            f"{type(criterion).__name__} reduces over examples (reduction={reduction!r}); "
            f'make it with reduction="none"'
        )
    return Supervised(criterion)


def resolve_loss(loss: object) -> LossFn:
    """The loss of that name, or the loss itself: a function of (model, batch).

    A criterion of `torch.nn` or `torch.nn.functional` is wrapped by `supervised`.

    Raises:
        GermError: If there is no such loss.
    """
    if loss == "causal_lm":
        return causal_lm
    if isinstance(loss, str):
        if loss not in CRITERIA:
            names = ["causal_lm", *sorted(CRITERIA)]
            raise GermError(f"expected a loss among {names} or a function, got {loss!r}")
        return supervised(loss)
    if not callable(loss):
        raise GermError(
            f"expected a loss: a name or a function of (model, batch), got {type(loss).__name__}"
        )
    origin = getattr(loss, "__module__", "") or ""
    if isinstance(loss, nn.Module) or origin == "torch.nn.functional":
        return supervised(loss)
    return cast(LossFn, loss)


def identify(loss: Callable[..., Any]) -> str:
    """What tells one loss from another in a stored run: its name, and for user code its text.

    A function is known by its module, its name and a hash of its source; what it closes over, and
    what it calls, is not looked into. An object that is no function is known by its `repr`.

    Example:
        >>> identify(causal_lm), identify(supervised("mse"))
        ('causal_lm', 'supervised(mse)')
    """
    if loss is causal_lm:
        return "causal_lm"
    if isinstance(loss, Supervised):
        criterion = loss.criterion
        return f"supervised({criterion if isinstance(criterion, str) else identify(criterion)})"
    if not hasattr(loss, "__code__"):
        # Without an address, which differs from run to run.
        return re.sub(r" at 0x[0-9a-f]+", "", repr(loss))
    try:
        text = inspect.getsource(loss)
    except (OSError, TypeError):  # typed at a prompt, or made by exec
        text = repr((loss.__code__.co_code, loss.__code__.co_names, loss.__code__.co_consts))
        text = re.sub(r" at 0x[0-9a-f]+", "", text)
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return f"{loss.__module__}.{loss.__qualname__}#{digest}"


def check_losses(losses: object, num_examples: int) -> None:
    """Make sure that a loss returned one number per example, or per token.

    Raises:
        GermError: If it did not.
    """
    if not isinstance(losses, Tensor):
        came = f"{type(losses).__name__}"
    elif losses.ndim in (1, 2) and losses.shape[0] == num_examples and losses.numel():
        if losses.is_floating_point():
            return
        came = f"dtype {losses.dtype}"
    else:
        came = "a single number" if losses.ndim == 0 else f"shape {tuple(losses.shape)}"
    raise GermError(
        f"expected unreduced losses of shape ({num_examples},) or ({num_examples}, tokens), "
        f'got {came}; return one loss per example (reduction="none")'
    )


def probe(model: nn.Module, loss: LossFn, batch: Batch, num_examples: int) -> Tensor:
    """Run the loss once, without gradients, and say in one line what does not fit.

    Called at the boundary, before anything long begins.

    Returns:
        The losses of the batch.

    Raises:
        GermError: If the model and the loss cannot process the batch.
    """
    try:
        with torch.no_grad():
            losses = loss(model, batch)
    except GermError:
        raise
    except Exception as error:
        weights = {p.dtype for p in model.parameters() if p.is_floating_point()}
        floats = {x.dtype for x in _tensors(batch) if x.is_floating_point()}
        if floats - weights and weights:
            hint = f"; the weights are {_names(weights)} and the data {_names(floats)}: convert one"
        else:
            hint = "; check that model, data and loss belong together"
        raise GermError(
            f"the model and its loss failed on a first batch, {describe_batch(batch)}: "
            f"{type(error).__name__}: {imports.first_line(error)}{hint}"
        ) from error
    check_losses(losses, num_examples)
    return losses


def split(batch: Batch) -> tuple[Any, Tensor]:
    """Inputs and targets of a batch.

    Raises:
        GermError: If the batch is neither a pair nor a mapping with one entry named as a target.
    """
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    if isinstance(batch, Mapping) and len(batch) == 2:
        target = [name for name in batch if name in TARGETS]
        if len(target) == 1:
            (inputs,) = (name for name in batch if name != target[0])
            return batch[inputs], batch[target[0]]
    raise GermError(
        "a supervised loss expected batches (inputs, targets), or a mapping of two entries of "
        f"which one is named {', '.join(TARGETS)}; got {describe_batch(batch)}"
    )


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of logits (examples, classes, ...) with class indices or probabilities."""
    if targets.is_floating_point():
        _same_shape("cross_entropy of class probabilities", outputs, targets)
        targets = _full(targets)
    elif outputs.ndim < 2 or (outputs.shape[0], *outputs.shape[2:]) != tuple(targets.shape):
        raise GermError(
            f"cross_entropy expected outputs (examples, classes, ...) and integer targets "
            f"(examples, ...), got {tuple(outputs.shape)} and {tuple(targets.shape)}"
        )
    else:
        targets = targets.long()
    losses = F.cross_entropy(outputs, targets, reduction="none")
    return losses if losses.ndim == 1 else losses.flatten(1)


def _mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error, mean over output dimensions (Lau et al. 2023, arXiv 2308.12108, code)."""
    _same_shape("mse", outputs, targets)
    return _per_example((outputs - targets).square())


def _bce(outputs: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of logits, mean over output dimensions."""
    _same_shape("bce", outputs, targets)
    targets = targets.to(outputs.dtype)
    return _per_example(F.binary_cross_entropy_with_logits(outputs, targets, reduction="none"))


CRITERIA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": _cross_entropy,
    "mse": _mse,
    "bce": _bce,
}
"""Criteria by name: functions of (outputs, targets) that return a loss per example."""


def _same_shape(name: str, outputs: Tensor, targets: Tensor) -> None:
    # (n, 1) against (n,) would broadcast to (n, n), and look like a loss.
    if outputs.shape != targets.shape:
        raise GermError(
            f"{name} expected targets of the outputs' shape {tuple(outputs.shape)}, "
            f"got {tuple(targets.shape)}; reshape one"
        )


def _per_example(losses: Tensor) -> Tensor:
    return losses if losses.ndim == 1 else losses.flatten(1).mean(1)


def _full(x: Tensor) -> Tensor:
    """At least float32: the loss of half-precision logits has errors as large as its effects."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def uniform_loss(loss: LossFn, model: Callable[..., Any], batch: Batch) -> float:
    """The loss of a model that knows nothing: log of the number of classes or tokens, in nats.

    Args:
        loss: The loss.
        model: The model.
        batch: An example or more.

    Returns:
        log(classes) of `causal_lm` and of cross-entropy; NaN for any other loss.
    """
    if loss is causal_lm:
        outputs = logits_of(model, batch["input_ids"])
    elif isinstance(loss, Supervised) and loss.criterion == "cross_entropy":
        outputs = _predictions(model, split(batch)[0])
    else:
        return math.nan
    # Classes are the second dimension, or the last of language models.
    return math.log(outputs.shape[-1 if loss is causal_lm or outputs.ndim < 3 else 1])


def logits_of(model: Callable[..., Any], tokens: Tensor) -> Tensor:
    """Logits (examples, context, vocabulary) of a causal language model, as `causal_lm` calls it.

    Raises:
        GermError: If the model returns no tensor, and nothing with `.logits`.
    """
    return _outputs(model(**_token_arguments(model, tokens)) if _by_name(model) else model(tokens))


def _predictions(model: Callable[..., Any], inputs: Any) -> Tensor:
    return _outputs(model(**inputs) if isinstance(inputs, Mapping) else model(inputs))


def _outputs(outputs: Any) -> Tensor:
    outputs = getattr(outputs, "logits", outputs)
    if not isinstance(outputs, Tensor):
        raise GermError(
            "the loss expected the model to return a tensor, or an object with `.logits`; "
            f"got {describe_batch(outputs)}"
        )
    return outputs


def _token_arguments(model: Callable[..., Any], tokens: Tensor) -> dict[str, Any]:
    # A key-value cache is of no use without generation, and a copy of every layer's activations.
    cache = {"use_cache": False} if "use_cache" in _parameters(model) else {}
    return {"input_ids": tokens, **cache}


def _by_name(model: Callable[..., Any]) -> bool:
    return "input_ids" in _parameters(model)


def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    function = function.forward if isinstance(function, nn.Module) else function
    return _parameter_names(getattr(function, "__func__", function))


@lru_cache(maxsize=64)  # looked up at every gradient, and slow for a decorated forward
def _parameter_names(function: Callable[..., Any]) -> frozenset[str]:
    try:
        return frozenset(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # some built-in functions have no signature
        return frozenset()


def _tensors(batch: Batch) -> list[Tensor]:
    leaves = tree_leaves(batch)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _names(dtypes: set[torch.dtype]) -> str:
    return ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
