"""Answers of CA_GetHAState, packed as a library would: in the younger layout, the older, and the oldest."""

from __future__ import annotations

import struct

SIZE = 1056  # of the younger layout with 64-bit words
UNTOUCHED = b"\xff"


def young(members: dict[str, int], *, serial: str = "1000", count: int | None = None) -> str:
    data = bytearray(UNTOUCHED * SIZE)
    data[0:20] = serial.encode().ljust(20, b"\0")
    for position, (name, status) in enumerate(members.items()):
        at = 24 + 32 * position
        data[at : at + 20] = name.encode().ljust(20, b"\0")
        struct.pack_into("=Q", data, at + 24, status)
    struct.pack_into("=Q", data, 24 + 32 * 32, len(members) if count is None else count)
    return data.hex()


def old(members: dict[int, int], *, count: int | None = None, short: bool = False) -> str:
    data = bytearray(UNTOUCHED * SIZE)
    struct.pack_into("=Q", data, 0, 1000)
    for position, (serial, status) in enumerate(members.items()):
        struct.pack_into("=QQ", data, 8 + 16 * position, serial, status)
    struct.pack_into("=H" if short else "=Q", data, 8 + 16 * 32, len(members) if count is None else count)
    return data.hex()
