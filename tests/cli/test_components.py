from __future__ import annotations

import csv
import json

import pytest
from tests.cli.support import call, call_json, refused

RUN = (
    "--chains", "2", "--draws", "6", "--warmup", "2", "--sampler", "lm", "--step-size", "1e-5",
    "--context", "16", "--max-examples", "8",
)  # fmt: skip


def test_components_are_listed_with_their_weights(folder):
    result = call("components", "bundled", "--select", "layers.1.head.6,embed")
    assert result.exit_code == 0, result.output
    head, six, embed = result.stdout.splitlines()
    assert head.split() == ["component", "weights", "where"]
    assert six.split()[:3] == ["layers.1.head.6", "8,192", "layers.1.attn.q.weight[96:112],"]
    assert embed.split() == ["embed", "131,072", "embed.weight"]
    everything = call("components", "bundled").stdout.splitlines()
    assert len(everything) == 1 + 3 + 2 * (2 + 8) + 2
    assert everything[-2].startswith("no mlp: ")


def test_components_as_json(folder):
    found = call_json("components", "bundled", "--select", "heads")
    assert len(found["components"]) == 16
    assert found["components"][9] == {
        "name": "layers.1.head.1",
        "kind": "head",
        "num_parameters": 8192,
        "places": [
            *(f"layers.1.attn.{n}.weight[16:32]" for n in "qkv"),
            "layers.1.attn.o.weight[:, 16:32]",
        ],
        "notes": [],
    }
    assert set(found["missing"]) == {"mlp", "kv"}


def test_what_is_not_there_is_told_in_one_line(folder):
    assert "layers.1.head.6" in refused("components", "bundled", "--select", "layers.1.haed.6")
    assert "tokens" in refused("components", "toys.py:toy")


def test_refined_llcs_are_a_table_and_files(folder):
    args = ("llc", "bundled", "--components", "layers.1.head.[67],embed", *RUN)
    data = ("--data", "bundled:code_python", "--on", "bundled:literature")
    result = call(*args, *data, "--out", "here")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split()[:4] == ["component", "data", "weights", "λ̂"]
    assert lines[1].split()[:3] == ["layers.1.head.6", "bundled:code_python", "8,192"]
    assert lines[6].split()[:2] == ["embed", "bundled:literature"]
    assert "6 of 6 measured" in lines[-1]
    rows = list(csv.DictReader((folder / "here" / "refined.csv").read_text().splitlines()))
    assert [row["component"] for row in rows][::2] == [
        "layers.1.head.6",
        "layers.1.head.7",
        "embed",
    ]
    found = call_json(*args, *data, "--out", "here")
    assert all(row["stored"] for row in found["rows"])
    assert [str(row["estimate"]["value"]) for row in found["rows"]] == [r["value"] for r in rows]
    kept = json.loads((folder / "here" / "refined.json").read_text())
    assert kept["rows"][0]["num_parameters"] == found["rows"][0]["num_parameters"] == 8192


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--restrict", "embed"), "--components or --restrict"),
        (("--control",), "--control"),
        (("--figure",), "--figure"),
        (("--out", "one.zarr"), "folder"),
    ],
)
def test_options_that_do_not_go_with_components(folder, more, said):
    assert said in refused("llc", "bundled", "--components", "heads", *RUN, *more)


def test_a_restriction_names_a_head(folder):
    found = call_json("llc", "bundled", "--restrict", "layers.1.head.6", *RUN)
    assert found["runs"][0]["estimate"]["num_coordinates"] == 8192
