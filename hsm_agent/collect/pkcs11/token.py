"""CK_SLOT_INFO and CK_TOKEN_INFO decoded, and their numbers read. Pure.

Every way of reporting nothing becomes None, never a number. It must not import dataclasses: the Nagios plugin needs
this module, and they take longer than its sweep.
"""

from __future__ import annotations

import struct
import sys
from typing import NamedTuple

from hsm_agent.text import harmless

NOT_REPORTED = "the module does not report it"

CKF_USER_PIN_INITIALIZED = 0x8
CKF_TOKEN_INITIALIZED = 0x400


class Slot(NamedTuple):
    """CK_SLOT_INFO."""

    description: str
    manufacturer: str
    hardware: str
    firmware: str


class Token(NamedTuple):
    """CK_TOKEN_INFO. Numbers are as the module gave them; `word` is the size of its CK_ULONG in bytes."""

    label: str
    manufacturer: str
    model: str
    serial: str
    flags: int
    max_sessions: int
    sessions: int
    max_rw_sessions: int
    rw_sessions: int
    max_pin: int
    total_public: int
    free_public: int
    total_private: int
    free_private: int
    hardware: str
    firmware: str
    utc_time: bytes
    word: int

    @property
    def initialized(self) -> bool:
        """Whether somebody has initialised the token; a token that is not has nothing to watch.

        CKF_TOKEN_INITIALIZED came with version 2.11, and older modules never set it; but a token with a user PIN
        was initialised.
        """
        return bool(self.flags & (CKF_TOKEN_INITIALIZED | CKF_USER_PIN_INITIALIZED))


def text(field: bytes) -> str:
    """A blank-padded field as text. Malformed UTF-8 and what is not fit to be shown become U+FFFD, never an error.

    Some modules end it with a NUL, as C does: what stands behind is whatever was there before, and no text.
    """
    return harmless(field.partition(b"\0")[0].strip(b" ").decode("utf-8", "replace"))


def _ulong(word: int) -> str:
    return "Q" if word == 8 else "I"  # noqa: PLR2004 - bytes of a CK_ULONG


def decode_slot(data: bytes, word: int) -> Slot:
    """Decode CK_SLOT_INFO; its offsets are the same packed and natural."""
    order = "<" if sys.byteorder == "little" else ">"
    description, manufacturer, _, *versions = struct.unpack_from(f"{order}64s32s{_ulong(word)}4B", data)
    return Slot(
        description=text(description),
        manufacturer=text(manufacturer),
        hardware=f"{versions[0]}.{versions[1]}",
        firmware=f"{versions[2]}.{versions[3]}",
    )


def decode_token(data: bytes, word: int) -> Token:
    """Decode CK_TOKEN_INFO; its offsets are the same packed and natural."""
    order = "<" if sys.byteorder == "little" else ">"
    fields = struct.unpack_from(f"{order}32s32s16s16s11{_ulong(word)}4B16s", data)
    label, manufacturer, model, serial, flags, max_all, all_open, max_rw, rw_open, max_pin, _, *memory = fields[:15]
    return Token(
        label=text(label),
        manufacturer=text(manufacturer),
        model=text(model),
        serial=text(serial),
        flags=flags,
        max_sessions=max_all,
        sessions=all_open,
        max_rw_sessions=max_rw,
        rw_sessions=rw_open,
        max_pin=max_pin,
        total_public=memory[0],
        free_public=memory[1],
        total_private=memory[2],
        free_private=memory[3],
        hardware=f"{fields[15]}.{fields[16]}",
        firmware=f"{fields[17]}.{fields[18]}",
        utc_time=fields[19],
        word=word,
    )


def count(value: int, word: int) -> int | None:
    """A number, or None for the spellings of CK_UNAVAILABLE_INFORMATION seen in real modules.

    ~0 by the standard, ~0 - 1 by opencryptoki, and 32 bits of ones by modules that filled half a word.
    """
    highest = (1 << (8 * word)) - 1
    return None if value >= highest - 1 or value == 0xFFFFFFFF else value  # noqa: PLR2004 - ~0 of 32 bits


def limit(value: int, word: int) -> int | None:
    """As `count`, and 0 is CK_EFFECTIVELY_INFINITE: the standard says so of the two session limits only."""
    return None if value == 0 else count(value, word)


class Memory(NamedTuple):
    """Fill of a memory; `reason` says why a figure is missing."""

    total: int | None
    free: int | None
    used: int | None
    reason: str = ""

    @property
    def percent(self) -> float | None:
        """The share of the total that is used; above 100 where more is used than the operator's figure allows for."""
        return None if self.used is None or not self.total else 100 * self.used / self.total


def memory(total: int | None, free: int | None, given: int | None = None) -> Memory:
    """How full a memory is. `given` is the operator's own figure of its size.

    What is used is what the token reports: its total less what is free. A figure of the operator's is what that is
    measured against; only where the token reports no total, or less than is free, what is used is taken from it.
    """
    dummy = total is not None and total <= 1  # 0/0 and 1/1 are real modules' way to say nothing
    reported = None if dummy else total
    if free is None or (dummy and free <= 1):
        return Memory(total=given if given is not None else reported, free=None, used=None, reason=NOT_REPORTED)
    usable = reported is not None and reported >= free
    size = reported if usable else given
    if size is None:
        why = NOT_REPORTED if reported is None else f"{free} bytes free of {reported} cannot be"
        return Memory(total=None, free=free if reported is None else None, used=None, reason=why)
    if free > size:
        return Memory(total=given, free=None, used=None, reason=f"{free} bytes free of {size} cannot be")
    used = size - free
    whole = size if given is None else given
    return Memory(total=whole, free=max(0, whole - used), used=used)
