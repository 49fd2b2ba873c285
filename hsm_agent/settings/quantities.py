"""Durations, sizes, hosts and ports as people write them. Pure, without pydantic: the Nagios plugin reads sizes."""

from __future__ import annotations

import re
from typing import NamedTuple

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
