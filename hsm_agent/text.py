"""Text from outside, fit to be shown in a terminal, a log, a trap, a label; globs, suggestions, peers' addresses. Pure.

Characters that control a terminal, change the direction of writing, are invisible or unassigned become U+FFFD: control
and format characters (bidirectional controls among them), private and unassigned ones, lone surrogates. Letters of any
script stay. The joiner that makes one emoji of several, or a ligature, stays between two characters beyond ASCII, where
it cannot hide in an ASCII name.

Globs are those of the shell, case-sensitive: `*`, `?` and `[…]`. Matching takes time in proportion to the name, since
the expression that `fnmatch` makes never backtracks over a star. Compiling takes time and memory in proportion to the
glob; so its length is bounded, and so is the number of compiled globs (fnmatch's own cache keeps 32 768).
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address, IPv6Address

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
    """For str.translate: the replacement of a character; a bounded number is cached."""

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
    """The text with each unfit character replaced by U+FFFD, and each kind of space by U+0020."""
    if text.isprintable():  # the common case, a hundred times as fast
        return text
    return _LOOSE.sub(REPLACEMENT, text.translate(_FIT))


def one_line(text: str) -> str:
    """The same, with runs of control characters and line breaks replaced by one space, so that lines read on."""
    return text if text.isprintable() else harmless(_BREAKS.sub(" ", text))


def glob_matches(name: str, glob: str) -> bool:
    """Whether the glob matches the whole name; a glob that equals the name does, even if it contains `[`."""
    return glob in {"*", name} or _compiled(glob).match(name) is not None


@lru_cache(_KEPT_GLOBS)
def _compiled(glob: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(glob))


def ip_of(address: str) -> IPv4Address | IPv6Address | None:
    """A peer's IP address without its zone, the IPv4 address where one is mapped; None for what is none."""
    from ipaddress import IPv6Address, ip_address  # noqa: PLC0415 - the Nagios plugin need not load it

    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped if isinstance(found, IPv6Address) else None) or found


def suggestion(name: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` for the known name that is most like this one, empty if none is."""
    import difflib  # noqa: PLC0415 - most processes never need it

    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean '{close[0]}'?" if close else ""


def checked_glob(glob: str) -> str:
    """The glob; ValueError if it is too long."""
    if len(glob) > LONGEST_GLOB:
        raise ValueError(f"longer than {LONGEST_GLOB} characters")
    return glob
