import numpy as np
import pytest
import torch

from germ.data import TokenData, as_data
from germ.errors import GermError


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int32, np.int64])
def test_token_arrays_make_causal_lm_batches(dtype):
    tokens = np.arange(12, dtype=dtype).reshape(3, 4)
    data = as_data(tokens, vocab=12)
    batch = data.batch(torch.tensor([1, 1]))
    assert list(batch) == ["input_ids"]
    assert batch["input_ids"].dtype == torch.int64
    assert batch["input_ids"].tolist() == [[4, 5, 6, 7]] * 2
    assert isinstance(data, TokenData)
    assert data.context == 4
    # Only the ids count, not what held them.
    assert data.fingerprint() == as_data(torch.from_numpy(tokens.astype(np.int64))).fingerprint()
    assert as_data({"input_ids": torch.arange(12).reshape(3, 4)}).fingerprint() == (
        data.fingerprint()
    )


def test_a_memory_map_stays_on_disk(tmp_path):
    np.save(tmp_path / "tokens.npy", np.arange(1000, dtype=np.uint16))
    memory_map = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    data = as_data(memory_map, context=64)
    assert isinstance(data, TokenData)
    assert isinstance(data._tokens, np.memmap)
    assert np.shares_memory(data._tokens, memory_map)
    assert data.num_examples == 15
    assert data.batch(torch.tensor([14]))["input_ids"][0, -1] == 959


def test_rows_are_cut_to_the_context():
    data = as_data(torch.arange(12).reshape(2, 6), context=3)
    assert data.batch(torch.arange(4))["input_ids"].tolist() == [
        [0, 1, 2],
        [3, 4, 5],
        [6, 7, 8],
        [9, 10, 11],
    ]
    with pytest.raises(GermError, match="have 6 tokens, which cannot be cut into contexts of 4"):
        as_data(torch.arange(12).reshape(2, 6), context=4)


@pytest.mark.parametrize(
    ("tokens", "options", "words"),
    [
        (torch.arange(12), {}, "one long row; give the context"),
        (torch.arange(12), {"context": 20}, "12 tokens came, 20 are needed"),
        (torch.arange(12), {"context": 1}, "at least 2 tokens"),
        (
            torch.arange(12).reshape(3, 4),
            {"vocab": 11},
            "below the model's vocabulary of 11, got 11",
        ),
        (torch.arange(12).reshape(3, 4) - 1, {}, "0 and more, got -1"),
        ({"input_ids": torch.zeros(3, 4)}, {}, r"integers of shape .*got float32 \(3, 4\)"),
        ({"input_ids": torch.zeros(3, 4, 5).long()}, {}, r"got int64 \(3, 4, 5\)"),
        (torch.zeros(0, 4).long(), {}, "empty data"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(tokens, options, words):
    with pytest.raises(GermError, match=words):
        as_data(tokens, **options)


PADDED = {"input_ids": [[1, 2, 3], [4, 0, 0]], "attention_mask": [[1, 1, 1], [1, 0, 0]]}
UNLABELLED = {"input_ids": [[1, 2, 3]], "labels": [[1, 2, -100]]}
OTHERS = {"input_ids": [[1, 2, 3]], "labels": [[2, 3, 4]]}


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (PADDED, "zeros in attention_mask; pack the text"),
        (UNLABELLED, "got -100 in labels; pack the text"),
        (OTHERS, "labels equal to input_ids"),
    ],
)
def test_padding_is_refused(batch, words):
    tensors = {name: torch.tensor(rows) for name, rows in batch.items()}
    with pytest.raises(GermError, match=words):
        as_data(tensors)
    rows = [{name: x[i] for name, x in tensors.items()} for i in range(len(batch["input_ids"]))]
    with pytest.raises(GermError, match=words):
        as_data(rows)


def test_a_full_mask_and_true_labels_are_no_padding():
    tokens = torch.tensor([[1, 2, 3]])
    data = as_data({"input_ids": tokens, "labels": tokens, "attention_mask": torch.ones(1, 3)})
    assert data.num_examples == 1


def test_a_classifier_of_texts_may_pad():
    padded = {name: torch.tensor(rows) for name, rows in PADDED.items()}
    assert as_data({**padded, "labels": torch.tensor([0, 1])}).num_examples == 2


# Hugging Face data sets


@pytest.mark.hf
class TestHuggingFace:
    @staticmethod
    def make(columns):
        from datasets import Dataset

        return Dataset.from_dict(columns)

    def test_rows_of_tokens_are_examples(self):
        data = as_data(self.make({"input_ids": [[1, 2, 3], [4, 5, 6]], "note": ["a", "b"]}))
        assert data.batch(torch.tensor([1]))["input_ids"].tolist() == [[4, 5, 6]]
        tokens = torch.tensor([[1, 2, 3], [4, 5, 6]])
        assert data.fingerprint() == as_data(tokens).fingerprint()

    def test_a_selection_is_what_it_selects(self):
        data = self.make({"input_ids": [[1, 2], [3, 4], [5, 6]]}).select([2, 0])
        assert as_data(data).batch(torch.arange(2))["input_ids"].tolist() == [[5, 6], [1, 2]]

    def test_ragged_rows_are_packed(self):
        data = self.make({"input_ids": [[1, 2, 3], [4], [], [5, 6, 7, 8]]})
        packed = as_data(data, context=4)
        assert packed.batch(torch.arange(2))["input_ids"].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
        with pytest.raises(GermError, match="unequal lengths; give a context"):
            as_data(data)

    @pytest.mark.parametrize("columns", [PADDED, UNLABELLED])
    def test_padding_is_refused(self, columns):
        with pytest.raises(GermError, match="pack the text"):
            as_data(self.make(columns))

    def test_columns_of_numbers_are_batches(self):
        data = as_data(self.make({"x": [[1.0, 2.0], [3.0, 4.0]], "y": [0, 1]}))
        batch = data.batch(torch.tensor([1]))
        assert batch["x"].tolist() == [[3.0, 4.0]]
        assert batch["y"].tolist() == [1]

    def test_words_are_refused(self):
        with pytest.raises(GermError, match=r"got .* in \['text'\]"):
            as_data(self.make({"text": ["one", "two"]}))

    def test_a_dictionary_of_splits_is_refused(self):
        from datasets import DatasetDict

        splits = DatasetDict({"train": self.make({"x": [1]}), "test": self.make({"x": [1]})})
        with pytest.raises(GermError, match=r"one split, got DatasetDict with \['train', 'test'\]"):
            as_data(splits)

    def test_streaming_is_refused(self):
        with pytest.raises(GermError, match="stream"):
            as_data(self.make({"x": [1]}).to_iterable_dataset())

    def test_a_vocabulary_too_small_is_refused(self):
        with pytest.raises(GermError, match="vocabulary of 5, got 6"):
            as_data(self.make({"input_ids": [[1, 2], [5, 6]]}), vocab=5)
