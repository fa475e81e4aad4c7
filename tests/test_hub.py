import json
import sys

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from germ.data import TensorData
from germ.errors import GermError
from germ.hub import Loaded, load, load_data
from germ.losses import causal_lm, supervised
from germ.zoo import bundled
from germ.zoo.attention_only import PRESETS, AttentionOnly, save_checkpoint

MODULE = """
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))

def everything():
    return network(), (torch.ones(5, 3), torch.zeros(5, 2)), "mse"

def some():
    return {"model": network(), "loss": "mse"}

def unknown():
    return {"model": network(), "metric": "mse"}

def no_model():
    return {"model": "network", "loss": "mse"}

def nothing():
    pass

def bad_data():
    return network(), (torch.ones(5, 3), torch.zeros(4)), "mse"

def broken():
    raise RuntimeError("no GPU here\\nsecond line")

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.unembed = nn.Linear(3, 5, bias=False)
        self.unembed.weight = self.embed.weight

def tied():
    return Tied()

number = 3
"""


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MODULE)
    return path


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


# Functions


def test_a_function_brings_model_data_and_loss(module):
    loaded = load(f"{module}:everything")
    assert isinstance(loaded.model, nn.Sequential)
    assert not loaded.model.training
    assert not loaded.model[1].training
    assert isinstance(loaded.data, TensorData)
    assert loaded.data.num_examples == 5
    assert loaded.loss == supervised("mse")
    assert loaded.name == f"{module}:everything"
    assert load_data(loaded) is loaded.data


def test_a_function_may_bring_less(module):
    assert load(f"{module}:some").data is None
    alone = load(f"{module}:network")
    assert alone.loss is None
    assert alone.data is None
    with pytest.raises(GermError, match="network comes without data; name some with --data"):
        load_data(alone)


def test_a_function_of_an_installed_package():
    assert isinstance(load("germ.zoo.bundled:model").model, AttentionOnly)


def test_a_module_in_the_working_directory(module, monkeypatch):
    monkeypatch.chdir(module.parent)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != ""])
    (module.parent / "germ_test_models.py").write_text(MODULE)
    assert isinstance(load("germ_test_models:network").model, nn.Sequential)
    sys.modules.pop("germ_test_models")


def test_dtype_and_device_are_as_asked(module):
    loaded = load(f"{module}:network", dtype="float64", device="cpu")
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float64}
    with pytest.raises(GermError, match="got 'float23'"):
        load(f"{module}:network", dtype="float23")
    with pytest.raises(GermError, match="a device such as cpu or cuda, got moon"):
        load(f"{module}:network", device="moon")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("unknown", r"got a dict of \['model', 'metric'\]"),
        ("no_model", "expected a torch.nn.Module as model, got str"),
        ("nothing", "got NoneType"),
        ("bad_data", r"equal length, got \[\(5, 3\), \(4,\)\]"),
        ("broken", r"RuntimeError: no GPU here \(.*mine\.py, line 28\)"),
        ("netwrok", "no function 'netwrok'; did you mean network"),
        ("number", "expected a function, got int"),
    ],
)
def test_functions_that_bring_no_model(module, function, words):
    with pytest.raises(GermError, match=words) as error:
        load(f"{module}:{function}")
    assert str(module) in one_line(error)


def test_modules_there_are_not(tmp_path):
    with pytest.raises(GermError, match=r"no Python module 'germ\.nowhere'"):
        load("germ.nowhere:model")
    with pytest.raises(GermError, match="no Python module 'nowhere_at_all"):
        load("nowhere_at_all.models:model")
    with pytest.raises(GermError, match="no file"):
        load(f"{tmp_path / 'none.py'}:model")


def test_a_module_that_does_not_import(tmp_path):
    (tmp_path / "bad.py").write_text("import torch\nimport germ_has_no_such_module\n")
    with pytest.raises(GermError, match=r"running .*bad\.py failed: ModuleNotFoundError") as error:
        load(f"{tmp_path / 'bad.py'}:model")
    one_line(error)
    (tmp_path / "worse.py").write_text("def (\n")
    with pytest.raises(GermError, match="SyntaxError") as error:
        load(f"{tmp_path / 'worse.py'}:model")
    one_line(error)


def test_a_file_does_not_shadow_the_module_of_its_name(tmp_path):
    (tmp_path / "json.py").write_text(MODULE)
    load(f"{tmp_path / 'json.py'}:network")
    assert sys.modules["json"] is json


# The bundled model and the zoo's files


def test_the_bundled_model_brings_tokenizer_and_data():
    loaded = load("bundled")
    assert loaded.loss is causal_lm
    assert loaded.vocab == loaded.tokenizer.get_vocab_size()
    data = load_data(loaded, max_examples=5)
    assert data.batch(torch.arange(5))["input_ids"].shape == (5, loaded.context)
    losses = causal_lm(loaded.model, data.batch(torch.arange(5)))
    assert losses.mean() < 6.0  # it is trained: an untrained one has log(1024) = 6.93


def test_a_bundled_checkpoint_is_that_of_its_step():
    first = load(f"bundled@{bundled.steps()[0]}").model
    for mine, theirs in zip(
        first.parameters(), bundled.model(bundled.steps()[0]).parameters(), strict=True
    ):
        assert torch.equal(mine, theirs)
    with pytest.raises(GermError, match=r"no bundled checkpoint at .*1000001"):
        load("bundled@1000001")
    with pytest.raises(GermError, match="bundled@STEP"):
        load("bundled@last")


def tiny(seed=0):
    torch.manual_seed(seed)
    return AttentionOnly(PRESETS["tiny"]).eval()


def test_a_zoo_checkpoint(tmp_path):
    model = tiny()
    save_checkpoint(model, tmp_path / "step7.safetensors", 7)
    loaded = load(tmp_path / "step7.safetensors")
    assert loaded.loss is causal_lm
    assert (loaded.context, loaded.vocab) == (16, 32)
    assert loaded.tokenizer is None  # the bundled tokenizer has another vocabulary
    tokens = torch.randint(32, (2, 16))
    assert torch.equal(loaded.model(tokens), model(tokens))
    bundled.tokenizer().save(str(tmp_path / "tokenizer.json"))
    assert load(tmp_path / "step7.safetensors").tokenizer.get_vocab_size() == 1024


def test_data_is_held_against_the_model(tmp_path):
    save_checkpoint(tiny(), tmp_path / "m.safetensors", 0)
    loaded = load(tmp_path / "m.safetensors", tokenizer=None)
    with pytest.raises(GermError, match="context of at most 16 tokens"):
        load_data(loaded, "bundled:all", context=17)
    with pytest.raises(GermError, match="vocabulary of 32"):
        load_data(loaded, "bundled:all", max_examples=2)
    import numpy as np

    np.save(tmp_path / "wide.npy", np.zeros((2, 20), dtype=np.uint16))
    with pytest.raises(GermError, match="rows of at most 16 tokens"):
        load_data(loaded, tmp_path / "wide.npy")
    np.save(tmp_path / "stream.npy", np.zeros(100, dtype=np.uint16))
    data = load_data(loaded, tmp_path / "stream.npy")
    assert data.describe().startswith("6 examples of 16 tokens")  # the model's context
    (tmp_path / "a.txt").write_text("abc")
    with pytest.raises(GermError, match="text needs a tokenizer"):
        load_data(loaded, tmp_path / "a.txt")


def test_nan_weights_are_named(tmp_path):
    model = tiny()
    with torch.no_grad():
        model.layers[1].attn.q.weight[0, 0] = float("nan")  # pyright: ignore
    save_checkpoint(model, tmp_path / "m.safetensors", 0)
    with pytest.raises(GermError, match=r"in layers\.1\.attn\.q\.weight \(1 of 256\)") as error:
        load(tmp_path / "m.safetensors")
    one_line(error)


# Files of weights


def test_weights_fill_the_module_that_into_makes(tmp_path, module):
    network = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    torch.save(network.state_dict(), tmp_path / "w.pt")
    torch.save({"step": 3, "model_state_dict": network.state_dict()}, tmp_path / "c.pt")
    for name in ("w.safetensors", "w.pt", "c.pt"):
        loaded = load(tmp_path / name, into=f"{module}:everything")
        for key, value in loaded.model.state_dict().items():
            assert torch.equal(value, network.state_dict()[key])
        assert loaded.loss == supervised("mse")
        assert loaded.data is not None
        assert not loaded.model.training


def test_tied_weights_need_one_of_their_names(tmp_path, module):
    model = load(f"{module}:tied").model
    with torch.no_grad():
        model.embed.weight.fill_(2.0)  # pyright: ignore
    save_model(model, str(tmp_path / "tied.safetensors"))
    loaded = load(tmp_path / "tied.safetensors", into=f"{module}:tied").model
    assert loaded.unembed.weight is loaded.embed.weight  # pyright: ignore
    assert bool((loaded.embed.weight == 2).all())  # pyright: ignore


def test_weights_that_are_not_the_modules_are_refused(tmp_path, module):
    def refused(state, words):
        save_file(state, tmp_path / "w.safetensors")
        with pytest.raises(GermError, match=words) as error:
            load(tmp_path / "w.safetensors", into=f"{module}:network")
        assert "w.safetensors" in one_line(error)

    good = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2)).state_dict()
    refused({k: v for k, v in good.items() if k != "2.bias"}, r"missing \['2\.bias'\] \(1\)")
    refused({**good, "3.bias": torch.zeros(2)}, r"unexpected \['3\.bias'\] \(1\)")
    refused({**good, "0.bias": torch.zeros(5)}, r"expected 0\.bias of shape \(4,\), .*got \(5,\)")


def test_weights_alone_are_no_model(tmp_path):
    save_file({"w": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(GermError, match=r"holds weights and no model; .*--into"):
        load(tmp_path / "w.safetensors")


class Payload:
    """Would be run by an unpickler that trusts what it reads."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('ran what was in the file')",))


@pytest.mark.parametrize("content", [Payload(), {"weights": Payload()}])
def test_a_pickle_is_not_run(tmp_path, module, content):
    torch.save(content, tmp_path / "evil.pt")
    with pytest.raises(GermError, match="tensors alone"):
        load(tmp_path / "evil.pt", into=f"{module}:network")


def test_a_pickle_of_something_else_is_no_state(tmp_path, module):
    torch.save({"lr": 0.1, "step": 4}, tmp_path / "odd.pt")
    with pytest.raises(GermError, match=r"expected a state dict, got \['lr', 'step'\]"):
        load(tmp_path / "odd.pt", into=f"{module}:network")


# What is no model


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("notes.txt", b"hello", "expected a model .*a file of another kind"),
        ("noise", bytes(range(256)), "expected a model .*a file of another kind"),
        ("model.safetensors", bytes(range(256)), "expected a safetensors file"),
        ("model.safetensors", b"", "expected a safetensors file"),
        ("model.pt", b"hello", "tensors alone"),
        ("model.py", b"x = 1", r"is a Python file; name its function, .*model\.py:function"),
    ],
)
def test_files_that_are_no_model(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GermError, match=words) as error:
        load(tmp_path / name)
    assert name in one_line(error)


def test_missing_files_name_the_nearest(tmp_path):
    (tmp_path / "step100.safetensors").write_bytes(b"")
    with pytest.raises(GermError, match=r"no file or folder .*mean step100\.safetensors\?"):
        load(tmp_path / "step10.safetensors")
    with pytest.raises(GermError, match=r"no folder .*nowhere either"):
        load(tmp_path / "nowhere" / "m.safetensors")


def test_a_missing_extra_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(GermError, match=r'needs .*pip install "germ\[hf\]"'):
        load(tmp_path)


def test_loaded_says_what_it_holds():
    assert Loaded(nn.Linear(1, 1), "mine").loss is None
