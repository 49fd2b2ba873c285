"""What is made of several values of one row or of one appliance: shares, infos and the state of network links. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.collect.series import Fact, SeriesKey
from hsm_agent.collect.snmp.values import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hsm_agent.collect.snmp.profile import Info, Link, Share
    from hsm_agent.wire.snmp.ber import Oid

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
class Heard:
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


def shares(wanted: Sequence[Share], heard: Heard, growth: dict[SeriesKey, Growth]) -> Iterator[SnmpFact]:
    """Percentages. Where the appliance has the part or the whole, there is one, or the reason why there is none."""
    resource = heard.resource or ""
    for share in wanted:
        if share.part not in heard.named and share.whole not in heard.named:
            continue
        percent = _share(share, heard, growth, (resource, share.metric, ()))
        if percent is not None:
            number, reason = number_of(percent)
            yield SnmpFact(share.metric, number, reason, resource=resource, origin=heard.origin)


def _share(share: Share, heard: Heard, growth: dict[SeriesKey, Growth], key: SeriesKey) -> float | Unreadable | None:
    numbers: list[float] = []
    for name in (share.part, share.whole, *share.less):
        if name not in heard.named:
            return Unreadable(heard.failed.get(name, f"the appliance does not report '{name}' of it"))
        number, reason = number_of(heard.named[name])
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


def infos(wanted: Sequence[Info], heard: Heard) -> Iterator[SnmpFact]:
    """Texts as labels."""
    for info in wanted:
        texts = {label: word_of(heard.named.get(name)) for label, name in info.labels.items()}
        labels = tuple(sorted((label, text) for label, text in texts.items() if text))
        if labels:
            yield SnmpFact(info.metric, 1, labels=labels, resource=heard.resource or "", origin=heard.origin)


def links(wanted: Sequence[Link], heard: Heard, up: set[SeriesKey]) -> Iterator[SnmpFact]:
    """States of network interfaces, loopbacks left out; `up` are those that were seen up, and is brought up to date."""
    for link in wanted:
        real = heard.named.get(link.real)
        if real is None or heard.named.get(link.kind) == _LOOPBACK:
            continue
        key = (heard.resource or "", link.metric, ())
        state = _link(link, heard, real, seen_up=key in up)
        if state == 1 and real != _DOWN:
            up.add(key)
        number, reason = number_of(state)
        yield SnmpFact(link.metric, number, reason, resource=key[0], origin=heard.origin)


def _link(link: Link, heard: Heard, real: Meaning, *, seen_up: bool) -> int | Unreadable:
    number, reason = number_of(real)
    if number is None:
        return Unreadable(reason)
    if heard.named.get(link.wanted) in {_DOWN, _TESTING} or number in {_UP, _DORMANT}:
        return 1
    if number in {_TESTING, _UNKNOWN}:
        return Unreadable("the interface is being tested" if number == _TESTING else "the appliance does not know it")
    carried = [heard.named.get(name) for name in link.traffic]
    if not seen_up and carried and all(one == 0 for one in carried):
        return Unreadable("the interface was not up yet: it never carried anything")
    return 0
