"""Which experiments there are, and how one is run."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from germ.errors import GermError
from germ.report.page import Page

MODULES = {
    "toy-posteriors": "toy_posteriors",
    "dln": "deep_linear_networks",
    "patterning": "patterning",
    "scale": "scale",
    "saddle-to-saddle": "saddle_to_saddle",
    "superposition": "superposition",
    "modular-addition": "modular_addition",
    "regression-transformer": "regression_transformer",
    "transient-ridge": "transient_ridge",
    "language-model": "language_model",
    "data-shift": "data_shift",
    "compression": "compression",
}
"""Experiments by name: their modules, imported when they are run."""

Progress = Callable[[str, int, int], None]
"""Told (stage, done, total)."""


def get(name: str) -> ModuleType:
    """The module of an experiment.

    Raises:
        GermError: There is none of this name.
    """
    if name not in MODULES:
        raise GermError(f"expected an experiment, one of {', '.join(MODULES)}; got {name!r}")
    return importlib.import_module(f"germ.experiments.{MODULES[name]}")


def cost(name: str, preset: str) -> str:
    """What a run costs, in time and memory, and on which machine: one line.

    Raises:
        GermError: An unknown name or preset.
    """
    return _with_preset(name, preset).COST[preset]


def run(
    name: str,
    out: str | Path,
    *,
    preset: str = "small",
    seed: int = 0,
    progress: Progress | None = None,
    announce: Callable[[str], None] | None = None,
) -> tuple[Page, dict[str, Path]]:
    """Run an experiment and write its page.

    Args:
        name: Its name in `MODULES`.
        out: A folder for the page, the figures, the data, and what long runs keep.
        preset: Its name in the experiment's `PRESETS`.
        seed: Of everything random.
        progress: Told (stage, done, total).
        announce: Told what the run will cost, once nothing stands in its way.

    Returns:
        The page, and what was written.

    Raises:
        GermError: An unknown name or preset, or a folder that cannot be written.
    """
    module = _with_preset(name, preset)
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GermError(f"cannot write {out}: {error.strerror or error}") from error
    if announce is not None:
        announce(module.COST[preset])
    page = module.run(
        module.PRESETS[preset], out, seed=seed, progress=progress or (lambda *_: None)
    )
    return page, page.write(out)


def _with_preset(name: str, preset: str) -> ModuleType:
    module = get(name)
    if preset not in module.PRESETS:
        raise GermError(
            f"expected a preset of {name}, one of {', '.join(module.PRESETS)}; got {preset!r}"
        )
    return module
