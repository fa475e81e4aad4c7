"""Content hashes: two things have the same fingerprint when, and only when, they are the same.

Everything is SHA-256, in hexadecimal. Nothing here depends on memory layout, device, dictionary
order, process or machine.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from germ.errors import GermError


def of_bytes(data: Any) -> str:
    """SHA-256 of raw bytes.

    Args:
        data: Anything with a contiguous buffer: bytes, a memoryview, a NumPy array. Read in place.

    Returns:
        64 hexadecimal digits.

    >>> of_bytes(b"abc")[:16]
    'ba7816bf8f01cfea'
    """
    return hashlib.sha256(data).hexdigest()


def of_file(path: str | Path) -> str:
    """SHA-256 of a file's content, read in pieces.

    Args:
        path: The file. Its name and dates do not enter.

    Returns:
        64 hexadecimal digits.

    Raises:
        GermError: If there is no such file, or it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise GermError(
            f"cannot read {path}: {error.strerror}; give the path of a file that can be read"
        ) from error


def of_json(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value, see `canonical_json`.

    Args:
        value: Dictionaries with string keys, lists, tuples, strings, finite numbers,
            booleans, None.

    Returns:
        64 hexadecimal digits.

    Raises:
        GermError: If some part of `value` is not JSON; the message says which.

    >>> of_json({"nbeta": 30, "seed": 0}) == of_json({"seed": 0, "nbeta": 30.0})
    True
    """
    return of_bytes(canonical_json(value).encode())


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: keys sorted, no blanks, equal numbers written alike.

    As in RFC 8785, a number has one spelling: 30 and 30.0 are both `30`, and -0.0 is `0`. A boolean
    is not a number: `true` and `1` differ. A tuple is a list.

    Args:
        value: Dictionaries with string keys, lists, tuples, strings, finite numbers,
            booleans, None.

    Returns:
        JSON text.

    Raises:
        GermError: If some part of `value` is not JSON; the message says which.

    >>> canonical_json({"b": [1.0, None], "a": True})
    '{"a":true,"b":[1,null]}'
    """
    return json.dumps(_normal(value, ""), sort_keys=True, separators=(",", ":"), allow_nan=False)


def of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors: names, dtypes, shapes and the exact bits of every entry.

    The hash of the canonical JSON of `[[name, dtype, shape, sha256(bytes)], ...]`, sorted by name.
    Bits are compared, not values: 0.0 and -0.0 differ. Tied weights hash like equal ones.

    Args:
        tensors: For example `model.state_dict()`. Any dtype, device, strides or order. One
            contiguous CPU copy is made of a tensor that is not contiguous or not on the CPU, and
            none of the others.

    Returns:
        64 hexadecimal digits.

    Raises:
        GermError: If a tensor has no dense data: it is sparse, or on the meta device.

    >>> a, b = torch.zeros(3), torch.ones(2, dtype=torch.bfloat16)
    >>> of_tensors({"a": a, "b": b}) == of_tensors({"b": b, "a": a})
    True
    >>> of_tensors({"a": a}) == of_tensors({"a": a.double()})
    False
    """
    entries = []
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        if tensor.layout is not torch.strided or tensor.is_meta:
            kind = "on the meta device" if tensor.is_meta else f"{tensor.layout}"
            raise GermError(
                f"tensor {name!r} is {kind} and has no bytes to hash; "
                "load the weights as dense tensors"
            )
        dtype = str(tensor.dtype).removeprefix("torch.")
        entries.append([name, dtype, list(tensor.shape), of_bytes(_raw(tensor))])
    return of_json(entries)


def _raw(tensor: Tensor) -> Any:
    """The bytes of a tensor in row-major order, without a copy where it is dense on the CPU."""
    dense = tensor.resolve_conj().resolve_neg().cpu().contiguous()
    # Half precision has no NumPy dtype: every dtype is read as bytes.
    return dense.reshape(-1).view(torch.uint8).numpy()


def _normal(value: Any, where: str) -> Any:
    """The value with one spelling per number, or an error that names what is not JSON."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        # Above 2**53 a float no longer tells neighbouring integers apart: leave it a float.
        return int(value) if value.is_integer() and abs(value) < 2**53 else float(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise GermError(f"{where or 'the top level'} has the key {key!r}; keys are strings")
        return {
            key: _normal(item, f"{where}.{key}" if where else key) for key, item in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return [_normal(item, f"{where}[{i}]") for i, item in enumerate(value)]
    what = f"{value!r}" if isinstance(value, float) else f"a {type(value).__name__}"
    raise GermError(
        f"{where or 'the value'} is {what}, which is not JSON; expected a dictionary, a list, "
        "a string, a finite number, a boolean or None"
    )
