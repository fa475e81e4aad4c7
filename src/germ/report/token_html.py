"""Passages of text coloured by susceptibility, and the numbers for choosing another component.

The HTML is coloured for one component, so that it can be read without a script. The numbers of
all are in one block of JSON, as base64: a few bytes for each token and component.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from germ.report.digits import signed, unsigned
from germ.report.markup import escape
from germ.report.token_choice import Passage
from germ.report.token_colours import BOUNDS, levels, reference
from germ.report.token_text import Decode, alone, in_text, pieces, printable
from germ.report.token_view import TokenView

BYTES_PER_NUMBER = 7
"""What one token takes of the page for one component at one checkpoint."""

BYTES_PER_TOKEN = 180
"""What it takes once: its text, its numbers in words, its loss and place."""

ZERO = ord("f")
"""The letter of level 0: one letter a level, from a (−5) to k (5)."""

_MOST_INTEGER = 32_767


@dataclass(frozen=True)
class Frame:
    """What colours the text: a component at a checkpoint."""

    checkpoint: int
    component: int


def label(level: int) -> str:
    """The class of a level: `p3`, `n3`, and `z` for what is not signal."""
    return "z" if level == 0 else f"{'p' if level > 0 else 'n'}{abs(level)}"


def bounds(view: TokenView, frame: Frame) -> list[str]:
    """The |χ| from which each level of colour but the first begins; dashes without signal."""
    if not view.signal(frame.checkpoint, frame.component).any():
        return ["–"] * len(BOUNDS)
    scale = reference(*_of(view, frame))
    return [unsigned(share * scale, 3) for share in BOUNDS]


def passages_html(view: TokenView, chosen: Sequence[Passage], shown: Frame, decode: Decode) -> str:
    """The passages, coloured for one frame; every token says its numbers in its title.

    Args:
        view: The susceptibilities.
        chosen: What to show.
        shown: The component and checkpoint of the colours.
        decode: Token ids to text.
    """
    chi, error = _of(view, shown)
    classes = levels(chi, error, reference(chi, error))
    parts = []
    for passage in chosen:
        ids = view.ids[passage.row, passage.start : passage.stop]
        # One token more on the left: what the first adds to the text depends on it.
        before = view.ids[passage.row, max(passage.start - 1, 0) : passage.start]
        texts = pieces([*before.tolist(), *ids.tolist()], decode)[len(before) :]
        spans = []
        for text, token in zip(texts, passage.scored.tolist(), strict=True):
            if token < 0:
                spans.append(f'<span class="u">{_text(text)}</span>')
                continue
            kind = label(int(classes[token]))
            stop = ' tabindex="0"' if kind != "z" else ""
            loss = float(view.loss[shown.checkpoint, token])
            said = escape(describe(text, float(chi[token]), float(error[token]), loss))
            spans.append(f'<span class="t {kind}"{stop} title="{said}">{_text(text)}</span>')
        parts.append(_passage(view, passage, "".join(spans)))
    return "".join(parts)


def describe(text: str, chi: float, error: float, loss: float) -> str:
    """A token in words: `·the: χ +0.012 ± 0.004 (z +3.1), loss 2.31`."""
    z = signed(chi / error, 2) if error > 0 else "–"
    said = f"χ {signed(chi)} ± {unsigned(error)} (z {z}), loss {loss:.2f}"
    return f"{alone(text)}: {said}"


def frames(view: TokenView, components: Sequence[int], most: int) -> list[Frame]:
    """All checkpoints of these components where there is room for so many, else the last one's."""
    last = len(view.steps) - 1
    every = [Frame(c, i) for c in range(last + 1) for i in components]
    return every if len(every) <= most else [Frame(last, i) for i in components]


def payload(view: TokenView, chosen: Sequence[Passage], held: Sequence[Frame]) -> str:
    """The numbers of every shown token, for the script, as JSON that can stand in HTML.

    Of each frame: χ and its error as 16-bit integers (base64, little-endian) with a factor each,
    the levels as letters, and χ at which a level begins.
    """
    tokens = np.concatenate([p.scored[p.scored >= 0] for p in chosen])
    parts: list[dict[str, Any]] = []
    for frame in held:
        chi, error = _of(view, frame)
        unit = reference(chi, error)
        whole, own_error = chi[tokens], error[tokens]
        signal = view.signal(frame.checkpoint, frame.component)
        parts.append(
            {
                "checkpoint": frame.checkpoint,
                "component": frame.component,
                "chi": _integers(whole, "<i2"),
                "error": _integers(own_error, "<u2"),
                "levels": "".join(chr(ZERO + int(i)) for i in levels(whole, own_error, unit)),
                "bounds": bounds(view, frame),
                "signal": f"{100 * signal.mean():.0f}%",
            }
        )
    losses = {
        str(c): [round(float(x), 2) for x in view.loss[c, tokens]]
        for c in sorted({frame.checkpoint for frame in held})
    }
    held_data = {
        "zero": ZERO,
        "components": [printable(x) for x in view.components],
        "probes": [printable(x) for x in view.probes],
        "probe": view.probe_of[tokens].tolist(),
        "position": view.position[tokens].tolist(),
        "loss": losses,
        "frames": parts,
    }
    text = json.dumps(held_data, separators=(",", ":"), ensure_ascii=True)
    # Inside <script> only "</" and "<!--" end or change the block.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _of(view: TokenView, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    chi = view.chi[frame.checkpoint, frame.component].astype(float)
    return chi, view.error[frame.checkpoint, frame.component].astype(float)


def _integers(values: np.ndarray, dtype: str) -> dict[str, Any]:
    factor = float(np.abs(values).max(initial=0.0)) / _MOST_INTEGER or 1.0
    packed = np.round(values / factor).astype(dtype).tobytes()
    return {"factor": float(f"{factor:.9g}"), "data": base64.b64encode(packed).decode()}


def _text(piece: str) -> str:
    # `in_text` has left nothing invisible; the line breaks it has put are wanted.
    return html.escape(in_text(piece))


def _passage(view: TokenView, passage: Passage, spans: str) -> str:
    probe = int(view.row_probe[passage.row])
    example = int(view.row_example[passage.row])
    why = "among the strongest" if passage.strongest else "taken evenly"
    name = f"{view.probes[probe]}, example {example}, tokens {passage.start} to {passage.stop - 1}"
    return (
        f'<figure class="passage" data-probe="{probe}"><figcaption>{escape(name)} '
        f"<small>({why})</small></figcaption>"
        f'<div class="text" role="group" dir="ltr" aria-label="{escape(name)}">{spans}</div>'
        "</figure>\n"
    )
