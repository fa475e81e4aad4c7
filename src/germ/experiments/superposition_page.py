"""The page of `germ experiment superposition`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from germ.experiments import superposition_figures as figures
from germ.experiments.superposition_plateaus import WITHIN
from germ.experiments.superposition_summary import FIRST, LAST, summary
from germ.experiments.toy_section import table
from germ.report.page import Page

Row = dict[str, Any]


def page(
    posteriors: Sequence[Row], estimates: Sequence[Row], trained: Row, settings: Row, seed: int
) -> Page:
    """The page of these runs.

    Args:
        posteriors: Of `superposition_posterior.follow`.
        estimates: Of `superposition.measure`.
        trained: Of `superposition.train`.
        settings: The settings, as a dict.
        seed: The first replicate's.
    """
    found = summary(posteriors, estimates, trained, settings)
    text = [
        *_head(found, seed), *_estimates(found), *_bayesian(found, settings),
        *_dynamical(found, trained, settings),
    ]  # fmt: skip
    return Page(
        "Polygons of the toy model of superposition",
        "\n".join(text),
        {
            "transitions": figures.transitions(posteriors, trained),
            "polygons": figures.polygons(),
            "estimates": figures.estimates(found["estimates"]),
            "odds": figures.odds(found["posterior"]),
        },
        {
            "summary": found, "posteriors": list(posteriors), "estimates": list(estimates),
            "training": trained,
        },
    )  # fmt: skip


def _head(found: Row, seed: int) -> Iterator[str]:
    yield (
        "The toy model of superposition (Chen et al. 2023, arXiv 2310.06301): x = μe_i with i one "
        "of six inputs and μ uniform on [0, 1], x̂ = ReLU(WᵀWx + b) through two dimensions, "
        "L = E‖x − x̂‖². Its critical points are polygons of columns; a + is a column at zero with "
        f"the bias 1/12. Data sets, samplers and networks have seeds from {seed} on, and are the "
        "replicates of all intervals (95%); chains and particles are not."
    )
    yield ""
    yield "![both kinds of transition](transitions.png)"
    yield ""
    yield (
        "*Above: on the left the posterior over phases against n (dots: mean over data sets, band: "
        "10–90% of them; dashes: the population loss), for a likelihood without the factor ½ and "
        "with it; the dotted line is the published prediction, the grey band where the published "
        "sampler saw the transition. On the right SGD.*"
    )
    yield ""
    yield "## The critical points"
    yield ""
    yield "![the critical points](polygons.png)"
    yield ""
    yield table(
        ["phase", "L, exact", "published", "λ, exact"],
        [
            [row["phase"], f"{row['loss']:.5f}", f"{row['published']:.5f}",
             "—" if row["lambda"] is None else f"{row['lambda']:g}"]
            for row in found["polygons"]
        ],
    )  # fmt: skip
    yield ""
    worst = max(abs(row["loss"] - row["published"]) for row in found["polygons"])
    yield (
        f"The largest difference is {worst:.1g}: published are five digits. At 4, 4+ and 4++ a "
        "ReLU is on its kink, so that L is not analytic there and their λ is not known to germ."
    )
    yield ""


def _estimates(found: Row) -> Iterator[str]:
    rows = found["estimates"]
    yield "## λ̂ at 5, 5+ and 6"
    yield ""
    yield "![λ̂ at the polygons](estimates.png)"
    yield ""
    yield table(
        ["n", "γ", "phase", "λ", "published", "SGLD as published (sd of one chain)",
         "germ", "other chains, free", "held in the phase"],
        [
            [f"{row['n']:,}", f"{row['localization']:g}", row["kind"], f"{row['lambda']:g}",
             "—" if row["published"] is None else f"{row['published']:g}",
             "—" if row["sgld"] is None else f"{row['sgld_said']} ({row['sgld_sd']:.1f})",
             "diverged" if row["failed"] == row["num"] else row["germ_said"],
             row["free_said"], row["held_said"]]
            for row in rows
        ],
    )  # fmt: skip
    yield ""
    num = sum(row["num"] for row in rows)
    failed, warned = (sum(row[key] for row in rows) for key in ("failed", "warned"))
    free, held = (sum(row["covers"][key] for row in rows) for key in ("free", "held"))
    yield (
        "The loss is the sum over the six outputs, nβ = n/log n, w* the exact polygon (of the "
        "population: on a data set it is not quite a minimum), dead columns with bias −1. *Other "
        "chains* are Hamiltonian, with a Metropolis test on all of the data; *free* they sample "
        "the same local posterior as germ, *held* they may not leave the phase of w*. *SGLD as "
        "published* has the published ε and number of steps, full gradients (the "
        "published batch is not known to us). The deviation in brackets is that of a single such "
        f"chain. Of {num} estimates germ refused {failed} (chains diverged) and warned at "
        f"{warned}; its stated 90% interval holds the free value at {free} of the other "
        f"{num - failed}, and the held one at {held}."
    )
    yield ""
    left = [row for row in rows if (row["left"]["low"] or 0) > 0 and row["left"]["value"] > 1]
    if left:
        places = "; ".join(
            f"{row['kind']} at n = {row['n']:,}, γ = {row['localization']:g}" for row in left
        )
        size = left[0]["lambda"] * math.log(left[0]["n"]) / left[0]["n"]
        outside, warned = (sum(row[key] for row in left) for key in ("outside", "outside_warned"))
        yield (
            f"Free chains left the phase ({places}): what is called local is not local "
            f"there. λ/nβ = {size:.3f} at n = {left[0]['n']:,}, 5 and 5+ lie 0.007 apart in L, 5+ "
            "and 6 0.014, and so small a γ holds nothing: chains find the 6-gon, and λ̂ falls with "
            "the length of the run. germ's chains are shorter and had mostly not left: its "
            f"interval leaves the free value out at {outside} of these estimates, and germ warned "
            f"at {warned} of those. Chains that have not yet found the way out cannot know of it."
        )
        yield ""
    short = [row for row in rows if row["sgld"] and row["published"] is not None]
    if short:
        away = max(abs(row["published"] - row["sgld"]["value"]) / row["sgld_sd"] for row in short)
        over = ", ".join(f"{row['held']['value']:.1f} at {row['kind']}" for row in short)
        yield (
            f"So the published overshoot at n = {short[0]['n']:,} is real and is one of finite n: "
            f"held in the phase the expectation is {over}. What a run of the published step and "
            f"length sees comes to within {away:.1f} standard deviations of a single chain of what "
            "was published, and one such chain scatters by the deviations in "
            "brackets."
        )
        yield ""
    gone = [row for row in rows if row["failed"]]
    if gone:
        places = "; ".join(
            f"{row['kind']} at n = {row['n']:,}: {row['failed']} of {row['num']}" for row in gone
        )
        yield (
            f"Where germ's chains diverged ({places}) the dead column is to blame: at w* nothing "
            "depends on it, and germ's metric, measured there, takes steps as long as γ allows; "
            "some way off the ReLU switches on, with a curvature of 2nβ. germ says that they "
            "diverged and gives no number."
        )
        yield ""


def _bayesian(found: Row, settings: Row) -> Iterator[str]:
    seen, theory = found["posterior"], found["crossings"]
    effort = settings["effort"]
    yield "## Bayesian transitions: the posterior against n"
    yield ""
    yield (
        "The global posterior under the prior N(0, 1), by sequential Monte Carlo: "
        f"{effort['num_particles']} particles from the prior, examples added by and by with a "
        "tempered likelihood, Hamiltonian moves between. Phases are told by corners of the convex "
        "hull and signs of biases, as published. Where 6 has the share of 5 and 5+ together:"
    )
    yield ""
    names = {
        "population": "population loss, exp(−nL)",
        "data": "data sets, exp(−nL_n)",
        "half": "data sets, exp(−nL_n/2)",
    }
    yield table(
        ["", "replicates", "n, mean (95%)", "least", "most", "never within the n here"],
        [
            [label, str(len(seen[key]["crossings"])), seen[key]["said"],
             _whole(seen[key]["low"]), _whole(seen[key]["high"]), str(seen[key]["without"])]
            for key, label in names.items()
        ],
    )  # fmt: skip
    yield ""
    data = seen["data"]
    if data["repeated"] is not None and data["between"] is not None:
        yield (
            f"Two runs on the same data differ in this n by {data['repeated']:.0f} on average, two "
            f"data sets by {data['between']:.0f}: n(L_n(5) − L_n(6)) fluctuates as √n, so that one "
            "data set says little about where the transition is."
        )
        yield ""
    last = seen["last"]
    yield (
        f"On the population the sampled log Z of the 6-gon at n = {last['n']} is {last['said']}; "
        f"Laplace's method with every constant says {last['theory']:.2f}."
        + (
            " Descent on L from the particles ends in the phase that was told (in one with as many "
            "corners): "
            + ", ".join(
                f"{100 * each['phase']:.0f}% ({100 * each['corners']:.0f}%) at n = {each['n']}"
                for each in seen["agrees"]
                if each["n"] in (100, 200, 300, 500, 1000) or len(seen["agrees"]) < 6
            )
            + ". At small n phases are names for directions, not for neighbourhoods."
            if seen["agrees"]
            else ""
        )
    )
    yield ""
    yield "### Is it 601?"
    yield ""
    yield "![log-odds](odds.png)"
    yield ""
    parts = found["evidence"]
    yield (
        "The published 601 is the n at which nL + λ log n + ½‖w‖² of the corners is the same at 5 "
        f"and 6: {theory['published']:.2f} here. Of the terms of order one it has the prior at the "
        "corners only. All of them, to leading order in n:"
    )
    yield ""
    order = ("copies", "curvature", "orbit", "prior", "dead", "constant")
    yield table(
        ["", "log copies", "λ log 2π − ½ log det′", "log orbit", "log prior", "log P(dead)", "sum"],
        [[kind, *(f"{parts[kind][name]:.2f}" for name in order)] for kind in parts],
    )
    yield ""
    gap = parts["6"]["constant"] - parts["5"]["constant"]
    yield (
        f"With them 6 overtakes 5 and 5+ at n = {theory['both']:.0f}, and at {theory['soft']:.0f} "
        "where the sixth column is integrated over all its places instead of being dead behind "
        f"hard walls or at rest; the sampler says {seen['population']['said']} on the population. "
        "Symmetric copies hardly matter (144 of 5, 120 of 6). What matters is that a dead column "
        f"must be in a small region (prior probability {math.exp(parts['5']['dead']):.3f}) and "
        f"that the 6-gon is flatter: all constants favour 6 over 5 by {gap:.1f} nats, where the "
        "prior at the corners alone favours 5 by 2.8."
    )
    yield ""
    yield (
        "On data the copies are not alike. A 5-gon can leave out the input that happens to be rare "
        "or small, and a 6-gon leaves out none: the odds that the population gives, corrected by "
        "the losses on the data of the 144 and 120 copies at rest, put the crossover at "
        f"{seen['data']['predicted_said']} on these data sets, without anything fitted; the "
        f"sampler says {seen['data']['said']} (on the right, one dot a data set). That is why data "
        "sets go over later than the population, and why they differ so much."
    )
    yield ""
    yield (
        f"So 601 {_placed(theory['published'], seen['population']['mean'])} of where the "
        f"population posterior goes over, and {_placed(theory['published'], seen['data']['mean'])} "
        "of the mean over data sets: one may well go over at 601, but the formula has neither "
        "of the two things that decide where it does, the volumes and the choice of what to leave "
        f"out. The published sampler is quoted as going over between {FIRST} and {LAST}. A "
        "public script of that experiment samples with a normal likelihood of variance 1 by "
        "default, −log p = ½‖x − x̂‖², which would double the n of the formula (to "
        f"{theory['published_half']:.0f}) and of the population; our data sets then go over at "
        f"{seen['half']['said']}. (That the published figure was made with that default is our "
        "inference. Its sampler, NUTS, need not have mixed between phases, either.)"
    )
    yield ""


def _dynamical(found: Row, trained: Row, settings: Row) -> Iterator[str]:
    seen, plan = found["training"], settings["plan"]
    yield "## Dynamical transitions: SGD"
    yield ""
    moves = ", ".join(f"{name} ({num})" for name, num in seen["moves"].items()) or "none"
    ends = ", ".join(f"{name} ({num})" for name, num in seen["ends"].items())
    yield (
        f"{len(trained['loss'])} networks from the 4-gon plus N(0, {plan['spread']:g}²) (other "
        f"columns and all biases at 0 before the noise), batches of {plan['batch_size']}, learning "
        f"rate {plan['lr']:g}, {plan['num_epochs']} epochs of {plan['num_examples']} examples of "
        f"their own. **{seen['on_said']}%** of the records lie within {WITHIN:g} of the L of a "
        f"critical point; published: about 95%. Transitions between stays: {moves}. Phases at the "
        f"end: {ends}."
    )
    yield ""
    hats = seen["lambda_hat"]
    keys = list(hats)
    phases = list(hats[keys[0]]["phases"])
    yield table(
        ["phase", "networks", "L", *(f"λ̂ at γ = {key}" for key in keys)],
        [
            [phase, str(hats[keys[0]]["phases"][phase]["num"]),
             f"{hats[keys[0]]['phases'][phase]['loss']:.4f}",
             *(hats[key]["phases"][phase]["said"] for key in keys)]
            for phase in phases
        ],
    )  # fmt: skip
    yield ""
    for key in keys:
        each = hats[key]
        yield (
            f"At γ = {key} λ̂ rises at {each['rises']} of {each['falls']} falls of the loss within "
            f"a network ({each['rises_said']}). E[L] on L(w*) has the slope {each['slope_said']}: "
            "0 would be a λ̂ that restates the loss, 1 one that does not depend on it."
        )
        yield ""
    broken = [
        f"{a} over {b} at γ = {key}"
        for key in keys
        for a, b in pairwise(phases)
        if hats[key]["phases"][a]["loss"] > hats[key]["phases"][b]["loss"]
        and hats[key]["phases"][a]["value"] > hats[key]["phases"][b]["value"]
    ]
    yield (
        f"(λ̂ of the population loss at nβ = {trained['nbeta']:.0f}, by the independent chains, at "
        "the weights in the middle of a stay.) Published is that λ̂ rises as the loss falls. Within "
        "networks that is so here, as counted above; but 4-gons are no minima, chains "
        "leave them, and at a small γ E[L] is the loss of where they go: λ̂ restates L(w*) there "
        "and is no evidence about λ. Between phases the order of λ̂ is "
        + (f"not always that of the loss: {', '.join(broken)}." if broken else "that of the loss.")
        + " Transitions to 6 are what the posterior makes"
        + (
            " and SGD did not make here, as published."
            if not any(name.endswith("→ 6") for name in seen["moves"])
            else "; SGD made some here."
        )
    )
    yield ""
    checks = [stay for stay in trained["stays"] if "germ" in stay]
    good = [stay for stay in checks if stay["germ"]["value"] is not None]
    if good:
        said = "; ".join(
            f"{s['phase']}: {s['germ']['value']:.1f} ({s['germ']['low']:.1f} … "
            f"{s['germ']['high']:.1f}) and {s[f'at {keys[-1]}']['value']:.1f}"
            for s in good
        )
        yield (
            f"germ beside those chains, along the network that moved most, at γ = {keys[-1]} "
            f"(germ's on a data set of {settings['plateau_nbeta_of']:,}, 90% interval): {said}."
        )


def _whole(value: float | None) -> str:
    return "—" if value is None else f"{value:.0f}"


def _placed(value: float, found: Row) -> str:
    """Where a number is, seen from an interval."""
    if found["low"] is None:
        return "cannot be compared with the estimate"
    return (
        f"is {'inside' if found['low'] <= value <= found['high'] else 'outside'} the 95% interval"
    )
