"""The command line is an interface: its flags change on purpose only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.support import call
from typer.main import get_command

from germ.cli import app

SAMPLING = {
    "--sampler", "--calibration", "--metric", "--step-size", "--friction", "--leapfrog-steps",
    "--gradient",
    "--chains", "--draws", "--precision", "--max-draws",
    "--warmup", "--thin", "--batch-size", "--seed",
}  # fmt: skip
LOADING = {
    "--loss", "--into", "--device", "--dtype", "--trust-remote-code", "--tokenizer", "--context",
    "--max-examples", "--num-examples", "--field", "--split", "--token-dtype",
}  # fmt: skip
POSTERIOR = {"--restrict", "--nbeta", "--localization"}
KEEPING = {"--out", "--resume", "--no-resume", "--fresh", "--drop-failed"}

FLAGS = {
    "llc": {"--data", "--on", "--components", "--figure", "--control", "--json"}
    | SAMPLING
    | LOADING
    | POSTERIOR
    | KEEPING,
    "sweep": {"--data", "--control", "--calibrate-once", "--json"}
    | SAMPLING
    | LOADING
    | POSTERIOR
    | KEEPING,
    "stages": {"--nbeta", "--level", "--out", "--seed", "--json"},
    "behaviour": {
        "--data",
        "--counts",
        "--rows",
        "--measures",
        "--early",
        "--late",
        "--seed",
        "--out",
        "--json",
    }
    | LOADING,
    "profile": {
        "--data",
        "--restrict",
        "--nbeta-min",
        "--nbeta-max",
        "--rungs",
        "--localization",
        "--figure",
        "--json",
    }
    | SAMPLING
    | LOADING
    | KEEPING,
    "calibrate": {
        "--data",
        "--gradient",
        "--chains",
        "--draws",
        "--warmup",
        "--thin",
        "--batch-size",
        "--seed",
        "--sweep",
        "--sweep-nbeta",
        "--sweep-localization",
        "--sweep-draws",
        "--out",
        "--save",
        "--json",
    }
    | LOADING
    | POSTERIOR,
    "components": {"--select", "--json"} | LOADING,
    "susceptibility": {
        "--data",
        "--probe",
        "--probe-examples",
        "--components",
        "--centring",
        "--method",
        "--nbeta",
        "--localization",
        "--json",
    }
    | SAMPLING
    | LOADING
    | KEEPING,
    "influence": {
        "--data",
        "--train-examples",
        "--query",
        "--query-examples",
        "--components",
        "--per-token",
        "--json",
    }
    | SAMPLING
    | LOADING
    | POSTERIOR
    | KEEPING,
    "structure": {
        "--pca",
        "--by-layer",
        "--umap",
        "--cluster",
        "--num",
        "--step",
        "--model",
        "--seed",
        "--out",
        "--json",
    },
    "show": {"--figure", "--json"},
    "exact": {"--at", "--dln", "--rrr", "--rank", "--tanh", "--nbeta", "--steps", "--json"},
    "experiment": {"--preset", "--out", "--seed", "--json"},
    "demo": {"--out", "--seed", "--device", "--fresh", "--json", "--fast"},
    "doctor": {"--out", "--device", "--json"},
}


def test_the_commands_and_their_flags_are_these():
    commands = get_command(app).commands  # type: ignore[attr-defined]
    found = {
        name: {
            flag
            for parameter in command.params
            for flag in (*parameter.opts, *parameter.secondary_opts)
            if flag.startswith("--") and flag != "--help"
        }
        for name, command in commands.items()
    }
    assert found == FLAGS


@pytest.mark.parametrize("command", [[], *[[name] for name in FLAGS]])
def test_help_names_every_flag_and_the_exit_codes(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = call(*command, "--help")
    assert result.exit_code == 0
    for flag in FLAGS[command[0]] - {"--fast"} if command else FLAGS:
        assert flag in result.stdout
    for code in ("0 all is well", "2 yours to mend", "3 sampling failed", "130 interrupted"):
        assert code in result.stdout


def test_without_arguments_it_helps():
    assert call().stdout == call("--help").stdout


def test_version():
    result = call("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("germ ") and result.stdout[5].isdigit()


def test_help_does_not_wait_for_pytorch():
    # A package of the same name and place whose __init__ imports nothing, as germ's own may.
    source = Path(__file__).parents[2] / "src" / "germ"
    code = f"""
import sys, types
package = types.ModuleType("germ")
package.__path__ = [{str(source)!r}]
sys.modules["germ"] = package
import germ.cli
try:
    germ.cli.app(["llc", "--help"])
except SystemExit:
    pass
print([name for name in ("torch", "numpy", "xarray", "matplotlib") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
