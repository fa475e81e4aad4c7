"""Toy models, and ways to call germ within this process and as one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

TOYS = """
import os, time
import torch
from torch import nn

def data(n=40):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, generator=g)
    return x, x @ torch.tensor([[1.0], [2.0], [3.0]]) + 0.1 * torch.randn(n, 1, generator=g)

def linear(weights=(1.0, 2.0, 3.0)):
    model = nn.Linear(3, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([weights]))
        model.bias.zero_()
    return model

def squared(model, batch):
    time.sleep(float(os.environ.get("SLOW", 0)))  # a run that can be caught in the middle
    return (model(batch[0]) - batch[1]).square().mean(1)

def toy():
    return linear(), data(), squared

def alone():
    return linear()

def nan_weights():
    return linear((1.0, float("nan"), 3.0)), data(), squared

def nan_data():
    x, y = data()
    y[3] = float("nan")
    return linear(), (x, y), squared

def empty_data():
    x, y = data()
    return linear(), (x[:0], y[:0]), squared

def wrong_dtype():
    x, y = data()
    return linear(), (x.double(), y.double()), "mse"

class Dropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = linear()
    def forward(self, x):
        return self.inner(nn.functional.dropout(x, 0.5, training=True))

def dropout():
    torch.manual_seed(0)
    return Dropping(), data(), squared

def no_model():
    return {"model": 3}

def runaway():
    return linear(), data(), lambda model, batch: -1e6 * squared(model, batch)

def broken():
    raise RuntimeError("first line\\nsecond line")
"""

SHORT = ("--chains", "2", "--draws", "8", "--warmup", "2")
FAST = (*SHORT, "--sampler", "lm", "--step-size", "1e-2")
"""A run of a moment."""


def call(*args: object) -> Result:
    """Call germ within this process."""
    from germ.cli import app

    return CliRunner().invoke(app, [str(arg) for arg in args])


def call_json(*args: object) -> Any:
    """Call germ with --json; it must succeed, and print JSON alone."""
    result = call(*args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*args: object) -> str:
    """Call germ, which must refuse in one line with exit code 2; returns the line."""
    result = call(*args)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("germ: ")
    return lines[0]


def start(
    folder: Path,
    *args: object,
    slow: float = 0,
    setup: str = "",
    stdout: int = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """Start germ as a process of its own.

    Args:
        folder: Its working directory.
        args: Its command line.
        slow: Seconds that every evaluation of a toy's loss takes.
        setup: Python to run first.
        stdout: Where its output goes.
    """
    # Whoever runs the tests in the background has Ctrl-C ignored, and children inherit that.
    heard = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heard}\n{setup}\nimport sys\nfrom germ.cli import main\nsys.argv[0] = 'germ'\nmain()"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SLOW": str(slow)}
    environment.pop("GERM_DEBUG", None)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        cwd=folder,
        env=environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )
