"""The rows of all tables and the views made of them, brought up to date with the store in small steps.

Changed sources are noted, and the store is read when a refresh begins. Until it ends the old views are served, then all
are swapped at once: one answer never mixes two polls.
"""

from __future__ import annotations

import asyncio
import logging
import time
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from hsm_agent.model import AGENT_SOURCE
from hsm_agent.serve.snapshot import unread_info
from hsm_agent.serve.snmp.encoded_table import EncodedChanges, EncodedRow, EncodedTable, patch
from hsm_agent.serve.snmp.masked_rows import masked_row
from hsm_agent.serve.snmp.rows import (
    active_row,
    is_of_whole_hsm,
    member_row,
    rows_of_source,
    sink_row,
    worst_severities,
)
from hsm_agent.serve.snmp.scalars import SYSTEM, agent_scalars, alarm_scalars, group_scalars, spool_scalar
from hsm_agent.serve.snmp.view import Segment, View
from hsm_agent.text import glob_matches
from hsm_agent.wire.snmp import mib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hsm_agent.model import (
        ActiveAlarm,
        GroupStatus,
        KnownObject,
        Reading,
        Series,
        Severity,
        SinkStatus,
        SourceStatus,
    )
    from hsm_agent.serve.hide import Mask
    from hsm_agent.serve.snmp.rows import Owner, Row
    from hsm_agent.state.row_indexes import Indexes, MibRowKey, WantedIndex
    from hsm_agent.store import Store
    from hsm_agent.wire.snmp.ber import Oid

log = logging.getLogger(__name__)

_STEP_SECONDS = 0.002
_PATCHED_AT_ONCE = 1000
_LEARNT_AT_ONCE = 200
_NARROW = (mib.TOKEN, mib.AUDIT, mib.READING, mib.ACTIVE)
_OF_SOURCE = (mib.SOURCE.name, mib.TOKEN.name, mib.AUDIT.name, mib.READING.name)
_ALARMS = ""
"""The group of the rows of alarms, which belong to no single source."""

Scope = frozenset[str]
"""Globs on label, serial or resource of tokens. With `*` among them the view is whole."""
WHOLE = "*"


class LoopYielder:
    """Yields to the event loop after every 2 ms of work."""

    def __init__(self) -> None:
        self._until = time.perf_counter() + _STEP_SECONDS

    async def maybe_yield(self) -> None:
        """To be awaited between two small pieces of work."""
        if time.perf_counter() >= self._until:
            await asyncio.sleep(0)
            self._until = time.perf_counter() + _STEP_SECONDS


class _Taken(NamedTuple):
    """What the store held at one moment; `raised` is None where the alarms did not change."""

    raised: tuple[ActiveAlarm, ...] | None
    sources: Mapping[str, SourceStatus]
    objects: Mapping[str, tuple[Sequence[Reading], Sequence[KnownObject]]]
    scalars: Mapping[Oid, Segment]


class Tables:
    """The rows of all tables and the views of all scopes."""

    def __init__(self, *, store: Store, base: Oid, indexes: Indexes, mask: Mask | None = None) -> None:
        """`mask`: what these views hide; the row numbers are those of all others, since `indexes` is the same."""
        self._store = store
        self._mask = mask
        self._base = base
        self._indexes = indexes
        self._scalars = agent_scalars(base, store)
        self._tables = {table.name: EncodedTable(table, base) for table in mib.TABLES}
        self._worst: Mapping[Series, Severity] = {}
        self._noted_sources: dict[str, None] = {}
        """A set that keeps its order: new rows are given their indexes in it."""
        self._are_alarms_noted = False
        self._is_behind = False
        self._sinks: tuple[SinkStatus, ...] = ()
        self._group: GroupStatus | None = None
        self._views: dict[Scope, View] = {}
        self._owners: dict[Scope, frozenset[Owner]] = {}
        self._refreshing = asyncio.Lock()
        self._is_refused = False

    def view(self, scope: Scope) -> View:
        """The view of a scope as it is now. Sinks change between polls, so they are looked at each time."""
        sinks = tuple(self._store.sinks.values())
        if sinks != self._sinks:
            self._show_sinks(sinks)
        if self._store.group is not self._group:
            self._show_group(self._store.group)
        return self._views[scope]

    async def arrange(self, scopes: Iterable[Scope], scalars: Mapping[Oid, Segment]) -> None:
        """Serve these scopes from now on, and these system and engine groups."""
        async with self._refreshing:
            yielder = LoopYielder()
            self._scalars.update(scalars)
            owners = {scope: self._owners_of(scope, {}) for scope in scopes}
            views = {scope: View.of(await self._whole(scope, owners[scope], {}, yielder)) for scope in owners}
            self._views, self._owners = views, owners
            self._show_sinks(tuple(self._store.sinks.values()))
            self._show_group(self._store.group)

    def note(self, sources: Iterable[str], *, alarms: bool) -> None:
        """These sources changed in the store, and perhaps the alarms, or only sinks; `catch_up` shows it."""
        self._is_behind = True
        self._noted_sources |= dict.fromkeys(sources)
        self._are_alarms_noted |= alarms

    async def catch_up(self) -> None:
        """Show everything that was noted. What is noted meanwhile is shown too, in as few refreshes as can be."""
        async with self._refreshing:
            while self._is_behind:
                self._is_behind = False
                sources, alarms = self._noted_sources, self._are_alarms_noted
                self._noted_sources, self._are_alarms_noted = {}, False
                try:
                    await self._show(sources, alarms=alarms)
                except BaseException:
                    self.note(sources, alarms=alarms)
                    raise

    async def refresh(self, sources: Iterable[str], *, alarms: bool) -> None:
        """Both at once."""
        self.note(sources, alarms=alarms)
        await self.catch_up()

    async def _show(self, sources: dict[str, None], *, alarms: bool) -> None:
        """Bring the views up to date; to `sources` are added those whose readings show another severity now."""
        yielder = LoopYielder()
        taken = await self._take_and_learn(sources, yielder, alarms=alarms)
        scalars: dict[Oid, Segment] = {}
        groups: dict[str, Iterator[Row]] = {}
        if taken.raised is not None:
            groups[_ALARMS] = map(active_row, taken.raised)
            scalars |= alarm_scalars(self._base, taken.raised)
        for name, (readings, known) in taken.objects.items():
            groups[name] = rows_of_source(name, taken.sources.get(name), readings, self._worst, known)
        scalars |= taken.scalars
        rows: dict[str, list[Row]] = {name: [] for name in groups}
        for name, group in groups.items():
            for row in group:
                rows[name].append(row if self._mask is None else masked_row(row, self._mask))
                await yielder.maybe_yield()
        await self._allocate(rows, yielder)
        changes, keys = await self._encode(rows, yielder)
        owners, segments = await self._build(changes, yielder)
        # The swap: no step of the loop lies between, so that an answer sees all of the refresh or nothing.
        self._scalars |= scalars
        for name, of_table in changes.items():
            self._tables[name].apply(of_table)
        for (name, source), of_group in keys.items():
            self._tables[name].groups[source] = of_group
        self._owners = owners
        self._views = {scope: view.replaced({**scalars, **segments[scope]}) for scope, view in self._views.items()}
        self._show_sinks(tuple(self._store.sinks.values()))
        self._show_group(self._store.group)

    async def _take_and_learn(self, sources: dict[str, None], yielder: LoopYielder, *, alarms: bool) -> _Taken:
        """What the store holds at one moment; everything, where a name is to be hidden that was not known before."""
        while True:
            taken = self._take(sources, alarms=alarms)
            if self._mask is None or not await self._learn(taken, self._mask, yielder):
                return taken
            sources |= dict.fromkeys(self._store.sources)
            alarms = True

    def _take(self, sources: dict[str, None], *, alarms: bool) -> _Taken:
        """The store is read here, at one moment; the rows are made of what was read, step by step."""
        raised = tuple(self._store.alarms.values()) if alarms else None
        if raised is not None:
            before, self._worst = self._worst, worst_severities(raised)
            sources |= dict.fromkeys(series[0] for series, _severity in before.items() ^ self._worst.items())
        objects = {
            name: (tuple(self._store.of_source(name).values()), tuple(self._store.known.get(name, {}).values()))
            for name in sources
        }
        scalars = spool_scalar(self._base, self._store) if AGENT_SOURCE in sources else {}
        return _Taken(raised, dict(self._store.sources), objects, scalars)

    async def _learn(self, taken: _Taken, mask: Mask, yielder: LoopYielder) -> bool:
        is_new = mask.learn((), taken.raised or ())
        for readings, known in taken.objects.values():
            items = iter((*readings, *map(unread_info, known)))
            while some := tuple(islice(items, _LEARNT_AT_ONCE)):
                is_new = mask.learn(some) or is_new
                await yielder.maybe_yield()
        return is_new

    async def _allocate(self, rows: Mapping[str, list[Row]], yielder: LoopYielder) -> None:
        wanted: list[WantedIndex] = [(mib.SINK.name, (name,)) for name in self._store.sinks]
        if self._store.group is not None:
            wanted += [(mib.MEMBER.name, (member.name,)) for member in self._store.group.members]
        for group in rows.values():
            for row in group:
                if self._indexes.find(row.table.name, row.key) is None:
                    wanted.append((row.table.name, row.key))
                await yielder.maybe_yield()
        await self._indexes.allocate(wanted)
        if bool(self._indexes.problem) is not self._is_refused:
            self._is_refused = bool(self._indexes.problem)
            if self._is_refused:
                log.warning("new rows of SNMP have indexes that a restart changes: %s", self._indexes.problem)
            else:
                log.info("indexes of SNMP rows are stored again")

    async def _encode(
        self, rows: Mapping[str, list[Row]], yielder: LoopYielder
    ) -> tuple[dict[str, EncodedChanges], dict[tuple[str, str], dict[MibRowKey, int]]]:
        """The rows that differ from those shown, by table; and the indexes of all rows, by table and group."""
        changes: dict[str, EncodedChanges] = {name: {} for name in self._tables}
        keys: dict[tuple[str, str], dict[MibRowKey, int]] = {}
        for group, of_group in rows.items():
            keys |= {(name, group): {} for name in ((mib.ACTIVE.name,) if group == _ALARMS else _OF_SOURCE)}
            for row in of_group:
                name = row.table.name
                index = self._indexes.find(name, row.key)
                if index is None:
                    continue
                keys[name, group][row.key] = index
                encoded = self._tables[name].encode(index, row)
                if encoded is not self._tables[name].rows.get(index):
                    changes[name][index] = encoded
                await yielder.maybe_yield()
        for (name, group), now in keys.items():
            before = self._tables[name].groups.get(group, {})
            left = {index for key, index in before.items() if now.get(key) != index}
            # An index may have gone from one key to another of the group: then its row has changed, and is not gone.
            changes[name].update(dict.fromkeys(left - set(now.values())))
        return changes, keys

    async def _build(
        self, changes: Mapping[str, EncodedChanges], yielder: LoopYielder
    ) -> tuple[dict[Scope, frozenset[Owner]], dict[Scope, dict[Oid, Segment]]]:
        """The tokens of each scope after the changes, and the segments of its view that differ."""
        owners = {scope: self._owners_of(scope, changes[mib.TOKEN.name]) for scope in self._views}
        segments: dict[Scope, dict[Oid, Segment]] = {}
        for scope, view in self._views.items():
            if owners[scope] != self._owners[scope]:  # rows that did not change come into its view, or leave it
                segments[scope] = await self._whole(scope, owners[scope], changes, yielder)
                continue
            found = segments[scope] = {}
            for name, of_table in changes.items():
                table = self._tables[name]
                seen = _visible(of_table, scope, owners[scope])
                if not seen or table.prefixes[0] not in view.numbers:
                    continue
                new = table.newly_encoded(seen)
                for column, prefix in enumerate(table.prefixes):
                    # Most polls bring the same values at a later time: then only ages have to be looked at.
                    changed = seen if table.renders[column] else new
                    found[prefix] = await _patch(view.segment(prefix), column, changed, yielder)
        return owners, segments

    def _show_sinks(self, sinks: tuple[SinkStatus, ...]) -> None:
        """The few rows of the sinks, at once. One without an index waits for the next refresh."""
        self._show_few(mib.SINK, map(sink_row, sinks), {})
        self._sinks = sinks

    def _show_group(self, group: GroupStatus | None) -> None:
        """The group's scalars and the few rows of its members, likewise."""
        scalars = group_scalars(self._base, group)
        self._scalars |= scalars
        if group is not None or self._group is not None:
            self._show_few(mib.MEMBER, map(member_row, () if group is None else group.members), scalars)
        self._group = group

    def _show_few(self, definition: mib.Table, rows: Iterable[Row], scalars: Mapping[Oid, Segment]) -> None:
        table = self._tables[definition.name]
        now: EncodedChanges = {}
        for each in rows:
            row = each if self._mask is None else masked_row(each, self._mask)
            index = self._indexes.find(definition.name, row.key)
            if index is not None:
                now[index] = table.encode(index, row)
        changes = {**dict.fromkeys(table.rows), **now}
        table.apply(changes)
        for scope, view in self._views.items():
            if table.prefixes[0] in view.numbers:
                columns = enumerate(table.prefixes)
                segments = {prefix: patch(view.segment(prefix), column, changes) for column, prefix in columns}
                self._views[scope] = view.replaced({**scalars, **segments})

    def _owners_of(self, scope: Scope, changes: EncodedChanges) -> frozenset[Owner]:
        """The tokens of a scope; none for the whole view, which asks for no owner."""
        if WHOLE in scope:
            return frozenset()
        rows = _after(self._tables[mib.TOKEN.name].rows, changes).values()
        return frozenset(one.row.owner for one in rows if _matches(one.row, scope))

    async def _whole(
        self, scope: Scope, owners: frozenset[Owner], changes: Mapping[str, EncodedChanges], yielder: LoopYielder
    ) -> dict[Oid, Segment]:
        """All segments of a view, made from nothing."""
        is_whole = WHOLE in scope
        segments = {prefix: one for prefix, one in self._scalars.items() if is_whole or prefix[:-1] == SYSTEM}
        for definition in mib.TABLES if is_whole else _NARROW:
            table = self._tables[definition.name]
            seen = _visible(_after(table.rows, changes.get(definition.name, {})), scope, owners)
            for column, (prefix, blank) in enumerate(table.blank().items()):
                segments[prefix] = await _patch(blank, column, seen, yielder)
        return segments


async def _patch(segment: Segment, column: int, changes: EncodedChanges, yielder: LoopYielder) -> Segment:
    """As patch, but yielding between; an empty segment is filled at once, which is quicker than piece by piece."""
    size = _PATCHED_AT_ONCE if segment.rows else max(1, len(changes))
    items = iter(changes.items())
    while some := dict(islice(items, size)):
        segment = patch(segment, column, some)
        await yielder.maybe_yield()
    return segment


def _visible(changes: Mapping[int, EncodedRow | None], scope: Scope, owners: frozenset[Owner]) -> EncodedChanges:
    """Those rows that the scope may see; one that is gone was seen or is not missed."""
    if WHOLE in scope:
        return dict(changes)
    return {index: one for index, one in changes.items() if one is None or _may_see(one.row, scope, owners)}


def _may_see(row: Row, scope: Scope, owners: frozenset[Owner]) -> bool:
    """Of a token of the scope; or of an HSM that it names in full, since readings of a whole HSM bear its name."""
    return row.owner in owners or (row.owner[1] in scope and is_of_whole_hsm(row))


def _after(rows: Mapping[int, EncodedRow], changes: EncodedChanges) -> dict[int, EncodedRow]:
    merged = {**rows, **changes}
    return {index: one for index, one in merged.items() if one is not None}


def _matches(token: Row, scope: Scope) -> bool:
    return any(glob_matches(name, glob) for name in token.names for glob in scope)
