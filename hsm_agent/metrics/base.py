"""What a metric is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Type = Literal["gauge", "counter", "state", "info"]

STORAGE = "storageCapacityProblem"
CAPACITY = "resourceAtOrNearingCapacity"
COMMUNICATION = "communicationsSubsystemFailure"
CORRUPT = "corruptData"
THRESHOLD = "thresholdCrossed"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `unit` is the word shown beside values; empty for counts and states."""

    name: str
    unit: str
    type: Type
    help: str
    cause: str = THRESHOLD
