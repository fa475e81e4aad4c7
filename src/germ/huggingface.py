"""Causal language models of Hugging Face transformers, from a folder, a GGUF file, or a name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from germ import imports
from germ.errors import GermError


def is_folder(path: Path) -> bool:
    """Whether a folder holds a model that `load_model` can read."""
    return (path / "config.json").is_file() or any(path.glob("*.gguf"))


def load_model(
    name: str,
    *,
    dtype: torch.dtype | None = None,
    trust_remote_code: bool = False,
    revision: str | None = None,
) -> nn.Module:
    """Load a causal language model, in eval mode.

    Args:
        name: A folder written by `save_pretrained`, a folder with one GGUF file or such a file, or
            the name of a model on the hub.
        dtype: Of the weights; by default as stored, and float32 for GGUF.
        trust_remote_code: Whether to run code that comes with the model.
        revision: A branch, tag or commit on the hub.

    Raises:
        GermError: If there is no such model, or it is no causal language model, or its weights are
            not all there.
    """
    folder, gguf = _gguf(name)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if revision is not None:
        options["revision"] = revision
    if gguf is not None:
        imports.require("gguf", f"the GGUF file {gguf}")
        options["gguf_file"] = gguf
    transformers = imports.require("transformers", "a Hugging Face model")
    try:
        with imports.hub_or_cache(), _quiet(transformers.utils.logging):
            model, report = transformers.AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype or (torch.float32 if gguf else "auto"),
                output_loading_info=True,
                **options,
            )
    except Exception as error:
        raise _explained(name, error) from error
    # What is not in the file, transformers draws at random and only warns.
    missing = sorted(report["missing_keys"]) + [str(key) for key in report["mismatched_keys"]]
    if missing:
        raise GermError(
            f"{name}: expected the weights of a {type(model).__name__}, got none that fit for "
            f"{missing[0]} ({len(missing)} in all); is it a causal language model?"
        )
    model.eval()
    check_causal(model, name)
    return model


def load_tokenizer(
    name: str, *, trust_remote_code: bool = False, revision: str | None = None
) -> Any:
    """The tokenizer that comes with a model, or None if none does.

    Args:
        name: As for `load_model`.
        trust_remote_code: Whether to run code that comes with it.
        revision: A branch, tag or commit on the hub.
    """
    folder, gguf = _gguf(name)
    path = Path(folder)
    patterns = ("*token*", "vocab*", "*.model")
    if path.is_dir() and gguf is None and not any(any(path.glob(p)) for p in patterns):
        return None
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if revision is not None:
        options["revision"] = revision
    if gguf is not None:
        options["gguf_file"] = gguf
    transformers = imports.require("transformers", "a Hugging Face tokenizer")
    try:
        with imports.hub_or_cache(), _quiet(transformers.utils.logging):
            return transformers.AutoTokenizer.from_pretrained(folder, **options)
    except Exception as error:
        raise _explained(name, error, "a tokenizer") from error


def context_length(model: nn.Module) -> int | None:
    """The greatest number of tokens the model's configuration allows, if it says."""
    length = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    return length if isinstance(length, int) and length > 0 else None


def vocabulary_size(model: Any) -> int:
    """Number of tokens the model can read: the rows of its embedding."""
    return model.get_input_embeddings().weight.shape[0]


def check_causal(model: nn.Module, name: str) -> None:
    """Make sure that no logit depends on a later token, by changing the last of a few.

    An encoder (BERT) loads as a causal language model with no more than a warning, and would then
    see what it is asked to predict.

    Raises:
        GermError: If one does.
    """
    device = next(model.parameters()).device
    tokens = torch.arange(8, device=device).repeat(2, 1) % vocabulary_size(model)
    tokens[1, -1] = 0
    with torch.no_grad():
        first, second = model(input_ids=tokens, use_cache=False).logits[:, :-1]
    change = (first - second).float().abs().max() / first.float().std()
    # The two rows may be rounded differently, no more; a trained encoder moves its logits by much
    # of their spread.
    half = first.dtype != torch.float32 and first.dtype != torch.float64
    if change > (0.05 if half else 1e-3):
        raise GermError(
            f"{name}: expected a causal language model, got {type(model).__name__}, whose "
            "predictions depend on later tokens; use one that was trained to predict the next"
        )


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """Without progress bars and warnings: what they say is checked here, and raised."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _gguf(name: str) -> tuple[str, str | None]:
    """Folder and GGUF file, where the weights are one."""
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise GermError(f"there is no file {name}{imports.nearest_files(path)}")
        return str(path.parent), path.name
    if not path.is_dir():
        return name, None
    if (path / "config.json").is_file():
        return str(path), None
    files = sorted(entry.name for entry in path.glob("*.gguf"))
    if len(files) == 1:
        return str(path), files[0]
    if files:
        raise GermError(f"{name}: expected one GGUF file, got {files}; name one: {path / files[0]}")
    found = sorted(entry.name for entry in path.iterdir())[:5]
    raise GermError(
        f"{name}: expected a folder with a config.json (written by save_pretrained) or a .gguf "
        f"file, got one with {found or 'nothing'}"
    )


def _explained(name: str, error: Exception, what: str = "a causal language model") -> GermError:
    if "trust_remote_code" in str(error):
        return GermError(
            f"{name} comes with code of its own, which is not run unasked; read it, and then load "
            "it with --trust-remote-code (trust_remote_code=True)"
        )
    reason = imports.first_line(error)
    if not os.path.exists(name) and isinstance(error, OSError):
        near = imports.nearest_files(Path(name)) if Path(name).parent.is_dir() else ""
        return GermError(
            f"there is no file or folder {name!r} here{near}, and no such model could be had from "
            f"the Hugging Face hub: {reason}"
        )
    return GermError(f"{name}: transformers cannot load {what}: {reason}")
