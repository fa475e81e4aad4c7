"""The sections of the page of susceptibilities: heat map, curves, coloured text, tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from germ.report import ranking_html, token_html
from germ.report.digits import signed, unsigned
from germ.report.heatmap import MOST_COLUMNS, MOST_ROWS, heatmap
from germ.report.markup import Html, escape, image, table
from germ.report.susceptibility_words import by_chance
from germ.report.token_choice import Passage
from germ.report.token_colours import LEVELS
from germ.report.token_html import Frame
from germ.report.token_ranking import Rankings
from germ.report.token_text import Decode
from germ.report.token_view import TokenView, is_signal
from germ.report.trajectories import leading, trajectories

_TWO_PANELS = 12  # probes for which both fit side by side
_MOST_PANELS = 12  # probes that have a panel of curves


def heat_map(ranked: Rankings, order: Sequence[int]) -> str:
    """Components × probes at the last checkpoint, as a figure and as a table.

    Args:
        ranked: The rankings at that checkpoint.
        order: Components, those with most signal first: they are drawn where not all can be.
    """
    view = ranked.view
    chi, error = view.chi_probe[ranked.checkpoint], view.error_probe[ranked.checkpoint]
    rows, columns = sorted(order[:MOST_ROWS]), range(min(len(view.probes), MOST_COLUMNS))
    spread = np.array([ranked.summaries[i].spread for i in rows])
    figure = heatmap(
        chi[np.ix_(rows, columns)],
        error[np.ix_(rows, columns)],
        [view.components[i] for i in rows],
        [view.probes[i] for i in columns],
        spread if len(columns) <= _TWO_PANELS else None,
    )
    left_out = ""
    if len(rows) < len(view.components) or len(columns) < len(view.probes):
        left_out = (
            f'<p class="note">The figure has the {len(rows)} components with most signal of '
            f"{len(view.components)}, and {len(columns)} probes of {len(view.probes)}; the table "
            "has all.</p>\n"
        )
    cells = [
        (name, *_cells(chi[i], error[i])) for i, name in enumerate(view.components)
    ]  # fmt: skip
    caption = "Mean χ ± standard error of each component on each probe, nats²"
    numbers = table(caption, ("component", *view.probes), cells, "cells")
    panels = " On the left χ itself; on the right in units of the component's own spread over "
    panels += "tokens: only there do rows compare."
    text = (
        "<p>The mean susceptibility over all tokens of a probe. Hatched cells are within two "
        f"standard errors of zero.{panels * (len(columns) <= _TWO_PANELS)}</p>\n"
    )
    alternative = "Heat map of components by probes; the table below has the same numbers"
    fold = f"<details><summary>The same as a table</summary>{numbers}</details>\n"
    return text + image(figure, alternative) + left_out + fold


def training(view: TokenView) -> str:
    """χ of each probe over checkpoints, as curves and, of the named ones, as tables."""
    shown = range(min(len(view.probes), _MOST_PANELS))
    chi, error = view.chi_probe[..., shown], view.error_probe[..., shown]
    probes = [view.probes[i] for i in shown]
    figure = trajectories(view.steps, chi, error, view.components, probes)
    named = leading(chi, error)
    tables = [
        table(
            f"{name}: mean χ ± SE over training steps, nats²",
            ("component", *view.steps),
            [(view.components[i], *_cells(chi[:, i, probe], error[:, i, probe])) for i in named],
            "cells",
        )
        for probe, name in enumerate(probes)
    ]
    left_out = f" The first {len(probes)} of {len(view.probes)} probes are drawn."
    return (
        "<p>The mean susceptibility of each probe over checkpoints, all panels on the same axes."
        f"{left_out * (len(probes) < len(view.probes))}</p>\n"
        + image(figure, "Curves over training; the tables below have the named ones")
        + f"<details><summary>The named curves as tables</summary>{''.join(tables)}</details>\n"
    )


def text(
    view: TokenView,
    chosen: Sequence[Passage],
    held: Sequence[Frame],
    first: Frame,
    decode: Decode,
) -> str:
    """Passages coloured for one component, and what chooses another.

    Args:
        view: The susceptibilities.
        chosen: The passages.
        held: The components and checkpoints that can be chosen.
        first: The one whose colours are in the HTML.
        decode: Token ids to text.
    """
    name = escape(view.components[first.component])
    share = 100 * view.signal(first.checkpoint, first.component).mean()
    return (
        f'<div class="bar">{_form(view, held, first)}{_legend(view, first)}</div>\n'
        f'<noscript><p class="note">Scripts are off: the text is coloured for {name} alone. The '
        "tables further down have every component.</p></noscript>\n"
        f'<p class="note">Coloured for <strong id="coloured">{name}</strong>; '
        f'<span id="signal">{share:.0f}%</span> of all its tokens are two standard errors away '
        f"from zero (by chance about {by_chance(view)}). {_left_out(view, chosen, held)}; of each "
        "probe half of the passages are the strongest over all components, half are taken evenly "
        "from the rest. Grey italics have no susceptibility (the first token of an example is not "
        "predicted).</p>\n" + token_html.passages_html(view, chosen, first, decode)
    )


def tables(ranked: Rankings, detailed: Sequence[int], opened: int, decode: Decode) -> str:
    """The tables of tokens, a fold for each component.

    Args:
        ranked: The rankings.
        detailed: Components that have tables.
        opened: The one whose fold is open.
        decode: Token ids to text.
    """
    num = 10 if len(ranked.view.components) <= 24 else 6
    note = (
        "<p>Ranked by a bound, χ − 2 SE from the top and χ + 2 SE from the bottom: what noise may "
        f"explain is not listed. Kinds are tokens that occur at least {ranking_html.AT_LEAST} "
        "times; their SE is the mean of the occurrences' (the true one is at most that), their "
        "spread the standard deviation over occurrences. A dot is a space, ↵ a line break.</p>\n"
    )
    if len(detailed) < len(ranked.view.components):
        note += (
            f'<p class="note">Tables of the {len(detailed)} components with most signal, of '
            f"{len(ranked.view.components)}.</p>\n"
        )
    return note + "".join(
        ranking_html.details(ranked, i, decode, num, opened=i == opened) for i in detailed
    )


def _cells(chi: np.ndarray, error: np.ndarray) -> list[Html]:
    """χ ± SE of each, grey where it may be noise."""
    kinds = ["" if strong else ' class="noise"' for strong in is_signal(chi, error).tolist()]
    pairs = zip(kinds, chi.tolist(), error.tolist(), strict=True)
    return [Html(f"<span{kind}>{signed(x)} ± {unsigned(e)}</span>") for kind, x, e in pairs]


def _form(view: TokenView, held: Sequence[Frame], first: Frame) -> str:
    """What can be chosen; hidden until the script is there to act on it."""
    components = sorted({frame.component for frame in held})
    checkpoints = sorted({frame.checkpoint for frame in held})
    choices: list[tuple[str, int | str, list[tuple[int | str, object]]]] = [
        ("component", first.component, [(i, view.components[i]) for i in components]),
        ("probe", "", [("", "all"), *enumerate(view.probes)]),
    ]
    if len(checkpoints) > 1:
        steps: list[tuple[int | str, object]] = [(i, view.steps[i]) for i in checkpoints]
        choices.append(("checkpoint", first.checkpoint, steps))
    labels = []
    for name, selected, options in choices:
        listed = "".join(
            f'<option value="{value}"{" selected" * (value == selected)}>{escape(said)}</option>'
            for value, said in options
        )
        labels.append(f'<label>{name} <select name="{name}">{listed}</select></label>')
    return f'<form id="choose" hidden>{"".join(labels)}</form>'


def _legend(view: TokenView, shown: Frame) -> str:
    signs = {1: "+", 0: "0", -1: "−"}
    marks = "".join(
        f'<span class="t {token_html.label(level)}">{signs[int(np.sign(level))]}</span>'
        for level in range(-LEVELS, LEVELS + 1)
    )
    bounds = ", ".join(
        f'<span data-bound="{i}">{bound}</span>'
        for i, bound in enumerate(token_html.bounds(view, shown))
    )
    return (
        f'<p class="legend">χ&lt;0 {marks} χ&gt;0 <span>darker from |χ| = {bounds}; grey: within '
        "2 SE of zero</span></p>"
    )


def _left_out(view: TokenView, chosen: Sequence[Passage], held: Sequence[Frame]) -> str:
    """What of the data the text shows, and what not."""
    num = sum(int((passage.scored >= 0).sum()) for passage in chosen)
    said = f"{num:,} of {len(view.row):,} tokens are shown, in {len(chosen)} passages"
    components = len({frame.component for frame in held})
    if components < len(view.components):
        said += f", for the {components} of {len(view.components)} components with most signal"
    if len(view.steps) > 1 and len({frame.checkpoint for frame in held}) == 1:
        said += ", at the last checkpoint"
    return said
