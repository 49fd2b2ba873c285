"""From what an appliance answered to readings. Values in, values out; the clock is an argument."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hsm_agent.collect.snmp.made import Fact, Heard, infos, links, number_of, shares, word_of
from hsm_agent.collect.snmp.values import text_of, understood
from hsm_agent.model import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hsm_agent.collect.snmp.made import Growth, Key
    from hsm_agent.collect.snmp.profile import Profile, Table, Value
    from hsm_agent.collect.snmp.values import Raw
    from hsm_agent.wire.ber import Oid

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What was learnt in earlier polls: what was read and from which OID, counters of shares, links that were up."""

    seen: Mapping[Key, Oid] = field(default_factory=dict)
    growth: Mapping[Key, Growth] = field(default_factory=dict)
    up: frozenset[Key] = frozenset()


@dataclass(frozen=True, slots=True)
class Parsed:
    """Readings, what to remember, and for each profile whether anything of it was there."""

    readings: tuple[Reading, ...]
    known: Known
    found: tuple[bool, ...]


def parse(fetched: Fetched, profiles: Sequence[Profile], known: Known, *, source: str, now: float) -> Parsed:
    """The readings of one poll. What was read before and is not there now is unavailable, with the reason."""
    facts: dict[Key, Fact] = {}
    growth, up = dict(known.growth), set(known.up)
    found = []
    for profile in profiles:
        count = 0
        for fact in _facts(profile, fetched, growth, up, now):
            facts.setdefault(fact.key, fact)
            count += 1
        found.append(count > 0)
    missed = [key for key in known.seen if key not in facts]
    for key in missed[:_MOST_MISSED]:  # those that have been missed longest stand last
        resource, metric, labels = key
        origin = known.seen[key]
        facts[key] = Fact(resource, metric, None, labels, origin, fetched.failed.get(origin, _NOT_THERE))
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
    return Parsed(readings, Known(seen=seen, growth=growth, up=frozenset(up & seen.keys())), tuple(found))


def _facts(profile: Profile, fetched: Fetched, growth: dict[Key, Growth], up: set[Key], now: float) -> Iterator[Fact]:
    heard = _heard(profile.values, fetched.values, now)
    failed = {value.called: fetched.failed[value.oid] for value in profile.values if value.oid in fetched.failed}
    heard = replace(heard, failed=failed)
    yield from _of_values(profile.values, heard)
    yield from shares(profile.shares, heard, growth)
    yield from infos(profile.infos, heard)
    for table in profile.tables:
        rows = {index: _heard(table.values, raw, now) for index, raw in fetched.rows.get(table.oid, {}).items()}
        kept = {index: heard for index, heard in rows.items() if _wanted(table, heard)}
        failed = {}
        if table.oid in fetched.failed:
            failed = {value.called: fetched.failed[table.oid] for value in table.values}
        for index, resource in _resources(table, kept).items():
            heard = replace(kept[index], resource=resource, origin=table.oid, failed=failed)
            yield from _of_values(table.values, heard)
            yield from shares(table.shares, heard, growth)
            yield from infos(table.infos, heard)
            yield from links(table.links, heard, up)


def _wanted(table: Table, heard: Heard) -> bool:
    return all(word_of(heard.named.get(name)) == wanted for name, wanted in table.where.items())


def _resources(table: Table, rows: Mapping[Oid, Heard]) -> dict[Oid, str]:
    """A name for each row: the first of the table's names that no other row bears, at last its index."""
    names: dict[Oid, str] = {}
    for name in table.resource:
        given = {index: word_of(heard.named.get(name)) for index, heard in rows.items() if index not in names}
        bearers = Counter(given.values())
        names |= {index: word for index, word in given.items() if word and bearers[word] == 1}
    taken = set(names.values())
    for index, heard in rows.items():
        if index not in names:
            word = next((word for name in table.resource if (word := word_of(heard.named.get(name)))), "")
            shown = _index_text(index, table.index)
            names[index] = f"{word} {shown}" if word else shown if shown not in taken else f"row {shown}"
    return {index: f"{table.prefix}{names[index]}" for index in rows}


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


def _heard(values: Sequence[Value], raw: Mapping[Oid, Raw], now: float) -> Heard:
    found = {}
    for index, value in enumerate(values):
        meaning = understood(value, raw[value.oid], now) if value.oid in raw else None
        if meaning is not None:
            found[index] = meaning
    named = {values[index].called: meaning for index, meaning in reversed(found.items())}
    return Heard(found, named, None, values[0].oid if values else ())


def _of_values(values: Sequence[Value], heard: Heard) -> Iterator[Fact]:
    for index, meaning in heard.meanings.items():
        value = values[index]
        if value.metric is None:
            continue
        resource = value.resource if heard.resource is None else heard.resource
        labels = tuple(sorted(value.labels.items()))
        origin = value.oid if heard.resource is None else heard.origin
        number, reason = number_of(meaning)
        limit, _ = number_of(heard.named.get(value.limit))
        yield Fact(resource, value.metric, number, labels, origin, reason, None if number is None else limit)
