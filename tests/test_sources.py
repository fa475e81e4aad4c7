import bz2
import gzip
import json
import lzma

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from germ import sources, text
from germ.errors import GermError
from germ.sources import load_tokens
from germ.text import SEPARATOR
from germ.tokens import TokenData
from germ.zoo import bundled


class Letters:
    """One token a letter: a is 1, b is 2; 0 ends a document."""

    eos_token_id = 0

    def __init__(self):
        self.seen = 0

    def encode(self, string):
        self.seen += len(string)
        return [ord(letter) - ord("a") + 1 for letter in string]


def rows(data):
    assert isinstance(data, TokenData)
    return data.batch(torch.arange(data.num_examples))["input_ids"].tolist()


DOCUMENTS = ["abc", "de", "fgh"]
# abc0 de0 fgh0 in rows of four; nothing is left over but one zero too many
ROWS = [[1, 2, 3, 0], [4, 5, 0, 6]]


@pytest.mark.parametrize(
    ("name", "opened"),
    [("a.txt", open), ("a.txt.gz", gzip.open), ("a.txt.bz2", bz2.open), ("a.txt.xz", lzma.open)],
)
def test_documents_of_a_text_file_are_packed(tmp_path, name, opened):
    with opened(tmp_path / name, "wt", encoding="utf-8") as file:
        file.write(SEPARATOR.join(DOCUMENTS))
    assert rows(load_tokens(tmp_path / name, Letters(), 4)) == ROWS


def test_separators_are_found_wherever_a_chunk_ends(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text(SEPARATOR.join(DOCUMENTS))
    for size in range(1, 8):
        monkeypatch.setattr(sources, "_CHUNK", size)
        assert rows(load_tokens(tmp_path / "a.txt", Letters(), 4)) == ROWS


def test_text_without_separators_is_one_document(tmp_path):
    (tmp_path / "a.txt").write_text("abcdefgh")
    assert rows(load_tokens(tmp_path / "a.txt", Letters(), 3)) == [[1, 2, 3], [4, 5, 6], [7, 8, 0]]


def test_text_is_read_to_the_letter(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffé\r\nb".encode())
    documents = list(sources._text_documents(tmp_path / "a.txt"))
    assert documents == ["é\r\nb"]  # no byte-order mark, no line ends changed


def test_only_as_much_is_read_as_is_asked_for(tmp_path):
    (tmp_path / "a.txt").write_text(SEPARATOR.join(["abcdefghij"] * 10_000))
    letters = Letters()
    data = load_tokens(tmp_path / "a.txt", letters, 10, max_examples=7)
    assert data.num_examples == 7
    assert letters.seen < 2_000
    everything = load_tokens(tmp_path / "a.txt", Letters(), 10)
    assert everything.num_examples == 11_000
    assert rows(data) == rows(everything)[:7]


def json_lines(path, records, opened=open):
    with opened(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    return path


@pytest.mark.parametrize(
    ("name", "opened"), [("a.jsonl", open), ("a.json", open), ("a.jsonl.xz", lzma.open)]
)
def test_json_lines(tmp_path, name, opened):
    path = json_lines(tmp_path / name, [{"text": d, "id": 1} for d in DOCUMENTS], opened)
    assert rows(load_tokens(path, Letters(), 4)) == ROWS


def test_a_json_array(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"text": d} for d in DOCUMENTS], indent=2))
    assert rows(load_tokens(tmp_path / "a.json", Letters(), 4)) == ROWS


def test_blank_lines_between_json_lines(tmp_path):
    (tmp_path / "a.jsonl").write_text('\n{"text": "abc"}\n\n{"text": "de"}\n')
    assert rows(load_tokens(tmp_path / "a.jsonl", Letters(), 4)) == [[1, 2, 3, 0]]


def test_the_field_can_be_chosen(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", [{"text": "zzzz", "code": "abcd"}])
    assert rows(load_tokens(path, Letters(), 4, field="code")) == [[1, 2, 3, 4]]


def test_a_missing_field_names_those_there_are(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", [{"text": "abcd"}, {"body": "abcd", "n": 1}])
    with pytest.raises(GermError, match=r"row 2: .*'text' or 'input_ids', got \['body', 'n'\]"):
        load_tokens(path, Letters(), 4)
    with pytest.raises(GermError, match=r"a field 'code', got \['text'\]; choose one with --field"):
        load_tokens(path, Letters(), 4, field="code")


def test_json_lines_of_tokens_need_no_tokenizer(tmp_path):
    path = json_lines(tmp_path / "a.jsonl", [{"input_ids": [1, 2, 3]}, {"input_ids": [4, 5, 6]}])
    assert rows(load_tokens(path, None, None)) == [[1, 2, 3], [4, 5, 6]]
    ragged = json_lines(tmp_path / "b.jsonl", [{"input_ids": [1, 2, 3]}, {"input_ids": [4]}])
    assert rows(load_tokens(ragged, None, 2)) == [[1, 2], [3, 4]]
    assert rows(load_tokens(ragged, None, None, default_context=4)) == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"text": "abcd"}\n{"text"', "JSON in line 2"),
        ('{"text": "abcd"}\n[1, 2]', r"object in every row, got \[1, 2\] in row 2"),
        ('{"text": 3}', "row of integer token ids, got 3"),
        ('{"text": "abcd"}\n{"text": null}', "expected text, got NoneType in document 2"),
        ('{"input_ids": [1.5, 2]}', "integer token ids"),
    ],
)
def test_json_that_does_not_fit_is_one_line(tmp_path, content, words):
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(GermError, match=words) as error:
        load_tokens(tmp_path / "a.jsonl", Letters(), 20)
    assert "a.jsonl: " in str(error.value)
    assert "\n" not in str(error.value)


def test_token_arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(20, dtype=np.uint16).reshape(5, 4))
    data = load_tokens(tmp_path / "a.npy", None, None, max_examples=3, vocab=20)
    assert rows(data) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert isinstance(data, TokenData)
    assert isinstance(data._tokens, np.memmap)
    np.save(tmp_path / "b.npy", np.arange(20))
    assert rows(load_tokens(tmp_path / "b.npy", None, None, default_context=10))[1][0] == 10


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int32"])
def test_raw_token_files(tmp_path, dtype):
    np.arange(10, dtype=dtype).tofile(tmp_path / "a.bin")
    data = load_tokens(tmp_path / "a.bin", None, 4, dtype=dtype)
    assert rows(data) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert isinstance(data, TokenData)
    assert isinstance(data._tokens, np.memmap)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"", "empty file"),
        ("a.txt", b"abc", "shorter than one context: 4 tokens came, 9 are needed"),
        ("a.txt", b"ab\xff\xfe", "UTF-8 text, got the byte 0xff"),
        ("a.txt.xz", b"no archive", "cannot be read"),
        ("a.txt.gz", b"\x1f\x8b\x08\x00garbage", "cannot be read"),
        ("a.npy", b"no array", "an array saved by numpy.save"),
        ("a.bin", b"abc", "whole uint16 tokens, got 3 bytes"),
        ("a.parquet", b"no table", "a parquet file"),
        ("a.docx", b"abc", r"cannot tell what data this is; expected \.txt"),
    ],
)
def test_files_that_do_not_fit_are_one_line(tmp_path, name, content, words):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GermError, match=words) as error:
        load_tokens(tmp_path / name, Letters(), 9)
    assert str(error.value).startswith(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_a_damaged_archive_is_said_so(tmp_path):
    whole = lzma.compress(b"abcdefgh" * 10_000)
    (tmp_path / "a.txt.xz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GermError, match="is the file damaged"):
        load_tokens(tmp_path / "a.txt.xz", Letters(), 4)


def test_a_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "corpus.txt").write_text("abc")
    with pytest.raises(GermError, match=r"no such file; did you mean corpus\.txt\?"):
        load_tokens(tmp_path / "corpsu.txt", Letters(), 4)
    with pytest.raises(GermError, match=r"no folder .*nowhere either"):
        load_tokens(tmp_path / "nowhere" / "a.txt", Letters(), 4)


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(GermError, match=r"an array saved by numpy\.save"):
        load_tokens(tmp_path / "a.npy", None, 4)


def test_text_needs_a_tokenizer(tmp_path):
    (tmp_path / "a.txt").write_text("abc")
    with pytest.raises(GermError, match="text needs a tokenizer"):
        load_tokens(tmp_path / "a.txt", None, 4)


def test_a_token_outside_the_vocabulary_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("abcz")
    with pytest.raises(GermError, match="vocabulary of 10, got 26"):
        load_tokens(tmp_path / "a.txt", Letters(), 4, vocab=10)


def test_max_examples_is_at_least_one(tmp_path):
    with pytest.raises(GermError, match="at least 1, got 0"):
        load_tokens("bundled:all", None, 4, max_examples=0)


# Names


def test_bundled_text_is_what_the_bundled_model_was_trained_on():
    for name in ("all", bundled.domains()[0]):
        expected = bundled.tokens(name, "heldout", 64)[:50]
        data = load_tokens(f"bundled:{name}/heldout", None, 64, max_examples=50)
        assert rows(data) == expected.tolist()
        # With the tokenizer of the model it is the same; with another's it is another.
        again = load_tokens(f"bundled:{name}/heldout", bundled.tokenizer(), 64, max_examples=50)
        assert again.fingerprint() == data.fingerprint()
    other = load_tokens(f"bundled:{name}/heldout", Bytes(), 64, max_examples=50)
    assert other.fingerprint() != data.fingerprint()


class Bytes:
    def encode(self, string):
        return list(string.encode())


@pytest.mark.parametrize("name", ["bundled:poetry", "bundled:all/test"])
def test_bundled_names_there_are_not(name):
    with pytest.raises(GermError, match=r"poetry|test"):
        load_tokens(name, None, 64)


def write_module(folder, content):
    path = folder / "mine.py"
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    "returned",
    ['["abc", "de", "fgh"]', 'iter(["abc", "de", "fgh"])', 'tuple("abc de fgh".split())'],
)
def test_a_function_may_return_texts(tmp_path, returned):
    path = write_module(tmp_path, f"def texts():\n    return {returned}\n")
    assert rows(load_tokens(f"{path}:texts", Letters(), 4)) == ROWS


def test_a_function_may_return_data(tmp_path):
    path = write_module(
        tmp_path,
        "import numpy, torch\n"
        "def tokens():\n    return numpy.arange(8).reshape(2, 4)\n"
        "def pairs():\n    return torch.zeros(3, 2), torch.zeros(3)\n"
        "def broken():\n    return 1 / 0\n",
    )
    assert rows(load_tokens(f"{path}:tokens", None, 2)) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert load_tokens(f"{path}:pairs", None, None).num_examples == 3
    with pytest.raises(GermError, match="max_examples"):
        load_tokens(f"{path}:pairs", None, None, max_examples=2)
    with pytest.raises(
        GermError, match=r"ZeroDivisionError: division by zero \(.*mine\.py, line 7"
    ):
        load_tokens(f"{path}:broken", None, None)
    with pytest.raises(GermError, match="no function 'token'; did you mean tokens"):
        load_tokens(f"{path}:token", None, None)


# Tokenizers


def test_a_tokenizers_tokenizer_is_batched_and_ends_documents():
    vocab = {"<|endoftext|>": 0, "a": 1, "b": 2}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tool = text.encoder(tokenizer)
    assert tool.end == 0
    assert list(text.encode(["a b", "b"], tokenizer)) == [[1, 2], [2]]


def test_a_tokenizer_without_an_end_packs_without_one(tmp_path):
    (tmp_path / "a.txt").write_text(SEPARATOR.join(["ab", "cd"]))
    assert rows(load_tokens(tmp_path / "a.txt", Bytes(), 4)) == [[97, 98, 99, 100]]


def test_what_is_no_tokenizer_is_refused():
    with pytest.raises(GermError, match="a tokenizer with `encode`, got int"):
        text.encoder(3)


def test_packing_drops_only_what_does_not_fill_a_row():
    packed = text.pack([[1, 2, 3], [], [4, 5, 6, 7]], context=3, end=9)
    assert packed.tolist() == [[1, 2, 3], [9, 4, 5], [6, 7, 9]]
    assert packed.dtype == np.int32
    assert text.pack([[2**40, 1]], context=2).tolist() == [[2**40, 1]]


# Hugging Face data sets and tables


@pytest.mark.hf
class TestHuggingFace:
    def test_parquet(self, tmp_path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"text": DOCUMENTS, "n": [1, 2, 3]}), tmp_path / "a.parquet")
        assert rows(load_tokens(tmp_path / "a.parquet", Letters(), 4)) == ROWS
        with pytest.raises(GermError, match=r"a field 'code', got \['text', 'n'\]"):
            load_tokens(tmp_path / "a.parquet", Letters(), 4, field="code")
        pq.write_table(pa.table({"input_ids": [[1, 2], [3, 4]]}), tmp_path / "b.parquet")
        assert rows(load_tokens(tmp_path / "b.parquet", None, None)) == [[1, 2], [3, 4]]

    def test_a_folder_written_by_save_to_disk(self, tmp_path):
        from datasets import Dataset, DatasetDict

        words = Dataset.from_dict({"text": DOCUMENTS})
        words.save_to_disk(tmp_path / "words")
        assert rows(load_tokens(tmp_path / "words", Letters(), 4)) == ROWS
        tokens = Dataset.from_dict({"input_ids": [[1, 2, 3], [4, 5, 6]]})
        DatasetDict({"train": tokens, "test": words}).save_to_disk(tmp_path / "splits")
        assert rows(load_tokens(tmp_path / "splits", None, None)) == [[1, 2, 3], [4, 5, 6]]
        assert rows(load_tokens(tmp_path / "splits", Letters(), 4, split="test")) == ROWS
        with pytest.raises(GermError, match=r"among \['train', 'test'\], got 'validation'"):
            load_tokens(tmp_path / "splits", Letters(), 4, split="validation")

    def test_another_folder_is_refused(self, tmp_path):
        (tmp_path / "a.txt").write_text("abc")
        with pytest.raises(GermError, match=r"save_to_disk, got one with \['a\.txt'\]"):
            load_tokens(tmp_path, Letters(), 4)

    def test_a_name_that_cannot_be_reached(self):
        with pytest.raises(GermError, match=r"org/none: .*Hugging Face hub") as error:
            load_tokens("org/none", Letters(), 4)
        assert "\n" not in str(error.value)

    def test_a_transformers_tokenizer(self, tmp_path):
        from transformers import PreTrainedTokenizerFast

        model = Tokenizer(models.WordLevel({"<end>": 0, "a": 1, "b": 2}, unk_token="a"))
        model.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=model, eos_token="<end>", model_max_length=2
        )
        # Longer than the model's maximum, and no warning: it is cut.
        (tmp_path / "a.txt").write_text("a b a b" + SEPARATOR + "b")
        assert rows(load_tokens(tmp_path / "a.txt", tokenizer, 3)) == [[1, 2, 1], [2, 0, 2]]


def test_a_missing_extra_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(GermError, match=r'pip install "germ\[hf\]"'):
        load_tokens("org/none", Letters(), 4)
