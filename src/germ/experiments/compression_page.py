"""The page of `germ experiment compression`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from germ.experiments.toy_section import plain, table
from germ.report.figures import CHAIN_COLOURS
from germ.report.page import Page


def page(data: dict[str, Any]) -> Page:
    """The page.

    Args:
        data: What `compression.run` found.
    """
    return Page(
        "Compression: λ̂ against the bits a checkpoint survives",
        "\n".join(_text(data)),
        {"bits": figure(data)},
        data,
    )


def figure(data: dict[str, Any]) -> Figure:
    """Critical bits over λ̂, and excess loss over bits."""
    drawn = Figure(figsize=(9, 4), layout="constrained")
    left, right = drawn.subplots(1, 2)
    llc = np.array([row["llc"] for row in data["rows"]])
    error = np.array([row["error"] for row in data["rows"]])
    for (tolerance, found), colour in zip(data["tolerances"].items(), CHAIN_COLOURS, strict=False):
        bits = np.array([np.nan if b is None else b for b in found["bits"]])
        left.errorbar(
            llc, bits, xerr=error, fmt="o", color=colour, markersize=4, linewidth=0.8,
            label=f"{tolerance} nats",
        )  # fmt: skip
    left.set_xlabel("λ̂ ± its total error")
    left.set_ylabel("critical bits a weight")
    left.legend(frameon=False, fontsize=8)
    plain(left, "One point a checkpoint and tolerance")
    for row in data["rows"]:
        x = np.log2(2 * np.array(row["levels"]) + 1)
        right.plot(x, row["excess"], linewidth=1, label=f"{row['step']:,}")
    right.set_xlabel("bits a weight")
    right.set_ylabel("loss above the unquantized, nats")
    right.set_yscale("symlog", linthresh=0.01)
    right.legend(frameon=False, fontsize=7, title="step", title_fontsize=7)
    plain(right, "What quantization costs")
    return drawn


def _text(data: dict[str, Any]) -> Iterator[str]:
    rows = data["rows"]
    warned = sum(bool(row["warnings"]) for row in rows)
    yield (
        f"{len(rows)} checkpoints of the bundled two-layer model; λ̂ and every loss on the same "
        f"{data['settings']['contexts']} contexts of its training text. All weights are rounded to "
        "symmetric uniform grids, one a tensor; the critical bits are the least from which on the "
        "loss stays within a tolerance. "
        f"{warned} of {len(rows)} λ̂ carry a warning of germ's."
    )
    yield ""
    yield "![critical bits over λ̂](bits.png)"
    yield ""
    head = ["step", "L(w*)", "λ̂ ± total", *(f"bits at {t}" for t in data["tolerances"])]
    body = []
    for i, row in enumerate(rows):
        bits = [found["bits"][i] for found in data["tolerances"].values()]
        body.append([
            f"{row['step']:,}", f"{row['loss']:.3f}", f"{row['llc']:.1f} ± {row['error']:.1f}",
            *("—" if b is None else f"{b:.2f}" for b in bits),
        ])  # fmt: skip
    yield table(head, body)
    yield ""
    yield "## Do they go together?"
    yield ""
    yield table(
        ["tolerance, nats", "checkpoints", "rank correlation (95%)", "R² of a line",
         "correlation given the loss", "given the step"],
        [
            [t, str(f["num"]), _interval(f), _two(f["linear"]), _two(f["given_loss"]),
             _two(f["given_step"])]
            for t, f in data["tolerances"].items()
        ],
    )  # fmt: skip
    yield ""
    yield (
        "**The checkpoints are of one run.** The intervals resample blocks of three neighbours and "
        "move λ̂ by its error: they are about these checkpoints, not about other runs, and there is "
        "no replicate here. Both quantities rise while training goes on, so that a high "
        "correlation by itself says little: the last columns have what is left once a parabola in "
        "the loss, or in log(step), is taken off both."
    )
    yield ""
    for warning in data["restatement"]:
        yield f"- germ on these λ̂: {warning}"
    yield ""
    linear = [f["linear"] for f in data["tolerances"].values() if f["linear"] is not None]
    span = f"{min(linear):.2f} to {max(linear):.2f}" if linear else "not to be had"
    yield (
        "## What was published\n\n*MDL meets SLT* (arXiv 2510.12077): critical bits nearly linear "
        "in λ̂ over Pythia's checkpoints, R² about 0.98 (as its reviews quote it; we could not read "
        f"the tables). Here R² is {span} over the tolerances, on one small model."
    )


def _interval(found: dict[str, Any]) -> str:
    if found["rank"] is None:
        return "—"
    return f"{found['rank']:.2f} ({found['interval'][0]:.2f} … {found['interval'][1]:.2f})"


def _two(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f}"
