import json
import shutil

import pytest
import torch

from germ import imports
from germ.errors import GermError
from germ.hub import load, load_data
from germ.losses import causal_lm
from germ.zoo import bundled


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def config(kind, **changes):
    import transformers

    sizes = dict(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=40,
        max_position_embeddings=64,
    )
    return getattr(transformers, kind)(**{**sizes, **changes})


def saved(path, kind, head, **changes):
    import transformers
    from transformers.utils import logging

    torch.manual_seed(0)
    logging.disable_progress_bar()
    model = getattr(transformers, head)(config(kind, **changes)).eval()
    model.save_pretrained(path)
    return model


@pytest.mark.hf
class TestHuggingFace:
    @pytest.mark.parametrize(
        ("kind", "head", "changes"),
        [
            ("LlamaConfig", "LlamaForCausalLM", {"num_key_value_heads": 1}),
            ("GPT2Config", "GPT2LMHeadModel", {"bos_token_id": 1, "eos_token_id": 1}),
            ("GPTNeoXConfig", "GPTNeoXForCausalLM", {}),
        ],
    )
    def test_a_folder(self, tmp_path, kind, head, changes):
        model = saved(tmp_path, kind, head, **changes)
        loaded = load(tmp_path)
        assert type(loaded.model).__name__ == head
        assert not loaded.model.training
        assert (loaded.vocab, loaded.context, loaded.tokenizer) == (40, 64, None)
        assert loaded.loss is causal_lm
        batch = {"input_ids": torch.randint(40, (3, 9))}
        losses = causal_lm(loaded.model, batch)
        assert losses.shape == (3, 8)
        theirs = model(batch["input_ids"], labels=batch["input_ids"]).loss
        assert losses.mean().item() == pytest.approx(theirs.item(), rel=1e-5)

    def test_a_file_in_such_a_folder_is_the_folder(self, tmp_path):
        saved(tmp_path, "LlamaConfig", "LlamaForCausalLM")
        assert load(tmp_path / "model.safetensors").context == 64

    def test_dtype_is_as_stored_or_as_asked(self, tmp_path):
        saved(tmp_path, "LlamaConfig", "LlamaForCausalLM", dtype="bfloat16")

        def dtypes(loaded):
            return {p.dtype for p in loaded.model.parameters()}

        stored = load(tmp_path)
        assert dtypes(load(tmp_path, dtype="float32")) == {torch.float32}
        assert dtypes(stored) == {torch.float32}
        half = stored.model.half()
        half.save_pretrained(tmp_path / "half")  # pyright: ignore
        assert dtypes(load(tmp_path / "half")) == {torch.float16}
        losses = causal_lm(load(tmp_path / "half").model, {"input_ids": torch.randint(40, (2, 9))})
        assert losses.dtype == torch.float32

    def test_a_tokenizer_beside_it(self, tmp_path):
        from transformers import PreTrainedTokenizerFast

        saved(tmp_path, "LlamaConfig", "LlamaForCausalLM", vocab_size=1024)
        PreTrainedTokenizerFast(
            tokenizer_object=bundled.tokenizer(), eos_token="<|end|>"
        ).save_pretrained(tmp_path)
        loaded = load(tmp_path)
        mine = load_data(loaded, "bundled:literature", max_examples=4)
        theirs = bundled.tokens("literature", context=64)[:4]
        assert mine.batch(torch.arange(4))["input_ids"].equal(theirs)

    def test_an_encoder_is_no_causal_language_model(self, tmp_path):
        # Its weights all fit; only its behaviour gives it away.
        saved(tmp_path, "BertConfig", "BertLMHeadModel", initializer_range=0.5)
        with pytest.raises(GermError, match="predictions depend on later tokens"):
            load(tmp_path)

    def test_missing_weights_are_not_drawn_at_random(self, tmp_path):
        saved(tmp_path, "GPT2Config", "GPT2Model", tie_word_embeddings=False)
        with pytest.raises(GermError, match=r"none that fit for lm_head\.weight") as error:
            load(tmp_path)
        one_line(error)

    def test_weights_of_another_shape(self, tmp_path):
        saved(tmp_path, "LlamaConfig", "LlamaForCausalLM")
        settings = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({**settings, "intermediate_size": 48}))
        with pytest.raises(GermError) as error:
            load(tmp_path)
        assert str(tmp_path) in one_line(error)

    def test_nan_weights_are_named(self, tmp_path):
        model = saved(tmp_path, "LlamaConfig", "LlamaForCausalLM")
        with torch.no_grad():
            model.lm_head.weight[3, 5] = float("inf")
        model.save_pretrained(tmp_path)
        with pytest.raises(GermError, match=r"in lm_head\.weight \(1 of 640\)"):
            load(tmp_path)

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("config.json", "{oops", "transformers cannot load"),
            ("config.json", '{"model_type": "weird"}', "weird"),
            ("config.json", "{}", "transformers cannot load"),
            ("model.safetensors", "noise", "transformers cannot load"),
            ("model.safetensors", None, "transformers cannot load"),
            ("config.json", None, r"config\.json .* or a \.gguf"),
        ],
    )
    def test_a_damaged_folder(self, tmp_path, name, content, words):
        saved(tmp_path, "LlamaConfig", "LlamaForCausalLM")
        (tmp_path / name).unlink()
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(GermError, match=words) as error:
            load(tmp_path)
        assert str(tmp_path) in one_line(error)

    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(GermError, match="got one with nothing"):
            load(tmp_path)

    def test_a_damaged_gguf_file(self, tmp_path):
        (tmp_path / "model.gguf").write_bytes(b"noise")
        for spec in (tmp_path, tmp_path / "model.gguf"):
            with pytest.raises(GermError, match="transformers cannot load"):
                load(spec)
        shutil.copy(tmp_path / "model.gguf", tmp_path / "other.gguf")
        with pytest.raises(GermError, match="one GGUF file, got"):
            load(tmp_path)

    @pytest.mark.parametrize("name", ["org/none", "org/none@step3", "nothing-of-this-name"])
    def test_a_name_that_cannot_be_reached(self, name):
        with pytest.raises(GermError, match=r"no file or folder .*Hugging Face hub") as error:
            load(name)
        one_line(error)

    def test_remote_code_is_not_run_unasked(self, tmp_path):
        saved(tmp_path, "LlamaConfig", "LlamaForCausalLM")
        settings = json.loads((tmp_path / "config.json").read_text())
        settings["model_type"] = "mine"
        settings["auto_map"] = {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}
        (tmp_path / "config.json").write_text(json.dumps(settings))
        (tmp_path / "code.py").write_text("raise SystemExit('ran it')")
        with pytest.raises(GermError, match="trust-remote-code") as error:
            load(tmp_path)
        one_line(error)


def test_the_hub_is_not_asked_when_told_offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not imports.hub_reachable()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(imports.socket, "getaddrinfo", lambda *_: [1])
    assert imports.hub_reachable()

    def fails(*_):
        raise OSError("no network")

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(imports.socket, "getaddrinfo", fails)
    assert not imports.hub_reachable()
