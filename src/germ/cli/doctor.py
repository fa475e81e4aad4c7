"""`germ doctor`: is this installation sound?"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import tempfile
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated

from typer import Option

from germ.cli import boundary
from germ.cli.grouping import grouped
from germ.cli.options import Printing
from germ.cli.screen import Screen

CORE = ("torch", "numpy", "scipy", "xarray", "zarr", "arviz-stats", "safetensors", "tokenizers")
EXTRAS = {
    "hf": ("transformers", "datasets", "accelerate", "gguf"),
    "lens": ("transformer_lens",),
    "wandb": ("wandb",),
}


@grouped
def doctor(
    printing: Printing,
    out: Annotated[
        Path, Option("--out", help="A folder that runs are to go to.", rich_help_panel="Output")
    ] = Path("runs"),
    device: Annotated[str, Option("--device", help="Where the self-check samples.")] = "cpu",
) -> int:
    """Look at versions, devices, folders and the bundled model, and sample where λ̂ is known."""
    screen = Screen(json=printing.json)
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", lambda: f"{platform.python_version()}, {platform.platform()}"),
        ("packages", _packages),
        ("extras", _extras),
        ("devices", _devices),
        ("out", lambda: _writable(out)),
        ("bundled", _bundled),
        ("self-check", lambda: _self_check(device)),
    ]
    found = []
    for name, check in checks:
        try:
            text, ok = check(), True
        except Exception as error:  # A check that fails is this command's result.
            text, ok = _one_line(error), False
        screen.say(f"{'ok' if ok else 'BROKEN':<7} {name:<11} {text}", None if ok else "red")
        found.append({"check": name, "ok": ok, "text": text})
    broken = [check["check"] for check in found if not check["ok"]]
    screen.say(f"broken: {', '.join(broken)}" if broken else "all is well", "bold")
    screen.emit({"command": "doctor", "ok": not broken, "checks": found})
    return boundary.BUG if broken else 0


def _packages() -> str:
    versions = {name: metadata.version(name) for name in ("germ", *CORE)}
    for name in CORE:
        importlib.import_module(name.replace("-", "_"))
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _extras() -> str:
    said = []
    for extra, packages in EXTRAS.items():
        absent = [name for name in packages if importlib.util.find_spec(name) is None]
        said.append(f'{extra} absent (pip install "germ[{extra}]")' if absent else f"{extra} there")
    return ", ".join(said)


def _devices() -> str:
    import torch

    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    threads = f"{torch.get_num_threads()} threads on {os.cpu_count()} cores"
    return f"cpu ({threads}), {'cuda: ' + ', '.join(cuda) if cuda else 'no cuda'}"


def _writable(folder: Path) -> str:
    """Write a file in the folder, or in the nearest one above it that exists."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise NotADirectoryError(f"{there} is a file; choose another folder with --out")
    with tempfile.NamedTemporaryFile(dir=there) as file:
        file.write(b"germ")
        file.flush()
        os.fsync(file.fileno())
    return f"{folder} can be written"


def _bundled() -> str:
    import torch

    from germ.zoo import bundled

    steps = bundled.steps()
    tokens = bundled.tokens("all", "heldout")[:4]
    with torch.no_grad():
        logits = bundled.model("final")(tokens)
    if not torch.isfinite(logits).all():
        raise ValueError("the bundled model returns NaN or infinite logits")
    domains = ", ".join(bundled.domains())
    return f"{len(steps)} checkpoints, steps {steps[0]} to {steps[-1]:,}; text: {domains}"


def _self_check(device: str) -> str:
    from germ.selfcheck import self_check

    found = self_check(device)
    text = f"{found.estimate} where theory says {found.expected:.4f}"
    if not found.passed:
        raise ValueError(f"{text}: sampling is wrong on this machine")
    return text


def _one_line(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split()) or type(error).__name__
    return f"{text} ({type(error).__name__}, {Path(frame.filename).name} line {frame.lineno})"
