"""The raw result of one poll, as the worker gave it: collected while it is read, recorded as JSON, replayed, masked.

    {"module": path, "time": when, "ulong": bytes of a CK_ULONG, "info": CK_INFO, "functions": [vendor functions],
     "process": number of the worker whose slot ids these are,
     "slots": [slot ids] or null if this poll was no sweep (slot ids are those of the last one then),
     "results": [[step, slot, when, [[function, return value, microseconds], …], payload], …],
     "failed": [[step, slot, reason], …]: calls that never came back, or were not reached,
     "fill": {"bytes": n, "parts": {folder: n}} or {"error": text} or null, "notes": [worker restarts]}

Structures are hexadecimal, exactly as the module filled them.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from hsm_agent.collect.pkcs11 import luna_ha
from hsm_agent.collect.pkcs11.token import Slot, Token, decode_slot, decode_token, text
from hsm_agent.workers.pkcs11.return_values import LUNA_MANUFACTURERS, OK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hsm_agent.collect.pkcs11.token import TokenKey

_LABEL = slice(0, 32)
_SERIAL = slice(80, 96)
_LABEL_KIND, _SERIAL_KIND = 0, 1
_HIGHEST_COUNTED_SLOT = 0xFFFF
_TEXTUAL = 2  # payloads of `token` are [CK_SLOT_INFO, CK_TOKEN_INFO]


class Call(NamedTuple):
    """One C call: its return value, and how long it took."""

    function: str
    value: int
    microseconds: int


@dataclass(frozen=True)
class Result:
    """The answer to one step on one slot; `payload` is None where a call failed. `ulong_bytes`: bytes of a CK_ULONG."""

    step: str
    slot: int
    at: float
    calls: tuple[Call, ...]
    payload: Any
    ulong_bytes: int

    @classmethod
    def from_json(cls, answer: Sequence[Any], ulong_bytes: int) -> Result:
        """As the worker sends it, and as it is recorded."""
        step, slot, at, calls, payload = answer
        return cls(step, slot, at, tuple(Call(*call) for call in calls), payload, ulong_bytes)

    @property
    def failure(self) -> Call | None:
        """The first call that did not return CKR_OK; a session that does not close fails nothing.

        Of a call that was repeated, the last one counts: a list that grew between its two calls was read all the same.
        """
        last = {call.function: call for call in self.calls}.values()
        return next((call for call in last if call.value != OK and call.function != "C_CloseSession"), None)

    # Both are asked while the poll is read and when it is parsed: they are decoded once.
    @cached_property
    def token(self) -> Token | None:
        """CK_TOKEN_INFO of the step `token`; None for an empty slot, and where the call failed."""
        data = self.payload[1]
        return None if data is None else decode_token(bytes.fromhex(data), self.ulong_bytes)

    @cached_property
    def slot_info(self) -> Slot | None:
        """CK_SLOT_INFO of the step `token`; None where the call failed."""
        data = self.payload[0]
        return None if not data else decode_slot(bytes.fromhex(data), self.ulong_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPoll:
    """What one poll of a module brought. `calls` and `slowest_microseconds` are not recorded."""

    module: str
    time: float
    ulong_bytes: int
    info: str = ""
    functions: frozenset[str] = frozenset()
    process: int = 0
    slots: tuple[int, ...] | None
    results: Mapping[tuple[str, int], Result]
    failed: Mapping[tuple[str, int], str]
    fill: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    calls: Mapping[str, int] = field(default_factory=dict)
    slowest_microseconds: int = 0

    @property
    def manufacturer(self) -> str:
        """The library's, from CK_INFO."""
        return text(bytes.fromhex(self.info)[2:34])

    @property
    def luna(self) -> bool:
        """Whether vendor codes are Luna's."""
        return bool(self.functions) or self.manufacturer.startswith(LUNA_MANUFACTURERS)

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> RawPoll:
        """Read a recording."""
        ulong_bytes = recorded["ulong"]
        results = (Result.from_json(answer, ulong_bytes) for answer in recorded["results"])
        return cls(
            module=recorded["module"],
            time=recorded["time"],
            ulong_bytes=ulong_bytes,
            info=recorded.get("info") or "",
            functions=frozenset(recorded["functions"]),
            process=recorded.get("process", 0),
            slots=None if recorded["slots"] is None else tuple(recorded["slots"]),
            results={(result.step, result.slot): result for result in results},
            failed={(step, slot): reason for step, slot, reason in recorded["failed"]},
            fill=recorded.get("fill"),
            notes=tuple(recorded.get("notes", ())),
        )

    def to_json(self) -> dict[str, Any]:
        """As it is recorded: see the head of this module."""
        return {
            "module": self.module,
            "time": self.time,
            "ulong": self.ulong_bytes,
            "info": self.info,
            "functions": sorted(self.functions),
            "process": self.process,
            "slots": None if self.slots is None else list(self.slots),
            "results": [
                [each.step, each.slot, each.at, [list(call) for call in each.calls], each.payload]
                for each in self.results.values()
            ],
            "failed": [[step, slot, reason] for (step, slot), reason in self.failed.items()],
            "fill": self.fill,
            "notes": list(self.notes),
        }


@dataclass(slots=True)
class SlotListing:
    """The slots of one process, and the tokens read in them. Its slot numbers mean nothing in another process."""

    process: int
    slots: list[int]
    results: dict[int, Result] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    tokens: dict[TokenKey, int] = field(default_factory=dict)
    """Slots of the watched tokens that were read."""

    def fullness(self) -> tuple[int, int]:
        """Tokens read, and slots that answered."""
        return sum(1 for result in self.results.values() if result.payload[1] is not None), len(self.results)


@dataclass(slots=True)
class PollAnswers:
    """The answers of a poll while it is read, whatever number of processes it takes; `restarts` are workers lost.

    A poll that loses its worker lists the slots anew in the next one. Answers about a token are kept by the token, and
    recorded under the slot that it has in the listing the poll ends with.
    """

    listings: list[SlotListing] = field(default_factory=list)
    answers: dict[tuple[str, TokenKey], Result] = field(default_factory=dict)
    failed: dict[tuple[str, TokenKey], str] = field(default_factory=dict)
    fill: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    slowest_microseconds: int = 0
    restarts: int = 0
    trouble: str = ""
    """The first reason for which something could not be read."""

    def count(self, calls: Sequence[Sequence[Any]]) -> None:
        """Count calls that were made: function, return value and microseconds of each."""
        for function, _, microseconds in calls:
            self.calls[function] += 1
            self.slowest_microseconds = max(self.slowest_microseconds, microseconds)

    def fullest(self) -> SlotListing | None:
        """The listing of which most tokens were read; the later one of two."""
        return max(reversed(self.listings), key=SlotListing.fullness, default=None)

    @property
    def is_empty(self) -> bool:
        """Whether nothing of a watched token was read yet."""
        return not self.answers and not any(listing.tokens for listing in self.listings)

    def raw(
        self, module: str, loaded: Mapping[str, Any], *, ulong_bytes: int, known: Mapping[TokenKey, int] | None = None
    ) -> RawPoll:
        """All of it. `known`: the slots of the last sweep, for a poll that was none."""
        listing = None if known is not None else self.fullest()
        slots = known or {}
        results: dict[tuple[str, int], Result] = {}
        failed: dict[tuple[str, int], str] = {}
        if listing is not None:
            slots = listing.tokens
            results |= {("token", slot): result for slot, result in listing.results.items()}
            failed |= {("token", slot): self._reason(listing, slot) for slot in _unread(listing)}
        for (step, key), result in self.answers.items():
            if key in slots:
                results[step, slots[key]] = replace(result, slot=slots[key])
        failed |= {(step, slots[key]): reason for (step, key), reason in self.failed.items() if key in slots}
        return RawPoll(
            module=module,
            time=time.time(),
            ulong_bytes=ulong_bytes,
            info=loaded.get("info", ""),
            functions=frozenset(loaded.get("functions", ())),
            process=0 if listing is None else listing.process,
            slots=None if listing is None else tuple(listing.slots),
            results=results,
            failed=failed,
            fill=self.fill,
            notes=tuple(self.notes),
            calls=self.calls,
            slowest_microseconds=self.slowest_microseconds,
        )

    def _reason(self, listing: SlotListing, slot: int) -> str:
        """Why a slot was not read: in that process, else in another, where it had that number as a rule."""
        reasons = [each.failed[slot] for each in (listing, *reversed(self.listings)) if slot in each.failed]
        if reasons:
            return reasons[0]
        return f"not reached in this poll, because {self.trouble}" if self.trouble else "not reached in this poll"


def _unread(listing: SlotListing) -> list[int]:
    """Slots without an answer, those that failed before those that were not reached because of them."""
    unread = [slot for slot in listing.slots if slot not in listing.results]
    return sorted(unread, key=lambda slot: slot not in listing.failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """What a module says of itself, and how many slots it has. Texts are empty where it says nothing."""

    cryptoki: str
    manufacturer: str
    description: str
    version: str
    slots: int


def library(recorded: Mapping[str, Any]) -> Library:
    """CK_INFO of a recorded poll, at its natural alignment."""
    info, ulong_bytes = bytes.fromhex(recorded.get("info") or ""), int(recorded.get("ulong", 8))
    after_flags = 34 + -34 % ulong_bytes + ulong_bytes
    end = after_flags + 32
    return Library(
        cryptoki=f"{info[0]}.{info[1]:02d}" if info else "",
        manufacturer=text(info[2:34]),
        description=text(info[after_flags:end]),
        version=f"{info[end]}.{info[end + 1]}" if len(info) > end + 1 else "",
        slots=len(recorded.get("slots") or ()),
    )


def mask(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The same result without labels and serials: equal ones stay equal, blank ones stay blank."""
    masked: dict[str, Any] = json.loads(json.dumps(recorded))
    masked["module"] = PurePath(masked["module"]).name
    # These quote loaders, libraries and paths, and are not needed to replay what was read.
    masked["notes"] = []
    masked["failed"] = [[step, slot, "masked"] for step, slot, _ in masked["failed"]]
    _mask_slot_ids(masked)
    if masked.get("fill"):
        masked["fill"] = {"error": "masked"} if "error" in masked["fill"] else {"bytes": masked["fill"]["bytes"]}
    pseudonyms: dict[tuple[int, bytes], int] = {}

    def number_of(kind: int, name: bytes) -> int:
        return pseudonyms.setdefault((kind, name), len(pseudonyms) + 1)

    for result in masked["results"]:
        step, slot, _, _, payload = result
        if step == "ha" and payload is not None:
            answer = bytes.fromhex(payload)
            result[4] = luna_ha.mask(answer, masked["ulong"], lambda serial: number_of(_SERIAL_KIND, serial)).hex()
        if not isinstance(payload, list) or len(payload) != _TEXTUAL or not isinstance(payload[1], str):
            continue
        token = bytearray.fromhex(payload[1])
        for kind, part, stem in ((_LABEL_KIND, _LABEL, b"token-"), (_SERIAL_KIND, _SERIAL, b"serial-")):
            name = text(bytes(token[part])).encode()
            pseudonym = stem + b"%d" % number_of(kind, name) if name else b""
            token[part] = pseudonym.ljust(part.stop - part.start)
        payload[1] = token.hex()
        # Slot descriptions name hosts and serials.
        payload[0] = payload[0] and f"slot {slot}".encode().ljust(64).hex() + payload[0][2 * 64 :]
    return masked


def _mask_slot_ids(masked: dict[str, Any]) -> None:
    """Give other numbers to slots whose ids are no plain count: SoftHSM takes them from the token's serial."""
    steps = [*masked["results"], *masked["failed"]]
    slots = dict.fromkeys([*(masked["slots"] or ()), *(slot for _, slot, *_ in steps)])
    free = (number for number in count(1) if number not in slots)
    others = {slot: slot if slot <= _HIGHEST_COUNTED_SLOT else next(free) for slot in slots}
    if masked["slots"] is not None:
        masked["slots"] = [others[slot] for slot in masked["slots"]]
    for step in steps:
        step[1] = others[step[1]]
