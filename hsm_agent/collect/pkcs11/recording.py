"""The raw result of one poll, as the worker gave it: fit for JSON, for recording and for replay. Pure.

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
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from hsm_agent.collect.pkcs11.luna import ha as pkcs11_ha
from hsm_agent.collect.pkcs11.token import text
from hsm_agent.workers.pkcs11.return_values import OK, is_luna_library

if TYPE_CHECKING:
    from collections.abc import Mapping

_LABEL = slice(0, 32)
_SERIAL = slice(80, 96)
_LABEL_KIND, _SERIAL_KIND = 0, 1
_HIGHEST_COUNTED_SLOT = 0xFFFF
_TEXTUAL = 2  # payloads of `token` are [CK_SLOT_INFO, CK_TOKEN_INFO]


@dataclass(frozen=True, slots=True)
class Call:
    """One C call: what came back, and how long it took."""

    function: str
    value: int
    microseconds: int


@dataclass(frozen=True, slots=True)
class Result:
    """What one step on one slot gave; `payload` is None where a call failed."""

    step: str
    slot: int
    at: float
    calls: tuple[Call, ...]
    payload: Any

    @property
    def failure(self) -> Call | None:
        """The first call that did not return CKR_OK; a session that won't close fails nothing.

        Of a call that was repeated, the last one counts: a list that grew between its two calls was read all the same.
        """
        last = {call.function: call for call in self.calls}.values()
        return next((call for call in last if call.value != OK and call.function != "C_CloseSession"), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """One poll's raw result, typed."""

    time: float
    word: int
    process: int = 0
    manufacturer: str
    functions: frozenset[str]
    slots: tuple[int, ...] | None
    results: Mapping[tuple[str, int], Result]
    failed: Mapping[tuple[str, int], str]
    fill: Mapping[str, Any] | None
    module: str
    notes: tuple[str, ...] = ()
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def luna(self) -> bool:
        """Whether vendor codes are Luna's."""
        return bool(self.functions) or is_luna_library(self.manufacturer)


def typed(raw: Mapping[str, Any]) -> Raw:
    """Read a raw result, fresh or recorded."""
    results = {}
    for step, slot, at, calls, payload in raw["results"]:
        results[step, slot] = Result(step, slot, at, tuple(Call(*call) for call in calls), payload)
    info = bytes.fromhex(raw.get("info") or "")
    return Raw(
        time=raw["time"],
        word=raw["ulong"],
        process=raw.get("process", 0),
        manufacturer=text(info[2:34]),
        functions=frozenset(raw["functions"]),
        slots=None if raw["slots"] is None else tuple(raw["slots"]),
        results=results,
        failed={(step, slot): reason for step, slot, reason in raw["failed"]},
        fill=raw.get("fill"),
        module=raw["module"],
        notes=tuple(raw.get("notes", ())),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """What a module says of itself, and how many slots it has. Texts are empty where it says nothing."""

    cryptoki: str
    manufacturer: str
    description: str
    version: str
    slots: int


def library(raw: object) -> Library:
    """CK_INFO of a poll's raw result, at its natural alignment."""
    found: Mapping[str, Any] = raw if isinstance(raw, dict) else {}
    info, word = bytes.fromhex(found.get("info") or ""), int(found.get("ulong", 8))
    after_flags = 34 + -34 % word + word
    end = after_flags + 32
    return Library(
        cryptoki=f"{info[0]}.{info[1]:02d}" if info else "",
        manufacturer=text(info[2:34]),
        description=text(info[after_flags:end]),
        version=f"{info[end]}.{info[end + 1]}" if len(info) > end + 1 else "",
        slots=len(found.get("slots") or ()),
    )


def mask(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The same result without labels and serials: equal ones stay equal, blank ones stay blank."""
    masked: dict[str, Any] = json.loads(json.dumps(raw))
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
            result[4] = pkcs11_ha.mask(answer, masked["ulong"], lambda serial: number_of(_SERIAL_KIND, serial)).hex()
        if not isinstance(payload, list) or len(payload) != _TEXTUAL or not isinstance(payload[1], str):
            continue
        token = bytearray.fromhex(payload[1])
        for kind, part, stem in ((_LABEL_KIND, _LABEL, b"token-"), (_SERIAL_KIND, _SERIAL, b"serial-")):
            name = text(bytes(token[part])).encode()
            pseudonym = stem + b"%d" % number_of(kind, name) if name else b""
            token[part] = pseudonym.ljust(part.stop - part.start)
        payload[1] = token.hex()
        payload[0] = payload[0] and _masked_slot(payload[0], slot)
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


def _masked_slot(text: str, slot: int) -> str:
    """Slot descriptions name hosts and serials."""
    data = bytearray.fromhex(text)
    data[0:64] = f"slot {slot}".encode().ljust(64)
    return data.hex()
