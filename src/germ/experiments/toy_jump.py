r"""The posterior of one parameter that jumps from one basin to another as examples come in.

The loss has one parameter w that is looked at and k others, v, that are not:

$$ L(w, v) = h\,(4w^2 - 1)^2 + \Delta\,(1 - g(w)) + g(w) \lVert v \rVert^2 $$

with g = 0 left of −1/4 and 1 right of 1/4. Left, the others are idle: λ = 1/2. Right, the loss is
lower by Δ and each costs a half: λ = (1 + k)/2. The others are integrated out exactly:
∫ exp(−n g v²) dv/2 over [−1, 1] is an error function.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import brentq
from scipy.special import erf

from germ.estimate.crossover import crossover
from germ.experiments.toy_section import BLUE, GREY, ORANGE, Section, plain, share, table
from germ.numerical import quadrature

NUM_OTHERS = 20
HEIGHT = 0.02
"""h: n times it is how many nats of barrier part the basins."""

TARGET = 10_500.0
"""The crossing that Δ is solved for."""

SHOWN = (10_000.0, 10_500.0, 11_000.0)
LEFT, RIGHT = [(-1.0, 0.0)], [(0.0, 1.0)]
SIMPLE, COMPLEX = 0.5, (1 + NUM_OTHERS) / 2


def switch(w: np.ndarray) -> np.ndarray:
    """g: 0 left of −1/4, 1 right of 1/4, a smooth step between."""
    s = np.clip(2 * w + 0.5, 0, 1)
    return s**2 * (3 - 2 * s)


def loss(w: np.ndarray, gap: float) -> np.ndarray:
    """L(w, 0)."""
    return HEIGHT * (4 * w**2 - 1) ** 2 + gap * (1 - switch(w))


def log_marginal(w: np.ndarray, n: float, gap: float) -> np.ndarray:
    """Log of exp(−nL) with the others integrated over their uniform prior, at most 0."""
    root = np.sqrt(n * switch(w))
    small = root < 1e-6
    safe = np.where(small, 1.0, root)
    factor = np.where(small, 1.0, math.sqrt(math.pi) / 2 * erf(safe) / safe)
    return -n * loss(w, gap) + NUM_OTHERS * np.log(factor)


def log_mass(n: float, gap: float, half: list[tuple[float, float]]) -> float:
    """Log ∫ over one half of w, of the posterior before it is normalized.

    Args:
        n: Number of examples.
        gap: Δ.
        half: `LEFT` or `RIGHT`.
    """
    found = quadrature(lambda w: -log_marginal(w[:, 0], n, gap) / n, half, n)
    return found.log_z


def log_odds(n: float, gap: float) -> float:
    """F_n(left) − F_n(right): above 0 the right is preferred."""
    return log_mass(n, gap, RIGHT) - log_mass(n, gap, LEFT)


def section(num_curve: int = 60) -> Section:
    """Compute and draw.

    Args:
        num_curve: Points of the curve of the posterior's share over n.
    """
    gap = float(brentq(lambda each: log_odds(TARGET, each), 1e-4, 0.1, xtol=1e-14))  # type: ignore[arg-type]
    constant = NUM_OTHERS / 2 * math.log(math.pi / 4)
    leading = crossover(gap, SIMPLE, 0.0, COMPLEX)
    full = crossover(gap, SIMPLE, 0.0, COMPLEX, constant=constant)
    shares = {n: 1 / (1 + math.exp(-log_odds(n, gap))) for n in SHOWN}
    ns = np.linspace(0.8 * TARGET, 1.2 * TARGET, num_curve)
    curve = [1 / (1 + math.exp(-log_odds(float(n), gap))) for n in ns]
    w = np.linspace(-1, 1, 1601)
    densities = {}
    for n in SHOWN:
        total = np.logaddexp(log_mass(n, gap, LEFT), log_mass(n, gap, RIGHT))
        densities[n] = np.exp(log_marginal(w, n, gap) - total)
    data = {
        "num_others": NUM_OTHERS,
        "gap": gap,
        "lambda_left": SIMPLE,
        "lambda_right": COMPLEX,
        "crossing": TARGET,
        "predicted_by_lambda": leading,
        "predicted_with_constant": full,
        "right_share": {f"{n:.0f}": value for n, value in shares.items()},
        "curve": {"n": ns.tolist(), "right_share": curve},
    }
    return Section("jump", _text(data), _figure(w, gap, densities, shares, ns, curve), data)


def _figure(w, gap, densities, shares, ns, curve) -> Figure:
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    grid = figure.add_gridspec(2, 6, height_ratios=(1, 1.1))
    axes = figure.add_subplot(grid[0, :3])
    axes.plot(w, loss(w, gap), color="black", linewidth=1.5)
    axes.set_ylim(-0.1 * HEIGHT, 2 * HEIGHT)
    for x, height, value, colour in ((-0.5, gap, SIMPLE, BLUE), (0.5, 0.0, COMPLEX, ORANGE)):
        axes.plot([x - 0.3, x + 0.3], [height, height], color=colour, linewidth=1, linestyle="--")
        axes.annotate(
            f"λ = {value:g}", (x, 1.35 * HEIGHT), ha="center", fontsize=10, color=colour,
            fontweight="bold",
        )  # fmt: skip
    axes.annotate(
        "", (0, gap), (0, 0), arrowprops={"arrowstyle": "<->", "color": GREY, "linewidth": 1}
    )
    axes.annotate(f"Δ = {gap:.5f}", (-0.04, gap / 2), ha="right", va="center", fontsize=9)
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes.set_xlabel("w")
    axes.set_ylabel("loss L(w, 0), nats")
    plain(axes, "Two basins: one simpler, one better")
    axes = figure.add_subplot(grid[0, 3:])
    axes.plot(ns, curve, color="black", linewidth=1.5)
    for (n, value), marker in zip(shares.items(), "os^", strict=True):
        axes.plot([n], [value], marker, color=ORANGE, markersize=7, markeredgecolor="black")
    axes.set_xlabel("number of examples n")
    axes.set_ylabel("posterior share of the right")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    plain(axes, "Who has the posterior")
    first = None
    for i, ((n, density), marker) in enumerate(zip(densities.items(), "os^", strict=True)):
        axes = figure.add_subplot(grid[1, 2 * i : 2 * i + 2], sharey=first)
        first = first or axes
        axes.fill_between(w, density, where=w <= 0, color=BLUE, alpha=0.85, linewidth=0)
        axes.fill_between(
            w, density, where=w >= 0, facecolor=ORANGE, edgecolor="black", hatch="////",
            linewidth=0,
        )  # fmt: skip
        axes.plot([0.04], [0.95], marker, color=ORANGE, markeredgecolor="black",
                  transform=axes.transAxes)  # fmt: skip
        axes.set_xlabel("w")
        if i == 0:
            axes.set_ylabel("posterior density of w")
        else:
            axes.tick_params(labelleft=False)
        plain(axes, f"    n = {n:,.0f}: {share(shares[n])} right")
    return figure


def _text(data: dict) -> str:
    gap, shares = data["gap"], data["right_share"]
    rows = [
        ["from λ alone: n/log n = (λ_right − λ_left)/Δ", f"{data['predicted_by_lambda']:,.0f}"],
        ["with the constant term, from the prior", f"{data['predicted_with_constant']:,.0f}"],
        ["integrated", f"{data['crossing']:,.0f}"],
    ]
    steps = " → ".join(f"{share(value)} (n = {int(n):,})" for n, value in shares.items())
    left, right = f"{data['lambda_left']:g}", f"{data['lambda_right']:g}"
    size = f"{gap * data['crossing']:.0f}"
    return f"""\
## A posterior that jumps

What a Bayesian learner believes need not change gradually. Here is the loss of a model with one
parameter w that we watch and {data["num_others"]} more that we do not. The left basin leaves those
others idle: whatever their values, the loss is the same. The right basin is better by
Δ = {gap:.5f} nats per example, and needs every one of them set right.

![The loss and the posterior density of w at three sample sizes](jump.png)

The posterior weighs a basin by e^(−F), with

    F = n · (loss) + λ · log n + …

λ, the learning coefficient, is {left} on the left and {right} on the right. With n the better loss
counts ever more, and so does complexity, only more slowly. At one n the two balance. Each side of
the balance is then near {size} nats, so that a few per cent more examples decide: the share of the
right basin goes {steps}.
The basins stay where they are; the belief is handed over.

Where it happens can be predicted:

{table(["prediction of the crossing", "n"], rows)}

The example is ours; it is written down in `germ.experiments.toy_jump`. Its Δ is solved for so that
the integrals cross at n = {data["crossing"]:,.0f}. The predictions know Δ and λ, not the integrals.
"""
