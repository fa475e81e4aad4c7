"""Files and names to tokens: text, JSON lines, parquet, token arrays, Hugging Face data sets.

Text is read document by document and no further than the examples asked for; token arrays are
memory-mapped and stay on disk.
"""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from germ import imports, text
from germ.data import Data, as_data
from germ.errors import GermError
from germ.tokens import TokenData, hugging_face_tokens, packed_rows, token_rows

FORMS = (
    ".txt, .jsonl, .json (each also .gz, .bz2 or .xz), .parquet, .npy, .bin, a folder written by "
    "save_to_disk, a Hugging Face data set, bundled:DOMAIN, or package.module:function"
)
DEFAULT_CONTEXT = 256
"""Tokens in an example, where neither the user nor the data says."""
_COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_SUFFIXES = (*_COMPRESSED, ".txt", ".jsonl", ".json", ".ndjson", ".parquet", ".npy", ".bin")
_CHUNK = 2**20  # characters read at a time


def load_tokens(
    spec: str | Path,
    tokenizer: Any,
    context: int | None,
    max_examples: int | None = None,
    *,
    default_context: int = DEFAULT_CONTEXT,
    field: str | None = None,
    vocab: int | None = None,
    split: str = "train",
    dtype: str = "uint16",
) -> Data:
    r"""The data named by `spec`, as rows of `context` tokens.

    Documents (of a text file: what lies between two `\n\x1e\n`, or all of it; of JSON lines and
    tables: a row) are put end to end, each followed by the tokenizer's end-of-text token if it has
    one, and cut. The first `max_examples` rows are kept, in the order of the file.

    Args:
        spec: A file, a folder, or a name; see `FORMS`. `bundled:all` is all bundled domains in
            turn, `bundled:DOMAIN/heldout` what the bundled model was not trained on. A function is
            called without arguments and returns texts, or what `germ.data.as_data` takes.
        tokenizer: See `germ.text.encoder`; not needed for data that is tokens already, nor for
            bundled text, which then gets the bundled one.
        context: Tokens in an example; by default as many as rows of tokens have, or else
            `default_context`.
        max_examples: Keep the first so many examples.
        default_context: Tokens in an example, where neither `context` nor the data says.
        field: The field or column that holds the text or the tokens; by default `text`, else
            `input_ids`.
        vocab: The model's vocabulary size, to hold tokens against.
        split: Which split of a Hugging Face data set.
        dtype: Of the tokens of a `.bin` file; uint16 by the convention of nanoGPT.

    Raises:
        GermError: If there is no such data, it is empty or shorter than one context, it cannot be
            decoded, has no such field, or holds a token outside the vocabulary.
    """
    if max_examples is not None and max_examples < 1:
        raise GermError(f"expected max_examples of at least 1, got {max_examples}")
    name = str(spec)
    try:
        if name.startswith("bundled:"):
            domain = name.removeprefix("bundled:")
            found = _bundled(domain, tokenizer, context or default_context, max_examples)
        else:
            found = _find(name, field, split, dtype)
        if isinstance(found, np.ndarray):
            width = context or (default_context if found.ndim == 1 else None)
            return token_rows(found, width, vocab, name, max_examples)
        if type(found).__module__.split(".")[0] == "datasets":
            column = choose_field(found.column_names, field)
            if column == "input_ids":
                return hugging_face_tokens(
                    found, context, vocab, name, max_examples, default_context
                )
            found = (row[column] for row in found)
        elif isinstance(found, list | tuple) and found and isinstance(found[0], str):
            found = iter(found)
        if isinstance(found, Iterator):
            first = next(found, "")
            found = itertools.chain([first], found)
            if not isinstance(first, str):
                return packed_rows(found, context, vocab, name, max_examples, default_context)
            encoder = text.encoder(tokenizer)
            tokens = text.encode(_strings(found), encoder)
            rows = text.pack(tokens, context or default_context, encoder.end, max_examples)
            return TokenData(rows, vocab, name)
        if max_examples is not None:
            raise GermError("max_examples is for tokens and text; let the function return fewer")
        return as_data(found, context=context, vocab=vocab)
    except GermError as error:
        raise GermError(f"{name}: {error}") from error


def _find(name: str, field: str | None, split: str, dtype: str) -> Any:
    """An array of tokens, a stream of documents, a Hugging Face data set, or anything else."""
    path = Path(name).expanduser()
    if imports.is_function(name):
        return imports.call(name)
    if path.is_dir():
        return _folder(path, split)
    if path.exists():
        return _file(path, field, dtype)
    if imports.is_path(name, _SUFFIXES):
        raise GermError(f"there is no such file{imports.nearest_files(path)}")
    return _hub(name, split)


def _strings(documents: Iterator[Any]) -> Iterator[str]:
    for number, document in enumerate(documents, 1):
        if not isinstance(document, str):
            raise GermError(f"expected text, got {type(document).__name__} in document {number}")
        yield document


def choose_field(fields: Sequence[str], field: str | None) -> str:
    """The field that holds the text or the tokens.

    Raises:
        GermError: If there is none; the message names the fields that exist.
    """
    for wanted in ("text", "input_ids") if field is None else (field,):
        if wanted in fields:
            return wanted
    expected = "a field 'text' or 'input_ids'" if field is None else f"a field {field!r}"
    raise GermError(f"expected {expected}, got {list(fields)}; choose one with --field")


def _file(path: Path, field: str | None, dtype: str) -> Any:
    suffix = Path(path.stem).suffix if path.suffix in _COMPRESSED else path.suffix
    if not path.stat().st_size:
        raise GermError("expected text or tokens, got an empty file")
    if path.suffix == ".npy":
        return _memory_map(path)
    if path.suffix == ".bin":
        kind = np.dtype(dtype)
        if path.stat().st_size % kind.itemsize:
            raise GermError(
                f"expected whole {kind} tokens, got {path.stat().st_size:,} bytes; "
                "is it of another dtype?"
            )
        return np.memmap(path, dtype=kind, mode="r")
    if path.suffix == ".parquet":
        return _parquet(path, field)
    if suffix == ".txt":
        return _text_documents(path)
    if suffix in (".jsonl", ".json", ".ndjson"):
        return _json_documents(path, field)
    raise GermError(f"cannot tell what data this is; expected {FORMS}")


def _memory_map(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise GermError(f"expected an array saved by numpy.save, got {error}") from error


def _open(path: Path) -> io.TextIOWrapper:
    # newline="": the text is what the file holds, and the same on every system. A byte-order mark
    # is no text.
    return _COMPRESSED.get(path.suffix, open)(path, "rt", encoding="utf-8-sig", newline="")


def _reading(path: Path, lines: Iterator[str]) -> Iterator[str]:
    """The same, with what goes wrong in reading said in one line."""
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise GermError(
            f"expected UTF-8 text, got the byte 0x{error.object[error.start]:02x} "
            f"({error.reason}); convert the file, or is it no text?"
        ) from error
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise GermError(f"cannot be read to its end ({error}); is the file damaged?") from error


def _text_documents(path: Path) -> Iterator[str]:
    def chunks() -> Iterator[str]:
        with _open(path) as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    rest = ""
    for chunk in _reading(path, chunks()):
        *whole, rest = (rest + chunk).split(text.SEPARATOR)
        yield from whole
    yield rest


def _json_documents(path: Path, field: str | None) -> Iterator[Any]:
    def lines() -> Iterator[str]:
        with _open(path) as file:
            yield from file

    rows = _reading(path, lines())
    first = next(rows, "")
    if first.lstrip().startswith("["):  # one array of objects, not a line each
        numbered = enumerate(_parse(first + "".join(rows), 1), 1)
    else:
        numbered = _parsed_lines(first, rows)
    for number, row in numbered:
        if not isinstance(row, dict):
            raise GermError(f"expected an object in every row, got {row!r:.40} in row {number}")
        try:
            yield row[choose_field(list(row), field)]
        except GermError as error:
            raise GermError(f"row {number}: {error}") from error


def _parsed_lines(first: str, rows: Iterator[str]) -> Iterator[tuple[int, Any]]:
    if first.strip():
        yield 1, _parse(first, 1)
    for number, line in enumerate(rows, 2):
        if line.strip():
            yield number, _parse(line, number)


def _parse(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise GermError(f"expected JSON in line {number}, got {line[:40]!r}: {error}") from error


def _parquet(path: Path, field: str | None) -> Iterator[Any]:
    parquet = imports.require("pyarrow.parquet", "a parquet file")
    try:
        file = parquet.ParquetFile(path)
    except Exception as error:  # pyarrow's own errors, whose classes need pyarrow to be named
        raise GermError(f"expected a parquet file, got {error}") from error
    column = choose_field(file.schema_arrow.names, field)
    for batch in file.iter_batches(columns=[column], batch_size=1000):
        yield from batch.column(0).to_pylist()


def _folder(path: Path, split: str) -> Any:
    if (path / "dataset_dict.json").exists():
        splits = json.loads((path / "dataset_dict.json").read_text())["splits"]
        if split not in splits:
            raise GermError(f"expected a split among {splits}, got {split!r}")
        path = path / split
    if not (path / "state.json").exists():
        raise GermError(
            f"expected a folder written by datasets.save_to_disk, got one with "
            f"{sorted(entry.name for entry in path.iterdir())[:5]}; give one of its files"
        )
    return imports.require("datasets", "a Hugging Face data set").load_from_disk(str(path))


def _hub(name: str, split: str) -> Any:
    datasets = imports.require("datasets", "it is no file, and a Hugging Face data set")
    name, _, config = name.partition(":")
    try:
        with imports.hub_or_cache():
            return datasets.load_dataset(name, config or None, split=split)
    except Exception as error:
        raise GermError(
            f"there is no such file here{_near(name)}, and no such data set could be had from the "
            f"Hugging Face hub: {imports.first_line(error)}"
        ) from error


def _near(name: str) -> str:
    return imports.nearest_files(Path(name)) if Path(name).parent.is_dir() else ""


def _bundled(name: str, tokenizer: Any, context: int, max_examples: int | None) -> np.ndarray:
    """Rows of one bundled domain, or of all in turn, read no further than asked for."""
    from germ.zoo import bundled  # loaded only when asked for

    domain, _, split = name.partition("/")
    if split not in ("", "train", "heldout"):
        raise GermError(f"expected the split train or heldout, got {split!r}")
    domains = bundled.domains() if domain == "all" else [domain]
    if max_examples is not None:
        max_examples = -(-max_examples // len(domains))
    encoder = text.encoder(tokenizer or bundled.tokenizer())
    each = []
    for domain in domains:
        tokens = text.encode(bundled.documents(domain, split or "train"), encoder)
        each.append(text.pack(tokens, context, encoder.end, max_examples))
    shortest = min(map(len, each))
    return np.stack([rows[:shortest] for rows in each], axis=1).reshape(-1, context)
