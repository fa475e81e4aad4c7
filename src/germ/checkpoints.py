"""The checkpoints of a training run, from a pattern: what a sweep goes through."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from glob import glob
from pathlib import Path

from germ import huggingface
from germ.errors import GermError


def expand(patterns: str | Sequence[str]) -> list[tuple[int | str, str]]:
    """The models a pattern stands for, in order of training: (step, spec) of each.

    Args:
        patterns: One or several of: a glob of checkpoint folders or files; a folder of them;
            `NAME@step{0,512,1000}`, where a list in braces stands for each of its entries;
            `bundled@*`; or a plain model. The step is the number in a name that tells it from the
            others; where there is none, the whole name takes its place.

    Raises:
        GermError: If nothing matches.

    Example:
        >>> expand("org/name@step{0,512}")
        [(0, 'org/name@step0'), (512, 'org/name@step512')]
    """
    given = [patterns] if isinstance(patterns, str) else list(patterns)
    specs = [spec for pattern in given for braced in _braces(pattern) for spec in _globbed(braced)]
    specs = sorted(dict.fromkeys(specs), key=_natural)
    steps = _steps(specs)
    return sorted(zip(steps, specs, strict=True), key=lambda pair: _natural(str(pair[0])))


def _braces(pattern: str) -> list[str]:
    """`a{1,2}b` → `a1b`, `a2b`."""
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = [[part] if i % 2 == 0 else part.split(",") for i, part in enumerate(parts)]
    return ["".join(choice) for choice in itertools.product(*choices)]


def _globbed(pattern: str) -> list[str]:
    if pattern == "bundled@*":
        from germ.zoo import bundled

        return [f"bundled@{step}" for step in bundled.steps()]
    path = Path(pattern).expanduser()
    if path.is_dir() and not huggingface.is_folder(path):
        pattern = str(path / "*")
    if not any(character in pattern for character in "*?["):
        return [pattern]
    matched = glob(str(Path(pattern).expanduser()))
    models = [name for name in matched if _is_checkpoint(Path(name))]
    if not models:
        came = f"{len(matched)} other files" if matched else "nothing"
        raise GermError(
            f"expected {pattern} to match checkpoints (folders with a config.json, .safetensors "
            f"files), got {came}"
        )
    return models


def _is_checkpoint(path: Path) -> bool:
    if path.is_dir():
        return huggingface.is_folder(path)
    return path.suffix in (".safetensors", ".gguf", ".pt", ".pth", ".ckpt")


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts step9 before step10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def _steps(specs: Sequence[str]) -> list[int | str]:
    """The number that differs from name to name: the only one, or the one after `step` and such."""
    stems = [re.sub(r"\.(safetensors|gguf|pt|pth|ckpt)$", "", spec) for spec in specs]
    named = [re.findall(r"(?:step|checkpoint|ckpt|iter|@)[-_=]?(\d+)", stem) for stem in stems]
    last = [re.findall(r"\d+", Path(stem).name) for stem in stems]
    for numbers in (named, last if len(specs) > 1 else [[]]):  # GPT-2 alone is at no step 2
        if all(numbers):
            found = [int(number[-1]) for number in numbers]
            if len(set(found)) == len(found):
                return list(found)
    return list(specs)
