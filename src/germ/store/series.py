"""Arrays that grow row by row and are stored in chunks, each of which is written once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import MemoryStore

from germ.store import files

ROW_DIMS = {"draws": "draw", "warmup": "warmup_step"}
"""The growing dimension of each phase."""

# A chunk is a file and is held in memory until full. One MiB keeps files few and memory small;
# rows so wide that fewer than eight of them make a MiB get larger chunks, up to a limit.
_CHUNK_BYTES, _FEWEST_ROWS, _CHUNK_LIMIT = 2**20, 8, 2**25


@dataclass(frozen=True)
class Spec:
    """What a series is, whatever it holds.

    Attributes:
        name: The name its rows are appended by.
        phase: "draws" or "warmup".
        dims: Names of all dimensions; the first is the chain, the second grows.
        dtype: NumPy dtype, little-endian.
        num_chains: Size of the first dimension.
        shape: Sizes of the dimensions after the second.
        rows_per_chunk: Rows in one chunk.
    """

    name: str
    phase: str
    dims: tuple[str, ...]
    dtype: str
    num_chains: int
    shape: tuple[int, ...]
    rows_per_chunk: int

    @classmethod
    def of(cls, name: str, phase: str, block: np.ndarray, extra: Sequence[str]) -> Spec:
        """The series whose first rows are `block`, an array (chain, row, *extra)."""
        row = max(1, block.dtype.itemsize * block.shape[0] * int(np.prod(block.shape[2:])))
        rows = max(1, min(max(_CHUNK_BYTES // row, _FEWEST_ROWS), _CHUNK_LIMIT // row))
        dims = ("chain", ROW_DIMS[phase], *extra)
        return cls(name, phase, dims, block.dtype.name, block.shape[0], block.shape[2:], rows)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Spec:
        """The inverse of `to_json`."""
        return cls(**{**value, "dims": tuple(value["dims"]), "shape": tuple(value["shape"])})

    def to_json(self) -> dict[str, Any]:
        """Every attribute, as plain JSON."""
        return asdict(self)

    @property
    def folder(self) -> str:
        """Where it lies in the run, which is also its name in the data set."""
        return self.name if self.phase == "draws" else f"warmup_{self.name}"

    def chunk_name(self, index: int) -> str:
        """File name of the chunk that holds rows `index * rows_per_chunk` and on."""
        return ".".join(["c", "0", str(index), *["0"] * len(self.shape)])


class Series:
    """The growing end of one array: whole chunks on disk, the rows after them in memory.

    A chunk file may exist before a commit counts it; then it is overwritten with the same rows or
    deleted by `rewind`, and the array's own metadata, written at a commit, does not cover it.
    """

    def __init__(self, root: Path, spec: Spec) -> None:
        """A series without rows.

        Args:
            root: The run.
            spec: What the series is.
        """
        self.spec = spec
        self._folder = root / spec.folder
        # Index of the first row in memory, and a buffer (chain, capacity, ...) for the rows from
        # there on; how many of them count is the run's to say. One attribute, so that Ctrl-C
        # between two statements never finds one of them changed without the other.
        self._held = (0, np.empty((spec.num_chains, 0, *spec.shape), spec.dtype))
        self._num_covered: int | None = None
        self._document: dict[str, Any] | None = None  # As of any shape.

    def rewind(self, num_rows: int, tail: np.ndarray) -> None:
        """Go back to a commit: forget, also on disk, what came after it.

        Args:
            num_rows: Rows committed.
            tail: Those of them that fill no chunk, (chain, row, ...).
        """
        first = num_rows - tail.shape[1]
        self._held = (first, tail)
        self._num_covered = None
        if not self._folder.is_dir():
            return
        kept = {self.spec.chunk_name(i) for i in range(first // self.spec.rows_per_chunk)}
        for file in self._folder.iterdir():
            if file.name not in kept | {files.META}:
                file.unlink()

    def append(self, block: np.ndarray, start: int) -> None:
        """Take rows (chain, row, ...) as rows `start` and on; what was there is overwritten."""
        first, buffer = self._held
        begin, end = start - first, start - first + block.shape[1]
        if end > buffer.shape[1]:
            # Doubling, up to a chunk: the cost per row is constant, and memory stays small.
            capacity = max(end, min(max(16, 2 * buffer.shape[1]), self.spec.rows_per_chunk))
            larger = np.empty((self.spec.num_chains, capacity, *self.spec.shape), self.spec.dtype)
            larger[:, :begin] = buffer[:, :begin]
            self._held = (first, larger)
            buffer = larger
        buffer[:, begin:end] = block

    def flush(self, num_rows: int) -> None:
        """Write the chunks that are full when `num_rows` rows count."""
        size = self.spec.rows_per_chunk
        while num_rows - self._held[0] >= size:
            first, buffer = self._held
            self._write_chunk(first, buffer[:, :size])
            self._held = (first + size, buffer[:, size : num_rows - first].copy())

    def tail(self, num_rows: int) -> np.ndarray:
        """The rows up to `num_rows` that are in no chunk yet, (chain, row, ...); a view."""
        first, buffer = self._held
        return buffer[:, : num_rows - first]

    def cover(self) -> None:
        """Let the array's metadata say how many rows its whole chunks hold."""
        num_flushed = self._held[0]
        if self._num_covered != num_flushed:
            self._write_document(num_flushed)
            self._num_covered = num_flushed

    def close(self, num_rows: int) -> dict[str, Any]:
        """Write the rows that fill no chunk as well.

        Args:
            num_rows: Rows in all.

        Returns:
            The metadata document of the array.
        """
        tail = self.tail(num_rows)
        if tail.shape[1]:
            self._write_chunk(self._held[0], tail)
        self._num_covered = None
        return self._write_document(num_rows)

    def _write_chunk(self, first: int, rows: np.ndarray) -> None:
        self._folder.mkdir(exist_ok=True)
        name = self.spec.chunk_name(first // self.spec.rows_per_chunk)
        stored = self._encode(first + rows.shape[1], rows, first)
        files.write_durable(self._folder / name, [stored[name]])

    def _write_document(self, num_rows: int) -> dict[str, Any]:
        self._folder.mkdir(exist_ok=True)
        template = self._document or json.loads(self._encode(0)[files.META])
        self._document = template
        shape = [self.spec.num_chains, num_rows, *self.spec.shape]
        document = {**template, "shape": shape}
        files.write_durable(self._folder / files.META, [json.dumps(document, indent=1).encode()])
        return document

    def _encode(
        self, num_rows: int, rows: np.ndarray | None = None, start: int = 0
    ) -> dict[str, bytes]:
        spec = self.spec
        shape = (spec.num_chains, num_rows, *spec.shape)
        chunks = (spec.num_chains, spec.rows_per_chunk, *spec.shape)
        return encode(shape, chunks, spec.dims, spec.dtype, rows, start)


def write_array(root: Path, name: str, dims: Sequence[str], array: np.ndarray) -> dict[str, Any]:
    """Write an array that does not grow.

    Args:
        root: The run.
        name: Its folder.
        dims: Names of its dimensions.
        array: What to write.

    Returns:
        The metadata document of the array.
    """
    row = max(1, array.nbytes // max(1, array.shape[0])) if array.ndim else 1
    chunks = (max(1, _CHUNK_LIMIT // row), *array.shape[1:]) if array.ndim else ()
    chunks = tuple(min(c, s) for c, s in zip(chunks, array.shape, strict=True))
    stored = encode(array.shape, chunks, dims, array.dtype.name, array)
    folder = root / name
    folder.mkdir(exist_ok=True)
    # The document last: an array that has one is whole.
    for file in sorted(stored, key=lambda file: file == files.META):
        files.write_durable(folder / file, [stored[file]])
    return json.loads(stored[files.META])


def encode(
    shape: Sequence[int],
    chunks: Sequence[int],
    dims: Sequence[str],
    dtype: str,
    rows: np.ndarray | None = None,
    start: int = 0,
) -> dict[str, bytes]:
    """The files of a Zarr array, made in memory, so that every byte on disk goes one way.

    Args:
        shape: Shape of the whole array.
        chunks: Shape of a chunk.
        dims: Names of the dimensions.
        dtype: NumPy dtype.
        rows: What to store, from `start` along the second dimension to its end, or the whole
            array; None for the metadata alone.
        start: See `rows`; the beginning of a chunk.

    Returns:
        Content by file name: the metadata document, and the chunks that hold `rows`.
    """
    stored: dict[str, Any] = {}
    array = zarr.create_array(
        MemoryStore(stored),
        shape=tuple(shape),
        chunks=tuple(max(1, size) for size in chunks),
        dtype=np.dtype(dtype),
        # Byte-shuffling makes floats compress; the checksum finds a damaged chunk.
        compressors=[BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"), Crc32cCodec()],
        # One file level per array: c.0.3 and not c/0/3.
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=tuple(dims),
        fill_value=np.nan if np.dtype(dtype).kind == "f" else np.zeros((), dtype).item(),
        # Otherwise a chunk of zeros has no file, and a lost chunk reads as zeros.
        config={"write_empty_chunks": True},
    )
    if rows is not None:
        array[(slice(None), slice(start, None))[: len(shape)] or ...] = rows
    return {name: buffer.to_bytes() for name, buffer in stored.items()}
