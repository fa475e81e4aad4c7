"""What a token looks like on a page: its text in context, with nothing invisible left in it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from germ.errors import GermError

Decode = Callable[[list[int]], str]
"""Token ids to text, special tokens included."""

FRAGMENT = "\ufffd"
"""What decoders put where bytes make no character."""

CONTINUED = "⋯"
"""Shown for a token that only completes the character before it."""

LONGEST = 48
"""Characters of one token that are shown."""

_LONGEST_CHARACTER = 6  # tokens that the bytes of one character may be spread over


def decoder(tokenizer: Any) -> Decode:
    """How a tokenizer writes token ids out, special tokens included, spaces as they are.

    Args:
        tokenizer: One of `tokenizers`, one of `transformers`, or anything with `decode(ids)`.

    Raises:
        GermError: It cannot decode.
    """
    if not callable(getattr(tokenizer, "decode", None)):
        raise GermError(f"expected a tokenizer with `decode`, got {type(tokenizer).__name__}")
    if hasattr(tokenizer, "convert_tokens_to_ids"):
        return lambda ids: tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
    if hasattr(tokenizer, "token_to_id"):
        return lambda ids: tokenizer.decode(ids, skip_special_tokens=False)
    return lambda ids: tokenizer.decode(ids)


def pieces(ids: Sequence[int], decode: Decode) -> list[str]:
    """What each token adds to the text; together they are the text.

    A character whose bytes several tokens share stands whole at the first; `CONTINUED` stands for
    the others. Tokens that decode to nothing, and bytes that never make a character, are named.

    Args:
        ids: Token ids in order.
        decode: Token ids to text.

    Raises:
        GermError: A token cannot be decoded.
    """
    ids = [int(i) for i in ids]
    found: list[str] = []
    while len(found) < len(ids):
        here = len(found)
        text = _added(ids[here - 1] if here else None, ids[here], decode)
        if FRAGMENT not in text:
            found.append(text or f"⟨token {ids[here]}⟩")
            continue
        # Other tokenizers give "" or the replacement character until a character is complete.
        for stop in range(here + 2, min(here + _LONGEST_CHARACTER, len(ids)) + 1):
            joint = _decoded(ids[here:stop], decode)
            if joint and FRAGMENT not in joint:
                found += [joint, *[CONTINUED] * (stop - here - 1)]
                break
        else:
            found.append(f"⟨bytes {ids[here]}⟩")
    return found


def name(token: int, decode: Decode) -> str:
    """A token by itself, as it stands in tables.

    Raises:
        GermError: It cannot be decoded.
    """
    text = _decoded([token], decode)
    if FRAGMENT in text:
        return f"⟨bytes {token}⟩"
    return alone(text) if text else f"⟨token {token}⟩"


def in_text(piece: str) -> str:
    r"""A piece as it stands in running text: a line break is marked and breaks the line.

    Example:
        >>> in_text(" word"), in_text("  "), in_text(chr(10) + "  ")
        (' word', '··', '↵\n··')
    """
    shown, rest = _cut(piece)
    if not shown.strip(" ↵"):
        shown = shown.replace(" ", "·")
    return shown.replace("↵", "↵\n") + rest


def alone(piece: str) -> str:
    """A piece where there is nothing around it: on one line, every space a dot.

    Example:
        >>> alone(" word"), alone(chr(9) + chr(0))
        ('·word', '⇥␀')
    """
    shown, rest = _cut(piece)
    return shown.replace(" ", "·") + rest


def line(piece: str) -> str:
    """A piece on one line, its spaces kept: for the context in tables."""
    return "".join(_cut(piece))


def printable(text: object) -> str:
    """Any text of data (a model's name, a probe's), safe to write: nothing invisible in it."""
    return str(text).translate(_MARKS)


class _Marks(dict[int, str]):
    """Of characters that are not seen, or that would move others about, a mark; made when met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if code < 0x20:
            character = chr(0x2400 + code)
        elif code != 0x20 and unicodedata.category(character)[0] in "CZ":
            # Other controls, formats (directions, joiners), surrogates, unassigned; separators.
            character = f"⟨U+{code:04X}⟩"
        self[code] = character
        return character


_MARKS = _Marks({ord("\n"): "↵", ord("\t"): "⇥", 0x7F: "␡"})


def _cut(piece: str) -> tuple[str, str]:
    """The beginning of a piece, marked, and how much more there is.

    A combining mark at the start gets a circle to stand on, not its neighbour's last letter.
    """
    shown, rest = piece, ""
    if len(piece) > LONGEST:
        kept = LONGEST - 12
        shown, rest = piece[:kept], f"… ({len(piece) - kept} more)"
    if shown and unicodedata.category(shown[0])[0] == "M":
        shown = "◌" + shown
    return printable(shown), rest


def _added(before: int | None, token: int, decode: Decode) -> str:
    """What a token adds behind another: decoders that strip a first space keep a second one."""
    if before is not None:
        first = _decoded([before], decode)
        both = _decoded([before, token], decode)
        if first and FRAGMENT not in first and both.startswith(first):
            return both[len(first) :]
    return _decoded([token], decode)


def _decoded(ids: list[int], decode: Decode) -> str:
    try:
        text = decode(ids)
    except Exception as error:
        raise GermError(
            f"cannot decode the tokens {ids[:4]}: {error}; give the decoder of the model's own "
            "tokenizer"
        ) from error
    if not isinstance(text, str):
        raise GermError(f"expected text from decode({ids[:4]}), got {type(text).__name__}")
    return text
