"""Models by name: what is written on the command line → model, loss, data and tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from germ import huggingface, imports
from germ.checkpoints import expand
from germ.data import Data, as_data
from germ.errors import GermError
from germ.losses import causal_lm, resolve_loss
from germ.sources import DEFAULT_CONTEXT, load_tokens
from germ.types import LossFn
from germ.weights import check_finite, fill, read_pickle

__all__ = ["Loaded", "load", "load_data", "expand"]

FORMS = (
    "a Hugging Face folder or name, a .gguf file, a .safetensors file, package.module:function, "
    "file.py:function, bundled, or bundled@STEP"
)
_PICKLES = (".pt", ".pth", ".ckpt", ".bin")


@dataclass(frozen=True)
class Loaded:
    """A model and what came with it.

    Attributes:
        model: In eval mode, on its device.
        name: What it was loaded from.
        loss: The loss that goes with it; None if a function returned a model alone.
        tokenizer: Its tokenizer; None if it has none.
        data: Its data; None if it came without.
        context: The greatest number of tokens it reads at once; None if it does not say.
        vocab: The number of tokens it knows; None if it is no language model.
    """

    model: nn.Module
    name: str
    loss: LossFn | None = None
    tokenizer: Any = None
    data: Data | None = None
    context: int | None = None
    vocab: int | None = None


def load(
    spec: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | str | None = None,
    trust_remote_code: bool = False,
    revision: str | None = None,
    into: str | None = None,
    tokenizer: str | None = None,
) -> Loaded:
    """The model named by `spec`, in eval mode and with finite weights.

    Args:
        spec: One of `FORMS`. A function takes no arguments and returns (model, data, loss), a dict
            with some of these keys (and `tokenizer`), or a model alone. `NAME@REVISION` is a
            revision of a model on the hub.
        device: Where to put the model.
        dtype: Of its weights; by default as stored.
        trust_remote_code: Whether to run code that comes with a model.
        revision: A branch, tag or commit on the hub.
        into: `package.module:function` that returns the module whose weights a file of weights
            alone (`.safetensors`, or a `.pt` of tensors) fills.
        tokenizer: Use this one: a `tokenizer.json`, or a Hugging Face folder or name.

    Raises:
        GermError: If there is no such model, it is no model, weights do not fit, or one is NaN or
            infinite.
    """
    name = str(spec)
    path = Path(name).expanduser()
    kind = _dtype(dtype)
    device = _device(device)
    if name == "bundled" or name.startswith("bundled@"):
        found = _bundled(name)
    elif imports.is_function(name):
        found = _from_function(name)
    elif path.is_file() and path.suffix != ".gguf":
        found = _from_file(path, kind, into)
    elif not path.exists() and imports.is_path(name, (*_PICKLES, ".safetensors", ".gguf", ".py")):
        raise GermError(f"there is no file or folder {name}{imports.nearest_files(path)}")
    else:
        found = _from_hugging_face(name, kind, trust_remote_code, revision)
    check_finite(found.model, name)
    model = found.model.to(device=device, dtype=kind).eval()
    if tokenizer is not None:
        found = replace(found, tokenizer=_named_tokenizer(tokenizer, trust_remote_code))
    return replace(found, model=model, name=name)


def load_data(
    loaded: Loaded,
    spec: str | Path | None = None,
    *,
    context: int | None = None,
    max_examples: int | None = None,
    **options: Any,
) -> Data:
    """The data for a model: what `spec` names, cut and checked to fit it.

    Args:
        loaded: The model.
        spec: See `germ.sources.load_tokens`; by default the data that came with the model.
        context: Tokens in an example; by default as many as the model reads, at most
            `DEFAULT_CONTEXT`, or as many as rows of tokens have.
        max_examples: Keep the first so many examples.
        options: Passed on to `load_tokens`.

    Raises:
        GermError: If there is no data, or it does not fit the model.
    """
    if spec is None and loaded.data is not None:
        return loaded.data
    if spec is None and loaded.name.startswith("bundled"):
        spec = "bundled:all"
    if spec is None:
        raise GermError(f"{loaded.name} comes without data; name some with --data")
    if context is not None and loaded.context is not None and context > loaded.context:
        raise GermError(
            f"expected a context of at most {loaded.context} tokens, as many as {loaded.name} "
            f"reads, got {context}"
        )
    data = load_tokens(
        spec,
        loaded.tokenizer,
        context,
        max_examples,
        default_context=min(loaded.context or DEFAULT_CONTEXT, DEFAULT_CONTEXT),
        vocab=loaded.vocab,
        **options,
    )
    width = getattr(data, "context", None)
    if width is not None and loaded.context is not None and width > loaded.context:
        raise GermError(
            f"{spec}: expected rows of at most {loaded.context} tokens, as many as {loaded.name} "
            f"reads, got {width}; give a smaller context"
        )
    return data


def _bundled(name: str) -> Loaded:
    from germ.zoo import bundled  # loaded only when asked for

    step = name.partition("@")[2] or "final"
    if step != "final" and not step.isdigit():
        raise GermError(f"expected bundled@STEP with a step among {bundled.steps()}, got {name}")
    model = bundled.model("final" if step == "final" else int(step))
    return _zoo(model, name, bundled.tokenizer())


def _zoo(model: Any, name: str, tokenizer: Any) -> Loaded:
    config = model.config
    return Loaded(model, name, causal_lm, tokenizer, None, config.context, config.vocab_size)


def _from_hugging_face(
    name: str, dtype: torch.dtype | None, trust_remote_code: bool, revision: str | None
) -> Loaded:
    path = Path(name).expanduser()
    if not path.exists() and "@" in path.name and revision is None:
        name, revision = name.rsplit("@", 1)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "revision": revision}
    model = huggingface.load_model(name, dtype=dtype, **options)
    return Loaded(
        model,
        name,
        causal_lm,
        huggingface.load_tokenizer(name, **options),
        context=huggingface.context_length(model),
        vocab=huggingface.vocabulary_size(model),
    )


def _from_file(path: Path, dtype: torch.dtype | None, into: str | None) -> Loaded:
    if path.suffix == ".py":
        raise GermError(f"{path} is a Python file; name its function, {path}:function")
    if path.suffix != ".safetensors" and path.suffix not in _PICKLES:
        raise GermError(f"{path}: expected a model ({FORMS}), got a file of another kind")
    if path.suffix in _PICKLES:
        return _filled(path, read_pickle(path), into)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise GermError(f"{path}: expected a safetensors file, got {error}") from error
    if "germ.zoo" in metadata:
        from germ.zoo.attention_only import load_checkpoint  # loaded only when asked for

        model = load_checkpoint(path)
        return _zoo(model, str(path), _zoo_tokenizer(path, model.config.vocab_size))
    if into is None and (path.parent / "config.json").is_file():
        return _from_hugging_face(str(path.parent), dtype, False, None)
    return _filled(path, load_file(path), into)


def _zoo_tokenizer(path: Path, vocab_size: int) -> Any:
    """The tokenizer beside a checkpoint, or the one `germ.zoo.train` uses unless told."""
    from germ.zoo import bundled

    if (path.parent / "tokenizer.json").is_file():
        return _named_tokenizer(str(path.parent / "tokenizer.json"), False)
    tokenizer = bundled.tokenizer()
    return tokenizer if tokenizer.get_vocab_size() == vocab_size else None


def _named_tokenizer(name: str, trust_remote_code: bool) -> Any:
    path = Path(name).expanduser()
    if path.suffix != ".json":
        found = huggingface.load_tokenizer(name, trust_remote_code=trust_remote_code)
        if found is None:
            raise GermError(f"{name}: expected a tokenizer, got a folder without one")
        return found
    from tokenizers import Tokenizer

    if not path.is_file():
        raise GermError(f"there is no file {name}{imports.nearest_files(path)}")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise GermError(f"{name}: expected a tokenizer.json, got {error}") from error


def _filled(path: Path, weights: Mapping[str, Tensor], into: str | None) -> Loaded:
    if into is None:
        raise GermError(
            f"{path} holds weights and no model; name a function that makes the module, "
            "--into package.module:function"
        )
    found = _from_function(into)
    fill(found.model, weights, f"{path} into {into}")
    return found


def _from_function(spec: str) -> Loaded:
    """What a user's function returns, in the one form used here."""
    came: Any = imports.call(spec)
    if isinstance(came, nn.Module):
        came = dict(model=came)
    elif isinstance(came, tuple) and len(came) == 3:
        came = dict(zip(("model", "data", "loss"), came, strict=True))
    known = {"model", "data", "loss", "tokenizer"}
    if not isinstance(came, Mapping) or "model" not in came or not set(came) <= known:
        what = f"a dict of {list(came)}" if isinstance(came, Mapping) else type(came).__name__
        raise GermError(
            f"{spec}: expected it to return (model, data, loss), a dict with keys among "
            f"{sorted(known)}, or a torch.nn.Module, got {what}"
        )
    model, data, loss = came["model"], came.get("data"), came.get("loss")
    if not isinstance(model, nn.Module):
        raise GermError(f"{spec}: expected a torch.nn.Module as model, got {type(model).__name__}")
    try:
        return Loaded(
            model,
            spec,
            None if loss is None else resolve_loss(loss),
            came.get("tokenizer"),
            None if data is None else as_data(data),
        )
    except GermError as error:
        raise GermError(f"{spec}: {error}") from error


def _dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    known = {"float64", "float32", "bfloat16", "float16"}
    if dtype not in known:
        raise GermError(f"expected a dtype among {sorted(known)}, got {dtype!r}")
    return getattr(torch, dtype)


def _device(device: torch.device | str) -> torch.device:
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise GermError(
            f"expected a device such as cpu or cuda, got {device}: {imports.first_line(error)}"
        ) from error
    return found
