"""What may be appended: names, shapes and dtypes, checked once, where rows come in."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from germ.store import files
from germ.store.series import ROW_DIMS, Spec

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\- ]{0,199}")
_COUNTED = {"chain", *ROW_DIMS.values()}  # Dimensions whose coordinates are 0, 1, 2, ...


def check_block(
    phase: str, block: Mapping[str, np.ndarray], specs: Collection[Spec], num_chains: int | None
) -> int:
    """Check new rows against the series they go to.

    Args:
        phase: Which phase they belong to.
        block: By name, arrays (chain, row, ...).
        specs: The series of that phase, none before its first block.
        num_chains: Chains of the run, None if not known yet.

    Returns:
        The number of new rows.

    Raises:
        ValueError: If they do not fit.
    """
    leading = {array.shape[:2] for array in block.values()}
    if len(leading) != 1 or len(shape := next(iter(leading))) != 2:
        shapes = {name: array.shape for name, array in block.items()}
        raise ValueError(f"expected arrays (chain, row, ...) of equal beginning, got {shapes}")
    if num_chains not in (None, shape[0]):
        raise ValueError(f"the {phase} block has {shape[0]} chains; expected {num_chains}")
    if specs and {spec.name for spec in specs} != block.keys():
        names = sorted(spec.name for spec in specs)
        raise ValueError(f"the {phase} block has {sorted(block)}; expected {names}")
    for spec in specs:
        came = (block[spec.name].dtype.name, block[spec.name].shape[2:])
        if came != (spec.dtype, spec.shape):
            raise ValueError(f"{spec.name!r} came as {came}; expected {(spec.dtype, spec.shape)}")
    return shape[1]


def new_spec(
    phase: str,
    name: str,
    block: np.ndarray,
    dims: Sequence[str] | None,
    sizes: Mapping[str, int],
) -> Spec:
    """The series that begins with this block.

    Args:
        phase: Its phase.
        name: Its name.
        block: Its first rows, (chain, row, ...).
        dims: Names of all dimensions; None names those after the second `NAME_dim_0` and so on.
        sizes: Sizes of the named dimensions of the run so far.

    Returns:
        The specification.

    Raises:
        ValueError: If the name, the dtype, the dims or their sizes will not do.
    """
    _check_array(name, block)
    if dims is not None and (
        len(dims) != block.ndim or dims[0] != "chain" or dims[1] not in ROW_DIMS.values()
    ):
        raise ValueError(
            f"{name!r} has dims {tuple(dims)} for {block.ndim} dimensions; "
            "expected chain, draw, and a name for each of the rest"
        )
    extra = [f"{name}_dim_{i}" for i in range(block.ndim - 2)] if dims is None else list(dims[2:])
    spec = Spec.of(name, phase, block, extra)
    if name in spec.dims or name in _COUNTED or (phase == "draws" and name.startswith("warmup_")):
        raise ValueError(f"{name!r} cannot be the name of a series; call it something else")
    _check_sizes(name, named_sizes(spec), sizes, spec.dims)
    return spec


def check_results(
    arrays: Mapping[str, tuple[Sequence[str], np.ndarray]],
    taken: Collection[str],
    sizes: Mapping[str, int],
) -> None:
    """Check arrays that are stored once, at the end.

    Args:
        arrays: By name, (dims, array).
        taken: Names of the series of the run.
        sizes: Sizes of the named dimensions of the run, the growing ones included.

    Raises:
        ValueError: If a name is taken, or something does not fit.
    """
    known = dict(sizes)
    for name, (dims, array) in arrays.items():
        if name in taken or name in _COUNTED:
            raise ValueError(f"{name!r} is taken in this run; call the result something else")
        _check_array(name, array)
        if len(dims) != array.ndim:
            raise ValueError(f"{name!r} has {array.ndim} dimensions and dims {tuple(dims)}")
        own = dict(zip(dims, array.shape, strict=True))
        _check_sizes(name, own, known, dims)
        known |= own


def named_sizes(spec: Spec) -> dict[str, int]:
    """Size of every dimension of a series but the growing one."""
    return dict(zip(("chain", *spec.dims[2:]), (spec.num_chains, *spec.shape), strict=True))


def _check_array(name: str, array: np.ndarray) -> None:
    if not _NAME.fullmatch(name) or name == files.META or name.endswith(files.TEMPORARY):
        raise ValueError(f"{name!r} cannot name an array; use letters, digits, _, -, . and blanks")
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise ValueError(f"{name!r} is {array.dtype}; expected float, int or bool")


def _check_sizes(
    name: str, own: Mapping[str, int], known: Mapping[str, int], dims: Sequence[str]
) -> None:
    if len(set(dims)) != len(dims):
        raise ValueError(f"{name!r} has dims {tuple(dims)}; expected each name once")
    for dim, size in own.items():
        if known.get(dim, size) != size:
            raise ValueError(f"{name!r} has size {size} along {dim}; the run has {known[dim]}")
