"""Tables of what each component answers to: in a line, token by token, and by kind of token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from germ.report.digits import signed, unsigned
from germ.report.markup import Html, escape, table
from germ.report.token_ranking import Rankings
from germ.report.token_text import Decode, alone, line, name, pieces

AT_LEAST = 5
"""Occurrences that a kind of token needs to be ranked."""

LEFT, RIGHT = 10, 4
"""Tokens of context."""


def overview(ranked: Rankings, components: Sequence[int], decode: Decode) -> str:
    """A line for each component: how much of it is signal, and what it answers to most."""
    view = ranked.view
    effective: list[str] = []
    if view.ess is not None:
        effective = [f"{ess:.0f}" if ess > 0 else "–" for ess in view.ess[ranked.checkpoint]]
    rows = []
    for component in range(len(view.components)):
        found = ranked.summaries[component]
        title: object = view.components[component]
        if component in components:
            title = Html(f'<a href="#component-{component}">{escape(title)}</a>')
        kinds = [
            " ".join(
                name(kind.token, decode) for kind in ranked.kinds(component, sign, 3, AT_LEAST)
            )
            for sign in (1, -1)
        ]
        rows.append(
            (
                title,
                *effective[component : component + 1],
                signed(found.mean),
                unsigned(found.spread, 3),
                f"{found.strength:.1f}",
                f"{100 * found.positive:.0f}%",
                f"{100 * found.negative:.0f}%",
                Html(f"<code>{escape(kinds[0] or '–')}</code>"),
                Html(f"<code>{escape(kinds[1] or '–')}</code>"),
            )
        )
    head = (
        "component", *["ESS of φ"] * bool(effective), "mean χ", "spread", "90% of |z|",
        "tokens ≥ +2 SE", "tokens ≤ −2 SE", "most positive kinds", "most negative kinds",
    )  # fmt: skip
    return table("Every component in a line", head, rows, "numbers")


def details(
    ranked: Rankings, component: int, decode: Decode, num: int, *, opened: bool = False
) -> str:
    """The tables of one component, to be folded out."""
    view = ranked.view
    title = view.components[component]
    parts = [
        f'<details id="component-{component}"{" open" * opened}><summary>{escape(title)}</summary>'
    ]
    for sign, word in ((1, "positive"), (-1, "negative")):
        parts.append(_tokens(ranked, component, sign, f"{title}: most {word} tokens", decode, num))
    parts.append('<div class="pair">')
    for sign, word in ((1, "positive"), (-1, "negative")):
        parts.append(_kinds(ranked, component, sign, f"{title}: most {word} kinds", decode, num))
    parts.append("</div></details>\n")
    return "".join(parts)


def _tokens(
    ranked: Rankings, component: int, sign: int, caption: str, decode: Decode, num: int
) -> str:
    view, at = ranked.view, ranked.checkpoint
    found = ranked.tokens(component, sign, num)
    if not found.size:
        return f"<p>{escape(caption)}: none is two standard errors away from zero.</p>\n"
    rows = []
    for token in found.tolist():
        chi, error = float(view.chi[at, component, token]), float(view.error[at, component, token])
        left, here, right = _context(ranked, token, decode)
        rows.append(
            (
                signed(chi),
                f"± {unsigned(error)}",
                Html(f'<span class="left">{escape(left)}</span>'),
                Html(f'<mark class="{"p3" if sign > 0 else "n3"}">{escape(here)}</mark>'),
                Html(f'<span class="right">{escape(right)}</span>'),
                view.probes[view.probe_of[token]],
                f"{view.loss[at, token]:.2f}",
            )
        )
    head = ("χ", "SE", "before", "token", "after", "probe", "loss at w*")
    return table(caption, head, rows, "tokens")


def _kinds(
    ranked: Rankings, component: int, sign: int, caption: str, decode: Decode, num: int
) -> str:
    found = ranked.kinds(component, sign, num, AT_LEAST)
    if not found:
        return (
            f"<p>{escape(caption)}: none that occurs {AT_LEAST} times is two standard errors away "
            "from zero.</p>\n"
        )
    rows = [
        (
            Html(f"<code>{escape(name(kind.token, decode))}</code>"), kind.count,
            signed(kind.mean), f"± {unsigned(kind.error)}", unsigned(kind.spread),
        )
        for kind in found
    ]  # fmt: skip
    return table(caption, ("token", "count", "mean χ", "SE", "spread"), rows, "numbers")


def _context(ranked: Rankings, token: int, decode: Decode) -> tuple[str, str, str]:
    view = ranked.view
    ids, at = view.ids[view.row[token]], int(view.position[token])
    start = max(at - LEFT, 0)
    stop = min(at + 1 + RIGHT, int(np.count_nonzero(ids >= 0)))
    found = pieces(ids[start:stop].tolist(), decode)
    before, after = found[: at - start], found[at - start + 1 :]
    return "".join(map(line, before)), alone(found[at - start]), "".join(map(line, after))
