"""Keeps the views up to date with the store, in small steps on the loop, and swaps them in whole.

Between two steps the old views are served: one answer never mixes two polls. Nothing here reads a socket.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from hsm_agent.model import AGENT_SOURCE
from hsm_agent.serve.snmp.capture import Capture, capture, merged
from hsm_agent.serve.snmp.rows import active_row, rows_of_source, sink_row
from hsm_agent.serve.snmp.scalars import SYSTEM, agent_scalars, alarm_scalars, spool_scalar
from hsm_agent.serve.snmp.table import Changes, Sheet, Shown, patch
from hsm_agent.serve.snmp.view import Layout, Segment, View
from hsm_agent.text import glob_matches
from hsm_agent.wire.snmp import mib

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hsm_agent.model import Series, Severity, SinkStatus
    from hsm_agent.serve.snmp.rows import Owner, Row
    from hsm_agent.state.row_indexes import Indexes, RowKey, Wanted
    from hsm_agent.store import Store
    from hsm_agent.wire.snmp.ber import Oid

    Keys = dict[RowKey, int]

log = logging.getLogger(__name__)

_STEP_SECONDS = 0.002
_PATCHED_AT_ONCE = 1000
_NARROW = (mib.TOKEN, mib.AUDIT, mib.READING, mib.ACTIVE)
_OF_SOURCE = (mib.SOURCE.name, mib.TOKEN.name, mib.AUDIT.name, mib.READING.name)
_ALARMS = ""
"""The group of the rows of alarms, which hang on no single source."""

Scope = frozenset[str]
"""Globs on label, serial or resource of tokens. With `*` among them the view is whole."""
WHOLE = "*"


class _Pace:
    """Gives the loop back to others every few milliseconds of work."""

    def __init__(self) -> None:
        self._until = time.perf_counter() + _STEP_SECONDS

    async def breathe(self) -> None:
        if time.perf_counter() >= self._until:
            await asyncio.sleep(0)
            self._until = time.perf_counter() + _STEP_SECONDS


@dataclass(slots=True)
class _Pending:
    """What a refresh is about to show: nothing of it is seen before it is complete."""

    changes: dict[str, Changes] = field(default_factory=dict)
    groups: dict[tuple[str, str], Keys] = field(default_factory=dict)
    segments: dict[Scope, dict[Oid, Segment]] = field(default_factory=dict)
    owners: dict[Scope, frozenset[Owner]] = field(default_factory=dict)


class Tables:
    """The rows of all tables and the views of all scopes."""

    def __init__(self, *, store: Store, base: Oid, indexes: Indexes) -> None:
        self._store = store
        self._base = base
        self._indexes = indexes
        self._scalars = agent_scalars(base, store)
        self._sheets = {table.name: Sheet(table, base) for table in mib.TABLES}
        self._worst: Mapping[Series, Severity] = {}
        self._noted: Capture | None = None
        self._sinks: tuple[SinkStatus, ...] = ()
        self._views: dict[Scope, View] = {}
        self._owners: dict[Scope, frozenset[Owner]] = {}
        self._refreshing = asyncio.Lock()
        self._is_refused = False

    def view(self, scope: Scope) -> View:
        """The view of a scope as it is now. Sinks change between polls, so they are looked at each time."""
        sinks = tuple(self._store.sinks.values())
        if sinks != self._sinks:
            self._show_sinks(sinks)
        return self._views[scope]

    async def arrange(self, scopes: Iterable[Scope], scalars: Mapping[Oid, Segment]) -> None:
        """Serve these scopes from now on, and these system and engine groups."""
        async with self._refreshing:
            pace = _Pace()
            self._scalars.update(scalars)
            owners = {scope: self._owners_of(scope, {}) for scope in scopes}
            views = {scope: await self._whole(scope, owners[scope], {}, pace) for scope in owners}
            self._views, self._owners = views, owners
            self._show_sinks(tuple(self._store.sinks.values()))

    def note(self, sources: Iterable[str], *, alarms: bool) -> None:
        """Take what the store holds of these sources, and of the alarms if they changed; `catch_up` shows it."""
        fresh = capture(self._store, sources, alarms=alarms, worst=self._worst)
        self._worst = fresh.worst
        self._noted = merged(self._noted, fresh)

    async def catch_up(self) -> None:
        """Show everything that was noted. What is noted meanwhile is shown too, in as few rounds as can be."""
        async with self._refreshing:
            while self._noted is not None:
                captured, self._noted = self._noted, None
                try:
                    await self._show(captured)
                except BaseException:
                    self._noted = merged(captured, self._noted)
                    raise

    async def refresh(self, sources: Iterable[str], *, alarms: bool) -> None:
        """Both at once."""
        self.note(sources, alarms=alarms)
        await self.catch_up()

    async def _show(self, captured: Capture) -> None:
        pace = _Pace()
        rows = await self._rows(captured, pace)
        await self._allocate(rows, pace)
        pending = await self._encode(rows, pace)
        await self._build(pending, pace)
        self._swap(pending, captured)

    async def _rows(self, captured: Capture, pace: _Pace) -> dict[str, list[Row]]:
        """The rows of each group as they are now."""
        rows: dict[str, list[Row]] = {}
        for name, (status, readings) in captured.sources.items():
            rows[name] = []
            for row in rows_of_source(name, status, readings, captured.worst):
                rows[name].append(row)
                await pace.breathe()
        if captured.alarms is not None:
            rows[_ALARMS] = []
            for alarm in captured.alarms:
                rows[_ALARMS].append(active_row(alarm))
                await pace.breathe()
        return rows

    async def _allocate(self, rows: Mapping[str, list[Row]], pace: _Pace) -> None:
        wanted: list[Wanted] = [(mib.SINK.name, (name,)) for name in self._store.sinks]
        for group in rows.values():
            for row in group:
                if self._indexes.find(row.table.name, row.key) is None:
                    wanted.append((row.table.name, row.key))
                await pace.breathe()
        await self._indexes.allocate(wanted)
        if bool(self._indexes.problem) is not self._is_refused:
            self._is_refused = bool(self._indexes.problem)
            if self._is_refused:
                log.warning("new rows of SNMP have indexes that a restart changes: %s", self._indexes.problem)
            else:
                log.info("indexes of SNMP rows are stored again")

    async def _encode(self, rows: Mapping[str, list[Row]], pace: _Pace) -> _Pending:
        pending = _Pending(changes={name: {} for name in self._sheets})
        for group, of_group in rows.items():
            names = (mib.ACTIVE.name,) if group == _ALARMS else _OF_SOURCE
            pending.groups |= {(name, group): {} for name in names}
            for row in of_group:
                name = row.table.name
                index = self._indexes.find(name, row.key)
                if index is None:
                    continue
                pending.groups[name, group][row.key] = index
                shown = self._sheets[name].encode(index, row)
                if shown is not self._sheets[name].shown.get(index):
                    pending.changes[name][index] = shown
                await pace.breathe()
        for (name, group), keys in pending.groups.items():
            before = self._sheets[name].groups.get(group, {})
            left = {index for key, index in before.items() if keys.get(key) != index}
            pending.changes[name].update(dict.fromkeys(left - set(keys.values())))
        return pending

    async def _build(self, pending: _Pending, pace: _Pace) -> None:
        for scope, view in self._views.items():
            owners = self._owners_of(scope, pending.changes[mib.TOKEN.name])
            pending.owners[scope] = owners
            if owners != self._owners[scope]:
                whole = await self._whole(scope, owners, pending.changes, pace)
                pending.segments[scope] = dict(zip(whole.layout.prefixes, whole.segments, strict=True))
                continue
            found = pending.segments[scope] = {}
            for name, changes in pending.changes.items():
                sheet = self._sheets[name]
                seen = _visible(changes, scope, owners)
                if not seen or sheet.prefixes[0] not in view.layout.positions:
                    continue
                new = sheet.newly_encoded(seen)
                for column, prefix in enumerate(sheet.prefixes):
                    # Most polls bring the same values at a later time: then only ages have to be looked at.
                    changed = seen if sheet.renders[column] else new
                    found[prefix] = await _patch(view.segment(prefix), column, changed, pace)

    def _swap(self, pending: _Pending, captured: Capture) -> None:
        """Everything at once: no step of the loop lies between."""
        scalars: dict[Oid, Segment] = {}
        if captured.alarms is not None:
            scalars |= alarm_scalars(self._base, captured.alarms)
        if AGENT_SOURCE in captured.sources:
            scalars |= spool_scalar(self._base, self._store)
        self._scalars |= scalars
        for name, changes in pending.changes.items():
            self._sheets[name].apply(changes)
        for (name, group), keys in pending.groups.items():
            self._sheets[name].groups[group] = keys
        self._owners = pending.owners
        self._views = {
            scope: view.replaced({**scalars, **pending.segments[scope]}) for scope, view in self._views.items()
        }
        self._show_sinks(tuple(self._store.sinks.values()))

    def _show_sinks(self, sinks: tuple[SinkStatus, ...]) -> None:
        """The few rows of the sinks, at once. One without an index waits for the next refresh."""
        sheet = self._sheets[mib.SINK.name]
        now: dict[int, Shown] = {}
        for status in sinks:
            row = sink_row(status)
            index = self._indexes.find(mib.SINK.name, row.key)
            if index is not None:
                now[index] = sheet.encode(index, row)
        changes: Changes = {**dict.fromkeys(sheet.shown), **now}
        sheet.apply(changes)
        for scope, view in self._views.items():
            if sheet.prefixes[0] in view.layout.positions:
                columns = enumerate(sheet.prefixes)
                self._views[scope] = view.replaced(
                    {prefix: patch(view.segment(prefix), column, changes) for column, prefix in columns}
                )
        self._sinks = sinks

    def _owners_of(self, scope: Scope, changes: Changes) -> frozenset[Owner]:
        """The tokens of a scope; none for the whole view, which asks for no owner."""
        if WHOLE in scope:
            return frozenset()
        rows = _after(self._sheets[mib.TOKEN.name].shown, changes).values()
        return frozenset(shown.row.owner for shown in rows if _matches(shown.row, scope))

    async def _whole(self, scope: Scope, owners: frozenset[Owner], changes: Mapping[str, Changes], pace: _Pace) -> View:
        """A view made from nothing."""
        is_whole = WHOLE in scope
        segments = {prefix: one for prefix, one in self._scalars.items() if is_whole or prefix[:-1] == SYSTEM}
        for table in mib.TABLES if is_whole else _NARROW:
            sheet = self._sheets[table.name]
            seen = _visible(_after(sheet.shown, changes.get(table.name, {})), scope, owners)
            for column, (prefix, blank) in enumerate(sheet.blank().items()):
                segments[prefix] = await _patch(blank, column, seen, pace)
        prefixes = tuple(sorted(segments))
        return View(Layout(prefixes), tuple(segments[prefix] for prefix in prefixes))


async def _patch(segment: Segment, column: int, changes: Changes, pace: _Pace) -> Segment:
    """As patch, with a breath between; an empty segment is filled at once, which is quicker than by parts."""
    size = _PATCHED_AT_ONCE if segment.rows else max(1, len(changes))
    items = iter(changes.items())
    while part := dict(islice(items, size)):
        segment = patch(segment, column, part)
        await pace.breathe()
    return segment


def _visible(changes: Mapping[int, Shown | None], scope: Scope, owners: frozenset[Owner]) -> Changes:
    """Those rows that the scope may see; one that is gone was seen or is not missed."""
    if WHOLE in scope:
        return dict(changes)
    return {index: shown for index, shown in changes.items() if shown is None or shown.row.owner in owners}


def _after(shown: Mapping[int, Shown], changes: Changes) -> dict[int, Shown]:
    merged = {**shown, **changes}
    return {index: one for index, one in merged.items() if one is not None}


def _matches(token: Row, scope: Scope) -> bool:
    _source, label, serial, *_ = token.cells
    names = [token.owner[1], *(name for name in (label, serial) if isinstance(name, str))]
    return any(glob_matches(name, glob) for name in names for glob in scope)
