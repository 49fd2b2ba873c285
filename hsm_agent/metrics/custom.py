"""Metrics that the configuration declares itself: their names begin with `custom_`, and end in their unit."""

from __future__ import annotations

import re

PREFIX = "custom_"
_NAME = re.compile(r"custom_[a-z][a-z0-9]*(_[a-z0-9]+)*")
_UNITS = ("bytes", "percent", "seconds", "celsius", "volts", "rpm", "records", "sessions", "objects", "entries")


def is_custom(name: str) -> bool:
    """Whether it is the name of a metric that the configuration may declare."""
    return _NAME.fullmatch(name) is not None


def unit_of(name: str) -> str:
    """The unit such a name ends in, before `_total` if it is a counter's; empty for a count or a state."""
    last = name.removesuffix("_total").rpartition("_")[2]
    return last if last in _UNITS else ""
