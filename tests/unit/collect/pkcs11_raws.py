"""Raw results of polls, made by hand: what a worker would have sent for tokens that say this and that."""

from __future__ import annotations

import struct
from typing import Any

from hsm_agent.collect.pkcs11.recording import RawPoll

ALL_ONES = 2**64 - 1
INITIALIZED = 0x400
AT = 1_700_000_000.5


def slot_hex(*, present: bool = True) -> str:
    return struct.pack("<64s32sQ4B", b"a slot".ljust(64), b"a vendor".ljust(32), int(present), 1, 2, 3, 4).hex()


def token_hex(**fields: Any) -> str:
    """CK_TOKEN_INFO with nothing reported but what is given."""
    text = {"label": b"alpha", "manufacturer": b"Vendor", "model": b"Model", "serial": b"S1", "utc_time": b""}
    text |= {name: value.encode() for name, value in fields.items() if name in text and isinstance(value, str)}
    text |= {name: value for name, value in fields.items() if isinstance(value, bytes)}
    numbers = {"flags": INITIALIZED, "max_sessions": 0, "sessions": ALL_ONES, "max_rw_sessions": 0}
    numbers |= {"rw_sessions": ALL_ONES, "max_pin": 255, "min_pin": 4}
    numbers |= dict.fromkeys(("total_public", "free_public", "total_private", "free_private"), ALL_ONES)
    numbers |= {name: value for name, value in fields.items() if name in numbers}
    return struct.pack(
        "<32s32s16s16s11Q4B16s",
        *(
            text[name].ljust(size)
            for name, size in (("label", 32), ("manufacturer", 32), ("model", 16), ("serial", 16))
        ),
        *numbers.values(),
        *(2, 6, 7, 10),
        text["utc_time"].ljust(16),
    ).hex()


def info_hex(manufacturer: str) -> str:
    return (b"\x02\x28" + manufacturer.encode().ljust(32)).hex()


def swept(slot: int, *, rv: int = 0, slot_rv: int = 0, present: bool = True, **fields: Any) -> list[Any]:
    """The result of the step `token` on one slot."""
    calls = [["C_GetSlotInfo", slot_rv, 5]]
    if not present:
        return ["token", slot, AT, calls, [slot_hex(present=False), None]]
    calls.append(["C_GetTokenInfo", rv, 20])
    return ["token", slot, AT, calls, [slot_hex() if slot_rv == 0 else None, token_hex(**fields) if rv == 0 else None]]


def asked(step: str, slot: int, function: str, values: list[int] | None, *, rv: int = 0, at: float = AT) -> list[Any]:
    """The result of any other step."""
    return [step, slot, at, [[function, rv, 30]], values]


def raw(*results: list[Any], sweep: bool = True, **more: Any) -> RawPoll:
    """A poll, replayed from `recorded`."""
    return RawPoll.from_json(recorded(*results, sweep=sweep, **more))


def recorded(*results: list[Any], sweep: bool = True, **more: Any) -> dict[str, Any]:
    """The recording of a poll; slots are those of the results and failures."""
    failed = more.pop("failed", [])
    slots = [result[1] for result in results if result[0] == "token"]
    slots += [slot for step, slot, _ in failed if step == "token"]
    made: dict[str, Any] = {
        "module": "/opt/vendor/libvendor.so",
        "time": AT,
        "ulong": 8,
        "info": info_hex("Vendor"),
        "functions": [],
        "slots": slots if sweep else None,
        "results": list(results),
        "failed": failed,
        "fill": None,
        "notes": [],
    }
    return {**made, **more}
