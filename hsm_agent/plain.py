"""Text from outside, made fit to be shown: in a terminal, a log, a trap, a label. Pure.

What controls a terminal, turns the direction of writing, hides, or has no meaning becomes U+FFFD: control and format
characters (bidirectional controls among them), private and unassigned ones, lone surrogates. Letters of any script
stay, and so does the joiner that makes one emoji of several, or a ligature: between two characters beyond ASCII, where
it can hide in no name that people write.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

REPLACEMENT = "\ufffd"
_JOINERS = "\u200c\u200d"
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_KNOWN_CHARACTERS = 4096


def harmless(text: str) -> str:
    """The text, each character that is not fit to be shown replaced by U+FFFD, each other space by a common one."""
    if text.isprintable():  # the common case, a hundred times as fast
        return text
    return "".join(
        char if char in _JOINERS and _joins(text, at) else _fit(char) for at, char in enumerate(text)
    )  # fmt: skip


def one_line(text: str) -> str:
    """The same, but runs of control characters and line breaks become one space: what was several lines is read on."""
    return text if text.isprintable() else harmless(_BREAKS.sub(" ", text))


def _joins(text: str, at: int) -> bool:
    around = text[at - 1 : at + 2] if at else ""
    return len(around) == 3 and all(not char.isascii() and char.isprintable() for char in (around[0], around[2]))  # noqa: PLR2004 - one, the joiner, one


@lru_cache(_KNOWN_CHARACTERS)
def _fit(char: str) -> str:
    if char.isprintable():
        return char
    return " " if unicodedata.category(char) == "Zs" else REPLACEMENT
