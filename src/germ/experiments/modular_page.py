"""The page of `germ experiment modular-addition`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from germ.experiments import modular_figures as figures
from germ.experiments import modular_findings as findings
from germ.experiments import modular_sections as sections
from germ.experiments.modular_findings import Row
from germ.experiments.modular_sources import SWEEP
from germ.experiments.replicates import Mean
from germ.experiments.toy_section import table
from germ.report.page import Page


def page(
    by_modulus: Sequence[Row],
    memorising: Sequence[Row],
    paths: Sequence[Row],
    settings: Row,
    seed: int,
) -> Page:
    """The page of these runs.

    Args:
        by_modulus: What `modular_moduli.measure` found, one an operation and p.
        memorising: What `modular_memory.measure` found, one a seed.
        paths: What `modular_grokking.measure` found, one a seed.
        settings: The settings, as a dict.
        seed: The first network's.
    """
    sweep = findings.temperatures(by_modulus)
    growth = findings.growth(by_modulus)
    ratios = findings.at_equal_loss(memorising)
    across = findings.across(paths, settings["grokking"]["modulus"])
    told = {p: {x: float(np.mean(v)) for x, v in each.items()} for p, each in SWEEP.items()}
    text = [
        _opening(by_modulus, settings, seed),
        *sections.sweep(sweep, by_modulus, settings),
        *sections.growth(growth, by_modulus),
        *sections.memory(ratios, memorising, settings),
        *sections.grokking(across, paths, settings),
        *_doubts(by_modulus, memorising, paths),
    ]
    summary = {
        "sweep": [_plain(each) for each in sweep],
        "growth": growth,
        "ratios": {kind: _plain(each) for kind, each in ratios.items()},
        "grokking": across,
    }
    return Page(
        "Modular addition: λ̂ over temperature and p, of memorising, and while grokking",
        "\n\n".join(text),
        {
            "sweep": figures.sweep(sweep, told),
            "growth": figures.growth(growth),
            "memory": figures.memory(memorising),
            "grokking": figures.grokking(paths),
        },
        {
            "by_modulus": list(by_modulus), "memorising": list(memorising), "paths": list(paths),
            "summary": summary,
        },
    )  # fmt: skip


def _opening(rows: Sequence[Row], settings: Row, seed: int) -> str:
    moduli, training = settings["moduli"], settings["moduli"]["training"]
    return (
        "Networks of Panickssery & Vaintrob (2023): embeddings of the two numbers, a linear map of "
        "each, sum, GELU, logits without a bias. **Networks, which differ by seed (first weights, "
        f"split, labels, batches; from {seed} on), are the replicates**: intervals are 95% over "
        "them, chains are not counted. Unless said: embedding "
        f"{training['embed']}, hidden {training['hidden']}, {moduli['fraction']:.0%} of the pairs "
        f"shown, Adam at {training['lr']:g}, batches of {training['batch_size']}, weight decay "
        f"{moduli['decay']:g} in the gradient, {training['num_steps']:,} steps. These are the "
        "settings of the authors' script at the commit that holds their results. λ̂ is always "
        "of the loss on the pairs shown; nothing held out enters it."
    )


def _doubts(
    by_modulus: Sequence[Row], memorising: Sequence[Row], paths: Sequence[Row]
) -> Iterator[str]:
    groups = {
        "λ̂ against p": [n for row in by_modulus for n in row["networks"]],
        "memorising": [n for row in memorising for n in row["networks"]],
        "grokking": [r for row in paths for r in row["records"]],
    }
    yield "## What germ says of its own estimates"
    body = []
    for name, networks in groups.items():
        every, doubted, no_minimum = findings.warned(networks)
        body.append([name, str(every), str(doubted), str(no_minimum)])
    yield table(["part", "estimates", "with a warning or failed", "w* is no minimum"], body)
    warnings = [
        warning
        for networks in groups.values()
        for n in networks
        if n["own"] is not None
        for warning in n["own"]["warnings"]
    ]
    counted: dict[str, int] = {}
    for warning in warnings:
        kind = warning.split(":")[0].split(" (")[0]
        counted[kind] = counted.get(kind, 0) + 1
    # Numbers differ from case to case; the words before them do not.
    common = sorted(counted.items(), key=lambda item: -item[1])[:3]
    if common:
        yield "Most often: " + "; ".join(f"*{kind}* ({num})" for kind, num in common) + "."
    yield (
        "Estimates with a warning are in the tables and figures, not dropped. Weight decay keeps "
        "w* from being a minimum of the loss alone: there ∇L = −decay·w*."
    )


def _plain(each: Row) -> Row:
    """Means as dictionaries, NaN as None."""
    found = {}
    for name, value in each.items():
        if isinstance(value, Mean):
            value = value.to_dict()
        elif isinstance(value, float) and not math.isfinite(value):
            value = None
        found[name] = value
    return found
