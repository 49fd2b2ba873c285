"""What one SNMP value means: numbers, states, flags, texts and dates. Values in, values out."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsm_agent.text import harmless
from hsm_agent.wire.snmp.ber import Undecodable

if TYPE_CHECKING:
    from hsm_agent.collect.snmp.profile import Value

Raw = int | bytes | tuple[int, ...] | Undecodable
"""A value as it came: a number, octets, an OID, or what can't be decoded."""

_NUMBER = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?) ?[A-Za-z%°/]*")
_FORMATS = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y/%m/%d %H:%M:%S",
    "%d.%m.%Y %H:%M:%S",
    "%b %d %H:%M:%S %Y",
    "%a %b %d %H:%M:%S %Y",
    "%Y-%m-%d",
    "%d.%m.%Y",
    "%b %d %Y",
)
_UTC_AT_END = re.compile(r" ?(?:GMT|UTC|Z)(?= \d{4}$|$)")
_SIGN_BIT = 2**31
_LONGEST_SHOWN = 60
_LONGEST_TEXT = 255
"""Of names and labels; what a DisplayString may hold (RFC 2579)."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The appliance said something that has no meaning here; `reason` holds its text."""

    reason: str


def text_of(raw: Raw) -> str:
    """A value as text: octets as UTF-8 or else Latin-1, an OID with dots; fit to be shown, and not for ever."""
    if isinstance(raw, Undecodable):
        return raw.reason
    if isinstance(raw, int):
        return str(raw)
    if isinstance(raw, tuple):
        return ".".join(map(str, raw))
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return harmless(text.strip("\0 \t\r\n"))[:_LONGEST_TEXT]


def understood(value: Value, raw: Raw, now: float) -> float | int | str | Unreadable | None:
    """What `raw` says; a text where `read` is text. None: the appliance has no such thing.

    A date becomes seconds from `now` (UTC seconds since the epoch) until then.
    """
    if raw == b"":
        return None
    if isinstance(raw, Undecodable):
        return Unreadable(f"the appliance sent what cannot be decoded: {raw.reason}")
    if value.states:
        found = _state(value, raw)
        if not isinstance(found, Unreadable) or value.form == "state":
            return found
    if value.form == "text":
        return text_of(raw)
    if value.form == "date":
        then = _date(raw)
        return _unreadable(raw, "a date") if then is None else then - now
    number = _signed(value, raw, _number(raw))
    if number is None:
        return _unreadable(raw, "a size" if value.form == "unsigned" else "a number")
    if value.form == "flag":
        return int(number != 0)
    return number if value.scale == 1 else round(number * value.scale, 9)


def _signed(value: Value, raw: Raw, number: float | None) -> float | int | None:
    """The number as its `read` wants the 32nd bit understood; None for what is no size where one is wanted."""
    if number is not None and value.form == "signed" and _SIGN_BIT <= number < 2 * _SIGN_BIT:
        return number - 2 * _SIGN_BIT
    if number is not None and value.form == "unsigned" and number < 0:
        return number + 2 * _SIGN_BIT if isinstance(raw, int) and number >= -_SIGN_BIT else None
    return number


def _unreadable(raw: Raw, wanted: str) -> Unreadable:
    text = text_of(raw)
    shown = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
    return Unreadable(f"the appliance says '{shown}', which is not {wanted} that is known here")


def _state(value: Value, raw: Raw) -> float | str | Unreadable | None:
    said = text_of(raw).lower()
    for text, state in value.states.items():
        if text.lower() == said:
            return int(state) if isinstance(state, float) and state.is_integer() else state
    return _unreadable(raw, "a state")


def _number(raw: Raw) -> float | int | None:
    if isinstance(raw, int):
        return raw
    found = _NUMBER.fullmatch(text_of(raw)) if isinstance(raw, bytes) else None
    if found is None:
        return None
    return float(found[1]) if "." in found[1] else int(found[1])


def _date(raw: Raw) -> float | None:
    """UTC seconds since the epoch; what names no zone is taken for UTC."""
    if isinstance(raw, int):
        return float(raw)
    if not isinstance(raw, bytes):
        return None
    found = _date_and_time(raw) or _written(text_of(raw))
    return found.timestamp() if found is not None else None


def _date_and_time(raw: bytes) -> dt.datetime | None:
    """DateAndTime of RFC 2579: 8 octets, or 11 with the zone."""
    if len(raw) not in {8, 11}:
        return None
    year = int.from_bytes(raw[:2], "big")
    month, day, hour, minute, second, tenth = raw[2:8]
    try:
        zone = dt.timedelta()
        if len(raw) == 11:  # noqa: PLR2004 - as above
            zone = dt.timedelta(hours=raw[9], minutes=raw[10]) * (-1 if raw[8:9] == b"-" else 1)
            if raw[8:9] not in {b"+", b"-"}:
                return None
        leap = min(second, 59)
        return dt.datetime(year, month, day, hour, minute, leap, tenth * 100_000, tzinfo=dt.timezone(zone))
    except ValueError:
        return None


def _written(text: str) -> dt.datetime | None:
    plain = re.sub(r" +", " ", _UTC_AT_END.sub("", text))
    try:
        found = dt.datetime.fromisoformat(plain)
    except ValueError:
        return next((date for form in _FORMATS if (date := _parsed(plain, form)) is not None), None)
    return found if found.tzinfo is not None else found.replace(tzinfo=dt.UTC)


def _parsed(text: str, form: str) -> dt.datetime | None:
    try:
        return dt.datetime.strptime(text, form).replace(tzinfo=dt.UTC)
    except ValueError:
        return None
