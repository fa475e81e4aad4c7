"""What the page of susceptibilities says in words: what χ is, how it was measured, how to read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from numbers import Integral
from typing import Any

from scipy.stats import t as student

from germ.report.markup import escape
from germ.report.token_ranking import STRENGTH
from germ.report.token_view import SIGNAL, TokenView

_SETTINGS = {
    "model": "model",
    "nbeta": "inverse temperature nβ",
    "localization": "localization γ",
    "centring": "centring",
    "methods": "how it was drawn",
    "least_groups": "independent groups of draws behind an error, at least",
    "least_draws": "draws of a component, at least",
    "units": "unit of χ",
}

_CENTRINGS = {
    "restricted": "means over the component's own run",
    "full": "the token's mean over a run of all weights",
}


def meaning(view: TokenView) -> str:
    """What a susceptibility is, with its sign."""
    if view.attrs.get("centring") == "full":
        sampled = (
            "χ<sub>xy</sub> = E[φ·L] − E[φ·ℓ<sub>xy</sub>] − E[φ]·(E<sub>f</sub>[L] − "
            "E<sub>f</sub>[ℓ<sub>xy</sub>]), E over the component's run and E<sub>f</sub> over a "
            "run of all weights: up to a factor of the component,"
        )
        draws = ""
    else:
        sampled = "χ<sub>xy</sub> = −Cov[φ, ℓ<sub>xy</sub> − L] ="
        draws = (
            " The component's LLC then changes by dλ̂/dh = (nβ)²·χ. Put by the draws: where χ is "
            "positive, that token's loss moves less with φ than the mean loss does, or against "
            "it; where it is negative, it moves more."
        )
    return (
        '<p class="lead">The susceptibility χ of a component to a token says how the component\'s '
        "expected excess loss φ = L(w) − L(w*), with only the component's weights moving, answers "
        "when that token is given more weight in the loss. <strong>Positive</strong> (green, bar "
        "above): more weight on the token raises φ, and with it the component's LLC. "
        "<strong>Negative</strong> (red, bar below): more weight lowers it.</p>\n"
        f'<p class="note">{sampled} (1/nβ)·d⟨φ⟩/dh at h = 0, where the loss is '
        f"L + h(ℓ<sub>xy</sub> − L).{draws}</p>\n"
    )


def settings(view: TokenView) -> str:
    """How it was measured: model, nβ, γ, centring, chains, draws, and how much there is."""
    attrs = view.attrs
    lines = [(name, _value(key, attrs[key])) for key, name in _SETTINGS.items() if key in attrs]
    lines.append(("components", f"{len(view.components):,}"))
    lines.append(("probes", f"{len(view.probes):,}, {len(view.row):,} tokens"))
    if len(view.steps) > 1:
        lines.append(
            ("checkpoints", f"{len(view.steps)}, steps {view.steps[0]} to {view.steps[-1]}")
        )
    items = [
        f"<div{' class=two' * (len(value) > 20)}><dt>{escape(name)}</dt>"
        f"<dd>{escape(value)}</dd></div>"
        for name, value in lines
    ]
    known = _flat(attrs.get("settings"))
    if known:
        said = ", ".join(f"{key} {value}" for key, value in known.items())
        items.append(f'<div class="wide"><dt>settings</dt><dd>{escape(said)}</dd></div>')
    warned = "".join(f"<li>{escape(text)}</li>" for text in attrs.get("warnings", ()))
    warned = f'<ul class="warned" aria-label="Warnings">{warned}</ul>\n' if warned else ""
    return f"<dl>{''.join(items)}</dl>\n{warned}"


def guide(view: TokenView) -> str:
    """How to read colours, errors and what chance alone would show."""
    chance = "Chance alone puts 5% of tokens beyond two exact standard errors"
    groups = _groups(view)
    if groups is not None:
        chance += f", and {by_chance(view)} where errors come from {groups} groups, as here"
    strength = f"{student.ppf((1 + STRENGTH) / 2, groups - 1 if groups else 1e9):.1f}"
    return (
        '<details open><summary>How to read this page</summary><ul class="note">'
        "<li>Darker means larger |χ|, in greyscale too. The sign is the colour, and the bar: above "
        "the token where χ is positive, below it where it is negative.</li>"
        "<li>± is one standard error, from the spread between independent groups of draws. "
        f"What is within two of zero is grey text without colour. {chance}; all tokens share the "
        "same draws, so that chance "
        "colours many of them together. A few coloured tokens are no finding.</li>"
        "<li>z is χ over its standard error; <q>90% of |z|</q> is what nine tokens in ten stay "
        f"below: about {strength} where there is nothing but noise.</li>"
        "<li>Colours are scaled for each component by itself. Components compare in units of their "
        "own spread over tokens, not by χ: a larger component has a larger φ.</li>"
        "<li>Point at a token, or step to it with Tab and the arrow keys, for its numbers.</li>"
        "</ul></details>\n"
    )


def by_chance(view: TokenView) -> str:
    """How many tokens are beyond two errors where there is nothing: Student's t over groups."""
    groups = _groups(view)
    return f"{200 * student.sf(SIGNAL, groups - 1 if groups else 1e9):.0f}%"


def _groups(view: TokenView) -> int | None:
    """How many independent groups of draws the errors come from, where it is known."""
    groups = view.attrs.get("least_groups", view.attrs.get("chains"))
    return int(groups) if isinstance(groups, Integral) and int(groups) > 1 else None


def _value(key: str, value: Any) -> str:
    if key == "centring" and str(value) in _CENTRINGS:
        return f"{value}: {_CENTRINGS[str(value)]}"
    return f"{value:,.6g}" if isinstance(value, int | float) else str(value)


def _flat(value: Any) -> dict[str, Any]:
    """Settings that are a mapping, or one as JSON (files hold no mappings)."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {"": value}
    if not isinstance(value, Mapping):
        return {}
    found: dict[str, Any] = {}
    for key, item in value.items():
        nested = isinstance(item, Mapping)
        found |= {f"{key}: {k}": v for k, v in item.items()} if nested else {str(key): item}
    return found
