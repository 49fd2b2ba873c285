"""Remembers across restarts which tokens and audit stores there are, and shows them until their source is read."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from hsm_agent.model import AGENT_SOURCE, Reading
from hsm_agent.serve.snapshot import objects_of
from hsm_agent.state import known_objects as known_file
from hsm_agent.state.files import DamagedFileError
from hsm_agent.threads import Lane, StuckError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

    from hsm_agent.model import ActiveAlarm, KnownObject, Series
    from hsm_agent.store import Store

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""Between two looks at the store: at a start every source brings something."""
_DISK_SECONDS = 5.0

Objects = dict[tuple[str, str], "KnownObject"]
"""By source and resource."""


class ObjectMemory:
    """Keeps the file true to the store. What can't be read or written is said in the log, and done without."""

    def __init__(self, store: Store, directory: Path) -> None:
        self._store = store
        self._directory = directory
        self._looked_at: Mapping[str, int] = {}
        """Versions of the sources in the store, as of the last look."""
        self._unkept: dict[str, None] = {}
        """Sources that the disk did not take; with the next change."""
        self._remembered: Objects = {}
        self._problem = ""
        self._disk = Lane(f"reading and writing {directory / known_file.FILE_NAME}")

    async def load(self, is_configured: Callable[[Series], bool], raised: Iterable[ActiveAlarm] = ()) -> None:
        """Put into the store what was there before the start, of sources that are still configured.

        What `raised` alarms are about was there too, even if the file is lost: no alarm is to name a token that is in
        no table.
        """
        found: Iterable[KnownObject] = ()
        try:
            found = await self._disk.call(partial(known_file.load, self._directory), seconds=_DISK_SECONDS)
        except (StuckError, OSError, DamagedFileError) as error:
            log.warning("rows of tokens come with the first reading of each: %s", error)
        kept = [one for one in found if is_configured((one.source, one.resource, "", ()))]
        self._remembered = {(one.source, one.resource): one for one in kept}
        alarmed = objects_of(_reading_of(alarm.series) for alarm in raised if is_configured(alarm.series))
        for one in (*kept, *alarmed.values()):
            self._store.known.setdefault(one.source, {}).setdefault(one.resource, one)

    def restore(self, source: str) -> None:
        """Show again what is remembered of a source that begins anew, as after a restart."""
        for (name, resource), one in self._remembered.items():
            if name == source:
                self._store.known.setdefault(name, {})[resource] = one

    async def run(self) -> None:
        """Keep up, until cancelled."""
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            if self._changed():
                await self.keep()

    def _changed(self) -> list[str]:
        now = self._store.versions
        return [name for name in now if name != AGENT_SOURCE and now[name] != self._looked_at.get(name)]

    async def keep(self, *, seconds: float = _DISK_SECONDS) -> None:
        """Write what differs, now, unless the disk takes longer."""
        noted = {**self._unkept, **dict.fromkeys(self._changed())}
        self._looked_at, self._unkept = dict(self._store.versions), {}
        readings = {name: tuple(self._store.of_source(name).values()) for name in noted}
        unread = {name: tuple(self._store.known.get(name, {}).values()) for name in noted}
        work = partial(self._write, self._remembered, readings, unread)
        try:
            self._remembered = await self._disk.call(work, seconds=seconds)
            self._problem = ""
        except (StuckError, OSError) as error:
            self._unkept = noted
            if not self._problem:
                log.warning("a restart would not show these tokens until they are read: %s", error)
            self._problem = str(error)

    def _write(
        self,
        before: Objects,
        readings: Mapping[str, Collection[Reading]],
        unread: Mapping[str, Collection[KnownObject]],
    ) -> Objects:
        """On a thread: a thousand tokens have tens of thousands of readings."""
        now = {key: one for key, one in before.items() if key[0] not in readings}
        for name, of_source in readings.items():
            now |= {(name, one.resource): one for one in unread[name]}
            now |= {key: _completed(one, before.get(key), now.get(key)) for key, one in objects_of(of_source).items()}
        if now != before:
            known_file.keep(self._directory, now.values())
        return now


def _reading_of(series: Series) -> Reading:
    """What an alarm is about, as a reading that has no value."""
    source, resource, metric, labels = series
    return Reading(source=source, resource=resource, metric=metric, value=None, time=0.0, labels=labels)


def _completed(one: KnownObject, before: KnownObject | None, unread: KnownObject | None) -> KnownObject:
    """With what was known of it and could not be read now, or was not read yet."""
    identity = one.identity or (before.identity if before is not None else None)
    return replace(
        one,
        identity=one.identity if identity is None else identity,
        is_audited=one.is_audited or (unread is not None and unread.is_audited),
    )
