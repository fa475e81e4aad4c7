"""The fingerprint tells apart what differs, and nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from germ import fingerprint
from germ.errors import GermError

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8,
    torch.uint8, torch.bool, torch.complex64,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)], ids=str)
def test_one_changed_entry_changes_the_hash_of_any_dtype(dtype, shape):
    zeros = torch.zeros(shape).to(dtype)
    changed = zeros.clone()
    changed.reshape(-1)[-1] = 1
    assert fingerprint.of_tensors({"w": zeros}) == fingerprint.of_tensors({"w": zeros.clone()})
    assert fingerprint.of_tensors({"w": zeros}) != fingerprint.of_tensors({"w": changed})


def test_dtypes_shapes_and_names_of_equal_bytes_differ():
    base = torch.zeros(4)
    same_bytes = [
        {"w": base},
        {"v": base},
        {"w": base.reshape(2, 2)},
        {"w": base.reshape(4, 1)},
        {"w": torch.zeros(4, dtype=torch.int32)},
        {"w": torch.zeros(8, dtype=torch.bfloat16)},
        {"w": torch.zeros(8, dtype=torch.float16)},
        {"w": base[:2], "x": base[2:]},
        {"w": base[:3], "x": base[3:]},
        {},
        {"w": torch.zeros(0)},
        {"w": torch.zeros(0, 3)},
    ]
    assert len({fingerprint.of_tensors(tensors) for tensors in same_bytes}) == len(same_bytes)


def test_order_strides_and_gradients_do_not_matter():
    torch.manual_seed(0)
    a, b = torch.randn(5, 3), torch.randn(4)
    plain = fingerprint.of_tensors({"a": a, "b": b})
    strided = torch.randn(3, 5).T
    strided.copy_(a)
    assert not strided.is_contiguous()
    assert plain == fingerprint.of_tensors({"b": b, "a": strided.requires_grad_()})
    # Same storage and address, other strides: not the same tensor.
    square = torch.randn(3, 3)
    tied = fingerprint.of_tensors({"a": square, "b": square})
    turned = fingerprint.of_tensors({"a": square, "b": square.T})
    assert tied == fingerprint.of_tensors({"a": square.clone(), "b": square.clone()})
    assert turned == fingerprint.of_tensors({"a": square.clone(), "b": square.T.clone()})
    assert tied != turned


def test_a_conjugate_view_is_read_as_its_values():
    z = torch.tensor([1 + 2j, 3 - 1j])
    both = fingerprint.of_tensors({"a": z, "b": z.conj()})
    assert both == fingerprint.of_tensors({"a": z.clone(), "b": z.conj().resolve_conj()})
    assert both != fingerprint.of_tensors({"a": z, "b": z})


def test_tied_weights_of_a_module():
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(5, 3)
            self.unembed = torch.nn.Linear(3, 5, bias=False)
            self.unembed.weight = self.embed.weight

    state = Tied().state_dict()
    assert len(state) == 2
    assert fingerprint.of_tensors(state) == fingerprint.of_tensors(
        {name: tensor.clone() for name, tensor in state.items()}
    )


def test_tensors_without_data_are_refused():
    with pytest.raises(GermError, match="'w' is on the meta device"):
        fingerprint.of_tensors({"w": torch.zeros(2, device="meta")})
    with pytest.raises(GermError, match=r"'s' is torch\.sparse_coo"):
        fingerprint.of_tensors({"s": torch.eye(2).to_sparse()})


def test_of_tensors_is_a_fixed_function():
    """Stored runs are compared by this hash: a change here orphans all of them."""
    content = hashlib.sha256(np.array([1.0, 2.0], np.float32).tobytes()).hexdigest()
    text = json.dumps([["w", "float32", [2], content]], separators=(",", ":"))
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert fingerprint.of_tensors({"w": torch.tensor([1.0, 2.0])}) == expected


def test_bytes_and_files_agree_with_sha256(tmp_path: Path):
    # The hash of b"abc" as published in FIPS 180-2, appendix B.1.
    published = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert fingerprint.of_bytes(b"abc") == fingerprint.of_file(path) == published
    assert fingerprint.of_bytes(np.frombuffer(b"abc", np.uint8)) == published


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, name: str):
    with pytest.raises(GermError, match=r"cannot read .*; give the path of a file"):
        fingerprint.of_file(tmp_path / name)


def test_equal_json_has_one_hash():
    one = {"a": [1, 2.5, None], "b": {"x": "ü", "y": True}, "n": 30}
    two = {"n": 30.0, "b": {"y": True, "x": "ü"}, "a": (1.0, 2.5, None)}
    assert fingerprint.of_json(one) == fingerprint.of_json(two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (1, True), (0, None), ("1", 1), ([], {}), ({"a": None}, {}), ([1, 2], [2, 1]), ("", None),
        (0.1, 0.1 + 2**-56), (2**53, 2**53 + 1), (float(2**60), 2**60 + 1),
        ({"a": "b"}, ["a", "b"]),
    ],
)  # fmt: skip
def test_different_json_has_different_hashes(one, two):
    assert fingerprint.of_json(one) != fingerprint.of_json(two)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": {"b": [0, torch.zeros(1)]}}, r"a\.b\[1\] is a Tensor"),
        ({"a": float("nan")}, r"a is nan, which is not JSON"),
        ([float("inf")], r"\[0\] is inf"),
        ({1: 2}, r"the top level has the key 1; keys are strings"),
        ({"a": b"x"}, r"a is a bytes"),
        ({"a": np.int64(3)}, r"a is a int64"),
        ({"a": {1, 2}}, r"a is a set"),
        (Path("x"), r"the value is a "),
    ],
)
def test_what_is_not_json_is_named(value, message):
    with pytest.raises(GermError, match=message):
        fingerprint.of_json(value)
