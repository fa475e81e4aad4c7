"""Tokens as text: nothing is lost in context, nothing invisible is left, nothing crashes."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from germ.errors import GermError
from germ.report import token_text
from germ.report.token_text import CONTINUED, alone, decoder, in_text, line, name, pieces
from germ.zoo import bundled

DECODE = decoder(bundled.tokenizer())
WORDS = ["▁hello", "▁world", "s", "!", "<0xE2>", "<0x82>", "<0xAC>", "</s>"]


def sentence_pieces(ids: list[int]) -> str:
    """A decoder of the other family: it strips the first space, and drops nothing else."""
    data = b""
    for i in ids:
        byte = WORDS[i].startswith("<0x")
        data += bytes([int(WORDS[i][3:5], 16)]) if byte else WORDS[i].replace("▁", " ").encode()
    return data.decode(errors="replace").removeprefix(" ")


@pytest.mark.parametrize(
    "text",
    ["def f(x):\n\treturn x  # ok", "naïve € and 🦊🦊 at last", "日本語 text", "a<|end|>b"],
)
def test_the_pieces_of_a_byte_level_tokenizer_are_the_text(text):
    ids = bundled.tokenizer().encode(text).ids
    found = pieces(ids, DECODE)
    assert len(found) == len(ids)
    assert "".join(piece for piece in found if piece != CONTINUED) == text
    assert not any(token_text.FRAGMENT in piece for piece in found)


def test_a_first_space_that_the_decoder_strips_is_there_in_context():
    assert pieces([0, 1, 2, 3], sentence_pieces) == ["hello", " world", "s", "!"]
    assert pieces([0, 4, 5, 6, 1], sentence_pieces)[:4] == ["hello", "€", CONTINUED, CONTINUED]


def test_bytes_that_make_no_character_are_named():
    assert pieces([0, 4, 5, 1], sentence_pieces)[1:3] == ["⟨bytes 4⟩", "⟨bytes 5⟩"]
    assert name(4, sentence_pieces) == "⟨bytes 4⟩"
    assert pieces([7], lambda ids: "") == ["⟨token 7⟩"] and name(7, lambda ids: "") == "⟨token 7⟩"


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_nothing_that_is_shown_is_invisible_or_cannot_be_written(text):
    for shown, allowed in ((in_text(text), " \n"), (alone(text), ""), (line(text), " ")):
        shown.encode("utf-8")
        kept = shown.split("… (")[0]
        assert all(c in allowed or unicodedata.category(c)[0] not in "CZ" for c in kept)
        assert len(shown) <= 10 * token_text.LONGEST


def test_what_hides_is_marked():
    assert in_text("\u202eabc\x00") == "⟨U+202E⟩abc␀"
    assert in_text("\ud800") == "⟨U+D800⟩"
    assert in_text("\n\n  x") == "↵\n↵\n  x" and alone("\n\n  x") == "↵↵··x"
    assert in_text("\u0301") == "◌\u0301"
    assert alone("\u00a0\r\t") == "⟨U+00A0⟩␍⇥"


def test_a_very_long_token_is_cut_and_says_so():
    assert in_text("x" * 5000) == "x" * 36 + "… (4964 more)"


def test_decoders_of_both_libraries_keep_special_tokens():
    class Hub:
        def convert_tokens_to_ids(self): ...

        def decode(self, ids, skip_special_tokens=True, clean_up_tokenization_spaces=True):
            return f"{ids}{skip_special_tokens}{clean_up_tokenization_spaces}"

    assert decoder(Hub())([1]) == "[1]FalseFalse"
    assert DECODE([0]) == "<|end|>"
    with pytest.raises(GermError, match="expected a tokenizer"):
        decoder(None)


def test_a_token_of_another_tokenizer_is_refused():
    with pytest.raises(GermError, match="cannot decode the tokens"):
        pieces([0, 99], sentence_pieces)
    with pytest.raises(GermError, match="expected text from decode"):
        pieces([0], lambda ids: None)  # type: ignore[arg-type, return-value]
