"""What a metric is, and the names of metrics that the configuration declares."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Type = Literal["gauge", "counter", "state", "info"]

STORAGE = "storageCapacityProblem"
CAPACITY = "resourceAtOrNearingCapacity"
COMMUNICATION = "communicationsSubsystemFailure"
CORRUPT = "corruptData"
THRESHOLD = "thresholdCrossed"

CUSTOM_PREFIX = "custom_"
_CUSTOM_NAME = re.compile(r"custom_[a-z][a-z0-9]*(_[a-z0-9]+)*")
_CUSTOM_UNITS = ("bytes", "percent", "seconds", "celsius", "volts", "rpm", "records", "sessions", "objects", "entries")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `unit` is shown beside values; empty for counts and states.

    `of_hsm`: it is about the HSM as a whole, whichever partition it is read from. `worst`: which of several such
    readings counts, so that none hides another; empty: the latest. `cause` is the probable cause that an alarm names.
    """

    name: str
    unit: str
    type: Type
    help: str
    cause: str = THRESHOLD
    of_hsm: bool = False
    worst: Literal["highest", "lowest", ""] = ""


def is_custom(name: str) -> bool:
    """Whether the configuration may declare a metric of that name."""
    return _CUSTOM_NAME.fullmatch(name) is not None


def custom_unit(name: str) -> str:
    """The unit that a custom name ends in, before `_total` for a counter; empty for a count or a state."""
    last = name.removesuffix("_total").rpartition("_")[2]
    return last if last in _CUSTOM_UNITS else ""
