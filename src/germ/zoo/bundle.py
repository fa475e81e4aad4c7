"""Put checkpoints of a training run into the package, in half precision (run by maintainers).

    python -m germ.zoo.bundle --run FOLDER

A log-spaced choice of the run's checkpoints replaces those in `assets/checkpoints`.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch

from germ.errors import GermError
from germ.zoo.attention_only import load_checkpoint, read_metadata, save_checkpoint
from germ.zoo.bundled import ASSETS, checkpoint_name

FIRST = 10  # between step 0 and this one nothing happens worth 0.8 MB


def choose(steps: list[int], num: int) -> list[int]:
    """Choose step 0, the last, and log-spaced steps between, as evenly as what is there allows."""
    candidates = np.array([step for step in steps if step >= min(FIRST, max(steps))])
    wanted = np.geomspace(candidates[0], candidates[-1], num - 1)
    nearest = [int(np.abs(np.log(candidates / w)).argmin()) for w in wanted]
    return sorted({0, *candidates[nearest].tolist()})


def main() -> None:
    """Install the checkpoints."""
    parser = argparse.ArgumentParser(description="Bundle the checkpoints of a run.")
    parser.add_argument("--run", type=Path, required=True, help="folder written by germ.zoo.train")
    parser.add_argument("--num", type=int, default=12, help="checkpoints to take")
    given = parser.parse_args()
    found = {int(read_metadata(p)["germ.step"]): p for p in given.run.glob("step*.safetensors")}
    if len(found) < given.num:
        raise GermError(
            f"expected {given.num} or more checkpoints in {given.run}, got {len(found)}"
        )
    log = [json.loads(line) for line in (given.run / "log.jsonl").read_text().splitlines()]
    losses = {record["step"]: record for record in log}

    folder = Path(str(ASSETS)) / "checkpoints"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for step in choose(sorted(found), given.num):
        model, path = load_checkpoint(found[step]), folder / checkpoint_name(step)
        extra = {split: losses[step][split] for split in ("train", "heldout")}
        save_checkpoint(model, path, step, {"losses": extra}, torch.float16)
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
