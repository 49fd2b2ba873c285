"""The Nagios plugin convention: ranges, performance data, exit codes. Pure; check.py and check_token.py use it.

Source: the monitoring plugins' development guidelines, "Threshold and ranges" and "Performance data".
"""

from __future__ import annotations

import math
import re
from enum import Enum
from typing import NamedTuple

from hsm_agent.text import one_line


class State(Enum):
    """The four results; the value is the exit code. Not ordered: `worst` says which one wins."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class RangeError(ValueError):
    """Not a range of the guidelines."""


_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"(@?)(?:(~|{_NUMBER})?:)?({_NUMBER})?")


class Range(NamedTuple):
    """Values from `low` to `high`, both ends included. An alert is a value outside, or inside where `inside`."""

    low: float
    high: float
    inside: bool = False

    @classmethod
    def parse(cls, text: str) -> Range:
        """`10`, `10:`, `~:10`, `10:20`, `@10:20`. Raises RangeError."""
        found = _RANGE.fullmatch(text.strip())
        if found is None or not text.strip().lstrip("@"):
            raise RangeError(f"not a range: {text!r} (write 10, 10:, ~:10, 10:20 or @10:20)")
        at, start, end = found.groups()
        low = -math.inf if start == "~" else float(start) if start else 0.0
        high = float(end) if end is not None else math.inf
        if low > high:
            raise RangeError(f"not a range: {text!r}: its start is above its end")
        return cls(low=low, high=high, inside=bool(at))

    def alerts(self, value: float) -> bool:
        """Whether the value is one to alert on."""
        within = self.low <= value <= self.high
        return within if self.inside else not within

    def scaled(self, factor: float) -> str:
        """The range as performance data writes it, with both ends multiplied and rounded down to whole units."""
        low = "~" if self.low == -math.inf else str(math.floor(self.low * factor))
        high = "" if self.high == math.inf else str(math.floor(self.high * factor))
        return self._join(low, high)

    def __str__(self) -> str:
        """The range as performance data writes it."""
        from hsm_agent.model import number_text  # noqa: PLC0415 - a check of a token has whole numbers only

        low = "~" if self.low == -math.inf else number_text(self.low)
        return self._join(low, "" if self.high == math.inf else number_text(self.high))

    def _join(self, low: str, high: str) -> str:
        start = "" if low == "0" and high else f"{low}:"
        return f"{'@' if self.inside else ''}{start}{high}"


def judge(value: float, warning: Range | None, critical: Range | None) -> State:
    """Critical before warning before OK."""
    if critical is not None and critical.alerts(value):
        return State.CRITICAL
    if warning is not None and warning.alerts(value):
        return State.WARNING
    return State.OK


def perfdata(
    label: str, value: str, unit: str, warning: str = "", critical: str = "", low: str = "", high: str = ""
) -> str:
    """`'label'=value[unit];[warn];[crit];[min];[max]`, trailing semicolons left out."""
    quoted = "'" + label.replace("'", "''").replace("=", "_") + "'"
    return f"{quoted}={value}{unit};{warning};{critical};{low};{high}".rstrip(";")


def line(state: State, text: str, data: str = "") -> str:
    """The one line of a plugin's answer; `|` and line breaks in the text would end it early."""
    clean = one_line(text).replace("|", " ")
    return f"{state.name}: {clean} | {data}" if data else f"{state.name}: {clean}"


class Answer(NamedTuple):
    """What a check says: the state, its line, and further lines for `-v`."""

    state: State
    line: str
    details: tuple[str, ...] = ()


def unknown(text: str, *details: str) -> Answer:
    """The answer where there is nothing to judge."""
    return Answer(State.UNKNOWN, line(State.UNKNOWN, text), details)
