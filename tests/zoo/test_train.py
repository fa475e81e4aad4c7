"""The training script: it learns, keeps its schedule, and resumes to the bit."""

import itertools
import json
import lzma
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from germ.errors import GermError
from germ.zoo import bundled
from germ.zoo.attention_only import PRESETS, AttentionOnly, load_checkpoint, read_metadata
from germ.zoo.train import (
    TrainSettings,
    checkpoint_steps,
    draw_batch,
    evaluate,
    fit,
    learning_rate,
    main,
    read_streams,
)

TINY = PRESETS["tiny"]
SETTINGS = TrainSettings(
    num_steps=60, batch_size=16, lr=1e-2, warmup=5, num_checkpoints=8, eval_every=20, eval_windows=8
)


def make_streams(length: int = 2000) -> dict[str, torch.Tensor]:
    """Two domains that a model can tell apart: counting up, and counting down by threes."""
    count = torch.arange(length)
    return {"up": count % 32, "down": (-3 * count) % 32}


def new_model() -> AttentionOnly:
    torch.manual_seed(0)
    return AttentionOnly(TINY)


def test_training_learns_both_domains(tmp_path):
    streams = make_streams()
    fit(new_model(), streams, streams, SETTINGS, tmp_path)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    first, last = log[0], log[-1]
    assert (first["step"], last["step"]) == (0, 60)
    for domain in streams:
        assert first["heldout"][domain] > 3.3  # log 32 = 3.47
        assert last["heldout"][domain] < 1.0
    # The last checkpoint is the model that the last line of the log speaks of.
    final = load_checkpoint(tmp_path / bundled.checkpoint_name(60))
    assert evaluate(final, streams, 8) == pytest.approx(last["heldout"], abs=1e-4)
    saved = sorted(int(read_metadata(p)["germ.step"]) for p in tmp_path.glob("*.safetensors"))
    assert saved == checkpoint_steps(60, 8)


def test_killed_run_resumes_to_the_same_bits(tmp_path):
    streams = make_streams()
    fit(new_model(), streams, streams, SETTINGS, tmp_path / "whole")
    # Killed at step 50, last saved at 40: ten steps are taken twice.
    fit(new_model(), streams, streams, SETTINGS, tmp_path / "parts", stop_after=50)
    assert not (tmp_path / "parts" / bundled.checkpoint_name(60)).exists()
    fit(new_model(), streams, streams, SETTINGS, tmp_path / "parts")
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "parts").iterdir())
    for name in names:
        if name != "state.pt":
            whole, parts = ((tmp_path / run / name).read_bytes() for run in ("whole", "parts"))
            assert whole == parts, name


def test_other_settings_do_not_resume(tmp_path):
    streams = make_streams()
    fit(new_model(), streams, streams, SETTINGS, tmp_path, stop_after=1)
    with pytest.raises(GermError, match=r"other settings \(lr: 0\.5, there 0\.01\)"):
        fit(new_model(), streams, streams, replace(SETTINGS, lr=0.5), tmp_path)


def test_too_little_text_is_refused(tmp_path):
    streams = make_streams()
    short = {"short": torch.zeros(15, dtype=torch.long)}
    with pytest.raises(GermError, match=r"'short' has 15 tokens.*16"):
        fit(new_model(), streams, short, SETTINGS, tmp_path)


def test_batches_are_even_over_domains_and_keyed_by_seed_and_step():
    streams = {"a": torch.arange(0, 100), "b": torch.arange(100, 1100)}
    batch = draw_batch(streams, 16, SETTINGS, 3)
    assert batch.shape == (16, 16)
    assert (batch[:, 0] < 100).sum() == 8
    assert (batch.diff(dim=1) == 1).all()  # whole windows, in order
    assert torch.equal(batch, draw_batch(streams, 16, SETTINGS, 3))
    assert not torch.equal(batch, draw_batch(streams, 16, SETTINGS, 4))
    assert not torch.equal(batch, draw_batch(streams, 16, replace(SETTINGS, seed=1), 3))
    # Every window can be drawn, the very first and the very last too.
    exact = {"a": torch.arange(17)}
    starts = {int(s) for step in range(20) for s in draw_batch(exact, 16, SETTINGS, step)[:, 0]}
    assert starts == {0, 1}


def test_learning_rate_rises_then_falls_to_zero():
    settings = TrainSettings(num_steps=1000, warmup=100, lr=1.0)
    rates = [learning_rate(step, settings) for step in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[99] == pytest.approx(1.0)
    assert rates[550] == pytest.approx(0.5)
    assert rates[1000] == pytest.approx(0.0)
    assert all(a > b for a, b in itertools.pairwise(rates[100:]))


def test_checkpoint_steps_are_log_spaced():
    steps = checkpoint_steps(10_000, 14)
    assert steps[:2] == [0, 1]
    assert steps[-1] == 10_000
    ratios = [b / a for a, b in itertools.pairwise(steps[4:])]
    assert max(ratios) / min(ratios) < 1.1
    assert checkpoint_steps(1, 5) == [0, 1]


def test_script_trains_on_given_text(tmp_path):
    (tmp_path / "plain.txt").write_text("the cat sat on the mat. " * 400)
    (tmp_path / "packed.txt.xz").write_bytes(lzma.compress(b"x = x + 1\n" * 900))
    command = [sys.executable, "-m", "germ.zoo.train", "--out", str(tmp_path / "run")]
    command += ["--text", str(tmp_path / "plain.txt"), str(tmp_path / "packed.txt.xz")]
    command += ["--num-steps", "3", "--batch-size", "4", "--num-checkpoints", "3", "--bf16"]
    command += ["--eval-windows", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "domains: plain, packed" in done.stdout
    assert (tmp_path / "run" / bundled.checkpoint_name(3)).exists()


def test_script_answers_bad_input_in_one_line(tmp_path, monkeypatch, capsys):
    missing = tmp_path / "missing.txt"
    arguments = ["train", "--out", str(tmp_path / "run"), "--text", str(missing)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: cannot read text from {missing}")
    assert not (tmp_path / "run").exists()


def test_unreadable_text_is_named(tmp_path):
    with pytest.raises(GermError, match=r"nothing\.txt"):
        read_streams([tmp_path / "nothing.txt"], bundled.tokenizer())
    (tmp_path / "same.txt").write_text("x" * 100)
    with pytest.raises(GermError, match="called 'same'"):
        read_streams([tmp_path / "same.txt"] * 2, bundled.tokenizer())
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(GermError, match=r"latin\.txt.*utf-8"):
        read_streams([tmp_path / "latin.txt"], bundled.tokenizer())
