"""The small language model that germ ships: its checkpoints, its tokenizer and its text.

A two-layer attention-only transformer, trained by `germ.zoo.train` on four domains of free text.
Nothing here touches the network. Where the text is from: `assets/corpora/README.md`.
"""

import lzma
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from germ.errors import GermError
from germ.zoo.attention_only import AttentionOnly, load_checkpoint

ASSETS = files("germ") / "assets"
DOCUMENT_SEPARATOR = "\n\x1e\n"
END_OF_DOCUMENT = "<|end|>"
HELD_OUT_EVERY = 10  # the last of every ten documents is never trained on


def steps() -> list[int]:
    """Return the training steps of the bundled checkpoints, in order."""
    names = [entry.name for entry in (ASSETS / "checkpoints").iterdir()]
    return sorted(int(n[4:-12]) for n in names if n.endswith(".safetensors"))


def checkpoint_path(step: int | str = "final") -> Path:
    """Return the file of one checkpoint.

    Raises:
        GermError: if no checkpoint of that step is bundled.
    """
    available = steps()
    if step == "final":
        step = available[-1]
    if step not in available:
        raise GermError(f"no bundled checkpoint at {step!r}: choose 'final' or one of {available}")
    with as_file(ASSETS / "checkpoints" / checkpoint_name(step)) as path:
        return path


def checkpoint_name(step: int) -> str:
    """Return the file name of a checkpoint; names sort as steps do."""
    return f"step{step:06d}.safetensors"


def model(step: int | str = "final") -> AttentionOnly:
    """Load the bundled model as it was after so many training steps (float32, eval mode).

    Raises:
        GermError: if no checkpoint of that step is bundled.
    """
    return load_checkpoint(checkpoint_path(step))


@lru_cache(maxsize=1)
def tokenizer() -> Tokenizer:
    """Return the byte-level BPE tokenizer of the bundled model; its token 0 ends a document."""
    return Tokenizer.from_str((ASSETS / "tokenizer.json").read_text(encoding="utf-8"))


def domains() -> list[str]:
    """Return the names of the bundled corpora, sorted."""
    names = [entry.name for entry in (ASSETS / "corpora").iterdir()]
    return sorted(name[:-7] for name in names if name.endswith(".txt.xz"))


def documents(domain: str, split: str = "train") -> list[str]:
    """Return the documents of one domain, those trained on or those held out.

    Raises:
        GermError: if there is no such domain or split.
    """
    if domain not in domains():
        raise GermError(f"no bundled domain {domain!r}: choose one of {domains()}")
    if split not in ("train", "heldout"):
        raise GermError(f"split must be 'train' or 'heldout', got {split!r}")
    packed = (ASSETS / "corpora" / f"{domain}.txt.xz").read_bytes()
    every = lzma.decompress(packed).decode("utf-8").split(DOCUMENT_SEPARATOR)
    last = HELD_OUT_EVERY - 1
    return [d for i, d in enumerate(every) if (i % HELD_OUT_EVERY == last) == (split == "heldout")]


def text(domain: str, split: str = "train") -> str:
    """Return the documents of one domain as one string, separated by `DOCUMENT_SEPARATOR`.

    Raises:
        GermError: if there is no such domain or split.
    """
    return DOCUMENT_SEPARATOR.join(documents(domain, split))


@lru_cache(maxsize=16)
def stream(domain: str, split: str = "train") -> Tensor:
    """Return one domain as one row of tokens, int64, every document followed by `<|end|>`.

    Raises:
        GermError: if there is no such domain or split.
    """
    encoded = tokenizer().encode_batch(documents(domain, split))
    end = tokenizer().token_to_id(END_OF_DOCUMENT)
    return torch.tensor([token for document in encoded for token in (*document.ids, end)])


def tokens(domain: str = "all", split: str = "train", context: int = 128) -> Tensor:
    """Return packed contexts: a domain's token stream cut every `context` tokens.

    Args:
        domain: one of `domains()`, or "all": the domains in turn, one context of each, for as long
            as the shortest lasts.
        split: "train" or "heldout".
        context: tokens in an example.

    Returns:
        Tokens, int64, (examples, context).

    Raises:
        GermError: if there is no such domain or split, or not one whole context.
    """
    if domain == "all":
        each = [tokens(name, split, context) for name in domains()]
        shortest = min(map(len, each))
        return torch.stack([t[:shortest] for t in each], dim=1).flatten(0, 1)
    row = stream(domain, split)
    if not 0 < context <= len(row):
        raise GermError(f"context must be from 1 to {len(row)} (all of {domain!r}), got {context}")
    return row[: len(row) // context * context].reshape(-1, context)
