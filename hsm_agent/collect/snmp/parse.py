"""From what an appliance answered to readings. Values in, values out; the clock is an argument."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hsm_agent.collect.snmp.values import Unreadable, text_of, understood
from hsm_agent.model import Labels, Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hsm_agent.collect.snmp.profile import Info, Profile, Share, Table, Value
    from hsm_agent.collect.snmp.values import Raw
    from hsm_agent.wire.ber import Oid

Key = tuple[str, str, Labels]
"""Resource, metric and identifying labels."""
_NOT_THERE = "the appliance does not report it any more"
_MOST_MISSED = 1000
"""Readings that are missed at once: a host whose interfaces come and go would gather them for ever."""
_PRINTABLE = range(32, 127)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What an appliance answered. What it has not is not in it; `failed` says why a question got no answer.

    `rows` has, by the OID of a table's entry and the row's index, the row's values by column. `failed` is by the OID
    of a value or of a table's entry.
    """

    values: Mapping[Oid, Raw]
    rows: Mapping[Oid, Mapping[Oid, Mapping[Oid, Raw]]]
    failed: Mapping[Oid, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Growth:
    """Part and whole of a share of changes as last seen, and what the share was."""

    part: float
    whole: float
    percent: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What was learnt in earlier polls: what was read and from which OID, and counters that shares are made of."""

    seen: Mapping[Key, Oid] = field(default_factory=dict)
    growth: Mapping[Key, Growth] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parsed:
    """Readings, what to remember, and for each profile whether anything of it was there."""

    readings: tuple[Reading, ...]
    known: Known
    found: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class _Fact:
    resource: str
    metric: str
    value: float | int | None
    labels: Labels
    origin: Oid
    reason: str = ""
    limit: float | None = None

    @property
    def key(self) -> Key:
        return (self.resource, self.metric, () if self.metric.endswith("_info") else self.labels)


@dataclass(frozen=True, slots=True)
class _Heard:
    """Meanings of one row, or of what is in no table (resource None): by place in the profile, and by name."""

    meanings: Mapping[int, float | int | str | Unreadable]
    named: Mapping[str, float | int | str | Unreadable]
    resource: str | None
    origin: Oid


def parse(fetched: Fetched, profiles: Sequence[Profile], known: Known, *, source: str, now: float) -> Parsed:
    """The readings of one poll. What was read before and is not there now is unavailable, with the reason."""
    facts: dict[Key, _Fact] = {}
    growth = dict(known.growth)
    found = []
    for profile in profiles:
        count = 0
        for fact in _facts(profile, fetched, growth, now):
            facts.setdefault(fact.key, fact)
            count += 1
        found.append(count > 0)
    missed = [key for key in known.seen if key not in facts]
    for key in missed[:_MOST_MISSED]:  # those that have been missed longest stand last
        resource, metric, labels = key
        origin = known.seen[key]
        facts[key] = _Fact(resource, metric, None, labels, origin, fetched.failed.get(origin, _NOT_THERE))
    readings = tuple(
        Reading(
            source=source,
            resource=fact.resource,
            metric=fact.metric,
            value=fact.value,
            time=now,
            labels=fact.labels,
            reason=fact.reason,
            limit=fact.limit,
        )
        for fact in facts.values()
    )
    seen = {key: fact.origin for key, fact in facts.items()}
    return Parsed(readings, Known(seen=seen, growth=growth), tuple(found))


def _facts(profile: Profile, fetched: Fetched, growth: dict[Key, Growth], now: float) -> Iterator[_Fact]:
    heard = _heard(profile.values, fetched.values, now)
    yield from _of_values(profile.values, heard)
    yield from _made(profile.shares, profile.infos, heard, growth)
    for table in profile.tables:
        rows = {index: _heard(table.values, raw, now) for index, raw in fetched.rows.get(table.oid, {}).items()}
        kept = {index: heard for index, heard in rows.items() if _wanted(table, heard)}
        for index, resource in _resources(table, kept).items():
            heard = replace(kept[index], resource=resource, origin=table.oid)
            yield from _of_values(table.values, heard)
            yield from _made(table.shares, table.infos, heard, growth)


def _wanted(table: Table, heard: _Heard) -> bool:
    return all(_word(heard.named.get(name)) == wanted for name, wanted in table.where.items())


def _resources(table: Table, rows: Mapping[Oid, _Heard]) -> dict[Oid, str]:
    """A name for each row: the first of the table's names that no other row bears, at last its index."""
    names: dict[Oid, str] = {}
    for name in table.resource:
        given = {index: _word(heard.named.get(name)) for index, heard in rows.items() if index not in names}
        bearers = Counter(given.values())
        names |= {index: word for index, word in given.items() if word and bearers[word] == 1}
    taken = set(names.values())
    for index, heard in rows.items():
        if index not in names:
            word = next((word for name in table.resource if (word := _word(heard.named.get(name)))), "")
            shown = _index_text(index, table.index)
            names[index] = f"{word} {shown}" if word else shown if shown not in taken else f"row {shown}"
    return {index: f"{table.prefix}{names[index]}" for index in rows}


def _word(meaning: float | str | Unreadable | None) -> str:
    return "" if meaning is None or isinstance(meaning, Unreadable) else str(meaning)


def _index_text(index: Oid, form: str) -> str:
    """A row's index for people: a text with or without its length before it (RFC 2578 section 7.7), or numbers."""
    if form == "text":
        rest, words = index, []
        while rest and len(rest) > rest[0] > 0 and all(code in _PRINTABLE for code in rest[1 : rest[0] + 1]):
            words.append("".join(map(chr, rest[1 : rest[0] + 1])))
            rest = rest[rest[0] + 1 :]
        if words and not rest:
            return "/".join(words)
        if all(code in _PRINTABLE for code in index):
            return "".join(map(chr, index))
    return text_of(index)


def _heard(values: Sequence[Value], raw: Mapping[Oid, Raw], now: float) -> _Heard:
    found = {}
    for index, value in enumerate(values):
        meaning = understood(value, raw[value.oid], now) if value.oid in raw else None
        if meaning is not None:
            found[index] = meaning
    named = {values[index].called: meaning for index, meaning in reversed(found.items())}
    return _Heard(found, named, None, values[0].oid if values else ())


def _of_values(values: Sequence[Value], heard: _Heard) -> Iterator[_Fact]:
    for index, meaning in heard.meanings.items():
        value = values[index]
        if value.metric is None:
            continue
        resource = value.resource if heard.resource is None else heard.resource
        labels = tuple(sorted(value.labels.items()))
        origin = value.oid if heard.resource is None else heard.origin
        number, reason = _number(meaning)
        limit, _ = _number(heard.named.get(value.limit))
        yield _Fact(resource, value.metric, number, labels, origin, reason, None if number is None else limit)


def _number(meaning: float | str | Unreadable | None) -> tuple[float | int | None, str]:
    """A number, or why there is none."""
    match meaning:
        case Unreadable(reason):
            return None, reason
        case str():
            return None, f"'{meaning}' is a text, not a number"
        case _:
            return meaning, ""


def _made(shares: Sequence[Share], infos: Sequence[Info], heard: _Heard, growth: dict[Key, Growth]) -> Iterator[_Fact]:
    resource = heard.resource or ""
    for share in shares:
        numbers = [_number(heard.named.get(name))[0] for name in (share.part, share.whole, *share.less)]
        known = [number for number in numbers if number is not None]
        if len(known) < len(numbers):
            continue
        part, whole = known[0] - sum(known[2:]), known[1]
        percent = _grown(growth, (resource, share.metric, ()), part, whole) if share.change else _percent(part, whole)
        if percent is not None:
            number, reason = _number(percent)
            yield _Fact(resource, share.metric, number, (), heard.origin, reason)
    for info in infos:
        texts = {label: _word(heard.named.get(name)) for label, name in info.labels.items()}
        labels = tuple(sorted((label, text) for label, text in texts.items() if text))
        if labels:
            yield _Fact(resource, info.metric, 1, labels, heard.origin)


def _percent(part: float, whole: float) -> float | None:
    """None where there is no whole: a percentage without a limit is nothing."""
    return 100.0 * part / whole if whole > 0 else None


def _grown(growth: dict[Key, Growth], key: Key, part: float, whole: float) -> float | Unreadable | None:
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
