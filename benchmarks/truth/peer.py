"""devinterp 2.0.1's samplers on germ's posteriors, in the loop that devinterp runs them in.

Its own `llc()` takes autoregressive language models only. Here its optimizer class, `SGMCMC`, is
driven as `devinterp.slt.sampler` drives it: chains start at w*; batches are one shuffled pass over
the data, replayed, the same for every chain; a step is the gradient of the mean batch loss, then
`optimizer.step()`; λ̂ of a chain is nβ·(mean batch loss over steps − initial loss), the initial loss
being the mean over 32 batches at w* (`num_init_loss_batches`). nβ and γ are the case's, since they
say what is to be estimated. Two settings of the rest:

* *as documented*: the README's lr 1e-3, 4 chains × 200 draws, no burn-in, batches of 32;
* *swept*: batches, chains and steps as germ's rows (4 × 300 steps, the first third left out of the
  average), lr from the sampling guide's {1e-6, 1e-5, 1e-4} by a pilot chain of 200 steps each: the
  largest whose trace levels off, judged by the last two quarters (see `_levels_off`).

The number it states for spread is `llc_std`, the standard deviation between chains; it warns of
nothing but NaN.
"""

from __future__ import annotations

import copy
import math
import time
import warnings
from typing import Any

import numpy as np
import torch

from benchmarks.truth.estimators import CHAINS, DRAWS, WARMUP, Estimator, Outcome, Setting

README_LR, README_STEPS, README_BATCH = 1e-3, 200, 32
INIT_LOSS_BATCHES = 32
SWEEP = (1e-4, 1e-5, 1e-6)
"""The sampling guide's step sizes, largest first."""

PILOT_STEPS = 200


def available() -> bool:
    """Whether devinterp is installed."""
    try:
        import devinterp.optim  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    return True


class Feed:
    """One shuffled pass over the data, replayed: `itertools.cycle` over a shuffled loader."""

    def __init__(self, setting: Setting, batch_size: int, seed: int) -> None:
        self.posterior = setting.posterior
        num = self.posterior.data.num_examples
        order = torch.randperm(num, generator=torch.Generator().manual_seed(seed))
        self.batches = list(order[: num - num % batch_size].split(batch_size))

    def batch(self, step: int) -> Any:
        """The batch of a step."""
        return self.posterior.batch(self.batches[step % len(self.batches)])


def initial_loss(setting: Setting, feed: Feed) -> float:
    """Mean loss at w* over 32 batches."""
    posterior = setting.posterior
    with torch.no_grad():
        parts = [
            posterior.example_losses(posterior.anchor, feed.batch(i)).mean()
            for i in range(INIT_LOSS_BATCHES)
        ]
    return float(torch.stack(parts).mean())


def chain(
    setting: Setting, method: str, lr: float, steps: int, feed: Feed, seed: int
) -> np.ndarray:
    """The batch losses of one chain, (steps,): the inner loop of `sample_single_chain`."""
    from devinterp.optim import SGMCMC  # pyright: ignore[reportMissingImports]

    posterior = setting.posterior
    model = copy.deepcopy(posterior.model)
    torch.manual_seed(seed)
    make = SGMCMC.get_method(method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer = make(
            model.parameters(), lr=lr, nbeta=posterior.nbeta, localization=posterior.localization
        )
    losses = np.full(steps, np.nan)
    for step in range(steps):
        per_example = posterior.loss(model, feed.batch(step))
        loss = per_example.mean()
        losses[step] = float(loss.detach())
        if not math.isfinite(losses[step]):
            break
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return losses


def _levels_off(losses: np.ndarray) -> bool:
    """Whether the last quarter of a trace is no higher than the third, within its own noise."""
    if not np.isfinite(losses).all():
        return False
    third, last = losses[len(losses) // 2 : 3 * len(losses) // 4], losses[3 * len(losses) // 4 :]
    noise = math.hypot(third.std(), last.std()) / (len(last) / 10) ** 0.5
    return last.mean() < third.mean() + 2 * noise


def run(setting: Setting, seed: int, method: str, *, swept: bool) -> Outcome:
    """All chains and what `compute_llc` makes of them."""
    began = time.process_time()
    batch_size = setting.batch_size if swept else min(README_BATCH, setting.batch_size)
    if setting.case.full_batch:
        batch_size = setting.batch_size
    feed = Feed(setting, batch_size, seed)
    lr, steps, discarded, gradients = README_LR, README_STEPS, 0, 0
    if swept:
        steps, discarded = DRAWS + WARMUP, WARMUP
        lr = SWEEP[-1]
        for candidate in SWEEP:
            gradients += PILOT_STEPS
            if _levels_off(chain(setting, method, candidate, PILOT_STEPS, feed, seed)):
                lr = candidate
                break
    if setting.quick:
        steps, discarded = 60, 20 if swept else 0
    start = initial_loss(setting, feed)
    traces = np.stack(
        [chain(setting, method, lr, steps, feed, 100 + 1000 * seed + i) for i in range(CHAINS)]
    )
    gradients += CHAINS * steps
    of_chains = setting.posterior.nbeta * (traces[:, discarded:].mean(1) - start)
    failed = not np.isfinite(of_chains).all()
    return Outcome(
        value=math.nan if failed else float(of_chains.mean()),
        error=math.nan if failed else float(of_chains.std()),
        warnings=("NaN",) if failed else (),
        failed=failed,
        num_gradients=gradients,
        batch_size=batch_size,
        seconds=time.process_time() - began,
        notes={"step_size": lr},
    )


def _estimator(method: str, swept: bool) -> Estimator:
    return lambda setting, seed: run(setting, seed, method, swept=swept)


PEER: dict[str, Estimator] = {
    "devinterp SGLD, as documented": _estimator("sgld", False),
    "devinterp SGLD, swept": _estimator("sgld", True),
    "devinterp RMSprop-SGLD, as documented": _estimator("rmsprop_sgld", False),
    "devinterp RMSprop-SGLD, swept": _estimator("rmsprop_sgld", True),
}
"""Estimators by what the table calls them."""
