"""Names from data as text of a figure."""

from __future__ import annotations

from germ.report.token_text import printable

LONGEST = 28
"""Characters of a name that a figure has room for."""


def plain(name: object) -> str:
    r"""A name as Matplotlib draws it: nothing invisible, nothing read as mathematics, not too long.

    Example:
        >>> plain("a$b$"), plain("x" * 40)
        ('a\\$b\\$', 'xxxxxxxxxxxxxxxxxxxxxxxxxxx…')
    """
    text = printable(name)
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return text.replace("$", r"\$")
