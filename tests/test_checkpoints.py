import pytest

from germ.checkpoints import expand
from germ.errors import GermError
from germ.zoo import bundled


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_a_glob_of_files_is_sorted_by_step(tmp_path):
    touch(tmp_path, "step100.safetensors", "step9.safetensors", "step20.safetensors", "log.txt")
    expected = [(step, str(tmp_path / f"step{step}.safetensors")) for step in (9, 20, 100)]
    assert expand(str(tmp_path / "*")) == expected
    assert expand(str(tmp_path / "step*.safetensors")) == expected
    assert expand(str(tmp_path)) == expected
    # As a shell hands them over.
    assert expand([str(tmp_path / f"step{step}.safetensors") for step in (100, 20, 9)]) == expected


def test_a_glob_of_folders(tmp_path):
    touch(tmp_path, "run2/checkpoint-5/config.json", "run2/checkpoint-10/config.json", "run2/x/y")
    assert expand(str(tmp_path / "run2" / "*")) == [
        (5, str(tmp_path / "run2" / "checkpoint-5")),
        (10, str(tmp_path / "run2" / "checkpoint-10")),
    ]


def test_a_number_after_step_is_the_step(tmp_path):
    touch(tmp_path, "step10_v2.safetensors", "step3_v2.safetensors")
    assert [step for step, _ in expand(str(tmp_path / "*"))] == [3, 10]


def test_names_without_a_number_are_their_own_labels(tmp_path):
    touch(tmp_path, "b.safetensors", "a.safetensors")
    names = [str(tmp_path / f"{name}.safetensors") for name in "ab"]
    assert expand(str(tmp_path / "*")) == list(zip(names, names, strict=True))


def test_one_folder_is_one_model(tmp_path):
    touch(tmp_path, "gpt2/config.json")
    assert expand(str(tmp_path / "gpt2")) == [(str(tmp_path / "gpt2"),) * 2]
    assert expand("gpt2") == [("gpt2", "gpt2")]


def test_lists_in_braces():
    assert expand("org/name@step{512,0,1000}") == [
        (0, "org/name@step0"),
        (512, "org/name@step512"),
        (1000, "org/name@step1000"),
    ]


def test_all_bundled_checkpoints():
    assert expand("bundled@*") == [(step, f"bundled@{step}") for step in bundled.steps()]


def test_a_pattern_of_nothing(tmp_path):
    touch(tmp_path, "log.txt")
    with pytest.raises(GermError, match="got 1 other files"):
        expand(str(tmp_path / "*"))
    with pytest.raises(GermError, match="got nothing"):
        expand(str(tmp_path / "step*"))
