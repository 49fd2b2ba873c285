"""CK_SLOT_INFO and CK_TOKEN_INFO decoded, and the facts about a token that follow from them.

Pure. Every way of reporting nothing becomes None with a reason, never a number.
"""

from __future__ import annotations

import calendar
import datetime as dt
import struct
import sys
from typing import NamedTuple

from hsm_agent.text import harmless

NOT_REPORTED = "the module does not report it"
NO_LIMIT = "the token has no limit"

CKF_LOGIN_REQUIRED = 0x4
CKF_USER_PIN_INITIALIZED = 0x8
CKF_CLOCK_ON_TOKEN = 0x40
CKF_TOKEN_INITIALIZED = 0x400
_USER_PIN = 0x10000
_SO_PIN = 0x100000
_NO_CLOCK_SECONDS = 86400
"""A utcTime that is off by more is taken for a clock's only if the token says that it has one."""
_PIN_STATES = ("count_low", "final_try", "locked")  # each flag is the one before shifted by one bit


class Fact(NamedTuple):
    """One metric of one token: a value, or why there is none. `limit` is a level that the source itself gives."""

    metric: str
    value: float | int | None
    reason: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    limit: float | None = None


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


def memory_facts(kind: str, total: int | None, free: int | None, given: int | None = None) -> list[Fact]:
    """Total, free, used and percent."""
    found = memory(total, free, given)
    values = {
        "total_bytes": found.total,
        "free_bytes": found.free,
        "used_bytes": found.used,
        "used_percent": found.percent,
    }
    return [
        Fact(f"token_memory_{kind}_{name}", value, "" if value is not None else found.reason)
        for name, value in values.items()
    ]


def session_facts(token: Token, *, scope: str, given_max: int | None) -> list[Fact]:
    """Session counts, limits and the used share; an application-scoped count says nothing of others."""
    why = NOT_REPORTED
    open_now, rw_now = count(token.sessions, token.word), count(token.rw_sessions, token.word)
    if scope == "application" and (open_now, rw_now) != (None, None):
        why = "the module counts this application's own sessions only"
        open_now = rw_now = None
    most = given_max if given_max is not None else limit(token.max_sessions, token.word)
    percent = None if open_now is None or not most else 100 * open_now / most
    most_rw = limit(token.max_rw_sessions, token.word)
    no_percent = why if open_now is None else _no_limit(token.max_sessions)
    return [
        Fact("token_sessions", open_now, "" if open_now is not None else why),
        Fact("token_sessions_max", most, "" if most is not None else _no_limit(token.max_sessions)),
        Fact("token_sessions_used_percent", percent, "" if percent is not None else no_percent),
        Fact("token_rw_sessions", rw_now, "" if rw_now is not None else why),
        Fact("token_rw_sessions_max", most_rw, "" if most_rw is not None else _no_limit(token.max_rw_sessions)),
    ]


def _no_limit(reported: int) -> str:
    return NO_LIMIT if reported == 0 else "the module reports no limit"


def pin_facts(token: Token) -> list[Fact]:
    """PIN states of the user and the security officer, where there is such a PIN.

    Tokens of key servers in the cloud have none, and show their security officer's as locked for ever.
    """
    no_pin = ""
    if not token.flags & CKF_LOGIN_REQUIRED and not count(token.max_pin, token.word):
        no_pin = "the token needs no log-in and has no PINs"
    no_user = "" if token.flags & CKF_USER_PIN_INITIALIZED else "the user PIN is not initialised"
    states = (("token_pin", _USER_PIN, no_pin or no_user), ("token_so_pin", _SO_PIN, no_pin))
    return [fact for prefix, first, why in states for fact in _pin_states(prefix, token.flags // first, why)]


def _pin_states(prefix: str, flags: int, why: str) -> list[Fact]:
    states = [bool(flags & 1 << step) for step in range(3)]
    worst = max((step + 1 for step, on in enumerate(states) if on), default=0)
    values = {**dict(zip(_PIN_STATES, map(int, states), strict=True)), "state": worst}
    return [Fact(f"{prefix}_{name}", None if why else value, why) for name, value in values.items()]


def clock_fact(token: Token, at: float) -> Fact:
    """Token clock minus host clock in whole seconds.

    utcTime makes sense where CKF_CLOCK_ON_TOKEN is set (section 3.2). Software tokens give the host's time without it,
    which is well; others give a date of their own making for ever, which is no clock that is off.
    """
    name, utc_time = "token_clock_offset_seconds", token.utc_time
    if not utc_time.strip(b" \0"):
        return Fact(name, None, NOT_REPORTED)
    if not (utc_time.isdigit() and utc_time.endswith(b"00")):  # YYYYMMDDhhmmss00, PKCS#11 2.40 section 3.2
        return Fact(name, None, "the module's utcTime is malformed")
    try:
        moment = dt.datetime.strptime(utc_time[:14].decode("ascii"), "%Y%m%d%H%M%S").replace(tzinfo=dt.UTC)
    except ValueError:
        return Fact(name, None, "the module's utcTime is malformed")
    offset = calendar.timegm(moment.timetuple()) - int(at)
    if abs(offset) > _NO_CLOCK_SECONDS and not token.flags & CKF_CLOCK_ON_TOKEN:
        return Fact(name, None, f"the token says that it has no clock, and its utcTime is {moment:%Y-%m-%d}")
    return Fact(name, offset)
