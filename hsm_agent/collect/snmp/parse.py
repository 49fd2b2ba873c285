"""From what an appliance answered to readings, and the names of its table rows. Values in, values out; the clock is an
argument.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from hsm_agent.collect.identity import Names, ObjectIdentity, digest_of
from hsm_agent.collect.series import KnownSeries, SeriesKey, unavailable
from hsm_agent.collect.snmp.values import (
    RowMeanings,
    SnmpFact,
    Unreadable,
    infos,
    links,
    number_of,
    shares,
    text_of,
    understood,
    word_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from hsm_agent.collect.snmp.profile import Profile, ProfileTable, ProfileValue
    from hsm_agent.collect.snmp.values import Growth, RawValue
    from hsm_agent.model import Labels, Reading
    from hsm_agent.wire.snmp.ber import Oid

_SERIAL = "serial"
_PRINTABLE = range(32, 127)
_NOT_THERE = "the appliance does not report it any more"
_MOST_MISSED = 1000
"""Readings that are missed at once: those of a host whose interfaces come and go would grow without bound."""


@dataclass(slots=True, kw_only=True)
class ApplianceAnswers:
    """What an appliance answered. What it has not is not in it; `failed` says why a question got no answer.

    `rows` has, by the OID of a table's entry and the row's index, the row's values by column. `failed` is by the OID
    of a value or of a table's entry.
    """

    values: dict[Oid, RawValue] = field(default_factory=dict)
    rows: dict[Oid, dict[Oid, dict[Oid, RawValue]]] = field(default_factory=dict)
    failed: dict[Oid, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplianceMemory:
    """What earlier polls have read: series, counters of shares, links that were up.

    `rows` are, by the table's number, its rows by name. `is_restored`: they are all that is known, from before a
    restart.
    """

    series: KnownSeries[SnmpFact] = field(default_factory=KnownSeries)
    growth: Mapping[SeriesKey, Growth] = field(default_factory=dict)
    up: frozenset[SeriesKey] = frozenset()
    rows: Mapping[int, Mapping[str, ObjectIdentity]] = field(default_factory=dict)
    is_restored: bool = False

    def without(self, resources: Collection[str], prefixes: Sequence[str]) -> ApplianceMemory:
        """Without what is known of these; the prefixes are those of the tables."""
        rows = {
            number: {name: one for name, one in rows.items() if prefixes[number] + name not in resources}
            for number, rows in self.rows.items()
        }
        return ApplianceMemory(
            series=self.series.without(resources),
            growth={key: each for key, each in self.growth.items() if key[0] not in resources},
            up=frozenset(key for key in self.up if key[0] not in resources),
            rows=rows,
            is_restored=self.is_restored,
        )


@dataclass(frozen=True, slots=True)
class ParsedAnswers:
    """Readings, what to remember, for each profile whether anything of it was there, and resources that are no more.

    A resource is no more where its row has another name now.
    """

    readings: tuple[Reading, ...]
    known: ApplianceMemory
    found: tuple[bool, ...]
    gone: tuple[str, ...] = ()


def parse(
    answers: ApplianceAnswers,
    profiles: Sequence[Profile],
    known: ApplianceMemory,
    *,
    source: str,
    now: float,
    own: Profile | None = None,
) -> ParsedAnswers:
    """The readings of one poll. What was read before and is not there now is unavailable, with the reason.

    Likewise each value of `own`, the one of the profiles that the operator wrote for this appliance; of the others an
    appliance may have only some.
    """
    facts: dict[SeriesKey, SnmpFact] = {}
    growth, up = dict(known.growth), set(known.up)
    wanted = [table for profile in profiles for table in profile.tables]
    tables = [_table_rows(table, answers, known.rows.get(at, {}), now) for at, table in enumerate(wanted)]
    left = iter(tables)
    found = []
    for profile in profiles:
        read = list(_facts(profile, answers, islice(left, len(profile.tables)), growth, up, now))
        found.append(bool(read))
        for fact in read:
            facts.setdefault(fact.key, fact)
    for fact in _not_there(own.values if own is not None else (), answers):
        facts.setdefault(fact.key, fact)
    before = _seen_before(known, tables)
    series = before.updated(facts.values(), most_missing=_MOST_MISSED)
    missed = (unavailable(fact, answers.failed.get(fact.origin, _NOT_THERE)) for fact in series.missing(facts))
    readings = tuple(fact.reading(source, now) for fact in (*facts.values(), *missed))
    memory = _remembered(series, growth, up, tables)
    # A name that another row has now is still in use, and one that is missed must stay unavailable.
    gone = {name for each in tables for name in each.gone} - {"", *(resource for resource, _, _ in series.facts)}
    return ParsedAnswers(readings, memory, tuple(found), tuple(sorted(gone)))


def _remembered(
    series: KnownSeries[SnmpFact], growth: Mapping[SeriesKey, Growth], up: set[SeriesKey], tables: Sequence[_TableRows]
) -> ApplianceMemory:
    """The memory for the next poll: of counters and links only those whose resource still has a series."""
    kept = {"", *(resource for resource, _, _ in series.facts)}
    return ApplianceMemory(
        series=series,
        growth={key: each for key, each in growth.items() if key[0] in kept},
        up=frozenset(up & series.facts.keys()),
        rows={number: each.known for number, each in enumerate(tables) if each.known},
    )


def _seen_before(known: ApplianceMemory, tables: Sequence[_TableRows]) -> KnownSeries[SnmpFact]:
    """What is missed where it is not there now: not names that are no more; after a restart all that a row may have."""
    gone = {(name, each.table.oid) for each in tables for name in each.gone}
    seen = {key: fact for key, fact in known.series.facts.items() if (fact.resource, fact.origin) not in gone}
    if known.is_restored:
        for each in tables:
            restored = (
                SnmpFact(metric, None, labels=labels, resource=name, origin=each.table.oid)
                for name in each.missing
                for metric, labels in _series_of(each.table)
            )
            seen |= {fact.key: fact for fact in restored}
    return KnownSeries(seen)


def _series_of(table: ProfileTable) -> Iterator[tuple[str, Labels]]:
    yield from ((value.metric, tuple(sorted(value.labels.items()))) for value in table.values if value.metric)
    yield from ((share.metric, ()) for share in table.shares)
    yield from ((link.metric, ()) for link in table.links)


def _facts(
    profile: Profile,
    answers: ApplianceAnswers,
    tables: Iterable[_TableRows],
    growth: dict[SeriesKey, Growth],
    up: set[SeriesKey],
    now: float,
) -> Iterator[SnmpFact]:
    failed = {value.called: answers.failed[value.oid] for value in profile.values if value.oid in answers.failed}
    row = _row_meanings(profile.values, answers.values, failed, now)
    yield from _of_values(profile.values, row)
    yield from shares(profile.shares, row, growth)
    yield from infos(profile.infos, row)
    for each in tables:
        for row in each.rows:
            yield from _of_values(each.table.values, row)
            yield from shares(each.table.shares, row, growth)
            yield from infos(each.table.infos, row)
            yield from links(each.table.links, row, up)


def _row_meanings(
    values: Sequence[ProfileValue], raw: Mapping[Oid, RawValue], failed: Mapping[str, str], now: float
) -> RowMeanings:
    found = {}
    for index, value in enumerate(values):
        meaning = understood(value, raw[value.oid], now) if value.oid in raw else None
        if meaning is not None:
            found[index] = meaning
    named = {values[index].called: meaning for index, meaning in reversed(found.items())}
    return RowMeanings(found, named, None, values[0].oid if values else (), failed)


def _not_there(values: Sequence[ProfileValue], answers: ApplianceAnswers) -> Iterator[SnmpFact]:
    for value in values:
        if value.metric is not None and value.oid not in answers.values:
            nothing = f"the appliance reports nothing under {text_of(value.oid)}"
            reason = answers.failed.get(value.oid, nothing)
            labels = tuple(sorted(value.labels.items()))
            yield SnmpFact(value.metric, None, reason, labels, resource=value.resource, origin=value.oid)


def _of_values(values: Sequence[ProfileValue], row: RowMeanings) -> Iterator[SnmpFact]:
    for index, meaning in row.meanings.items():
        value = values[index]
        if value.metric is None:
            continue
        resource = value.resource if row.resource is None else row.resource
        labels = tuple(sorted(value.labels.items()))
        origin = value.oid if row.resource is None else row.origin
        number, reason = number_of(meaning)
        limit, _ = number_of(row.named.get(value.limit))
        limit = None if number is None else limit
        yield SnmpFact(value.metric, number, reason, labels, limit, resource=resource, origin=origin)


def digest(table: ProfileTable) -> str:
    """What a table's rows are known by on disk: another way to name them is another memory."""
    where = (f"{name}={wanted}" for name, wanted in sorted(table.where.items()))
    return digest_of([text_of(table.oid), table.prefix, table.index, *table.resource, "where", *where], "snmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class _TableRows:
    """The rows of a table, each with its resource; rows known from now on; names that are no more, or are missing.

    Names that are known are without the table's prefix, the others with it.
    """

    table: ProfileTable
    rows: Sequence[RowMeanings]
    known: Mapping[str, ObjectIdentity]
    gone: Collection[str]
    missing: Collection[str]


def _table_rows(
    table: ProfileTable, answers: ApplianceAnswers, before: Mapping[str, ObjectIdentity], now: float
) -> _TableRows:
    """Read a table; `before` are the rows that were known, by name, those known first before others."""
    failed = {value.called: answers.failed[table.oid] for value in table.values if table.oid in answers.failed}
    found = {
        index: _row_meanings(table.values, columns, failed, now)
        for index, columns in answers.rows.get(table.oid, {}).items()
    }
    rows = {
        index: row
        for index, row in found.items()
        if all(word_of(row.named.get(name)) == wanted for name, wanted in table.where.items())
    }
    names, known, gone = _named(table, rows, before)
    return _TableRows(
        table=table,
        rows=[replace(rows[index], resource=table.prefix + name, origin=table.oid) for index, name in names.items()],
        known=known,
        gone=[table.prefix + name for name in gone],
        missing=[table.prefix + name for name in known.keys() - set(names.values())],
    )


def _named(
    table: ProfileTable, rows: Mapping[Oid, RowMeanings], before: Mapping[str, ObjectIdentity]
) -> tuple[dict[Oid, str], Mapping[str, ObjectIdentity], set[str]]:
    """A name for each row; the rows known from now on, by name; names that are no more."""
    words = {index: [word_of(row.named.get(name)) for name in table.resource] for index, row in rows.items()}
    shared = [Counter(column) for column in zip(*words.values(), strict=True)]
    keys = {text_of(index): index for index in rows}
    tokens = {key: _identity(table, rows[index], index, words[index], before) for key, index in keys.items()}

    def wishes(key: str, token: ObjectIdentity) -> Iterator[str]:
        index = keys[key]
        # A word that several rows have distinguishes none of them, except as the label of the one known first.
        own = [word for word, bearers in zip(words[index], shared, strict=True) if bearers[word] == 1]
        yield from filter(None, dict.fromkeys([token.label, *own]))
        yield from _by_index(token.label, _index_text(index, table.index))

    names = Names()
    names.known[0] = dict(before)
    given, gone = names.give(0, tokens, wishes)
    return {index: given[key] for key, index in keys.items()}, names.known[0], gone


def _identity(
    table: ProfileTable, row: RowMeanings, index: Oid, words: Sequence[str], before: Mapping[str, ObjectIdentity]
) -> ObjectIdentity:
    """What identifies a row: its first text, its serial number, its index. A text that cannot be read now is kept."""
    serial, place = word_of(row.named.get(_SERIAL)), text_of(index)
    label = next(filter(None, words), "")
    if any(isinstance(row.named.get(name), Unreadable) for name in table.resource):
        same = (one for one in before.values() if (one.serial == serial if serial else one.place == place))
        label = next((one.label for one in same), label)
    return ObjectIdentity(label, serial, place)


def _by_index(word: str, shown: str) -> Iterator[str]:
    if not word:
        yield shown
    text = f"{word} {shown}" if word else f"row {shown}"
    yield text
    number = 2
    while True:
        yield f"{text} ({number})"
        number += 1


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
