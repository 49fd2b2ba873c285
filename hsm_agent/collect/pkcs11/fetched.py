"""The raw result of one poll as it grows, and what it took. It holds and counts; it neither asks nor judges."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(slots=True)
class Fetched:
    """Fields as in pkcs11_raw; `restarts` are workers lost in this poll."""

    slots: list[int] | None = None
    results: list[list[Any]] = field(default_factory=list)
    failed: list[list[Any]] = field(default_factory=list)
    fill: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    slowest_microseconds: int = 0
    restarts: int = 0

    def count(self, calls: Sequence[Sequence[Any]]) -> None:
        """Note calls that were made."""
        for function, _, microseconds in calls:
            self.calls[function] += 1
            self.slowest_microseconds = max(self.slowest_microseconds, microseconds)

    def raw(self, module: str, loaded: Mapping[str, Any], *, word: int) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return {
            "module": module,
            "time": time.time(),
            "ulong": word,
            "info": loaded.get("info", ""),
            "functions": sorted(loaded.get("functions", ())),
            "slots": self.slots,
            "results": self.results,
            "failed": self.failed,
            "fill": self.fill,
            "notes": self.notes,
        }
