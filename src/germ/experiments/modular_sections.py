"""The four sections of the page of `germ experiment modular-addition`, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from germ.experiments import modular_findings as findings
from germ.experiments.modular_findings import ESTIMATES, Row
from germ.experiments.modular_measuring import LOCALIZATION
from germ.experiments.modular_sources import MEMORISING, SWEEP, TEST_LOSS, TRAIN_LOSS
from germ.experiments.replicates import Mean, mean, said
from germ.experiments.toy_section import table


def sweep(found: Sequence[Row], rows: Sequence[Row], settings: Row) -> Iterator[str]:
    """The temperature sweep, beside the published one, and what one direction does to it."""
    sampler = settings["moduli"]["published"]
    yield "## The temperature sweep"
    yield (
        f"Their sampler: SGLD, ε = {sampler['step_size']:g}, γ = {sampler['localization']:g}, "
        f"{sampler['num_steps']:,} steps, batches of {sampler['batch_size']}, nβ = ñ/log ñ with ñ "
        "a multiple of n, one chain a network, **no motion along ∇L(w*)**. Their script averaged "
        "all steps when the results were stored, and dropped the first quarter later; both are "
        "given. *All directions*: the same without the restriction. *germ*: germ's own sampler, "
        "full batch, Metropolis-corrected, on the same two posteriors."
    )
    yield "![λ̂ and E[L] over temperature](sweep.png)"
    head = ["p", "×", "published: 5 networks", "here, all steps", "here, last ¾", "germ",
            "all directions", "germ, all directions", "E[L]", "log p"]  # fmt: skip
    body = []
    for each in found:
        published = SWEEP.get(each["modulus"], {}).get(each["multiplier"])
        body.append([
            str(each["modulus"]), f"{each['multiplier']:g}",
            said(mean(published), 1) if published else "—",
            said(each["whole"], 1), said(each["value"], 1), said(each["germ"], 1),
            said(each["free"], 1), said(each["germ_free"], 1), f"{each['sampled'].value:.2f}",
            f"{each['guessing']:.2f}",
        ])  # fmt: skip
    yield table(head, body)
    swept = [row for row in rows if row["operation"] == "addition" and row["modulus"] in SWEEP]
    for row in swept:
        p = row["modulus"]
        mine = row["networks"]
        here, there = mean([n["train_loss"] for n in mine]), mean(TRAIN_LOSS[p])
        tested, theirs = mean([n["test_loss"] for n in mine]), mean(TEST_LOSS[p])
        yield (
            f"Whether these are their networks: at p = {p} train loss is {said(here, 4)}, "
            f"published {said(there, 4)}; test loss {said(tested, 3)}, published {said(theirs, 3)}."
        )
    if found:
        yield _verdict(found)
    for row in swept:
        if row["networks"][0]["free"]:
            yield _direction(row)
    yield (
        "What the published sampler has too much of is heat. Measured apart, one network at p = 17 "
        "and ×10, restricted: 133 as published, 119 with batches of 512, 116 with a quarter of the "
        "step, 117 ± 3 by germ. Heat grows with nβ, and so with p."
    )


def _direction(row: Row) -> str:
    """What the restriction to one hyperplane does."""
    made, p = findings.comparisons(row), row["modulus"]
    published = float(np.mean(SWEEP[p][10.0]) / np.mean(SWEEP[p][1.0]))
    text = (
        f"**One direction of several thousand**, at p = {p}: at ×10 leaving out the direction of "
        f"∇L(w*) multiplies λ̂ by {said(made['direction'])}. λ̂ at ×10 over λ̂ at ×1, 1 on a "
        f"plateau, is {said(made['plateau'])} without it (published: {published:.2f}), and "
        f"{said(made['plateau_free'])} with it. |cos(∇L(w*), w*)| is {said(made['cosine'])}: with "
        "weight decay ∇L(w*) is about −decay·w*, so that the direction left out is much of the "
        "scale of all weights. At w* itself there is little to gain by descending "
        f"({said(made['nothing'])} in units of λ̂, by a quadratic model)."
    )
    if made["along"].num:
        text += (
            " But a draw is w* plus noise, and to grow along w* is signal against noise: free "
            f"chains at ×10 go {said(made['along'], 1)} along w*, where γ alone would scatter "
            f"them by {1 / LOCALIZATION**0.5:.2f}."
        )
    for name, where in (("sampler", "restricted"), ("sampler_free", "unrestricted")):
        if made[name].num:
            text += (
                f" On the same {where} posterior at ×10 the published sampler's λ̂ is "
                f"{said(made[name])} times germ's."
            )
    return text


def _verdict(found: Sequence[Row]) -> str:
    """Where the sweep agrees, and how local its draws are."""
    agree, apart = [], []
    for each in found:
        published = SWEEP.get(each["modulus"], {}).get(each["multiplier"])
        if published and math.isfinite(each["whole"].low):
            theirs = mean(published)
            near = each["whole"].low <= theirs.high and theirs.low <= each["whole"].high
            (agree if near else apart).append(f"{each['modulus']}×{each['multiplier']:g}")
    wide = [e for e in found if e["sampled"].value > e["guessing"] / 2]
    places = ", ".join(f"{e['modulus']}×{e['multiplier']:g}" for e in wide) or "none"
    return (
        f"The intervals (all steps) overlap at {len(agree)} of {len(agree) + len(apart)} places"
        + (f", and do not at {', '.join(apart)} (p×multiplier)" if apart else "")
        + ". The authors' five networks share one split (their `random_seed` is 0 in all), ours do "
        "not. **How local is it?** A draw costs more than half of what guessing costs at: "
        f"{places}. There a chain has lost most of what the network learned, and λ̂ = nβ(E[L] − "
        "L(w*)) says how far γ lets it go. At the published multiplier of 1 and p = 17, λ̂ = 111 "
        "is E[L] = 2.4, against log 17 = 2.8. That is why the comparisons below are made at ×1 and "
        "at ×10."
    )


def growth(found: dict[str, dict[str, Row]], rows: Sequence[Row]) -> Iterator[str]:
    """λ̂ against p."""
    yield "## λ̂ against p"
    yield "![λ̂ over p](growth.png)"
    head = ["operation", "λ̂", "networks", "slope per unit of p", "exponent in p"]
    body = []
    for operation, each in found.items():
        for kind, name in ESTIMATES.items():
            fits = each[kind]
            body.append([
                operation, name, str(len(fits["points"])), _fit(fits["slope"], 1),
                _fit(fits["exponent"], 2),
            ])  # fmt: skip
    yield table(head, body)
    means = {x: [float(np.mean(SWEEP[p][x])) for p in (17, 41)] for x in (1.0, 10.0)}
    slopes = {x: (b - a) / 24 for x, (a, b) in means.items()}
    powers = {x: math.log(b / a) / math.log(41 / 17) for x, (a, b) in means.items()}
    missed = [
        f"{_missed(row)} of {len(row['networks'])} for {row['operation']} at p = {row['modulus']}"
        for row in rows
        if _missed(row)
    ]
    left = f"Left out, since they did not: {'; '.join(missed)}. " if missed else ""
    single = ", ".join(f"{value:g} (p = {p})" for p, value in MEMORISING.items())
    yield (
        "A network of addition counts if it has test accuracy "
        f"{findings.GENERALISES:g} or more, one of random labels if it fits {findings.FITS:g} of "
        f"what it was shown. {left}Published slopes from 17 to 41: {slopes[1.0]:.1f} at ×1, "
        f"{slopes[10.0]:.1f} at ×10; as a power of p that is {powers[1.0]:.2f} and "
        f"{powers[10.0]:.2f}. Published claims: proportional to p for addition, p² for random "
        f"labels; within the interval of the exponent for {_claims(found)}. The two operations are "
        "not at equal train loss here, only in the next section. The networks have the same width "
        "at every p, so that half the number of parameters, which bounds λ, itself grows linearly "
        "in p. Single networks of the authors that memorise "
        f"have {single}: no power of p either."
    )


def _claims(found: dict[str, dict[str, Row]]) -> str:
    """For which estimates the claimed exponent is not excluded."""
    held = [
        f"{operation} ({ESTIMATES[kind]})"
        for operation, claimed in (("addition", 1), ("random", 2))
        for kind, each in found.get(operation, {}).items()
        if each["exponent"] and each["exponent"]["low"] <= claimed <= each["exponent"]["high"]
    ]
    return "; ".join(held) or "none"


def _missed(row: Row) -> int:
    return sum(not findings.learned(n, row["operation"]) for n in row["networks"])


def _fit(fit: Row | None, digits: int) -> str:
    if fit is None:
        return "—"
    return f"{fit['value']:.{digits}f} ({fit['low']:.{digits}f} … {fit['high']:.{digits}f})"


def memory(ratios: dict[str, Row], rows: Sequence[Row], settings: Row) -> Iterator[str]:
    """Memorising against generalising networks at equal train loss."""
    memory = settings["memory"]
    yield "## Memorising against generalising"
    yield (
        f"p = {memory['modulus']}, {memory['fraction']:.0%} of the pairs shown, weight decays "
        f"{', '.join(f'{d:g}' for d in memory['decays'])}, {len(rows)} seeds, the rate brought to "
        "0 over the last fifth of the steps. Train loss comes to rest where the decay puts it, so "
        "that both operations can be compared at the same loss."
    )
    yield "![λ̂ over train loss](memory.png)"
    head = ["λ̂", "memorising ÷ generalising at equal train loss", "seeds", "at losses",
            "smallest ÷ largest, at any loss"]  # fmt: skip
    body = []
    for kind, each in ratios.items():
        made = Mean(each["value"], each["low"], each["high"], each["num"], each["p"])
        losses = each["losses"]
        span = f"{min(losses):.2g} … {max(losses):.2g}" if losses else "—"
        margin = findings.margin(rows, kind)
        last = f"{margin:.2f}" if math.isfinite(margin) else "—"
        body.append([ESTIMATES[kind], said(made, 2), str(each["num"]), span, last])
    yield table(head, body)
    apart = [
        ESTIMATES[kind] for kind, each in ratios.items() if each["low"] > 1 or each["high"] < 1
    ]
    rest = [ESTIMATES[kind] for kind in ratios if ESTIMATES[kind] not in apart]
    yield (
        "Without a look at test data, λ̂ at equal train loss tells the two apart by: "
        f"{'; '.join(apart) or 'none of the estimates'}"
        + (f". Not by: {'; '.join(rest)}" if rest and apart else "")
        + f". {_accuracies(rows)} A ratio is read off where the two curves of a seed overlap in "
        "train loss; a seed whose curves do not overlap is left out."
    )


def _accuracies(rows: Sequence[Row]) -> str:
    """What test data, looked at afterwards, say."""
    found = {
        operation: [n for row in rows for n in row["networks"] if n["operation"] == operation]
        for operation in ("addition", "random")
    }
    good = {name: [n for n in each if findings.learned(n, name)] for name, each in found.items()}
    tested = {name: [n["test_accuracy"] for n in each] for name, each in good.items()}
    if not all(tested.values()):
        return "Of one operation no network learned what it was shown."
    return (
        f"Looked at afterwards, test accuracy is at least {min(tested['addition']):.2f} for the "
        f"{len(good['addition'])} of {len(found['addition'])} networks of addition, and "
        f"at most {max(tested['random']):.2f} for the {len(good['random'])} of "
        f"{len(found['random'])} of random labels, that take part."
    )


def grokking(across: Sequence[Row], rows: Sequence[Row], settings: Row) -> Iterator[str]:
    """λ̂ through grokking runs, and whether it restates the train loss."""
    what = settings["grokking"]
    training = what["training"]
    yield "## Through a grokking run"
    yield (
        f"p = {what['modulus']}, embedding {training['embed']}, hidden {training['hidden']}, "
        f"{what['fraction']:.0%} of the pairs shown, Adam at {training['lr']:g}, batches of "
        f"{training['batch_size']}, weight decay {what['decay']:g}, {training['num_steps']:,} "
        f"steps; {len(rows)} networks. These are the settings of devinterp's notebook, but for the "
        "steps: it makes 25,000, and at 25,000 the first network we looked at had only begun to "
        "generalise (test accuracy 0.91)."
    )
    yield "![losses and λ̂ while grokking](grokking.png)"
    head = ["seed", "fits from step", "generalises from", "λ̂",
            "first fit → last with test accuracy ≤ 0.1 → last of all", "by train loss alone",
            "E[L] there", "dE[L]/dL(w*): all, once it fits"]  # fmt: skip
    body = []
    for each in across:
        for kind, kind_name in (("notebook", "nβ = 2"), ("own", "germ, ×10")):
            times = (_step(each["groks"][name]) for name in ("fits", "generalises"))
            body.append([str(each["seed"]), *times, kind_name, *_told(each[kind])])
    yield table(head, body)
    for kind, name in (("notebook", "At nβ = 2"), ("own", "By germ at ×10")):
        made = findings.changes(across, kind)
        judged = [each[kind]["said"] for each in across if each[kind]["said"] is not None]
        restates = sum(each["restates"] for each in judged)
        yield (
            f"{name}: from the first record that fits to the last of all, λ̂ changes by "
            f"{said(made['value'], 1)} over the {made['value'].num} networks that generalise in "
            f"the end, {said(made['early'], 1)} of it while test accuracy is still at most "
            f"{findings.GUESSES:g}; had E[L] stayed where it was, the train loss alone would have "
            f"made {said(made['by_loss'], 1)}. germ's check finds that λ̂ restates the train loss "
            f"over a part of training in {restates} of {len(judged)} networks."
        )
    guessing = math.log(what["modulus"])
    yield (
        "The notebook reports (one network, a figure) that λ̂ rises while the network memorises, "
        "falls smoothly afterwards, and tracks the test loss. At its nβ a draw costs what the "
        f"column E[L] says, and guessing costs {guessing:.2f}: that λ̂ is of no neighbourhood of "
        "w*, but of how badly weights of that size do when shaken. Järviniemi's criticism was that "
        "a rise of λ̂ may just be train loss falling: λ̂ = nβ(E[L] − L(w*)), and if E[L] stays, λ̂ "
        "is the loss turned over. *By train loss alone* is that part, and it has the sign of a "
        "rise; what λ̂ does beyond it is E[L], the shape of the neighbourhood. After the network "
        "fits, train loss, test loss and λ̂ all change in one direction only, so that a correlation "
        "between them in one run proves nothing; that λ̂ falls by more than the loss can explain "
        "does not rest on one."
    )


def _step(step: int | None) -> str:
    return "never" if step is None else f"{step:,}"


def _told(found: Row) -> list[str]:
    change = found["change"]
    cells = ["—", "—", "—"]
    if change is not None:
        cells = [
            " → ".join(f"{value:.1f}" for value in change["values"]),
            f"{change['by_loss']:+.1f}",
            " → ".join(f"{value:.2f}" for value in change["sampled"]),
        ]
    slopes = [found[name]["slope"] if found[name] else None for name in ("said", "fitted")]
    return [*cells, ", ".join("—" if slope is None else f"{slope:.2f}" for slope in slopes)]
