"""Text from outside, made fit to be shown: in a terminal, a log, a trap, a label; and globs on names. Pure.

What controls a terminal, turns the direction of writing, hides, or has no meaning becomes U+FFFD: control and format
characters (bidirectional controls among them), private and unassigned ones, lone surrogates. Letters of any script
stay, and so does the joiner that makes one emoji of several, or a ligature: between two characters beyond ASCII, where
it can hide in no name that people write.

Globs are those of the shell, letter by letter: `*`, `?` and `[…]`. Matching takes time in proportion to the name:
`fnmatch` makes an expression that never goes back over a star. Making it takes time and memory in proportion to the
glob, which is therefore bounded, as is how many are kept: fnmatch itself would keep tens of thousands, whoever they
come from.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from functools import lru_cache

REPLACEMENT = "\ufffd"
_JOINERS = "\u200c\u200d"
_JOINED = f"[^\x00-\x7f{REPLACEMENT}{_JOINERS}]"
_LOOSE = re.compile(f"(?<!{_JOINED})[{_JOINERS}]|[{_JOINERS}](?!{_JOINED})")
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_KNOWN_CHARACTERS = 4096
LONGEST_GLOB = 256
"""Characters; a token's label has 32, a name in the MIB 255 octets."""
_KEPT_GLOBS = 1024


class _Fit(dict[int, str]):
    """For str.translate: what stands for a character; only so many are remembered."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if char.isprintable() or char in _JOINERS:
            shown = char
        else:
            shown = " " if unicodedata.category(char) == "Zs" else REPLACEMENT
        if len(self) < _KNOWN_CHARACTERS:
            self[code] = shown
        return shown


_FIT = _Fit()


def harmless(text: str) -> str:
    """The text, each character that is not fit to be shown replaced by U+FFFD, each other space by a common one."""
    if text.isprintable():  # the common case, a hundred times as fast
        return text
    return _LOOSE.sub(REPLACEMENT, text.translate(_FIT))


def one_line(text: str) -> str:
    """The same, but runs of control characters and line breaks become one space: what was several lines is read on."""
    return text if text.isprintable() else harmless(_BREAKS.sub(" ", text))


def glob_matches(name: str, glob: str) -> bool:
    """Whether the whole name is as the glob says; a name written out always means itself, whatever it holds."""
    return glob in {"*", name} or _compiled(glob).match(name) is not None


@lru_cache(_KEPT_GLOBS)
def _compiled(glob: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(glob))


def checked_glob(glob: str) -> str:
    """The glob. Raises ValueError if it is longer than a glob may be."""
    if len(glob) > LONGEST_GLOB:
        raise ValueError(f"longer than {LONGEST_GLOB} characters")
    return glob
