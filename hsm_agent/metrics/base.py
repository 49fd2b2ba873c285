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
    """One metric. `unit` is the word shown beside values; empty for counts and states.

    `of_hsm`: it tells of the HSM as a whole, whichever partition it is asked of. `worst` is which of several such
    readings counts where one must not hide another; empty: the latest.
    """

    name: str
    unit: str
    type: Type
    help: str
    cause: str = THRESHOLD
    of_hsm: bool = False
    worst: Literal["highest", "lowest", ""] = ""
