"""Values of an appliance in their meanings, and what is computed from several: shares, infos, network links. Pure."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.collect.series import Fact, SeriesKey
from hsm_agent.text import harmless
from hsm_agent.wire.snmp.ber import Undecodable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hsm_agent.collect.snmp.profile import Info, Link, ProfileValue, Share
    from hsm_agent.wire.snmp.ber import Oid

RawValue = int | bytes | tuple[int, ...] | Undecodable
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


def text_of(raw: RawValue) -> str:
    """A value as text: octets as UTF-8 or else Latin-1, an OID with dots; fit to be shown, of bounded length."""
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


def understood(value: ProfileValue, raw: RawValue, now: float) -> float | int | str | Unreadable | None:
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


def _signed(value: ProfileValue, raw: RawValue, number: float | None) -> float | int | None:
    """The number as its `read` wants the 32nd bit understood; None for what is no size where one is wanted."""
    if number is not None and value.form == "signed" and _SIGN_BIT <= number < 2 * _SIGN_BIT:
        return number - 2 * _SIGN_BIT
    if number is not None and value.form == "unsigned" and number < 0:
        return number + 2 * _SIGN_BIT if isinstance(raw, int) and number >= -_SIGN_BIT else None
    return number


def _unreadable(raw: RawValue, wanted: str) -> Unreadable:
    text = text_of(raw)
    shown = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
    return Unreadable(f"the appliance says '{shown}', which is not {wanted} that is known here")


def _state(value: ProfileValue, raw: RawValue) -> float | str | Unreadable | None:
    shown = text_of(raw).lower()
    for text, state in value.states.items():
        if text.lower() == shown:
            return int(state) if isinstance(state, float) and state.is_integer() else state
    return _unreadable(raw, "a state")


def _number(raw: RawValue) -> float | int | None:
    if isinstance(raw, int):
        return raw
    found = _NUMBER.fullmatch(text_of(raw)) if isinstance(raw, bytes) else None
    if found is None:
        return None
    return float(found[1]) if "." in found[1] else int(found[1])


def _date(raw: RawValue) -> float | None:
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


Meaning = float | int | str | Unreadable
_UP, _DOWN, _TESTING, _UNKNOWN, _DORMANT = 1, 2, 3, 4, 5  # RFC 2863, ifOperStatus; the first three ifAdminStatus too
_LOOPBACK = 24  # IANAifType-MIB, softwareLoopback


@dataclass(frozen=True, slots=True)
class Growth:
    """Part and whole of a share of changes as last seen, and what the share was."""

    part: float
    whole: float
    percent: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SnmpFact(Fact):
    """A fact, and the OID of the value or the table it was read from."""

    origin: Oid


@dataclass(frozen=True, slots=True)
class RowMeanings:
    """Meanings of one row, or of what is in no table (resource None): by place in the profile, and by name.

    `failed` says of a name why it was not asked or not answered.
    """

    meanings: Mapping[int, Meaning]
    named: Mapping[str, Meaning]
    resource: str | None
    origin: Oid
    failed: Mapping[str, str] = field(default_factory=dict)


def number_of(meaning: Meaning | None) -> tuple[float | int | None, str]:
    """A number, or why there is none."""
    match meaning:
        case Unreadable(reason):
            return None, reason
        case str():
            return None, f"'{meaning}' is a text, not a number"
        case _:
            return meaning, ""


def word_of(meaning: Meaning | None) -> str:
    """A text, empty if there is none."""
    return "" if meaning is None or isinstance(meaning, Unreadable) else str(meaning)


def shares(wanted: Sequence[Share], row: RowMeanings, growth: dict[SeriesKey, Growth]) -> Iterator[SnmpFact]:
    """Percentages. Where the appliance has the part or the whole, there is one, or the reason why there is none."""
    resource = row.resource or ""
    for share in wanted:
        if share.part not in row.named and share.whole not in row.named:
            continue
        percent = _share(share, row, growth, (resource, share.metric, ()))
        if percent is not None:
            number, reason = number_of(percent)
            yield SnmpFact(share.metric, number, reason, resource=resource, origin=row.origin)


def _share(
    share: Share, row: RowMeanings, growth: dict[SeriesKey, Growth], key: SeriesKey
) -> float | Unreadable | None:
    numbers: list[float] = []
    for name in (share.part, share.whole, *share.less):
        if name not in row.named:
            return Unreadable(row.failed.get(name, f"the appliance does not report '{name}' of it"))
        number, reason = number_of(row.named[name])
        if number is None:
            return Unreadable(f"'{name}': {reason}")
        numbers.append(number)
    part, whole = numbers[0] - sum(numbers[2:]), numbers[1]
    return _grown(growth, key, part, whole) if share.change else _percent(share, part, whole)


def _percent(share: Share, part: float, whole: float) -> float | Unreadable:
    if whole == 0:
        return Unreadable("the size is 0")
    if whole < 0:
        return Unreadable(f"'{share.whole}' is {whole:g}, which is no size")
    if part < 0:
        of = f"'{share.part}' less {', '.join(share.less)}" if share.less else f"'{share.part}'"
        return Unreadable(f"{of} is {part:g}, which is no size")
    if part > whole:
        return Unreadable(f"the values contradict each other: {part:.0f} of {whole:.0f} in use")
    return 100.0 * part / whole


def _grown(growth: dict[SeriesKey, Growth], key: SeriesKey, part: float, whole: float) -> float | Unreadable | None:
    """The share of what both counters grew by since the last poll; the last one while the appliance shows old values.

    None for the first poll.
    """
    before = growth.get(key)
    if before is None:
        growth[key] = Growth(part, whole, None)
        return None
    if whole < before.whole or part < before.part:
        growth[key] = Growth(part, whole, None)
        return Unreadable("its counters began anew")
    if whole == before.whole:
        return before.percent
    percent = min(100.0, 100.0 * (part - before.part) / (whole - before.whole))
    growth[key] = Growth(part, whole, percent)
    return percent


def infos(wanted: Sequence[Info], row: RowMeanings) -> Iterator[SnmpFact]:
    """Texts as labels."""
    for info in wanted:
        texts = {label: word_of(row.named.get(name)) for label, name in info.labels.items()}
        labels = tuple(sorted((label, text) for label, text in texts.items() if text))
        if labels:
            yield SnmpFact(info.metric, 1, labels=labels, resource=row.resource or "", origin=row.origin)


def links(wanted: Sequence[Link], row: RowMeanings, up: set[SeriesKey]) -> Iterator[SnmpFact]:
    """States of network interfaces, loopbacks left out; `up` are those that were seen up; it is updated."""
    for link in wanted:
        real = row.named.get(link.real)
        if real is None or row.named.get(link.kind) == _LOOPBACK:
            continue
        key = (row.resource or "", link.metric, ())
        state = _link(link, row, real, seen_up=key in up)
        if state == 1 and real != _DOWN:
            up.add(key)
        number, reason = number_of(state)
        yield SnmpFact(link.metric, number, reason, resource=key[0], origin=row.origin)


def _link(link: Link, row: RowMeanings, real: Meaning, *, seen_up: bool) -> int | Unreadable:
    number, reason = number_of(real)
    if number is None:
        return Unreadable(reason)
    if row.named.get(link.wanted) in {_DOWN, _TESTING} or number in {_UP, _DORMANT}:
        return 1
    if number in {_TESTING, _UNKNOWN}:
        return Unreadable("the interface is being tested" if number == _TESTING else "the appliance does not know it")
    carried = [row.named.get(name) for name in link.traffic]
    if not seen_up and carried and all(one == 0 for one in carried):
        return Unreadable("the interface was not up yet: it never carried anything")
    return 0
