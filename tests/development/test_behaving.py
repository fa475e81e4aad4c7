from __future__ import annotations

import csv
import io
import json

import pytest
import torch
from tests.development.models import CONTEXT, VOCAB, Small, Table, induction_model

from germ.data import as_data
from germ.development.behaving import behaviour
from germ.development.measures import chosen
from germ.errors import GermError

DATA = as_data(torch.randint(0, VOCAB, (30, CONTEXT), generator=torch.Generator().manual_seed(0)))


def test_every_measure_of_a_model_is_a_row_with_its_error():
    found = behaviour(
        [(7, "made by hand", induction_model())],
        DATA,
        "loss,bigrams,4-grams,in-context,repetition,heads,zeroing",
    )
    kinds = {row.score.measure for row in found.rows}
    assert {"loss", "bigram divergence", "4-gram score", "repetition", "loss without"} <= kinds
    by = {(row.score.measure, row.score.component): row.score for row in found.rows}
    assert by["prefix matching", "layers.1.head.0"].value > 0.9
    assert by["repetition loss without", "layers.1.head.0"].value > 1
    assert by["repetition", "model"].value < -2
    assert not found.failures
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert len(rows) == len(found.rows) and rows[0]["step"] == "7"
    assert float(rows[0]["value"]) == found.rows[0].score.value
    assert json.loads(json.dumps(found.to_dict()))["rows"][0]["model"] == "made by hand"


def test_models_are_measured_on_the_same_rows():
    one, two = (
        behaviour([(0, "m", induction_model())], DATA, "loss,repetition", num_examples=9, seed=4)
        for _ in range(2)
    )
    assert one == two and one.rows[0].score.num_examples == 9


def test_ngrams_may_be_counted_elsewhere():
    # All that follows 0 is 1 where it is counted; the model is measured where it is not.
    counted = as_data(torch.tensor([[0, 1] * 6] * 4))
    flat = Table(torch.zeros(VOCAB, VOCAB))
    found = behaviour([(0, "flat", flat)], DATA, "bigrams", counted)
    by = {row.score.measure: row.score.value for row in found.rows}
    assert by["bigram entropy"] == 0 and 0 < by["bigram coverage"] < 0.3


def test_what_one_model_refuses_leaves_the_others():
    def broken() -> Small:
        raise GermError("there is no file of that name")

    models = [(0, "linear", Small("linear")), (1, "plain", Small("plain")), (2, "lost", broken)]
    found = behaviour(models, DATA, "loss,heads")
    assert [(f.step, f.measure) for f in found.failures] == [(0, "heads"), (2, "loading")]
    assert "softmax" in found.failures[0].reason
    assert {row.step for row in found.rows if row.score.measure == "loss"} == {0, 1}


def test_outputs_of_checkpoints_on_a_line_have_one_direction():
    source = torch.Generator().manual_seed(0)
    start, way = (torch.randn(VOCAB, VOCAB, generator=source) for _ in range(2))
    models = [(step, f"at {step}", Table(start + step * way)) for step in range(5)]
    found = behaviour(models, DATA, "outputs")
    paths = {(row.step, row.score.measure): row.score for row in found.rows}
    first = [paths[step, "outputs PC1"].value for step in range(5)]
    gaps = torch.tensor(first).diff()
    # Steps are alike, and of the size of the centred direction at the tokens that were read.
    assert torch.allclose(gaps, gaps[0].expand(4), rtol=1e-4) and 0.8 < float(gaps[0]) < 1.2
    assert abs(paths[3, "outputs PC2"].value) < 1e-5
    assert paths[4, "outputs PC1"].standard_error > 0
    assert "100.0%" in found.notes[0] and "random walk" in found.notes[0]


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(GermError, match="expected measures among loss"):
        chosen("loss,trgrams")
    with pytest.raises(GermError, match="got none"):
        chosen(" , ")
    with pytest.raises(GermError, match="3 checkpoints or more"):
        behaviour([(0, "m", Small("plain"))], DATA, "outputs")
    with pytest.raises(GermError, match="rows of tokens"):
        behaviour([(0, "m", Small("plain"))], as_data((torch.zeros(3, 2), torch.zeros(3))), "loss")
