r"""Train transformers on in-context linear regression, keep checkpoints, go on where it stopped.

$$ L(w) = \mathbb{E}\,\frac1K \sum_k (f_w(x_1, y_1, \dots, x_k) - y_k)^2 $$

with new sequences at every step. Batches are keyed by (seed, step): a run that was killed takes the
very steps that it would have taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from germ import rng
from germ.development.regression_predictors import nested_tasks
from germ.errors import GermError
from germ.experiments.kept import kept, write_whole
from germ.experiments.machine import device
from germ.experiments.side_by_side import Report
from germ.zoo.in_context import InContextConfig, InContextRegressor, tokens_of

NOISE_VARIANCE = 0.125
"""σ², published."""

TASK_LIST = 0
"""Which endless list of tasks all models share the beginning of."""

BATCHES, FIRST_WEIGHTS = 0x1C0, 0x1C1
"""Streams of random numbers."""


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Attributes:
        config: Sizes of the model.
        num_steps: Steps of Adam.
        batch_size: Sequences a step.
        lr: The greatest learning rate of the one cycle it goes through.
        num_log: Checkpoints evenly spaced in log step.
        num_linear: Checkpoints evenly spaced in step.
        save_every: Steps between states that a stopped training goes on from.
    """

    config: InContextConfig
    num_steps: int
    batch_size: int
    lr: float
    num_log: int
    num_linear: int
    save_every: int = 1000

    @property
    def checkpoints(self) -> list[int]:
        """Steps that are kept, 0 and the last among them."""
        spaced = np.geomspace(1, self.num_steps, self.num_log).round()
        even = np.linspace(0, self.num_steps, self.num_linear + 1).round()
        return sorted({int(step) for step in (0, *spaced, *even)})


def batch(
    plan: Plan, seed: int, step: int, tasks: Tensor | None = None, noise: float = NOISE_VARIANCE
) -> tuple[Tensor, Tensor]:
    """The sequences of a step, as the model reads them, and what it is to say.

    Args:
        plan: The sizes.
        seed: The training's.
        step: The step.
        tasks: (M, D), those the model is trained on; None for new ones at every sequence.
        noise: σ².
    """
    source = rng.generator(seed, BATCHES, step)
    config = plan.config
    x = torch.randn(plan.batch_size, config.length, config.dim, generator=source)
    if tasks is None:
        chosen = torch.randn(plan.batch_size, config.dim, generator=source)
    else:
        chosen = tasks[torch.randint(len(tasks), (plan.batch_size,), generator=source)]
    y = (x * chosen[:, None]).sum(-1)
    y = y + noise**0.5 * torch.randn(y.shape, generator=source)
    return tokens_of(x, y), y


def tasks_of(plan: Plan, num_tasks: int | None) -> Tensor | None:
    """The first M tasks of the list, float32; None for all of N(0, I)."""
    if num_tasks is None:
        return None
    return nested_tasks(num_tasks, plan.config.dim, TASK_LIST).float()


def train(
    plan: Plan,
    seed: int,
    folder: Path,
    num_tasks: int | None = None,
    report: Report = lambda *_: None,
) -> None:
    """Train a model, or go on; its checkpoints are in `folder` afterwards.

    Args:
        plan: How.
        seed: Of the first weights and of the batches.
        folder: Of `stepNNNNNN.safetensors` and the state to go on from.
        num_tasks: M, or None for new tasks always.
        report: Told (step, steps), now and then.

    Raises:
        GermError: `folder` holds a training of other settings, is damaged, or cannot be written.
    """
    about = {**asdict(plan), "seed": seed, "num_tasks": num_tasks}
    kept(folder / "settings.json", about, dict)  # Refuses another training's folder.
    if (folder / _name(plan.num_steps)).exists():
        report(plan.num_steps, plan.num_steps)
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.generator(seed, FIRST_WEIGHTS).initial_seed() & 0x7FFFFFFF))
        model = InContextRegressor(plan.config).to(device())
    optimizer = torch.optim.Adam(model.parameters(), lr=plan.lr, fused=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.lr, total_steps=plan.num_steps + 1)
    step = _resume(folder, model, optimizer, cycle)
    tasks = tasks_of(plan, num_tasks)
    wanted_steps = set(plan.checkpoints)
    while True:
        if step in wanted_steps:
            write_whole(folder / _name(step), lambda path: save_file(model.state_dict(), path))
        if step == plan.num_steps:
            report(step, plan.num_steps)
            return
        if step % plan.save_every == 0 and step:
            state = {
                "step": step,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "cycle": cycle.state_dict(),
            }
            write_whole(folder / "state.pt", lambda path, state=state: torch.save(state, path))
            report(step, plan.num_steps)
        inputs, wanted = (each.to(device()) for each in batch(plan, seed, step, tasks))
        loss = (model(inputs) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        cycle.step()
        step += 1


def models(plan: Plan, folder: Path) -> Iterator[tuple[int, InContextRegressor]]:
    """The checkpoints of a training, in order of step.

    Raises:
        GermError: One is not there, or is damaged.
    """
    for step in plan.checkpoints:
        yield step, model(plan, folder, step)


def model(plan: Plan, folder: Path, step: int) -> InContextRegressor:
    """The model at a checkpoint.

    Raises:
        GermError: It is not there, or is damaged.
    """
    path = folder / _name(step)
    found = InContextRegressor(plan.config)
    try:
        found.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise GermError(f"{path} is damaged ({error}): delete {folder}, and run again") from error
    return found.eval().to(device())


def _name(step: int) -> str:
    return f"step{step:07d}.safetensors"


def _resume(
    folder: Path,
    model: InContextRegressor,
    optimizer: torch.optim.Optimizer,
    cycle: torch.optim.lr_scheduler.LRScheduler,
) -> int:
    """The step to go on from, everything set as it was there."""
    path = folder / "state.pt"
    if not path.exists():
        return 0
    try:
        state = torch.load(path, weights_only=True, map_location=device())
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        cycle.load_state_dict(state["cycle"])
        return int(state["step"])
    except Exception as error:  # Whatever pickle meets in a file that was cut short.
        raise GermError(f"{path} is damaged ({error}): delete it, and run again") from error
