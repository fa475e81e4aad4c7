"""The report as Markdown: a summary of estimators, a table of errors, and every row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from benchmarks.truth import must
from benchmarks.truth.case import DEVELOPMENT, UNSEEN
from benchmarks.truth.judge import Verdict, runs_of, verdict

HEAD = """\
# Posteriors with known answers

Every estimator on every case, up to {seeds} seeds each. A case is a local posterior
p(w) ∝ exp(−nβ L_n(w) − γ/2 |w − w*|²) whose E = E[nβ(L_n(w) − L_n(w*))] is known: in closed form,
by quadrature, or from long full-batch HMC that Leimkuhler–Matthews at two step sizes checks
(`truth_references.json`). *Error* is (λ̂ − E)/E. *To λ* is (λ̂ − λ)/λ with the theorem's learning
coefficient: there even an exact sampler is off, by what localization and finite n take away.
**germ's defaults were chosen on the five cases of the split "{development}"; all others are
"{unseen}".**

- *germ auto* is `germ.sample(posterior)` as it comes: sampler, steps, draws and batches of its own
  choice (a case that gives a batch gives it to `auto` too). All other rows of germ: 4 chains of 200
  draws after 100 steps, batches of 500 (32 sequences); HMC 30 trajectories of 8 steps on all the
  data.
- Steps without a metric are a tenth of 1/(largest curvature of U at w*); the diagonal metric is
  that of w* and its step 0.06. Nothing is tuned to a case.
- *devinterp* is its optimizer class, version 2.0.1, in its own loop and with its own estimator, at
  the case's nβ and γ. "As documented": lr 1e-3, batches of 32, 4 chains × 200 steps, no burn-in.
  "Swept": batches, chains and steps as germ's rows, the first third left out, lr the largest of the
  sampling guide's 1e-4, 1e-5, 1e-6 whose pilot trace levels off. Its stated error is its `llc_std`,
  the spread between chains, which covers much where a chain runs away. It is made for language
  models at nβ of 10 to 30: the transformer at nβ = 30 is the one case of its own kind, and at
  n/log n these settings are far outside what it is used at.
- *Covered*: λ̂ ± 2 stated errors holds E; in brackets the 95% interval of that probability (Wilson).
  *Silent*: off by more than 3 stated errors and 5%, without a warning. *Failed*: NaN, diverged, or
  stuck, which germ raises as an error. Medians and worst are over runs with a number; *within 10%*
  is over all.
- *Gradients* are of a batch each, set-up and warmup included; *examples* are gradients times the
  examples of each, so that large batches are not free. Full-batch gradients of linear nets count
  the twenty examples they run on.
- Seconds are processor time on one thread, set-up included. Full-batch gradients of linear nets run
  on about twenty examples with the same loss: their seconds compare with nothing.

"""


def render(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    made = (
        f"`{report['command']}`, {report['date']}; Python {report['python']}, torch "
        f"{report['torch']}, numpy {report['numpy']}; {report['cpu']}, {report['cores']} cores, "
        f"{report['threads']} thread, load {report['load']:.1f}; "
        f"{report['cpu_minutes']:.0f} minutes of processor time. {report['peer']} "
        f"{report['note']}\n"
    )
    head = HEAD.format(seeds=report["seeds"], development=DEVELOPMENT, unseen=UNSEEN)
    warning = "**A smoke test: these numbers mean nothing.**\n\n" if report["quick"] else ""
    if report["nuts"]:
        pairs = "; ".join(
            f"{found['case']}: {found['value']:.4g} ± {found['error']:.2g}"
            for found in report["nuts"]
        )
        made += f"\nBlackJAX's NUTS on some references (`benchmarks/truth/nuts.py`): {pairs}.\n"
    lines = [*must.render(report), *_summary(report), *_errors(report), *_rows(report)]
    return head + warning + made + "\n" + "\n".join(lines) + "\n"


def _summary(report: dict[str, Any]) -> Iterator[str]:
    for split in (UNSEEN, DEVELOPMENT):
        cases = [case for case in report["cases"] if case["split"] == split]
        if not cases:
            continue
        yield f"## Summary: {len(cases)} {split} cases"
        yield ""
        yield from _verdicts(report, split=split)
    families = dict.fromkeys(case["family"] for case in report["cases"])
    for family in families:
        cases = [c for c in report["cases"] if c["family"] == family and c["split"] == UNSEEN]
        if not cases:
            continue
        yield f"### {family}: {len(cases)} {UNSEEN} cases"
        yield ""
        yield from _verdicts(report, family=family, split=UNSEEN)


def _verdicts(report: dict[str, Any], **only: str) -> Iterator[str]:
    yield (
        "| estimator | median error | bias | worst | within 10% | covered | silent | warned "
        "| failed | to λ | gradients | examples | CPU s |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for name in report["estimators"]:
        found = verdict(runs_of(report, name, **only))
        if found.runs:
            yield f"| {name} | {_line(found)} |"
    yield ""


def _line(found: Verdict) -> str:
    low, high = found.coverage
    covered = f"{found.covered}/{found.intervals} ({low:.2f}–{high:.2f})"
    return " | ".join(
        [
            _percent(found.median_error),
            _percent(found.median_bias, sign=True),
            _percent(found.worst),
            _percent(found.within),
            covered if found.intervals else "—",
            f"{found.silent}",
            f"{found.warned}",
            f"{found.failed}/{found.runs}",
            _percent(found.median_to_known, sign=True),
            f"{found.num_gradients:,.0f}",
            f"{found.num_examples:.1e}",
            f"{found.seconds:.1f}",
        ]
    )


def _errors(report: dict[str, Any]) -> Iterator[str]:
    yield "## Median error by case"
    yield ""
    yield "(! silent in at least one run, ? warned in all, ✗ failed in all)"
    yield ""
    names = report["estimators"]
    yield "| case | E | λ | " + " | ".join(names) + " |"
    yield "|---|--:|--:|" + "--:|" * len(names)
    for case in report["cases"]:
        cells = []
        for name in names:
            runs = runs_of(report, name, name=case["name"], family=case["family"])
            found = verdict(runs)
            mark = "!" if found.silent else ""
            if runs and found.failed == found.runs:
                cells.append("✗")
                continue
            if found.intervals and found.warned == found.intervals:
                mark = "?"
            cells.append(_percent(found.median_bias, sign=True) + mark)
        known = case["coefficient"]
        mark = " (dev.)" if case["split"] == DEVELOPMENT else ""
        theory = f"{known['value']:.4g}" if known else "—"
        yield f"| {case['name']}{mark} | {_value(case)} | {theory} | {' | '.join(cells)} |"
    yield ""


def _value(case: dict[str, Any]) -> str:
    found = case["expectation"]
    if case["expectation"]["method"] != "HMC":
        return f"{found['value']:.4g}"
    return f"{found['value']:.4g} ± {found['error']:.2g}"


def _rows(report: dict[str, Any]) -> Iterator[str]:
    yield "## Every case"
    yield ""
    for case in report["cases"]:
        yield from _case(report, case)


def _case(report: dict[str, Any], case: dict[str, Any]) -> Iterator[str]:
    known = case["coefficient"]
    yield f"### {case['family']}: {case['name']} ({case['split']})"
    yield ""
    theory = ""
    if known:
        theory = f"λ = {known['value']:g}, m = {known['multiplicity']} ({known['source']}); "
    yield (
        f"d = {case['num_coordinates']}, n = {case['num_examples']:,}, nβ = {case['nbeta']:.4g}, "
        f"γ = {case['localization']:g}; {theory}E = {_value(case)} "
        f"({case['expectation']['method']})."
    )
    yield ""
    yield (
        "| estimator | λ̂, mean over seeds | stated error | error | covered | silent | warned "
        "| failed | gradients | batch | CPU s |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for name in report["estimators"]:
        outcomes = case["estimators"].get(name, [])
        if not outcomes:
            continue
        good = [outcome for outcome in outcomes if not outcome["failed"]]
        found = verdict(runs_of(report, name, name=case["name"], family=case["family"]))
        if good:
            mean = sum(outcome["value"] for outcome in good) / len(good)
            stated = sum(outcome["error"] for outcome in good) / len(good)
            head = f"{_short(mean)} | {_short(stated)} | {_percent(found.median_bias, sign=True)}"
        else:
            head = "— | — | —"
        yield (
            f"| {name} | {head} | {found.covered}/{found.intervals} | {found.silent} | "
            f"{found.warned} | {found.failed} | {found.num_gradients:,.0f} | "
            f"{outcomes[0]['batch_size']} | {found.seconds:.1f} |"
        )
    yield ""


def _percent(share: float, *, sign: bool = False) -> str:
    if not math.isfinite(share):
        return "—"
    percent = 100 * share
    if abs(percent) >= 1000:
        return f"{'+' if sign and percent > 0 else ''}{percent:.1e}%"
    digits = 0 if abs(percent) >= 10 else 1
    return f"{percent:+.{digits}f}%" if sign else f"{percent:.{digits}f}%"


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.2e}"
