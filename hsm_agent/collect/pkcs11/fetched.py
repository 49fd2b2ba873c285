"""The raw result of one poll as it grows, and what it took. It holds and counts; it neither asks nor judges."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hsm_agent.collect.pkcs11.identity import Key

Result = list[Any]
"""As the worker sends it: step, slot, when, calls, payload."""


@dataclass(slots=True)
class Listing:
    """The slots of one process, and the tokens read in them. Its slot numbers mean nothing in another process."""

    process: int
    slots: list[int]
    results: dict[int, Result] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    tokens: dict[Key, int] = field(default_factory=dict)
    """Slots of the watched tokens that were read."""

    def fullness(self) -> tuple[int, int]:
        """Tokens read, and slots that answered."""
        return sum(1 for result in self.results.values() if result[4][1] is not None), len(self.results)


@dataclass(slots=True)
class Fetched:
    """What a poll brought; `restarts` are workers lost in it.

    A poll that loses its worker lists the slots anew in the next one. What was asked of tokens is kept by the token,
    and told by the slot that it has in the listing the poll ends with.
    """

    listings: list[Listing] = field(default_factory=list)
    answers: dict[tuple[str, Key], Result] = field(default_factory=dict)
    failed: dict[tuple[str, Key], str] = field(default_factory=dict)
    fill: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    slowest_microseconds: int = 0
    restarts: int = 0
    trouble: str = ""
    """The first reason for which something could not be read."""

    def count(self, calls: Sequence[Sequence[Any]]) -> None:
        """Note calls that were made."""
        for function, _, microseconds in calls:
            self.calls[function] += 1
            self.slowest_microseconds = max(self.slowest_microseconds, microseconds)

    def fullest(self) -> Listing | None:
        """The listing of which most tokens were read; the later one of two."""
        return max(reversed(self.listings), key=Listing.fullness, default=None)

    @property
    def is_empty(self) -> bool:
        """Whether nothing of a watched token was read yet."""
        return not self.answers and not any(listing.tokens for listing in self.listings)

    def raw(
        self, module: str, loaded: Mapping[str, Any], *, word: int, known: Mapping[Key, int] | None = None
    ) -> dict[str, Any]:
        """All of it, fit for JSON. `known`: the slots of the last sweep, for a poll that was none."""
        listing = None if known is not None else self.fullest()
        slots = known or {}
        results: list[Result] = []
        failed: list[list[Any]] = []
        if listing is not None:
            slots, results = listing.tokens, list(listing.results.values())
            failed = [["token", slot, self._reason(listing, slot)] for slot in _unread(listing)]
        results += [[step, slots[key], *answer[2:]] for (step, key), answer in self.answers.items() if key in slots]
        failed += [[step, slots[key], reason] for (step, key), reason in self.failed.items() if key in slots]
        return {
            "module": module,
            "time": time.time(),
            "ulong": word,
            "info": loaded.get("info", ""),
            "functions": sorted(loaded.get("functions", ())),
            "process": 0 if listing is None else listing.process,
            "slots": None if listing is None else listing.slots,
            "results": results,
            "failed": failed,
            "fill": self.fill,
            "notes": self.notes,
        }

    def _reason(self, listing: Listing, slot: int) -> str:
        """Why a slot was not read: in that process, else in another, where it had that number as a rule."""
        reasons = [each.failed[slot] for each in (listing, *reversed(self.listings)) if slot in each.failed]
        if reasons:
            return reasons[0]
        return f"not reached in this poll, because {self.trouble}" if self.trouble else "not reached in this poll"


def _unread(listing: Listing) -> list[int]:
    """Slots without an answer, those that failed before those that were not reached because of them."""
    unread = [slot for slot in listing.slots if slot not in listing.results]
    return sorted(unread, key=lambda slot: slot not in listing.failed)
