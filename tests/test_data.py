import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from germ import batches
from germ.data import (
    Data,
    MapData,
    TensorData,
    as_data,
    batch_indices,
)
from germ.errors import GermError


class Squares(Dataset):
    """Example i is (i, i²)."""

    def __init__(self, num=10):
        self.num = num

    def __len__(self):
        return self.num

    def __getitem__(self, index):
        if not 0 <= index < self.num:
            raise IndexError(index)
        return torch.tensor([float(index)]), float(index**2)


# Batches


def test_batches_depend_on_seed_and_step_alone():
    first = batch_indices(1000, 32, seed=1, step=5)
    torch.rand(7)  # whatever else draws random numbers
    batch_indices(1000, 32, seed=1, step=4)
    assert torch.equal(first, batch_indices(1000, 32, seed=1, step=5))
    assert not torch.equal(first, batch_indices(1000, 32, seed=1, step=6))
    assert not torch.equal(first, batch_indices(1000, 32, seed=2, step=5))
    assert first.dtype == torch.int64
    assert first.shape == (32,)


def test_batches_leave_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    batch_indices(1000, 32, seed=1, step=5)
    assert torch.equal(torch.rand(3), expected)


def test_every_example_is_equally_likely_and_batches_are_independent():
    num, size, steps = 20, 5, 4000
    drawn = torch.stack([batch_indices(num, size, 3, step) for step in range(steps)])
    counts = torch.bincount(drawn.flatten(), minlength=num).double()
    # χ² with num - 1 = 19 degrees of freedom: mean 19, standard deviation 6.2.
    chi2 = ((counts - steps * size / num) ** 2 / (steps * size / num)).sum()
    assert 4 < chi2 < 44
    # With replacement, 5 of 20 are all different with probability 0.5814 (± 0.0078).
    distinct = torch.tensor([len(set(row)) == size for row in drawn.tolist()]).double().mean()
    assert abs(distinct - 0.5814) < 0.03
    # In epochs an example just seen would be out of the next batch: here it is in it as often as
    # any other, so a batch has 5 · 5/20 = 1.25 matches with the one before it (± 0.017).
    matches = (drawn[1:, :, None] == drawn[:-1, None, :]).sum((1, 2)).double().mean()
    assert abs(matches - 1.25) < 0.07


@pytest.mark.parametrize("size", [10, 11, 1000])
def test_a_batch_of_all_examples_is_the_data_in_order(size):
    assert batch_indices(10, size, 0, 0).tolist() == list(range(10))


@pytest.mark.parametrize(("num", "size"), [(0, 5), (5, 0), (5, -1)])
def test_batches_of_nothing_are_refused(num, size):
    with pytest.raises(GermError, match="at least 1 example and a batch size of at least 1"):
        batch_indices(num, size, 0, 0)


# Tensors


def test_tensors_of_any_tree_are_indexed_together():
    data = TensorData({"x": torch.arange(6.0).reshape(3, 2), "rest": (np.arange(3), torch.ones(3))})
    batch = data.batch(torch.tensor([2, 0, 2]))
    assert data.num_examples == len(data) == 3
    assert batch["x"].tolist() == [[4, 5], [0, 1], [4, 5]]
    assert batch["rest"][0].tolist() == [2, 0, 2]
    assert data.describe() == "3 examples of {x: (2,) float32, rest: (() int64, () float32)}"


def test_dtypes_are_kept():
    batch = TensorData((np.zeros((2, 2)), torch.zeros(2).bfloat16())).batch(torch.tensor([0]))
    assert [leaf.dtype for leaf in batch] == [torch.float64, torch.bfloat16]


@pytest.mark.parametrize("empty", [(), {}, torch.zeros(0, 3), (torch.zeros(0), torch.zeros(0))])
def test_empty_data_is_refused(empty):
    with pytest.raises(GermError, match="at least one example, got empty data"):
        as_data(empty)


def test_unequal_numbers_of_examples_are_refused():
    with pytest.raises(GermError, match=r"equal length, got \[\(3, 2\), \(4,\)\]"):
        as_data((torch.zeros(3, 2), torch.zeros(4)))


@pytest.mark.parametrize("wrong", [torch.tensor(3.0), {"x": 3.0}, {"x": ["a", "b"]}])
def test_what_has_no_examples_is_refused(wrong):
    with pytest.raises(GermError, match="first axis"):
        as_data(wrong)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused_by_name(bad):
    x = torch.zeros(5, 3)
    x[4, 1] = bad
    with pytest.raises(GermError, match=r"NaN or infinity in \['x'\], example 4"):
        as_data({"x": x, "y": torch.zeros(5)})


def test_large_finite_numbers_are_no_infinity():
    # Their sum overflows; they do not.
    big = torch.full((4,), 3e38)
    assert as_data((big, big)).num_examples == 4


def test_a_model_of_another_device_gets_the_data_there():
    moved = TensorData((torch.zeros(3, 2), torch.ones(3))).to("meta")
    assert {leaf.device.type for leaf in moved.batch(torch.tensor([0]))} == {"meta"}
    assert moved.fingerprint() == TensorData((torch.zeros(3, 2), torch.ones(3))).fingerprint()


# Fingerprints


def test_a_fingerprint_is_of_content():
    x, y = torch.arange(12.0).reshape(4, 3), torch.arange(4)
    base = as_data((x, y)).fingerprint()
    assert base == as_data((x.clone(), y.clone())).fingerprint()
    assert base == as_data((x.T.contiguous().T, y)).fingerprint()  # other strides
    assert int(base, 16) >= 0
    changed = x.clone()
    changed[3, 2] += 1e-5
    others = [
        as_data((changed, y)),
        as_data((x.double(), y)),
        as_data((x.flip(0), y)),
        as_data((x[:3], y[:3])),
        as_data({"a": x, "y": y}),
        as_data({"b": x, "y": y}),
        as_data((y, x)),
    ]
    assert len({base, *(data.fingerprint() for data in others)}) == len(others) + 1


def test_half_precision_data_has_a_fingerprint():
    one = as_data((torch.zeros(2, 2).bfloat16(), torch.zeros(2))).fingerprint()
    assert one != as_data((torch.ones(2, 2).bfloat16(), torch.zeros(2))).fingerprint()


def test_large_data_is_fingerprinted_by_a_sample(monkeypatch):
    monkeypatch.setattr(batches, "HASHED_BYTES", 1000)
    monkeypatch.setattr(batches, "HASHED_EXAMPLES", 50)
    reads = []

    class Counting(TensorData):
        def batch(self, indices):
            reads.extend(indices.tolist())
            return super().batch(indices)

    x = torch.arange(10_000.0)
    data = Counting(x)
    before = data.fingerprint()
    assert len(set(reads)) < 60
    assert {0, 9_999} <= set(reads)
    x = x.clone()
    x[-1] = 0  # the last example is always looked at
    assert TensorData(x).fingerprint() != before
    assert TensorData(torch.arange(9_999.0)).fingerprint() != before


# PyTorch data sets


def test_a_dataset_is_collated():
    data = as_data(Squares())
    inputs, targets = data.batch(torch.tensor([3, 1]))
    assert inputs.tolist() == [[3.0], [1.0]]
    assert targets.tolist() == [9.0, 1.0]
    assert data.num_examples == 10
    assert data.describe() == "10 examples of ((1,) float32, () float64) from Squares"


def test_a_loader_gives_its_dataset_and_collate_function():
    def collate(items):
        return {"x": torch.stack([x for x, _ in items]), "y": torch.tensor([y for _, y in items])}

    loader = DataLoader(Squares(), batch_size=4, shuffle=True, collate_fn=collate)
    batch = as_data(loader).batch(torch.tensor([2, 5]))
    assert batch["x"].tolist() == [[2.0], [5.0]]
    assert batch["y"].tolist() == [4.0, 25.0]


def test_a_list_of_pairs_is_a_dataset():
    batch = as_data([(torch.tensor([1.0]), 0), (torch.tensor([2.0]), 1)]).batch(torch.tensor([1]))
    assert [leaf.tolist() for leaf in batch] == [[[2.0]], [1]]


def test_tensor_datasets_are_their_tensors():
    data = as_data(TensorDataset(torch.arange(4.0), torch.arange(4)))
    assert isinstance(data, TensorData)
    assert data.fingerprint() == as_data((torch.arange(4.0), torch.arange(4))).fingerprint()


def test_a_dataset_and_its_tensors_have_examples_of_one_fingerprint():
    tensors = torch.arange(10.0)[:, None], torch.arange(10.0).double() ** 2
    assert as_data(Squares()).fingerprint() == as_data(tensors).fingerprint()
    assert as_data(Squares(9)).fingerprint() != as_data(tensors).fingerprint()


def test_random_augmentation_is_refused():
    class Augmented(Squares):
        def __getitem__(self, index):
            return super().__getitem__(index)[0] + 0.1 * torch.randn(1)

    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    with pytest.raises(GermError, match=r"Augmented differ each time.*remove random augmentation"):
        as_data(Augmented())
    assert torch.equal(torch.rand(2), expected)


def test_streams_are_refused_with_what_to_do():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([torch.zeros(2)])

    for stream in (Stream(), DataLoader(Stream()), (x for x in [1]), iter([1])):
        with pytest.raises(GermError, match=r"got the stream .*itertools\.islice"):
            as_data(stream)


def test_a_dataset_that_fails_says_so_in_one_line():
    ragged = [torch.zeros(2), torch.zeros(3)]

    class Ragged(Squares):
        def __getitem__(self, index):
            return ragged[index]

    with pytest.raises(GermError, match=r"Ragged made no batch of examples \[0, 1\]") as error:
        as_data(Ragged(2))
    assert "\n" not in str(error.value)


def test_a_dataset_of_words_is_refused():
    with pytest.raises(GermError, match=r"expected numbers.*got str in \[1\]\[0\]"):
        as_data([(torch.zeros(2), "cat"), (torch.zeros(2), "dog")])


def test_nan_deep_inside_a_dataset_is_found_when_it_comes():
    class Late(Squares):
        def __getitem__(self, index):
            return torch.tensor(float("nan") if index == 9 else 0.0)

    data = as_data(Late())
    with pytest.raises(GermError, match="NaN or infinity in the data, example 1"):
        data.batch(torch.tensor([0, 9]))
    with pytest.raises(GermError, match="NaN"):
        data.fingerprint()


def test_an_empty_dataset_is_refused():
    with pytest.raises(GermError, match="empty data set"):
        as_data(Squares(0))


@pytest.mark.parametrize("wrong", ["corpus.txt", 3, None])
def test_what_is_no_data_is_refused(wrong):
    with pytest.raises(GermError, match=r"expected data .*load_tokens"):
        as_data(wrong)


def test_a_list_of_tensors_is_ambiguous():
    with pytest.raises(GermError, match=r"tuple \(inputs, targets\)"):
        as_data([torch.zeros(3, 2), torch.zeros(3)])


def test_data_of_ones_own():
    class Mine(Data):
        @property
        def num_examples(self):
            return 3

        def batch(self, indices):
            return indices.float()

        def fingerprint(self):
            return "00"

        def describe(self):
            return "mine"

    mine = Mine()
    assert as_data(mine) is mine
    assert mine.to("cpu") is mine
    assert repr(mine) == "Mine(mine)"


def test_map_data_takes_many_at_once_where_it_can():
    class Many(Squares):
        def __getitem__(self, index):
            raise AssertionError("one at a time")

        def __getitems__(self, indices):
            return [torch.tensor(float(i)) for i in indices]

    assert MapData(Many()).batch(torch.tensor([4, 2])).tolist() == [4.0, 2.0]
