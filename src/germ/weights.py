"""Files of weights, and modules to put them in."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from germ.errors import GermError


def read_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a file written by torch.save, read without running what is in it.

    A checkpoint that keeps them under `model`, `state_dict` or `model_state_dict` will do.

    Raises:
        GermError: If it holds anything but tensors.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise GermError(
            f"{path}: expected a file of tensors alone (other objects can run code when read, and "
            "are refused); save model.state_dict() with safetensors.torch.save_file"
        ) from error
    states = [found] if _is_state(found) else []
    if not states and isinstance(found, Mapping):  # a checkpoint of weights, optimizer and so on
        states = [found[key] for key in ("model", "state_dict", "model_state_dict") if key in found]
    if len(states) != 1 or not _is_state(states[0]):
        came = f"{list(found)[:5]}" if isinstance(found, Mapping) else type(found).__name__
        raise GermError(f"{path}: expected a state dict, got {came}; save model.state_dict()")
    return dict(states[0])


def fill(module: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """Copy weights into a module, all of them or none.

    Args:
        module: The module.
        weights: By name. Of weights that are tied in the module one name is enough.
        name: What they come from, for messages.

    Raises:
        GermError: If names or shapes are not those of the module.
    """
    state = module.state_dict()
    shapes = {
        key: (tuple(weights[key].shape), tuple(state[key].shape)) for key in weights if key in state
    }
    wrong = {key: pair for key, pair in shapes.items() if pair[0] != pair[1]}
    if wrong:
        key, (came, expected) = next(iter(wrong.items()))
        raise GermError(
            f"{name}: expected {key} of shape {expected}, as in the module, got {came} "
            f"({len(wrong)} parameters do not fit)"
        )
    # A weight tied to another is stored once, under either name.
    stored = {state[key].data_ptr() for key in shapes}
    missing = [key for key in state if key not in weights and state[key].data_ptr() not in stored]
    unexpected = [key for key in weights if key not in state]
    if missing or unexpected:
        raise GermError(
            f"{name}: its weights are not those of the {type(module).__name__}: "
            f"missing {missing[:3] or 'none'} ({len(missing)}), "
            f"unexpected {unexpected[:3] or 'none'} ({len(unexpected)})"
        )
    module.load_state_dict(dict(weights), strict=False)


def check_finite(model: nn.Module, name: str) -> None:
    """Make sure that no weight is NaN or infinite.

    Raises:
        GermError: If one is; the message names its parameter.
    """
    for key, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        if tensor.is_meta:
            raise GermError(f"{name}: expected weights, got none for {key} (on the meta device)")
        if not tensor.is_floating_point():
            continue
        # A buffer may be infinite on purpose: some models keep their attention mask as one.
        weight = isinstance(tensor, nn.Parameter)
        wrong = ~tensor.detach().isfinite() if weight else tensor.isnan()
        if bool(wrong.any()):
            bad = int(wrong.sum())
            raise GermError(
                f"{name}: expected finite weights, got NaN or infinity in {key} ({bad:,} of "
                f"{tensor.numel():,}); take a checkpoint from before training diverged"
            )


def _is_state(found: Any) -> bool:
    return (
        isinstance(found, Mapping)
        and bool(found)
        and all(isinstance(value, Tensor) for value in found.values())
    )
