"""`germ experiment data-shift`: one loss, two solutions, told apart; and which one is preferred.

Two mixtures of data teach one model two ways to compute the same target: in one the few cues that
disagree with the product are right, in the other the product is. On data where both agree the
models then have the same loss, 0. There λ̂ and susceptibilities are measured, which see no example
on which the models differ. And a posterior over all weights is sampled at growing n, with and
without data on which the solutions differ: the solution of smaller λ is preferred, until
n times the loss that it costs outweighs it, and the free energies say when.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

import germ
from germ import LocalPosterior, Status
from germ.experiments import data_shift_posterior as posterior
from germ.experiments import replicates
from germ.experiments.catalogue import Progress
from germ.experiments.data_shift_model import Monomials, Product, inputs, known, targets
from germ.experiments.data_shift_page import page
from germ.experiments.kept import kept
from germ.experiments.superposition_tempering import Effort
from germ.report.page import Page

NAME = "data-shift"
SUMMARY = (
    "one loss reached by two data mixtures, told apart by λ̂ and χ; which solution is preferred"
)

MIXTURES = {"cue": 0.1, "product": 0.1, "either": 0.0}
"""What the target follows, and the share of examples on which cue and product disagree."""

SOLVED = 1e-6
"""The loss where they agree, without sampling error, below which a network has learned it."""

START = 100.0
"""The n from which theory continues the odds."""

TRAIN_DATA, TEST_DATA, PROBE_DATA = 1, 5, 6
"""Seeds of data sets."""

SPREAD, LEARNING_RATE, BATCH = 0.5, 0.05, 64


@dataclass(frozen=True)
class Settings:
    """What to run.

    Attributes:
        dim: d, numbers beside the cue.
        num_trained: Networks trained on each mixture; many do not learn it.
        num_steps: Of Adam.
        num_networks: Of those that have learned a mixture, measured.
        examples: n of λ̂; a quarter of it for χ.
        draws: Draws a chain for χ.
        llc_draws: Draws a chain for λ̂; None is germ's default.
        nums: n of the posteriors.
        disagree: ε of the posteriors, 0 among them.
        num_runs: Of the sampler at each ε.
        effort: Of each.
    """

    dim: int
    num_trained: int
    num_steps: int
    num_networks: int
    examples: int
    draws: int
    llc_draws: int | None
    nums: tuple[float, ...]
    disagree: tuple[float, ...]
    num_runs: int
    effort: Effort


PRESETS = {
    "quick": Settings(
        2, 64, 1500, 2, 512, 40, 200, (10.0, 100.0, 400.0, 1600.0), (0.0, 0.01), 2,
        Effort(200, 2, 8),
    ),
    "small": Settings(
        4, 512, 3000, 8, 4096, 300, None, (10.0, 30.0, *(100.0 * 2**k for k in range(8))),
        (0.0, 0.0003, 0.001, 0.003), 6, Effort(4000, 3, 10),
    ),
    "paper": Settings(
        6, 4096, 10_000, 32, 16_384, 2000, None, (10.0, 30.0, *(100.0 * 2**k for k in range(10))),
        (0.0, 0.0001, 0.0003, 0.001, 0.003), 16, Effort(40_000, 4, 16),
    ),
}  # fmt: skip
"""There is no publication to follow: `paper` is larger in every way."""

COST = {
    "quick": "half a minute, 0.5 GiB on 2 CPU cores",
    "small": "15 minutes, 0.6 GiB on 1 CPU core (CPU time, on a shared machine)",
    "paper": "about 2 days, 8 GiB on 2 CPU cores (estimated)",
}


def run(settings: Settings, out: Path, *, seed: int, progress: Progress) -> Page:
    """Train, measure λ̂ and χ where the losses are equal, sample posteriors, compare.

    Args:
        settings: A preset.
        out: Every result is kept in `out/runs`.
        seed: Of first weights, batches, chains and samplers.
        progress: Told (stage, done, total).

    Raises:
        GermError: `out/runs` holds results of other settings, or cannot be written.
    """
    folder = Path(out) / "runs"
    trained = {}
    for number, follow in enumerate(MIXTURES):
        progress("training", number, len(MIXTURES))
        about = [settings.dim, settings.num_trained, settings.num_steps, follow, seed]
        trained[follow] = kept(
            folder / f"trained-{follow}.json", {"of": about},
            functools.partial(train, settings, follow, seed),
        )  # fmt: skip
    networks = []
    wanted = [
        (follow, place)
        for follow in ("cue", "product")
        for place in range(min(settings.num_networks, len(trained[follow]["solved"])))
    ]
    for number, (follow, place) in enumerate(wanted):
        progress("λ̂ and χ of the networks", number, len(wanted))
        factors = trained[follow]["solved"][place]
        found = kept(
            folder / f"network-{follow}-{place:02d}.json",
            {
                "of": [
                    settings.dim,
                    factors,
                    settings.examples,
                    settings.draws,
                    settings.llc_draws,
                    seed,
                ]
            },
            functools.partial(measure, factors, settings, seed),
        )
        networks.append({"follow": follow, **found})
    runs = []
    jobs = [(e, k) for e in settings.disagree for k in range(settings.num_runs)]
    for number, (disagree, k) in enumerate(jobs):
        progress("posteriors", number, len(jobs))
        runs.append(
            kept(
                folder / f"posterior-{disagree:g}-{k:02d}.json",
                {"of": [settings.dim, settings.nums, disagree, asdict(settings.effort), seed + k]},
                functools.partial(
                    posterior.follow, settings.dim, settings.nums, disagree, settings.effort,
                    1000 * seed + k,
                ),
            )
        )  # fmt: skip
    data = {
        "seed": seed,
        "settings": asdict(settings),
        "known": asdict(known(settings.dim)),
        "trained": {
            follow: {name: row[name] for name in ("num", "cue", "product")}
            for follow, row in trained.items()
        },
        "networks": networks,
        "compared": compared(networks),
        "posteriors": runs,
        "odds": odds(settings, runs),
    }
    return page(data)


def train(settings: Settings, follow: str, seed: int) -> dict[str, Any]:
    """Train many networks on a mixture, side by side.

    Args:
        settings: How many, how long.
        follow: What the target follows: the cue, the product, or either, since they agree.
        seed: Of first weights and batches.

    Returns:
        `num` trained; how many learned it by the `cue` and by the `product`; the weights of those
        that follow what was to be followed, `solved`. JSON-able.
    """
    dim, num = settings.dim, settings.num_trained
    share = MIXTURES[follow]
    x, _ = inputs(4096, dim, share, TRAIN_DATA)
    wanted = targets(x, "product" if follow == "product" else "cue")
    rows = torch.cat([torch.ones(len(x), 1), x], 1)
    source = torch.Generator().manual_seed(7919 * seed + list(MIXTURES).index(follow))
    weights = SPREAD * torch.randn(num, 3, dim + 2, generator=source)
    weights.requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=LEARNING_RATE)
    cycle = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.num_steps)
    for _ in range(settings.num_steps):
        batch = torch.randint(len(x), (BATCH,), generator=source)
        said = torch.einsum("ni,ski->skn", rows[batch], weights).prod(1)
        losses = (said - wanted[batch]).square().mean(1)
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
        cycle.step()
    flat = weights.detach().double().flatten(1)
    monomials = Monomials(dim)
    uses = monomials.uses(flat)[:, 1]
    good = monomials.loss(flat) < SOLVED
    by_cue, by_product = good & (uses < posterior.HALF), good & (uses >= posterior.HALF)
    chosen = by_product if follow == "product" else by_cue
    return {
        "num": num,
        "cue": int(by_cue.sum()),
        "product": int(by_product.sum()),
        "solved": weights.detach()[chosen].tolist(),
    }


def measure(factors: list[list[float]], settings: Settings, seed: int) -> dict[str, Any]:
    """λ̂ of a network where both solutions agree, and χ of three probes; JSON-able.

    The probes are examples on which they disagree, once with the cue's answer and once with the
    product's, and new ones on which they agree.

    Args:
        factors: The weights.
        settings: How much.
        seed: Of the chains.
    """
    dim = settings.dim
    model = Product(dim)
    with torch.no_grad():
        model.factors.copy_(torch.tensor(factors))
    x, _ = inputs(settings.examples, dim, 0.0, TEST_DATA)
    local = LocalPosterior.from_model(model, (x, targets(x, "cue")), loss="mse")
    samples = germ.sample(local, draws=settings.llc_draws, seed=seed, throw=False)
    found: dict[str, Any] = {
        "loss": float(Monomials(dim).loss(model.factors.detach().double().flatten()[None])),
        "nbeta": local.nbeta,
        "localization": local.localization,
        "value": None,
    }
    if all(Status[name].ok for name in samples.attrs["statuses"]):
        answer = germ.llc(samples)
        found |= {
            "value": answer.value,
            "total": answer.budget.total,
            "low": answer.interval[0],
            "high": answer.interval[1],
            "warnings": list(answer.warnings),
        }
    few = max(64, settings.examples // 4)
    chi = germ.susceptibility(
        model, (x[:few], targets(x[:few], "cue")), probes=probes(dim, few // 2),
        components="factors", loss="mse", nbeta=local.nbeta, localization=local.localization,
        method="chains", chains=8, draws=settings.draws, warmup=settings.draws, thin=4,
        batch_size=few, seed=seed,
    )  # fmt: skip
    # In units of 1/nβ², so that they do not shrink as n grows.
    answers = chi.data["chi_probe"].isel(component=0)
    found["chi"] = {
        str(name): float(answers.sel(probe=name)) * local.nbeta**2
        for name in answers["probe"].values.tolist()
    }
    return found


def probes(dim: int, num: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Examples on which the solutions disagree, with either's answer, and some where they agree."""
    apart, _ = inputs(num, dim, 1.0, PROBE_DATA)
    same, _ = inputs(num, dim, 0.0, PROBE_DATA + 1)
    return {
        "disagree, cue right": (apart, targets(apart, "cue")),
        "disagree, product right": (apart, targets(apart, "product")),
        "agree": (same, targets(same, "cue")),
    }


def compared(networks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each quantity over the networks of either mixture, and how well it tells them apart.

    Args:
        networks: From `measure`, with what they `follow`.

    Returns:
        Rows: means with intervals over networks, the difference (Welch), the share of pairs that it
        orders rightly or wrongly alike (`auc`, 1 or 0 where it tells all apart) and the p-value of
        that (Mann–Whitney). JSON-able.
    """
    rows = []
    names = ["λ̂", *(networks[0]["chi"] if networks else ())]
    for name in names:
        groups = {
            follow: np.array(
                [
                    n["value"] if name == "λ̂" else n["chi"][name]
                    for n in networks
                    if n["follow"] == follow and n["value"] is not None
                ],
                dtype=float,
            )
            for follow in ("cue", "product")
        }
        a, b = groups["cue"], groups["product"]
        row: dict[str, Any] = {
            "of": name,
            "cue": replicates.mean(a).to_dict(),
            "product": replicates.mean(b).to_dict(),
        }
        if min(len(a), len(b)) > 1:
            welch: Any = stats.ttest_ind(b, a, equal_var=False)
            low, high = welch.confidence_interval(replicates.LEVEL)
            order: Any = stats.mannwhitneyu(b, a, alternative="two-sided")
            row |= {
                "difference": float(b.mean() - a.mean()), "low": float(low), "high": float(high),
                "auc": float(order.statistic) / (len(a) * len(b)), "p": float(order.pvalue),
            }  # fmt: skip
        rows.append(row)
    return rows


def odds(settings: Settings, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Measured and predicted log odds of the cue against the product; JSON-able.

    Predicted from the odds at one n without data that disagree, the exact λ's and the loss alone.

    Args:
        settings: n and ε.
        runs: From `data_shift_posterior.follow`.

    Returns:
        `llc`: λ of either solution by its free energy at ε = 0, and the least n that is of;
        `slope`: d log odds/d log n at ε = 0 over runs; `exact`; and by ε: `measured` and
        `predicted` by n, `crossings` of runs and the predicted one.
    """
    nums = list(settings.nums)
    late = [i for i, n in enumerate(nums) if n >= START]
    table: dict[float, list[list[float]]] = {}
    for row in runs:
        values = [posterior.log_odds(s, row["num_particles"]) for s in row["product"]]
        table.setdefault(row["disagree"], []).append(values)
    x = np.log([nums[i] for i in late])
    slopes = [float(np.polyfit(x, [row[i] for i in late], 1)[0]) for row in table[0.0]]
    start = late[0]
    starts = [row[start] for row in table[0.0]]
    exact = known(settings.dim)
    found: dict[str, Any] = {
        "llc": _by_free_energy([row for row in runs if row["disagree"] == 0], late, x),
        "slope": replicates.mean(slopes).to_dict(),
        "exact": exact.product - exact.cue,
        "start": nums[start],
        "by_share": [],
    }
    fine = np.geomspace(nums[start], nums[-1], 400).tolist()
    for disagree, rows in sorted(table.items()):
        center = replicates.mean(starts)
        lines = {
            name: posterior.predicted(settings.dim, fine, disagree, nums[start], value)
            for name, value in (("value", center.value), ("low", center.low), ("high", center.high))
            if math.isfinite(value)
        }
        crossings = [posterior.crossing(nums, row) for row in rows]
        found["by_share"].append(
            {
                "disagree": disagree,
                "measured": [
                    replicates.mean([r[i] for r in rows]).to_dict() for i in range(len(nums))
                ],
                "predicted": posterior.predicted(
                    settings.dim, [nums[i] for i in late], disagree, nums[start], center.value
                ),
                "crossing": _log_mean(crossings),
                "predicted_crossing": {
                    name: _or_none(posterior.crossing(fine, line)) for name, line in lines.items()
                },
            }
        )
    return found


def _by_free_energy(
    runs: Sequence[dict[str, Any]], late: list[int], x: np.ndarray
) -> dict[str, Any]:
    """−d log Z/d log n of either solution, Z its part of the evidence, over runs."""
    half = len(late) // 2
    slopes: dict[str, list[float]] = {"cue": [], "product": []}
    for row in runs:
        share = np.clip(np.array(row["product"])[late], 0.5 / row["num_particles"], None)
        whole = np.array(row["log_evidence"])[late]
        for name, part in (("cue", 1 - share), ("product", share)):
            values = whole + np.log(np.maximum(part, 0.5 / row["num_particles"]))
            slopes[name].append(float(-np.polyfit(x[half:], values[half:], 1)[0]))
    found: dict[str, Any] = {name: replicates.mean(each).to_dict() for name, each in slopes.items()}
    return {**found, "from": float(np.exp(x[half]))}


def _log_mean(values: Sequence[float]) -> dict[str, Any]:
    """The geometric mean of replicates with its interval; NaN becomes None."""
    found = replicates.mean(np.log(values))
    ends = {name: _or_none(math.exp(getattr(found, name))) for name in ("value", "low", "high")}
    return {**ends, "num": found.num}


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
