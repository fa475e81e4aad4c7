"""The last commit: one safetensors file that holds all a run needs to go on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from germ.errors import GermError
from germ.store import files
from germ.store.series import Spec

# The dtypes of the safetensors format, by its names.
_CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass
class Snapshot:
    """A durable point of a run.

    Attributes:
        step: The step, as the writer counts.
        rows: Rows committed, by phase.
        specs: The series, in order of their first rows.
        tails: For each of them, the committed rows that fill no chunk yet, (chain, row, ...).
        state: What the writer asked to keep, on the CPU.
        seconds: Wall-clock time spent on the run up to here, in all its sessions.
    """

    step: int
    rows: dict[str, int]
    specs: list[Spec]
    tails: list[np.ndarray]
    state: dict[str, Any]
    seconds: float


def save(root: Path, snapshot: Snapshot) -> None:
    """Put a snapshot in the place of the last one, in one rename.

    Args:
        root: The run.
        snapshot: What to write. Tensors are streamed to the file, one copy at a time and only
            where they are not contiguous on the CPU.

    Raises:
        ValueError: If a value of the state is neither an array nor a plain number or string.
        OSError: If it cannot be written; the last snapshot is then untouched.
    """
    arrays: dict[str, Tensor] = {}
    kinds: dict[str, str] = {}
    scalars: dict[str, Any] = {}
    for name, value in snapshot.state.items():
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, Tensor):
            arrays[f"state/{name}"], kinds[name] = value.detach(), "tensor"
        elif isinstance(value, np.ndarray):
            arrays[f"state/{name}"], kinds[name] = _tensor(value), "array"
        elif value is None or isinstance(value, (bool, int, float, str)):
            scalars[name] = value
        else:
            raise ValueError(
                f"state {name!r} is a {type(value).__name__}; expected a tensor, an array, "
                "a number or a string"
            )
    for i, tail in enumerate(snapshot.tails):
        arrays[f"tail/{i}"] = _tensor(tail)
    notes = {
        "step": snapshot.step,
        "rows": snapshot.rows,
        "specs": [spec.to_json() for spec in snapshot.specs],
        "kinds": kinds,
        "scalars": scalars,
        "seconds": snapshot.seconds,
    }
    files.write_durable(root / files.STATE, _safetensors(arrays, {"germ": json.dumps(notes)}))


def load(root: Path, with_state: bool = True) -> Snapshot | None:
    """The last snapshot.

    Args:
        root: The run.
        with_state: False leaves `state` empty and unread.

    Returns:
        The snapshot, or None if nothing was committed yet (or the run is over).

    Raises:
        GermError: If it is damaged.
    """
    path = root / files.STATE
    try:
        with safe_open(path, framework="pt") as file:
            notes = json.loads(file.metadata()["germ"])
            state: dict[str, Any] = {}
            if with_state:
                state = dict(notes["scalars"])
                for name, kind in notes["kinds"].items():
                    tensor = file.get_tensor(f"state/{name}")
                    state[name] = tensor.numpy() if kind == "array" else tensor
            specs = [Spec.from_json(spec) for spec in notes["specs"]]
            # Copies: the rows outlive the file they are mapped from.
            tails = [file.get_tensor(f"tail/{i}").numpy().copy() for i in range(len(specs))]
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, ValueError, LookupError, TypeError) as error:
        raise GermError(
            f"the last commit of {root} is damaged ({error}); "
            "sample again with --fresh, or with another --out"
        ) from error
    return Snapshot(notes["step"], notes["rows"], specs, tails, state, notes["seconds"])


def _tensor(array: np.ndarray) -> Tensor:
    # torch takes no negative strides, and warns about memory it may not write to.
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _safetensors(tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> Iterator[Any]:
    """The buffers of a safetensors file: length of the header, header, and each tensor in turn.

    Written here because the format is this simple, and its own writer renames a temporary file of
    its choosing, readable by the owner only, that it does not sync.
    """
    # Wide dtypes first keeps every tensor aligned in the file.
    ordered = sorted(tensors.items(), key=lambda item: -item[1].element_size())
    header: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for name, tensor in ordered:
        if tensor.dtype not in _CODES or tensor.layout is not torch.strided:
            raise ValueError(f"{name!r} is {tensor.dtype}, {tensor.layout}: cannot be stored")
        end = offset + tensor.numel() * tensor.element_size()
        shape = list(tensor.shape)
        header[name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": shape,
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for _, tensor in ordered:
        yield tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
