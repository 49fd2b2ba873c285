"""Text from people and from outside: made fit to be shown, globs, suggestions, addresses, durations and sizes. Pure.

The Nagios plugin starts with it: so it needs no pydantic.

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
from typing import TYPE_CHECKING, NamedTuple

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


NaturalOrder = tuple[tuple[str, int], ...]
_WORD_AND_NUMBER = re.compile(r"([^0-9]*)([0-9]{0,18})")


def natural_order(name: str) -> NaturalOrder:
    """A key to sort names by as people count: `part-9` before `part-10`."""
    return tuple((word, int(number or -1)) for word, number in _WORD_AND_NUMBER.findall(name))


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


_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LEAST_INTERVAL_SECONDS = 0.01
LEAST_DEADLINE_SECONDS = 0.001
_LONGEST_SECONDS = 100 * 365.25 * 86400.0
_HOST_PORT = re.compile(r"(?:\[(?P<v6>[^\[\]\s]+)\]|(?P<host>[^:\[\]/\s]+)):(?P<port>[0-9]{1,5})")
MAX_PORT = 65535
_SIZE = re.compile(r"([0-9]+)(|B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_SIZE_UNITS = {"": 1, "B": 1, "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
_SIZE_UNITS |= {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}


def duration(value: object) -> float:
    """Seconds of a duration such as `500ms`, `30s`, `5m`, `24h`, `90d`; a bare 0 is allowed."""
    if value == 0 and not isinstance(value, bool):
        return 0.0
    found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"not a duration: {value!r} (write 500ms, 30s, 5m, 24h or 90d)")
    seconds = float(found[1]) * _DURATION_UNITS[found[2]]
    if seconds > _LONGEST_SECONDS:
        raise ValueError(f"longer than a hundred years: {value!r}")
    return seconds


def interval(value: object) -> float:
    """Seconds of a duration after which something is done again: never so short that nothing else gets a turn."""
    return _at_least(value, LEAST_INTERVAL_SECONDS)


def deadline(value: object) -> float:
    """Seconds of a duration in which something must be done."""
    return _at_least(value, LEAST_DEADLINE_SECONDS)


def _at_least(value: object, least: float) -> float:
    seconds = duration(value)
    if seconds < least:
        raise ValueError(f"shorter than {least * 1000:g}ms: {value!r}")
    return seconds


def size(value: object) -> int:
    """Bytes of a size such as `2MiB`, `16MB`, or plain bytes."""
    found = (
        _SIZE.fullmatch(str(value).strip()) if isinstance(value, str | int) and not isinstance(value, bool) else None
    )
    if found is None:
        raise ValueError(f"not a size: {value!r} (write plain bytes, 16MB or 2MiB)")
    return int(found[1]) * _SIZE_UNITS[found[2]]


class HostPort(NamedTuple):
    """What was written: brackets need not hold an IPv6 address, and the port may be 0, or above MAX_PORT."""

    host: str
    port: int
    in_brackets: bool


def host_port(text: str) -> HostPort | None:
    """Of `host:443` or `[2001:db8::1]:443`; None if it is neither."""
    found = _HOST_PORT.fullmatch(text)
    if found is None:
        return None
    return HostPort(found["host"] or found["v6"], int(found["port"]), in_brackets=found["v6"] is not None)
