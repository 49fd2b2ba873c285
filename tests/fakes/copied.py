"""A replica that is a few dictionaries, for tests of who keeps it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hsm_agent.group.progress import Progress
from hsm_agent.spool.shared import Addressed, SharedContent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsm_agent.spool.shared import SharedChange


@dataclass(slots=True)
class CopiedReplica:
    """Does what `Replica` says, and remembers by what it was done."""

    states: dict[str, str] = field(default_factory=dict)
    events: dict[str, Addressed] = field(default_factory=dict)
    sequences: set[tuple[str, str]] = field(default_factory=set)
    stored: dict[str, str] = field(default_factory=dict)
    """The states that say how far it is."""
    merged_by: list[str | None] = field(default_factory=list)
    changes: list[SharedChange] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Nothing is done while it is not set."""

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def progress(self) -> Progress | None:
        return Progress.of(self.stored)

    async def take_in(self, change: SharedChange, progress: Mapping[str, str | None]) -> None:
        await self.gate.wait()
        self.changes.append(change)
        for key, text in change.states.items():
            if text is None:
                self.states.pop(key, None)
            else:
                self.states[key] = text
        for each in change.events:
            self.events[each.event.event_id] = Addressed(event=each.event, sinks=each.sinks)
            self.sequences |= {(sink, each.event.alarm_id) for sink in each.begins}
        for sink, event_id in change.left:
            self._leave(sink, event_id)
        self.sequences -= set(change.ended)
        self._store(progress)

    def _leave(self, sink: str, event_id: str) -> None:
        held = self.events.get(event_id)
        if held is None:
            return
        rest = tuple(each for each in held.sinks if each != sink)
        if rest:
            self.events[event_id] = Addressed(event=held.event, sinks=rest)
        else:
            del self.events[event_id]

    async def replace(
        self, content: SharedContent, progress: Mapping[str, str | None], *, merged_by: str | None = None
    ) -> None:
        await self.gate.wait()
        self.merged_by.append(merged_by)
        self.states = dict(content.states)
        self.events = {each.event.event_id: each for each in content.events}
        self.sequences = set(content.sequences)
        self._store(progress)

    def _store(self, progress: Mapping[str, str | None]) -> None:
        self.stored |= {key: text for key, text in progress.items() if text is not None}

    async def content(self) -> SharedContent:
        return SharedContent(
            states=dict(self.states), events=tuple(self.events.values()), sequences=frozenset(self.sequences)
        )

    async def share(self) -> None:
        return None

    async def judge_present(self) -> None:
        return None
