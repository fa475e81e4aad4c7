"""How a run is carried out: every setting resolved, none left to chance."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from germ.errors import GermError
from germ.gradients import ESTIMATES, losses_and_grad
from germ.posterior import LocalPosterior
from germ.types import Batch

BATCH_LOSSES = 4096
"""Losses a batch by default, where an example has many (tokens)."""

BATCH_EXAMPLES, SMALL_BATCH_EXAMPLES = 512, 2048
"""Examples a batch by default, where an example has one loss; more where the model is so small that
they cost little: four times the batch halved the error at 1.3 to 1.8 times the time."""

SMALL_PARAMETERS = 100_000
"""Models with fewer parameters are small in that sense."""

CHEAP_WORK, CHEAP_EXAMPLES = 2_500_000, 8192
"""And more still, up to so many, where parameters × examples stay below this: up to there the
arithmetic costs about what the interpreter does, while noise falls as the batch grows."""

MAX_GROWTH, CHEAP = 4, 100_000_000
"""How calibration may enlarge a batch of default size: so many times, or up to so many
parameters × losses, which takes a core some tens of milliseconds."""

FULL_LOSSES = 20_000
"""All the data make the batch where that is cheap in the same sense and they are no more than this:
the sampler can then be exact."""

CHAINS, MANY_CHAINS, MANY_LOSSES = 4, 32, 200_000
"""Chains by default; more, on all the data, while all of them together stay as cheap as that and
see no more than so many losses a step: the interpreter costs the same for 4 as for 32."""

TURNING_SHARE = 0.2
"""Of a gradient's arithmetic that a metric may take."""

LONG_DRAWS, SHORT_DRAWS = 1000, 200
"""Draws by default: where an example has one loss, and where it has many (sequences)."""

MIN_BATCH_EXAMPLES = 8

PRECISION, PATIENCE = 0.025, 4
"""Standard error of λ̂ that a run goes on for, as a share of λ̂, and for how many times the usual
draws. Few coordinates need many draws: nβΔL has a relative spread of about 1/√λ a draw."""

VECTORIZE_BELOW = 10_000_000
"""On a CPU, chains run in one vectorized call where parameters × losses in a batch, about the
multiply-adds of a gradient, are fewer.

Below, the interpreter costs more than the arithmetic; above, `vmap` gains nothing or loses
(`benchmarks/overhead.py --vectorize`).
"""

VECTORIZE_SHARE = 0.1
"""And models of which a smaller share of the weights moves: what lies below the lowest moving layer
is then computed once for all chains."""


@dataclass(frozen=True)
class Plan:
    """The resolved settings of a run.

    Attributes:
        chains: Number of chains; all start at w*.
        draws: Kept draws a chain.
        warmup: Steps before the first draw; they enter no average.
        thin: Steps from one draw to the next.
        batch_size: Examples a batch.
        gradient: `"anchored"` or `"minibatch"`.
        share_batches: Whether all chains see one batch a step.
        chains_per_call: Chains that one vectorized gradient call takes; 1 is a plain loop.
        seed: The seed of noise and batches.
        auto_batch: Whether calibration may take larger batches than `batch_size`.
        precision: Wanted standard error of λ̂ as a share of |λ̂|; None never looks.
        max_draws: The most draws a chain, where the precision asks for more than `draws`.
    """

    chains: int
    draws: int
    warmup: int
    thin: int
    batch_size: int
    gradient: str
    share_batches: bool
    chains_per_call: int
    seed: int
    auto_batch: bool = False
    precision: float | None = None
    max_draws: int = 0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            GermError: One is out of range.
        """
        least = {
            "chains": 1, "draws": 4, "warmup": 0, "thin": 1, "batch_size": 1, "seed": 0,
            "chains_per_call": 1,
        }  # fmt: skip
        for name, low in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < low:
                raise GermError(f"expected {name} to be a whole number >= {low}; got {value!r}")
        if self.precision is not None and not 0 < self.precision < 1:
            raise GermError(f"expected 0 < precision < 1; got {self.precision}")
        if self.max_draws < self.draws:
            object.__setattr__(self, "max_draws", self.draws)
        if self.seed >= 2**63:
            raise GermError(f"expected seed < 2**63; got {self.seed}")
        if self.gradient not in ESTIMATES:
            raise GermError(f"expected gradient to be one of {ESTIMATES}; got {self.gradient!r}")

    @property
    def num_steps(self) -> int:
        """Steps of each chain, warmup included; the least of them."""
        return self.steps_for(self.draws)

    @property
    def max_steps(self) -> int:
        """The most of them."""
        return self.steps_for(self.max_draws)

    def steps_for(self, draws: int) -> int:
        """Steps of each chain that so many draws take."""
        return self.warmup + (draws - 1) * self.thin + 1

    @property
    def groups(self) -> list[range]:
        """Chains by vectorized call."""
        starts = range(0, self.chains, self.chains_per_call)
        return [range(s, min(s + self.chains_per_call, self.chains)) for s in starts]

    def is_draw(self, step: int) -> bool:
        """Whether the position at `step` is kept."""
        return step >= self.warmup and (step - self.warmup) % self.thin == 0

    def identity(self) -> dict[str, Any]:
        """What decides the numbers. The way chains are called changes only the last bits."""
        fields = asdict(self)
        del fields["chains_per_call"]
        return fields


def num_losses(posterior: LocalPosterior, batch: Batch) -> int:
    """Losses in a batch: one an example, or one a token."""
    with torch.no_grad():
        return posterior.apply(posterior.anchor, posterior.loss, batch).numel()


def losses_per_example(posterior: LocalPosterior) -> int:
    """1, or the number of tokens."""
    return num_losses(posterior, posterior.batch(torch.zeros(1, dtype=torch.long)))


def num_parameters(posterior: LocalPosterior) -> int:
    """Parameters of the model, moving or not."""
    return sum(p.numel() for p in posterior.model.parameters())


def auto_batch_size(posterior: LocalPosterior) -> int:
    """512 examples, or 2048 of a small model; of sequences 4096 losses, at least 8; at most n."""
    num_examples, parameters = posterior.data.num_examples, num_parameters(posterior)
    per_example = losses_per_example(posterior)
    losses = num_examples * per_example
    if losses <= FULL_LOSSES and losses * parameters <= CHEAP_WORK:
        return num_examples
    if per_example > 1:
        size = max(MIN_BATCH_EXAMPLES, BATCH_LOSSES // per_example)
    else:
        size = SMALL_BATCH_EXAMPLES if parameters < SMALL_PARAMETERS else BATCH_EXAMPLES
        size = max(size, min(CHEAP_WORK // parameters, CHEAP_EXAMPLES))
    return min(size, num_examples)


def rotation_pays(posterior: LocalPosterior, batch_size: int) -> bool:
    """Whether a metric may turn each weight matrix into a basis of its own.

    It does in models so small that it was measured there, if turning there and back twice a step
    takes less than a fifth of the multiply-adds of a gradient.
    """
    size = num_parameters(posterior)
    if size > SMALL_PARAMETERS:
        return False
    turns = 0
    for shape, num in zip(posterior.coordinates.shapes, posterior.coordinates.sizes, strict=True):
        if len(shape) > 1:
            turns += num * (shape[0] + num // shape[0])
    return 0 < 8 * turns <= TURNING_SHARE * 6 * size * batch_size * losses_per_example(posterior)


def max_batch_size(posterior: LocalPosterior, batch_size: int) -> int:
    """The most examples that calibration may make a batch of, where `batch_size` is the default.

    All of them where the multiply-adds of one gradient stay below `CHEAP`; else some times the
    default: it is the user's time and memory.
    """
    num = posterior.data.num_examples
    work = num_parameters(posterior) * losses_per_example(posterior)
    return min(num, max(batch_size * MAX_GROWTH, CHEAP // work))


def auto_draws(posterior: LocalPosterior) -> int:
    """1000, or 200 for sequences, whose gradients cost more: the field's usual number."""
    return LONG_DRAWS if losses_per_example(posterior) == 1 else SHORT_DRAWS


def auto_precision(precision: float | str | None, draws: int | None) -> float | None:
    """The wanted precision: 2.5% by default, where the number of draws is left open.

    Raises:
        GermError: A word other than "auto".
    """
    if not isinstance(precision, str):
        return precision
    if precision != "auto":
        raise GermError(f"expected a precision between 0 and 1, None or 'auto'; got {precision!r}")
    return PRECISION if draws is None else None


def auto_chains(posterior: LocalPosterior, batch_size: int) -> int:
    """4, or up to 32 where every gradient sees all the data and they cost next to nothing."""
    num_examples = posterior.data.num_examples
    if batch_size < num_examples:
        return CHAINS
    losses = losses_per_example(posterior) * num_examples
    room = min(CHEAP_WORK // (num_parameters(posterior) * losses), MANY_LOSSES // losses)
    return min(max(room, CHAINS), MANY_CHAINS)


def auto_chains_per_call(posterior: LocalPosterior, chains: int, batch: Batch) -> int:
    """All chains in one call where that pays and the model allows it, else 1.

    The rule looks at sizes, not at clocks, so that the same command always runs the same way.
    """
    if chains == 1:
        return 1
    size = num_parameters(posterior)
    pays = (
        posterior.coordinates.device.type != "cpu"
        or posterior.num_coordinates < VECTORIZE_SHARE * size
        or size * num_losses(posterior, batch) < VECTORIZE_BELOW
    )
    if not pays:
        return 1
    return chains if can_vectorize(posterior, batch) else 1


def can_vectorize(posterior: LocalPosterior, batch: Batch) -> bool:
    """Whether the model's gradient runs under `torch.func.vmap`, and says the same as a loop."""
    pair = posterior.anchor.expand(2, -1)
    try:
        losses, _ = losses_and_grad(posterior, pair, batch)
    except (RuntimeError, NotImplementedError):
        # Data-dependent control flow, custom autograd functions and kernels without a batching
        # rule end here. What is really wrong with the model shows in the loop.
        return False
    alone, _ = losses_and_grad(posterior, pair[:1], batch)
    return torch.allclose(losses[:1], alone, rtol=1e-3, atol=1e-6)
